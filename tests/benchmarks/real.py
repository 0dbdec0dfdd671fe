"""Real galaxies at the scale of Euclid's VIS: isolated and in pairs, and source-extractor beside.

    python tests/benchmarks/real.py --folder PATH --workdir runs/real [--style STYLE ...]

Galaxies of EGG's catalogue, of 21 to 24.5 mag, are drawn by the real ones of a folder that has
`hst_stamps` (GalSim's format) and `jwst_fields/f444w_cube.fits.fz`: by those of the part for the
test (`#test`) alone, unless --style names others. They lie on a grid, alone or as pairs 0.4 to 1.6
arcsec apart, under the default PSF and the noise of the wide survey, with --correlated that of a
resampled image. Matches are one to one within 3 pixels, bright ones first. Sigma, NMAD, outliers
(errors beyond a half) and coverage (of the error stated) are of the galaxies found; false
companions are all that is found elsewhere, of 400 galaxies. Errors are the bootstrap's, of false
companions Poisson's.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table as Columns
from rich.console import Console
from rich.table import Table

from vaedeblend.evaluate import metrics, sextractor
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.pixels.matching import match
from vaedeblend.simulate.fields import field_header
from vaedeblend.simulate.library import PlacedSources, random_sources, render_sources
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


def judged(sources, catalog):
    """Row of each galaxy: error (NaN: not found), covered; and the number of false detections."""
    place = np.stack([np.asarray(catalog[axis], float) for axis in "yx"], axis=1)
    true = sources.galaxies.flux[:, 0]
    row = match(sources.position, true, place)
    flux, error = (np.asarray(catalog[name], float)[row] for name in ("flux", "flux_err"))
    missed = (row < 0) | ~np.isfinite(flux)
    covered = np.where(missed, np.nan, abs(flux - true) < error)
    return np.where(missed, np.nan, flux / true - 1), covered, len(place) - (row >= 0).sum()


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
    return {k: 100 * float(v) for k, v in values.items()} | {"false": 400 * false / len(error)}


def with_errors(error, covered, false, rng):
    draws = [rng.integers(len(error), size=len(error)) for _ in range(100)]
    samples = [statistics(error[i], covered[i], false) for i in draws]
    spread = {name: float(np.std([each[name] for each in samples])) for name in COLUMNS}
    spread["false"] = 400 * max(false, 1) ** 0.5 / len(error)
    values = statistics(error, covered, false)
    return {name: [value, spread[name]] for name, value in values.items()}


def row(sources, catalog, seed):
    return with_errors(*judged(sources, catalog), np.random.default_rng(seed))


def measure(style, label, kind, options, survey, console):
    """Numbers of both programs for one style and kind."""
    sources, side = sheet(options.n, kind == "pairs", options, survey)
    image, rms = images(sources, side, style, options, survey)
    start = time.monotonic()
    folder = options.workdir / f"{label}_{kind}_{options.seed}_{Path(options.weights).name}"
    ours = found_by_us(image, rms, folder, options, survey)
    console.print(f"{folder}: {time.monotonic() - start:.0f} s")
    theirs = found_by_them(image, rms, survey)
    programs = {"vaedeblend": ours, "source-extractor": theirs}
    return {name: row(sources, each, options.seed) for name, each in programs.items()}


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
