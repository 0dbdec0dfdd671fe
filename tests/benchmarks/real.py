"""Real galaxies at the scale of Euclid's VIS: isolated and in pairs, and source-extractor beside.

    python tests/benchmarks/real.py --folder PATH --workdir runs/real [--style STYLE ...]

Galaxies of EGG's catalogue, of 21 to 24.5 mag, are drawn by the real ones of a folder that has
`hst_stamps` (GalSim's format) and `jwst_fields/f444w_cube.fits.fz`: by those of the part for the
test (`#test`) alone, unless --style names others. They lie on a grid, alone or as pairs 0.4 to 1.6
arcsec apart, under the default PSF and the noise of the wide survey, with --correlated that of a
resampled image. Matches are one to one within 3 pixels, bright ones first. Sigma, NMAD, outliers
(errors beyond a half) and coverage (of the error stated) are of the galaxies found; false
companions are all that is found elsewhere, of 400 galaxies. Errors are the bootstrap's over the
real galaxies, each of which draws many of a sheet: a pair counts as often as both of its galaxies
were drawn, multiplied (Owen 2007, Annals of Applied Statistics 1, 386). Real galaxies are also
shown without the ones, and their pairs, that the one draws which makes most of the sigma.
"""

import argparse
import json
import time
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table as Columns
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from vaedeblend.evaluate import metrics, sextractor
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.pixels.matching import match
from vaedeblend.simulate.fields import field_header
from vaedeblend.simulate.galaxies.styles import find_style
from vaedeblend.simulate.library import (
    PlacedSources,
    random_sources,
    render_sources,
    structure_seed,
)
from vaedeblend.simulate.render import add_noise, default_psf, survey_psfs
from vaedeblend.survey import Survey

PITCH, SEPARATION = 88, (0.4, 1.6)
"""Side of a galaxy's, or a pair's, cell [pixel], and distances in a pair [arcsec]."""
COLUMNS = {
    "found": "found %",
    "bias": "bias %",
    "sigma": "sigma %",
    "nmad": "NMAD %",
    "outliers": "outliers %",
    "coverage": "coverage %",
    "false": "false of 400",
}


