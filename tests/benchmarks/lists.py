"""Fluxes of sources at positions that are given, by how near the next one is.

    python tests/benchmarks/lists.py --workdir runs/lists [--size N] [--density D] [--seeds 77 78]

Simulated fields are deblended at the positions of all their sources, of whatever brightness. Rows
are of those brighter than 26 mag. Coverage is the share of true fluxes within flux_err, and that of
sums is of the fluxes of a source and the next one, whose error has that of both and of their
covariance. What is done is not done again.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.table import Table as Columns
from fields import simulated
from rich.console import Console
from rich.table import Table
from scipy.sparse import coo_array
from scipy.spatial import cKDTree

from vaedeblend.evaluate import metrics
from vaedeblend.image.pipeline import deblend_image

EDGES = (0, 1.5, 2.5, 3.5, 5, 8, 16, 100)
"""Distances to the next source [pixel]."""
FAINTEST = 26.0
"""Magnitude of the faintest sources that count."""


def listed(folder, seed, options):
    """Catalogue and covariances of a field's sources, and their truth."""
    truth, out = folder / "truth.fits", folder / "listed"
    simulated(folder, size=options.size, seed=seed, density=options.density)
    if not (out / "index.html").exists():
        files = {name: folder / f"{name}.fits" for name in ("rms", "psf")}
        deblend_image(folder / "image.fits", out, catalog=truth, **files)
    tables = (Columns.read(out / "catalog.fits", hdu=name) for name in ("CATALOG", "COVARIANCE"))
    return *tables, Columns.read(truth, hdu=1)


def numbers(catalog, covariances, truth):
    """Distance of the next source, relative error, stated one, and errors over those stated."""
    n = len(truth)
    place = np.stack([truth["y"], truth["x"]], axis=1)
    distance, nearest = (a[:, 1] for a in cKDTree(place).query(place, k=2))
    true = np.asarray(truth["flux"], float)
    # Rows of a list come first, in its order.
    flux, error = (np.asarray(catalog[name], float)[:n] for name in ("flux", "flux_err"))
    one, other = (np.asarray(covariances[name], int) for name in ("id_1", "id_2"))
    value = np.asarray(covariances["covariance"], float)
    pairs = coo_array((value, (one - 1, other - 1)), shape=2 * (len(catalog),)).tocsr()
    shared = np.asarray((pairs + pairs.T)[np.arange(n), nearest]).ravel()
    sums = np.sqrt(error**2 + error[nearest] ** 2 + 2 * shared)
    missing = flux - true
    both = missing + missing[nearest]
    columns = distance, missing / true, error / flux, missing / error, both / sums
    counted = (np.asarray(truth["mag"], float) < FAINTEST) & np.isfinite(error)
    return np.stack(columns)[:, counted]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--density", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[77, 78])
    options = parser.parse_args()
    fields = [
        numbers(*listed(options.workdir / f"{seed}_{options.size}", seed, options))
        for seed in options.seeds
    ]
    distance, relative, stated, score, both = np.concatenate(fields, axis=1)
    head = "next source [pixel]", "n", "bias", "NMAD", "flux_err", "coverage", "coverage of sums"
    table = Table(*head, title="[%]")
    for low, high in pairwise(EDGES):
        some = (distance >= low) & (distance < high)
        if not some.any():
            continue
        found = metrics.summarise(relative[some])
        shares = (np.mean(np.abs(each[some]) < 1) for each in (score, both))
        cells = found["bias"], found["nmad"], np.median(stated[some]), *shares
        table.add_row(f"{low} to {high}", str(some.sum()), *(f"{100 * c:.1f}" for c in cells))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
