"""Tiles of MER: what `vaedeblend deblend TILE_FOLDER` finds, and the same sky under white noise.

    python tests/benchmarks/mer.py --workdir runs/mer [--tiles 12] [--size 2048] [--weights W]

Simulates tiles by turns bilinear and Lanczos3, at the sky's density and at three times that, with
stars; deblends each from its folder alone, and a twin of it: the same sources under the co-add's
PSF, with independent noise. Matches are one to one within 3 pixels, bright sources first; flagged
ones are kept in. Errors are the bootstrap's over tiles. What is done is not done again.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table as Columns
from fields import EDGE, NEAR, resampled
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from vaedeblend.euclid.mer.layout import find_tile
from vaedeblend.euclid.mer.simulate import TileRecipe, simulate_tile
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.pixels.matching import match
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate.fields import simulate_field, write_field
from vaedeblend.survey import Survey

INTERPOLATIONS, DENSITIES, STARS = ("bilinear", "lanczos3"), (1.0, 3.0), 0.15
BINS = (
    ("galaxy", 20, 23, (0.0, 2.0)),
    ("galaxy", 23, 25, (0.0, 2.0)),
    ("galaxy", 23, 25, (0.95, 2.0)),
    ("galaxy", 23, 25, (0.0, 0.8)),
    ("galaxy", 25, 26, (0.0, 2.0)),
    ("star", 18, 20, (0.0, 2.0)),
    ("star", 20, 22, (0.0, 2.0)),
    ("star", 22, 24, (0.0, 2.0)),
)
"""Kinds, magnitudes and purities of what is counted together."""
COLUMNS = "n", "found", "median", "NMAD", "/ photons", "cover 68", "cover 95", "outliers"


def make(folder: Path, size: int, number: int, seed: int, weights: str, console):
    """Simulates and deblends a tile and its twin; truth and catalogue of each."""
    density = DENSITIES[number // 2 % 2]
    recipe = TileRecipe(interpolation=INTERPOLATIONS[number % 2])
    sky = {"density": density, "star_fraction": STARS}
    drawing = {"size": size, "seed": seed, "style": "analytic+structured"}
    drawing["processes"] = os.cpu_count() or 1
    tile = folder / f"{102_000_000 + seed:09d}"
    if not (tile / "truth.fits").exists():
        with console.status(f"{folder}: simulating"):
            simulate_tile(folder, recipe=recipe, **drawing, **sky)
    twin = folder / "white"
    if not (twin / "truth.fits").exists():
        with console.status(f"{twin}: simulating"):
            psf = make_psf(middle_psf(tile), 0.1)
            field = simulate_field(survey=Survey(), psfs=(psf,), **drawing, **sky)
            write_field(field, Survey(), twin)
    outs = [each / f"{Path(weights).name}_out" for each in (folder, twin)]
    paths = {name: twin / f"{name}.fits" for name in ("rms", "psf")}
    for out, image, given in zip(outs, (tile, twin / "image.fits"), ({}, paths), strict=True):
        if not (out / "index.html").exists():
            with console.status(f"{out}: deblending"):
                deblend_image(image, out, weights=weights, **given)
    return [
        (Columns.read(each / "truth.fits", hdu=1), Columns.read(out / "catalog.fits", hdu=1))
        for each, out in zip((tile, twin), outs, strict=True)
    ]


def middle_psf(tile: Path):
    """The stamp of a tile's grid of PSFs that is nearest to its middle."""
    path = find_tile(tile).grid_psf
    with fits.open(path) as hdus:
        image, places, side = hdus[1].data, hdus[2].data, hdus[1].header["STMPSIZE"]
        offset = np.hypot(places["x"] - image.shape[1] / 2, places["y"] - image.shape[0] / 2)
        x, y = (int(places[axis][offset.argmin()]) - 1 for axis in "xy")
        half = side // 2
        return np.array(image[y - half : y + half + 1, x - half : x + half + 1], float)


