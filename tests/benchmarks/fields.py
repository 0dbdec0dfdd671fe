"""Whole fields: what `vaedeblend deblend` finds, and source-extractor beside it.

    python tests/benchmarks/fields.py --workdir runs/fields [--fields 10] [--dense 4] [--style S]

Simulates fields at the sky's own density and at three times that, deblends each from its files,
and compares with the truth. Matches are one to one within 3 pixels, bright galaxies first; flagged
sources are kept in. Errors are the bootstrap's over fields. What is done is not done again.
"""

import argparse
import os
import re
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table as Columns
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from vaedeblend.evaluate import sextractor
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.pixels.matching import match
from vaedeblend.simulate.fields import simulate_field, write_field
from vaedeblend.survey import Survey

NEAR, EDGE = 3.0, 32
"""Radius of a match, and the border whose galaxies are not judged [pixel]."""
BINS = [(20, 23, 2), (23, 25, 2), (23, 25, 0.95), (23, 25, 0.8), (25, 26, 2)]
"""Magnitudes, and the purity below which galaxies are counted."""


def simulated(folder, **options):
    """Writes a field of `simulate_field`, unless that has been done."""
    if not (folder / "truth.fits").exists():
        survey, processes = Survey(), os.cpu_count() or 1
        write_field(simulate_field(survey=survey, processes=processes, **options), survey, folder)


def make(folder, style, size, density, seed, weights, iterations, console):
    """Simulates and deblends a field; its truth and both programs' catalogues."""
    survey = Survey()
    with console.status(f"{folder}: simulating"):
        simulated(folder, size=size, seed=seed, density=density, style=style)
    out = folder / f"{Path(weights).name}_{iterations}"
    if not (out / "index.html").exists():
        with console.status(f"{folder}: deblending"):
            start = time.monotonic()
            paths = {name: folder / f"{name}.fits" for name in ("rms", "psf")}
            deblend_image(
                folder / "image.fits", out, weights=weights, iterations=iterations, **paths
            )
            console.print(f"{out}: {time.monotonic() - start:.1f} s")
    ours = Columns.read(out / "catalog.fits", hdu=1)
    image, rms = (
        fits.getdata(folder / f"{name}.fits").astype(np.float32) for name in ("image", "rms")
    )
    canvas = sextractor.StampMosaic(image, rms, np.zeros((0, 2), int))
    start = time.monotonic()
    found, *_ = sextractor.run_sextractor(
        "source-extractor", canvas, sextractor.DEFAULT, float(survey.gain[0])
    )
    console.print(f"source-extractor: {time.monotonic() - start:.1f} s, {found.shape[1]} sources")
    x, y, flux, error, flags = found
    theirs = Columns({"x": x - 1, "y": y - 1, "flux": flux, "flux_err": error, "flags": flags})
    return (
        Columns.read(folder / "truth.fits", hdu=1),
        ours,
        theirs,
        residual_chi2(folder, out, ours["flags"], survey),
    )


def residual_chi2(folder, out, flags, survey):
    """Sums over the pixels of all sources and of those without a flag, and their numbers."""
    residual, owner, model = (
        fits.getdata(out / f"{name}.fits") for name in ("residual", "segmentation", "model")
    )
    rms = fits.getdata(folder / "rms.fits")
    chi2 = residual**2 / (rms**2 + model.clip(0) / survey.gain[0])
    clean = np.append(False, np.asarray(flags) == 0)[owner]
    return [(float(chi2[where].sum(dtype=float)), where.sum()) for where in (owner > 0, clean)]


def matched(truth, found):
    """Row found of each true source, or -1; and which rows found have no true source near."""
    true, place = (np.stack([np.asarray(t[a]) for a in "yx"], axis=1) for t in (truth, found))
    row = match(true, np.asarray(truth["flux"]), place, NEAR)
    return row, cKDTree(true).query(place)[0] > NEAR


