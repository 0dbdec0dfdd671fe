"""How different galaxies of two styles are in morphology, in numbers.

    python tests/benchmarks/realism.py --styles structured analytic [--n N] [--out FOLDER]
    python tests/benchmarks/realism.py --styles structured --real PATH [--twins K]

Each style draws N galaxies of its own, of one population: EGG's, 21 to 24.5 mag, disks of 0.2 to
0.8 arcsec. They are seen under a Gaussian PSF of 0.1 arcsec with pixels of 0.04 arcsec and little
noise: a fiftieth of the mean surface brightness within the half-light radius. Compared are
concentration, asymmetry, smoothness, Gini coefficient and M20; power spectra, without noise; Sersic
profiles that fit best with what was asked for; and whether the first style's galaxies lie nearer to
one half of the second's than the other half does, as those of a generator that remembers would.
300 galaxies of each take six minutes on one core, most of them for statmorph.

With --real, a style is compared with the real galaxies of a folder in GalSim's format, to 24.5 mag,
or of FITS planes as `real:PATH` reads them: each beside K galaxies of the style that have its flux,
radius, axis ratio and, as B/T, its Sersic index as seen, under its PSF, in its pixels, with its
noise; all blurred to 0.18 arcsec.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from astropy.table import Table as AstropyTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage

from vaedeblend.catalogues import egg
from vaedeblend.catalogues.galaxies import make_galaxies
from vaedeblend.evaluate.realism import (
    MORPHOLOGY_STATISTICS,
    Morphology,
    central_segment,
    difference,
    measure_morphology,
    morphology_features,
    nearness,
    power_spectra,
    separability,
)
from vaedeblend.pixels.psf import Psf, effective_fwhm, make_psf
from vaedeblend.report.figures.style import RC_PARAMS
from vaedeblend.simulate.galaxies import hst, real
from vaedeblend.simulate.galaxies.cutouts import make_real_galaxies
from vaedeblend.simulate.galaxies.profiles import half_light_radius
from vaedeblend.simulate.render import make_draw

SCALE, SIDE, FWHM, NOISE = 0.04, 128, 0.1, 0.02
MAGNITUDE, RADIUS = (21.0, 24.5), (0.2, 0.8)
COLOURS = ("#0072B2", "#D55E00")
COMMON_FWHM, COMMON_PIXEL = 0.18, 0.05
"""Of real galaxies and those beside them, at the least [arcsec]."""
SKY, CLEAR = 32, 40
"""Margin of noise about a real galaxy [pixel], and least flux [its noise]."""
RADII = ("bulge_half_light_radius", "disk_half_light_radius")
FLUXES = ("flux_bulge", "flux_disk")
LABELS = {
    "concentration": "concentration C",
    "asymmetry": "asymmetry A",
    "smoothness": "smoothness S",
    "gini": "Gini coefficient G",
    "m20": "M20",
}
console = Console(width=120)


def population(n, seed):
    """2n galaxies, seen at one angle: none of what is measured depends on it."""
    table = egg.sample(0.3, np.random.default_rng(seed), MAGNITUDE[1])
    galaxies = make_galaxies(table)
    magnitude = 23.9 - 2.5 * np.log10(galaxies.flux[:, 0])
    radius = galaxies.disk_half_light_radius
    chosen = np.flatnonzero(
        (magnitude > MAGNITUDE[0]) & (radius > RADIUS[0]) & (radius < RADIUS[1])
    )
    if len(chosen) < 2 * n:
        raise SystemExit(f"{len(chosen)} galaxies; wanted --n of half of that at most")
    galaxies = galaxies.take(chosen[: 2 * n])
    turn = galaxies.disk_position_angle
    return galaxies._replace(
        disk_position_angle=0 * turn, bulge_position_angle=galaxies.bulge_position_angle - turn
    )


def gaussian(scale, reach):
    axis = np.exp(-0.5 * (np.arange(-reach, reach + 1) * scale / (FWHM / 2.3548)) ** 2)
    return np.outer(axis, axis) / axis.sum() ** 2


def stamps(style, galaxies, seed):
    """Without noise, in units of the mean surface brightness within the half-light radius."""
    psf = make_psf(gaussian(0.02, 20), 0.02)
    draw = make_draw((psf,), size=SIDE, pixel_scale=SCALE, style=style)
    radii = np.array([half_light_radius(galaxies.take(i)) for i in range(len(galaxies.flux))])
    made = []
    for i in range(len(radii)):
        galaxy = galaxies.take(i)
        area = np.pi * (radii[i] / SCALE) ** 2 * max(galaxy.disk_axis_ratio, 0.1)
        light = draw(galaxy, (0.0, 0.0), (seed, i))[..., 0].astype(float)
        made.append(light / (0.5 * galaxy.flux[0] / area))
    return np.stack(made), radii


def study(style, galaxies, seed):
    """All that is measured of a style."""
    light, radii = stamps(style, galaxies, seed)
    noisy = light + NOISE * np.random.default_rng(seed).standard_normal(light.shape)
    psf = gaussian(SCALE, 4)
    parts = [
        measure_morphology(noisy[i : i + 1], NOISE, psf)
        for i in track(range(len(noisy)), f"measuring {style}", console=console)
    ]
    found = Morphology(*map(np.concatenate, zip(*parts, strict=True)))
    frequency, power = power_spectra(light)
    binned = light[:, 32:96, 32:96].reshape(len(light), 32, 2, 32, 2).mean(axis=(2, 4))
    binned /= binned.sum(axis=(1, 2), keepdims=True)
    fit = found.fitted
    return {
        "morphology": found,
        "features": morphology_features(found),
        "frequency": frequency / SCALE,
        "power": power,
        "pixels": binned.reshape(len(light), -1),
        "radius": SCALE * found.half_light_radius[fit] / radii[fit] - 1,
        "ratio": found.axis_ratio[fit] - galaxies.disk_axis_ratio[fit],
    }


class Seen(NamedTuple):
    """A real galaxy as it was seen."""

    image: np.ndarray
    psf: Psf
    rms: float
    blur: float
    """Sigma of the Gaussian that correlates white noise as this noise is [pixel]."""
    smoothing: float
    """Sigma of the Gaussian that blurs it to the common FWHM [pixel]."""
    radius: float
    axis_ratio: float

    def noise(self, shape, rng):
        white = ndimage.gaussian_filter(rng.standard_normal(shape), self.blur)
        return self.rms * white / white.std()

    def common(self, image):
        """An image like its own under the common PSF, in pixels of 0.05 arcsec or more."""
        blurred = ndimage.gaussian_filter(image, self.smoothing)
        if self.psf.pixel_scale > COMMON_PIXEL:
            return blurred
        half = len(image) // 2
        return blurred[: 2 * half, : 2 * half].reshape(half, 2, half, 2).sum(axis=(1, 3))


def real_galaxies(path):
    """All of a folder in GalSim's format, or of FITS planes, that can be measured."""
    if any(path.glob("real_galaxy_catalog*.fits")):
        catalog = hst.open_catalog(path)
        sample = hst.read_sample(catalog)
        rows = sample.row[sample.magnitude < MAGNITUDE[1]]
        stamps = [hst.read_stamp(catalog, int(row)) for row in rows]
    else:
        stamps = [stamp for _, stamp, _ in real.find_stamps(path)]
    pairs = [(stamp, make_real_galaxies(stamp)) for stamp in stamps]
    return [seen(stamp, pair[0]) for stamp, pair in pairs if pair is not None]