def sheet(n, pairs, options, survey):
    """Galaxies in the middle of cells, or in pairs about it; and the side of the image."""
    cells = int(np.ceil((n / (1 + pairs)) ** 0.5))
    side = cells * PITCH
    bands = tuple(band.name for band in survey.bands)
    drawn = random_sources(n, options.magnitude, (side, side), bands, options.seed)
    cell = np.arange(n) // (1 + pairs)
    place = (np.stack(np.divmod(cell, cells), axis=1) + 0.5) * PITCH
    rng = np.random.default_rng((options.seed, pairs))
    if pairs:
        apart = rng.uniform(*SEPARATION, n // 2) / survey.pixel_scale.value / 2
        angle = rng.uniform(0, 2 * np.pi, n // 2)
        half = apart[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        place += np.stack([half, -half], axis=1).reshape(n, 2)
    place += rng.uniform(-0.5, 0.5, (n // (1 + pairs), 2)).repeat(1 + pairs, axis=0)
    pixel = np.rint(place + 0.5).astype(int)
    return PlacedSources(drawn.id, drawn.galaxies, pixel, place + 0.5 - pixel), side


def images(sources, side, style, options, survey):
    """Image with noise, and rms of its background."""
    drawing = {"style": style, "seed": options.seed, "processes": options.processes}
    shape, psfs = (side, side), survey_psfs(survey, 64)
    light = render_sources(sources, shape, psfs, survey.pixel_scale.value, **drawing)[0]
    noisy = add_noise(light, survey, np.random.default_rng((options.seed, 9)))
    shift = options.correlated
    if shift:
        sigma = np.sqrt(survey.variance + light.clip(0) / survey.gain)
        noise = (noisy - light) / sigma
        for axis in (0, 1):
            noise = (1 - shift) * noise + shift * np.roll(noise, 1, axis)
            noise /= np.hypot(1 - shift, shift)
        noisy = (light + sigma * noise).astype(np.float32)
    rms = np.full(shape, survey.variance[0] ** 0.5, np.float32)
    return noisy[..., 0], rms


def found_by_us(image, rms, out, options, survey):
    scale = fits.Header({"PIXSCALE": survey.pixel_scale.value})
    psf = fits.PrimaryHDU(default_psf(survey)[..., 0], scale)
    hdu = fits.PrimaryHDU(image, field_header(survey, image.shape))
    deblend_image(hdu, out, rms=rms, psf=psf, weights=options.weights)
    return Columns.read(out / "catalog.fits", hdu=1)


def found_by_them(image, rms, survey):
    canvas = sextractor.StampMosaic(image, rms, np.zeros((0, 2), int))
    settings, gain = sextractor.DEFAULT, float(survey.gain[0])
    (x, y, flux, error, _), *_ = sextractor.run_sextractor(
        "source-extractor", canvas, settings, gain
    )
    return Columns({"x": x - 1, "y": y - 1, "flux": flux, "flux_err": error})


def drawn_by(sources, cell, style, seed):
    """Number, from 0 on, of the real galaxy that draws each one; of its cell, if it is made up."""
    draw, drawers = find_style(style), []
    for i, own in enumerate(cell):
        light = draw(sources.galaxies.take(i), structure_seed(seed, i))[0]
        image = getattr(light, "original", None)
        if isinstance(image, galsim.Convolution):  # of the image with the inverse of its PSF
            image = image.obj_list[0]
        seen = isinstance(image, galsim.InterpolatedImage)
        drawers.append(image if seen else int(own))
    numbers = {drawer: k for k, drawer in enumerate(dict.fromkeys(drawers))}
    return np.array([numbers[drawer] for drawer in drawers])


def judged(sources, catalog):
    """Of each galaxy: error (NaN: not found), whether it is covered, and false detections by it."""
    place = np.stack([np.asarray(catalog[axis], float) for axis in "yx"], axis=1)
    true = sources.galaxies.flux[:, 0]
    row = match(sources.position, true, place)
    flux, error = (np.asarray(catalog[name], float)[row] for name in ("flux", "flux_err"))
    missed = (row < 0) | ~np.isfinite(flux)
    covered = np.where(missed, np.nan, abs(flux - true) < error)
    others = np.delete(place, row[row >= 0], axis=0)
    false = np.bincount(cKDTree(sources.position).query(others)[1], minlength=len(true))
    return np.where(missed, np.nan, flux / true - 1), covered, false


def statistics(error, covered, false):
    """In per cent; false companions of 400 galaxies."""
    there = np.isfinite(error)
    found = error[there]
    values = {
        "found": there.mean(),
        "bias": np.median(found),
        "sigma": found.std(),
        "nmad": metrics.nmad(found),
        "outliers": (abs(found) > metrics.OUTLIER).mean(),
        "coverage": covered[there].mean(),
    }
    return {k: 100 * float(v) for k, v in values.items()} | {"false": 400 * float(false.mean())}


def resampled(cell, drawer, rng):
    """Rows of one bootstrap: each cell as often as its drawers are drawn, multiplied."""
    n = drawer.max() + 1
    times = rng.multinomial(n, np.full(n, 1 / n))
    pairs = np.unique(np.stack([cell, drawer], axis=1), axis=0)  # a drawer counts once a cell
    weight = np.ones(cell.max() + 1, int)
    np.multiply.at(weight, pairs[:, 0], times[pairs[:, 1]])
    return np.repeat(np.arange(len(cell)), weight[cell])


def worst(error, drawer):
    """The real galaxy without which the sigma of all others is the least."""
    without = [np.nanstd(error[drawer != k]) for k in range(drawer.max() + 1)]
    return int(np.argmin(without))


def with_errors(judged, cell, drawer, rng):
    draws = [resampled(cell, drawer, rng) for _ in range(200)]
    samples = [statistics(*(each[i] for each in judged)) for i in draws]
    spread = {name: float(np.std([each[name] for each in samples])) for name in COLUMNS}
    return {name: [value, spread[name]] for name, value in statistics(*judged).items()}


def measure(style, label, kind, options, survey, console):
    """Numbers of both programs for one style and kind."""
    sources, side = sheet(options.n, kind == "pairs", options, survey)
    image, rms = images(sources, side, style, options, survey)
    start = time.monotonic()
    folder = options.workdir / f"{label}_{kind}_{options.seed}_{Path(options.weights).name}"
    ours = found_by_us(image, rms, folder, options, survey)
    console.print(f"{folder}: {time.monotonic() - start:.0f} s")
    theirs = found_by_them(image, rms, survey)
    cell = np.arange(options.n) // (1 + (kind == "pairs"))
    drawer = drawn_by(sources, cell, style, options.seed)
    console.print(f"{folder}: drawn by {drawer.max() + 1}")
    rows = {}
    for name, each in {"vaedeblend": ours, "source-extractor": theirs}.items():
        found = judged(sources, each)
        rows[name] = with_errors(found, cell, drawer, np.random.default_rng(options.seed))
        if drawer.max() < cell.max():
            kept = ~np.isin(cell, cell[drawer == worst(found[0], drawer)])
            others = np.unique(drawer[kept], return_inverse=True)[1]
            some = tuple(values[kept] for values in found), cell[kept], others
            label = f"{name}, but for one that draws {(~kept).sum()}"
            rows[label] = with_errors(*some, np.random.default_rng(options.seed))
    return rows


def show(numbers, console):
    table = Table("galaxies", "kind", "program", *COLUMNS.values())
    for (style, kind, program), row in numbers.items():
        cells = [f"{row[name][0]:.2f} ± {row[name][1]:.2f}" for name in COLUMNS]
        table.add_row(style, kind, program, *cells)
    console.print(table)


def real_styles(folder):
    """Hubble's and Webb's galaxies for the test, in equal shares."""
    webb = folder / "jwst_fields" / "f444w_cube.fits.fz"
    return f"cosmos:{folder / 'hst_stamps'}#test+real:{webb}#test"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--style", nargs="+", default=[], help="other styles, beside or in place")
    parser.add_argument("--n", type=int, default=400, help="galaxies a sheet (even)")
    parser.add_argument("--magnitude", type=float, nargs=2, default=(21.0, 24.5))
    parser.add_argument("--correlated", type=float, default=0.0, help="shift of resampling [pixel]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--workdir", type=Path, default=Path("runs/real"))
    options = parser.parse_args()
    options.magnitude = tuple(options.magnitude)
    styles = {name.partition(":")[0].replace("+", "_"): name for name in options.style}
    if options.folder:
        styles = {"real": real_styles(options.folder.resolve()), **styles}
    if not styles:
        parser.error("wanted --folder PATH, or --style STYLE")

    console, survey = Console(width=160), Survey()
    options.workdir.mkdir(parents=True, exist_ok=True)
    numbers = {
        (label, kind, program): row
        for label, style in styles.items()
        for kind in ("isolated", "pairs")
        for program, row in measure(style, label, kind, options, survey, console).items()
    }
    text = json.dumps({" ".join(key): row for key, row in numbers.items()}, indent=1)
    (options.workdir / f"real_{options.seed}.json").write_text(text)
    show(numbers, console)


if __name__ == "__main__":
    main()