def judged(truth, catalogue, size: int, psf):
    """One row a true source, and pairs of the catalogue within a pixel of each other."""
    true, place = (
        np.stack([np.asarray(t[a], float) for a in "yx"], axis=1) for t in (truth, catalogue)
    )
    flux = np.asarray(truth["flux"], float)
    row = match(true, flux, place, NEAR)
    survey = Survey()
    found = np.asarray(catalogue["flux_ujy"], float)[row]
    error = np.asarray(catalogue["flux_ujy_err"], float)[row]
    wide = error * np.asarray(catalogue["flux_err_95"] / catalogue["flux_err"], float)[row]
    there = (row >= 0) & np.isfinite(found)
    photons = np.sum(psf**2 / (survey.variance[0] + flux[:, None] * psf / survey.gain[0]), axis=1)
    inside = (true.min(axis=1) > EDGE) & (true.max(axis=1) < size - EDGE)
    table = {
        "star": np.asarray(truth["star"], bool),
        "mag": np.asarray(truth["mag"], float),
        "purity": np.asarray(truth["purity"], float),
        "there": there,
        "error": np.where(there, found / flux - 1, np.nan),
        "pull": np.where(there, (found - flux) / error, np.nan),
        "pull_95": np.where(there, (found - flux) / wide, np.nan),
        "photons": photons**-0.5 / flux,
    }
    known = place[np.isfinite(place).all(axis=1)]
    return {k: v[inside] for k, v in table.items()}, len(cKDTree(known).query_pairs(1.0))


def chosen(table, kind, low, high, purity):
    kept = (table["mag"] >= low) & (table["mag"] < high) & (table["star"] == (kind == "star"))
    kept &= (table["purity"] >= purity[0]) & (table["purity"] < purity[1])
    return {name: values[kept] for name, values in table.items()}


def statistics(table):
    """Of sources counted together, in per cent but for the ratio to the photons' error."""
    there = table["there"].astype(bool)
    if there.sum() < 3:
        return np.full(len(COLUMNS) - 1, np.nan)
    error, pull = table["error"][there], np.abs(table["pull"][there])
    deviation = np.abs(error - np.median(error))
    spread = 1.4826 * np.median(deviation)
    of_photons = 1.4826 * np.median(deviation / table["photons"][there])
    return np.array(
        [
            100 * there.mean(),
            100 * np.median(error),
            100 * spread,
            of_photons,
            100 * np.mean(pull < 1),
            100 * np.mean(np.abs(table["pull_95"][there]) < 1),
            100 * np.mean(np.abs(error) > 0.5),
        ]
    )


def report(results, pairs, console):
    """Prints what was found in bins."""
    table = Table("image", "kind", "mag", "purity", *COLUMNS, title="flux errors [%]")
    rng = np.random.default_rng(0)
    for kind, low, high, purity in BINS:
        for name, tiles in results.items():
            some = [chosen(each, kind, low, high, purity) for each in tiles]
            pools = resampled(some, rng)
            value, *others = map(statistics, pools)
            scatter = np.nanstd(others, axis=0)
            cells = [f"{v:.1f} +- {s:.1f}" for v, s in zip(value, scatter, strict=True)]
            limits = f"{purity[0]:g}-{min(purity[1], 1):g}"
            table.add_row(name, kind, f"{low}-{high}", limits, str(len(pools[0]["mag"])), *cells)
    console.print(table)
    for name, n in pairs.items():
        console.print(f"{name}: {n} pairs of sources within 1 pixel of each other")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--tiles", type=int, default=12)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=2000, help="seed of the first tile")
    options = parser.parse_args()
    console = Console(width=150)
    names = "MER tile", "white twin"
    results, pairs = {name: [] for name in names}, dict.fromkeys(names, 0)
    for number in range(options.tiles):
        seed = options.seed + number
        folder = options.workdir / f"{seed}_{options.size}"
        made = make(folder, options.size, number, seed, options.weights, console)
        psf = middle_psf(folder / f"{102_000_000 + seed:09d}").ravel()
        for name, (truth, catalogue) in zip(names, made, strict=True):
            table, near = judged(truth, catalogue, options.size, psf)
            results[name].append(table)
            pairs[name] += near
    report(results, pairs, console)


if __name__ == "__main__":
    main()