def seen(stamp, galaxy):
    image, scale = stamp.image.array.astype(float), float(stamp.image.scale)
    minor, major = sorted(np.linalg.svd(galaxy.axes, compute_uv=False))
    side = max(stamp.psf.array.shape) | 1
    margins = [((side - n) // 2, side - n - (side - n) // 2) for n in stamp.psf.array.shape]
    psf = make_psf(np.pad(stamp.psf.array, margins), scale)
    rms = stamp.noise.getVariance() ** 0.5
    sky = np.where(abs(image) < 3 * rms, image, 0)
    lag = (sky[:, 1:] * sky[:, :-1]).sum() / (sky**2).sum()
    blur = 0.5 / np.sqrt(-np.log(np.clip(lag, 0.02, 0.9)))
    fwhm = float(effective_fwhm(psf.image[None])[0]) * scale
    smoothing = max(COMMON_FWHM**2 - fwhm**2, 0) ** 0.5 / 2.3548 / scale
    one = Seen(image, psf, rms, blur, smoothing, major, minor / major)
    # Statistics need empty sky, which stamps lack.
    side = 2 * (max(image.shape) // 2) + 2 * SKY
    canvas = one.noise((side, side), np.random.default_rng(0))
    y, x = (SKY + (side - 2 * SKY - n) // 2 for n in image.shape)
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return one._replace(image=canvas)


def twin(one, index, flux, style, pool, rng):
    """A galaxy of a style with a real one's parameters, seen as that."""
    share = np.clip((index - 1) / 3, 0.02, 1)
    apart = abs(bulge_shares(pool) - share) / 0.1 + abs(pool.disk_axis_ratio - one.axis_ratio) / 0.2
    galaxy = pool.take(int(rng.choice(np.argsort(apart)[:8])))
    larger = one.radius / half_light_radius(galaxy)
    radii = {name: getattr(galaxy, name) * larger for name in RADII}
    fluxes = {name: getattr(galaxy, name) * flux / galaxy.flux.sum() for name in FLUXES}
    angle = np.float64(rng.uniform(0, 180))
    ratio = np.float64(one.axis_ratio)
    shapes = {"disk_axis_ratio": ratio, "disk_position_angle": angle, "bulge_position_angle": angle}
    galaxy = galaxy._replace(**radii, **fluxes, **shapes)
    options = {"size": len(one.image), "pixel_scale": one.psf.pixel_scale, "style": style}
    draw = make_draw((one.psf,), **options)
    place, seed = rng.uniform(-0.5, 0.5, 2), tuple(rng.integers(2**31, size=2).tolist())
    light = draw(galaxy, place, seed)[..., 0]
    return light + one.noise(light.shape, rng)


def bulge_shares(galaxies):
    return (galaxies.flux_bulge / galaxies.flux)[:, 0]


def study_real(galaxies, style, k, seed):
    """Features of real galaxies, and of k twins of each."""
    pool = make_galaxies(egg.sample(0.05, np.random.default_rng(seed), MAGNITUDE[1]))
    real_ones, twins = [], []
    for i, one in enumerate(track(galaxies, f"real and {style}", console=console)):
        image = one.common(one.image)
        rms = one.common(one.noise(one.image.shape, np.random.default_rng(1))).std()
        own, segment = measure_morphology(image[None], rms), central_segment(image / rms)
        flux = image[segment].sum()
        if not (own.measured[0] and flux > CLEAR * rms * segment.sum() ** 0.5):
            continue
        real_ones.append(own)
        for j in range(k):
            rng = np.random.default_rng((seed, i, j))
            image = one.common(twin(one, float(own.sersic_index[0]), flux, style, pool, rng))
            twins.append(measure_morphology(image[None], rms))
    return [
        morphology_features(Morphology(*map(np.concatenate, zip(*each, strict=True))))
        for each in (twins, real_ones)
    ]


def compare_real(style, twins, real_ones, seed):
    """Numbers of a style beside real galaxies, for JSON."""
    numbers = {"styles": [style, "real"], "n": [len(twins), len(real_ones)]}
    return numbers | statistics_of(twins, real_ones, seed)


def statistics_of(first, second, seed):
    """Of two sets of features: each statistic, and how well they are told apart."""
    numbers = {}
    for k, name in enumerate(MORPHOLOGY_STATISTICS):
        a, b = first[:, k], second[:, k]
        numbers[name] = {
            "median": [float(np.median(a)), float(np.median(b))],
            "spread": [spread(a)[1], spread(b)[1]],
            **difference(a, b)._asdict(),
        }
    return numbers | {"separability": separability(first, second, seed)._asdict()}


def spread(values):
    """Median and NMAD."""
    middle = float(np.median(values))
    return middle, float(1.4826 * np.median(abs(values - middle)))


def compare(names, first, second, seed):
    """Numbers of the comparison, for JSON."""
    numbers = {"styles": list(names), "n": [len(each["features"]) for each in (first, second)]}
    numbers |= statistics_of(first["features"], second["features"], seed)
    for kind in ("features", "pixels"):
        learned, held_out = second[kind][::2], second[kind][1::2]
        numbers[f"nearness in {kind}"] = nearness(first[kind], learned, held_out)._asdict()
    for name in ("radius", "ratio"):
        numbers[f"fitted {name}"] = [spread(each[name]) for each in (first, second)]
    for name in ("measured", "fitted"):
        shares = [float(getattr(s["morphology"], name).mean()) for s in (first, second)]
        numbers[f"share {name}"] = shares
    return numbers


def show_morphology(numbers):
    names = numbers["styles"]
    table = Table("", *names, "KS distance", "p", title="median ± NMAD of galaxies' morphology")
    for name in MORPHOLOGY_STATISTICS:
        row = numbers[name]
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(row["median"], row["spread"], strict=True)]
        table.add_row(LABELS[name], *cells, f"{row['distance']:.2f}", f"{row['p_value']:.1g}")
    return table


def show_separability(numbers):
    apart = numbers["separability"]
    console.print(f"classifier on the five: AUC {apart['auc']:.3f} ± {apart['error']:.3f}")


def show(numbers):
    names, table = numbers["styles"], show_morphology(numbers)
    for name, label in (
        ("radius", "fitted radius / asked - 1"),
        ("ratio", "fitted axis ratio - asked"),
    ):
        table.add_row(label, *(f"{m:+.3f} ± {s:.3f}" for m, s in numbers[f"fitted {name}"]))
    for name in ("measured", "fitted"):
        table.add_row(f"share {name}", *(f"{s:.3f}" for s in numbers[f"share {name}"]))
    console.print(table)
    show_separability(numbers)
    for kind in ("features", "pixels"):
        near = numbers[f"nearness in {kind}"]
        said = f"{near['nearer']:.3f} (p {near['p_value']:.1g}), copies {near['copies']:.3f}"
        console.print(f"{names[0]} nearer to half of {names[1]} than the rest, in {kind}: {said}")


def draw_figure(names, sets, numbers, path):
    with mpl.rc_context(RC_PARAMS):
        figure = Figure((11, 6.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 3).ravel()
        for k, (axis, name) in enumerate(zip(axes, MORPHOLOGY_STATISTICS, strict=False)):
            columns = [each["features"][:, k] for each in sets]
            edges = np.linspace(*np.quantile(np.concatenate(columns), [0.005, 0.995]), 31)
            for column, style, colour in zip(columns, names, COLOURS, strict=True):
                label = f"{style} ({len(column)})"
                shown = {"histtype": "step", "lw": 1.6, "color": colour, "label": label}
                axis.hist(np.clip(column, edges[0], edges[-1]), edges, density=True, **shown)
            axis.set(xlabel=LABELS[name], ylabel="density")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.set_title(f"KS distance {numbers[name]['distance']:.2f}")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        for each, colour in zip(sets, COLOURS, strict=True):
            low, middle, high = np.quantile(each["power"], [0.16, 0.5, 0.84], axis=0)
            axes[-1].fill_between(each["frequency"], low, high, color=colour, alpha=0.2, lw=0)
            axes[-1].plot(each["frequency"], middle, color=colour)
        axes[-1].set(xscale="log", yscale="log", xlabel="frequency [1/arcsec]")
        axes[-1].set(ylabel="power / flux²", title="power spectra: median, 16-84 %")
        axes[-1].set_ylim(bottom=1e-9)
        apart = numbers["separability"]
        figure.suptitle(
            f"{names[0]} and {names[1]} galaxies under a PSF of {FWHM} arcsec: "
            f"a classifier separates them with AUC {apart['auc']:.3f} ± {apart['error']:.3f}"
        )
        figure.savefig(path, dpi=130)


def beside_real(options):
    galaxies, every = real_galaxies(options.real), {}
    for style in options.styles:
        sets = study_real(galaxies, style, options.twins, options.seed)
        every[style] = compare_real(style, *sets, options.seed)
        console.print(show_morphology(every[style]))
        show_separability(every[style])
    (options.out / "realism.json").write_text(json.dumps(every, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--styles", nargs="+", default=["structured", "analytic"])
    parser.add_argument("--real", type=Path, help="real galaxies to compare each style with")
    parser.add_argument("--twins", type=int, default=2, help="galaxies beside each real one")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/realism"))
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    if options.real:
        return beside_real(options)
    if len(options.styles) != 2:
        parser.error(f"found --styles {options.styles}; wanted two, or --real PATH")
    galaxies = population(options.n, options.seed)
    parts = [galaxies.take(slice(k, None, 2)) for k in (0, 1)]
    sets = [
        study(style, part, options.seed + k)
        for k, (style, part) in enumerate(zip(options.styles, parts, strict=True))
    ]
    for style, each in zip(("first", "second"), sets, strict=True):
        table = AstropyTable(each["morphology"]._asdict())
        table.write(options.out / f"{style}.ecsv", overwrite=True)
    numbers = compare(options.styles, *sets, options.seed)
    (options.out / "realism.json").write_text(json.dumps(numbers, indent=1))
    draw_figure(options.styles, sets, numbers, options.out / "realism.png")
    show(numbers)
    console.print(f"figure and numbers in {options.out}")


if __name__ == "__main__":
    main()
