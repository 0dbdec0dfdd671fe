"""How different galaxies of two styles are in morphology, in numbers.

    python tests/benchmarks/realism.py --styles structured analytic [--n N] [--out FOLDER]

Each style draws N galaxies of its own, of one population: EGG's, 21 to 24.5 mag, disks of 0.2 to
0.8 arcsec. They are seen under a Gaussian PSF of 0.1 arcsec with pixels of 0.04 arcsec and little
noise: a fiftieth of the mean surface brightness within the half-light radius. Compared are
concentration, asymmetry, smoothness, Gini coefficient and M20; power spectra, without noise; Sersic
profiles that fit best with what was asked for; and whether the first style's galaxies lie nearer to
one half of the second's than the other half does, as those of a generator that remembers would.
300 galaxies of each take six minutes on one core, most of them for statmorph.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from astropy.table import Table as AstropyTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.progress import track
from rich.table import Table

from vaedeblend.catalogues import egg
from vaedeblend.catalogues.galaxies import make_galaxies
from vaedeblend.evaluate.realism import (
    MORPHOLOGY_STATISTICS,
    Morphology,
    difference,
    measure_morphology,
    morphology_features,
    nearness,
    power_spectra,
    separability,
)
from vaedeblend.pixels.psf import make_psf
from vaedeblend.report.figures.style import RC_PARAMS
from vaedeblend.simulate.galaxies.profiles import half_light_radius
from vaedeblend.simulate.render import make_draw

SCALE, SIDE, FWHM, NOISE = 0.04, 128, 0.1, 0.02
MAGNITUDE, RADIUS = (21.0, 24.5), (0.2, 0.8)
COLOURS = ("#0072B2", "#D55E00")
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


def spread(values):
    """Median and NMAD."""
    middle = float(np.median(values))
    return middle, float(1.4826 * np.median(abs(values - middle)))


def compare(names, first, second, seed):
    """Numbers of the comparison, for JSON."""
    numbers = {"styles": list(names), "n": [len(each["features"]) for each in (first, second)]}
    for k, name in enumerate(MORPHOLOGY_STATISTICS):
        a, b = first["features"][:, k], second["features"][:, k]
        numbers[name] = {
            "median": [float(np.median(a)), float(np.median(b))],
            "spread": [spread(a)[1], spread(b)[1]],
            **difference(a, b)._asdict(),
        }
    numbers["separability"] = separability(first["features"], second["features"], seed)._asdict()
    for kind in ("features", "pixels"):
        learned, held_out = second[kind][::2], second[kind][1::2]
        numbers[f"nearness in {kind}"] = nearness(first[kind], learned, held_out)._asdict()
    for name in ("radius", "ratio"):
        numbers[f"fitted {name}"] = [spread(each[name]) for each in (first, second)]
    for name in ("measured", "fitted"):
        shares = [float(getattr(s["morphology"], name).mean()) for s in (first, second)]
        numbers[f"share {name}"] = shares
    return numbers


def show(numbers):
    names = numbers["styles"]
    table = Table("", *names, "KS distance", "p", title="median ± NMAD of galaxies' morphology")
    for name in MORPHOLOGY_STATISTICS:
        row = numbers[name]
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(row["median"], row["spread"], strict=True)]
        table.add_row(LABELS[name], *cells, f"{row['distance']:.2f}", f"{row['p_value']:.1g}")
    for name, label in (
        ("radius", "fitted radius / asked - 1"),
        ("ratio", "fitted axis ratio - asked"),
    ):
        table.add_row(label, *(f"{m:+.3f} ± {s:.3f}" for m, s in numbers[f"fitted {name}"]))
    for name in ("measured", "fitted"):
        table.add_row(f"share {name}", *(f"{s:.3f}" for s in numbers[f"share {name}"]))
    console.print(table)
    apart = numbers["separability"]
    console.print(f"classifier on the five: AUC {apart['auc']:.3f} ± {apart['error']:.3f}")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--styles", nargs=2, default=["structured", "analytic"])
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/realism"))
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
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