def examples(truth, found, size):
    """One row a true source that is judged."""
    row, spurious = matched(truth, found)
    x, y = np.asarray(found["x"]), np.asarray(found["y"])
    judged = (np.minimum(x, y) > EDGE) & (np.maximum(x, y) < size - EDGE)
    there, true = row >= 0, np.asarray(truth["flux"])
    values = {name: np.asarray(found[name], float)[row] for name in ("flux", "flux_err", "flags")}
    error = np.where(there & np.isfinite(values["flux"]), values["flux"] / true - 1, -1)
    x, y = np.asarray(truth["x"]), np.asarray(truth["y"])
    inside = (np.minimum(x, y) > EDGE) & (np.maximum(x, y) < size - EDGE) & ~truth["star"]
    table = {
        "mag": np.asarray(truth["mag"]),
        "purity": np.asarray(truth["purity"]),
        "error": error,
        "found": there,
        "covered": np.abs(values["flux"] - true) < values["flux_err"],
        "flagged": values["flags"] > 0,
    }
    return {k: v[inside] for k, v in table.items()}, spurious[judged].sum(), judged.sum()


def statistics(table):
    """Of a set of judged sources, in per cent."""
    found = table["found"].astype(bool)
    error, everyone = table["error"][found], table["error"]
    if not len(error):
        return np.full(8, np.nan)
    values = [
        found.mean(),
        np.median(error),
        np.sqrt(np.mean(error**2)),
        1.4826 * np.median(np.abs(error - np.median(error))),
        np.mean(np.abs(error) > 0.5),
        table["covered"][found].mean(),
        table["flagged"][found].mean(),
        np.sqrt(np.mean(everyone**2)),
    ]
    return 100 * np.array(values)


def chosen(table, low, high, purity):
    kept = (table["mag"] >= low) & (table["mag"] < high) & (table["purity"] < purity)
    return {name: values[kept] for name, values in table.items()}


def resampled(fields, rng):
    """Judged sources of all fields together, and of 100 bootstrap samples of the fields."""
    draws = [rng.integers(len(fields), size=len(fields)) for _ in range(100)]
    samples = [fields, *([fields[i] for i in draw] for draw in draws)]
    return [{k: np.concatenate([f[k] for f in some]) for k in fields[0]} for some in samples]


def add_rows(table, results):
    """Statistics of each program in each bin, with the bootstrap's errors."""
    rng = np.random.default_rng(0)
    for low, high, purity in BINS:
        for name, fields in results.items():
            pool = resampled([chosen(part, low, high, purity) for part, *_ in fields], rng)
            values, *draws = [statistics(each) for each in pool]
            errors = np.std(draws, axis=0)
            cells = [f"{v:.1f} +- {s:.1f}" for v, s in zip(values, errors, strict=True)]
            kept = "all" if purity > 1 else f"< {purity}"
            table.add_row(name, f"{low}-{high}", kept, str(len(pool[0]["mag"])), *cells)


def report(results, chi2, console):
    """Prints errors in bins, spurious sources, and the residual's chi2."""
    columns = "found", "median", "rms", "NMAD", "outliers", "coverage", "flagged", "rms with misses"
    table = Table("program", "mag", "purity", "n", *columns, title="relative flux error [%]")
    add_rows(table, results)
    console.print(table)
    for name, fields in results.items():
        wrong, n = (sum(field[i] for field in fields) for i in (1, 2))
        console.print(f"{name}: {100 * wrong / n:.2f} % of {n} sources have no true source near")
    (total, n), (clean, clean_n) = np.array(chi2).sum(axis=0)
    share = f"of the {100 * clean_n / n:.0f} % that belong to sources without a flag"
    console.print(f"chi2 per pixel of sources: {total / n:.3f}; {share}: {clean / clean_n:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--fields", type=int, default=10)
    parser.add_argument("--dense", type=int, default=4)
    parser.add_argument("--style", default="analytic", help="how galaxies are drawn")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--iterations", "--looks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first field")
    options = parser.parse_args()
    console = Console(width=150)
    results, chi2 = {"vaedeblend": [], "source-extractor": []}, []
    measured = options.style, options.size
    for seed in range(options.fields + options.dense):
        density = 1.0 if seed < options.fields else 3.0
        number = options.seed + seed
        name = re.sub(r"\W+", "_", options.style) + f"_{number}_{density:g}_{options.size}"
        network = options.weights, options.iterations
        *found, each = make(options.workdir / name, *measured, density, number, *network, console)
        truth, *catalogues = found
        chi2.append(each)
        for program, catalogue in zip(results, catalogues, strict=True):
            results[program].append(examples(truth, catalogue, options.size))
    report(results, chi2, console)


if __name__ == "__main__":
    main()
