"""Statistics of both methods in bins of a column, and in the cells of two."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from vaedeblend.evaluate import metrics

Columns = Mapping[str, np.ndarray]

FEWEST = 5
"""Stamps from which a scatter is quoted for a cell of two columns."""


def by(column: Columns, name: str, edges: Sequence[float | int]) -> list[dict]:
    """Statistics of both methods in bins of a column."""
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (column[name] >= low) & (column[name] < high)
        part = {key: values[inside] for key, values in column.items()}
        rows.append({"low": low, "high": high, **methods(part), **calibration(part)})
        rows[-1] |= closer(part) | {"bound": bound(part), "likeness": likeness(part)}
    return rows


def cells(column: Columns, names: tuple[str, str], edges: tuple) -> list[dict]:
    """Scatter of both methods, and its ratio, in each cell of two columns.

    Args:
        column: Of the table.
        names: Of the columns along x and y.
        edges: Of their bins.
    """
    x, y = (np.digitize(column[n], e) - 1 for n, e in zip(names, edges, strict=True))
    rows = []
    for i, j in np.ndindex(*(len(e) - 1 for e in edges)):
        inside = (x == i) & (y == j)
        ours, theirs = (column[f"{m}_error"][inside] for m in ("vae", "sextractor"))
        theirs = theirs[np.isfinite(theirs)]
        row = {"x_low": edges[0][i], "x_high": edges[0][i + 1]}
        row |= {"y_low": edges[1][j], "y_high": edges[1][j + 1]}
        row = {key: float(value) for key, value in row.items()} | {"n": int(inside.sum())}
        row["vae"] = float(ours.std()) if len(ours) >= FEWEST else None
        row["sextractor"] = float(theirs.std()) if len(theirs) >= FEWEST else None
        known = row["vae"] and row["sextractor"]
        rows.append(row | {"ratio": row["sextractor"] / row["vae"] if known else None})
    return rows


def equal_bins(values: Float[np.ndarray, " n"], n: int) -> list[Int[np.ndarray, " k"]]:
    """Indices of the finite values in order, cut into n bins of equal counts; no empty one."""
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    return [part for part in np.array_split(order, n) if len(part)]


def extended(
    edges: Sequence[float | int], values: Float[np.ndarray, " n"], step: float
) -> list[float]:
    """The edges, and further ones at a step until they hold all finite values."""
    edges, values = list(edges), values[np.isfinite(values)]
    below = int(np.ceil((edges[0] - values.min()) / step)) if len(values) else 0
    above = int(np.floor((values.max() - edges[-1]) / step)) + 1 if len(values) else 0
    first = [edges[0] - step * k for k in range(max(below, 0), 0, -1)]
    return first + edges + [edges[-1] + step * k for k in range(1, max(above, 0) + 1)]


def methods(column: Columns) -> dict:
    """Errors of either method; SExtractor's of the stamps on which it has been run."""
    ours, theirs = column["vae_error"], column["sextractor_error"]
    run = np.isfinite(theirs)
    found = column["found"][run]
    return {"vae": metrics.summarise(ours), "sextractor": metrics.summarise(theirs[run], found)}


def closer(column: Columns) -> dict:
    """How often the network is closer, and the errors of both where it is not."""
    ours, theirs = (np.abs(column[f"{m}_error"]) for m in ("vae", "sextractor"))
    run = np.isfinite(theirs)
    ours, theirs = ours[run], theirs[run]
    lost = ours >= theirs
    return {
        "vae_closer": of(np.mean, ~lost),
        "lost": int(lost.sum()),
        "lost_vae_mean_abs": of(np.mean, ours[lost]),
        "lost_sextractor_mean_abs": of(np.mean, theirs[lost]),
    }


def calibration(column: Columns) -> dict:
    """Coverage of flux +- flux_err and of the posterior's central 95 %; flux_err over NMAD."""
    flux, error, true = (column[name] for name in ("vae_flux", "vae_flux_err", "flux"))
    stated, nmad = of(np.mean, error / flux), of(metrics.nmad, column["vae_error"])
    return {
        "coverage68": metrics.coverage(flux, error, true),
        "coverage95": of(np.mean, np.abs(column["vae_pit"] - 0.5) < 0.475),
        "mean_relative_err": stated,
        "err_over_nmad": stated / nmad if stated and nmad else None,  # one stamp has none
    }


def bound(column: Columns) -> dict:
    """Root mean square and median of the relative Fisher bound, with and without the prior."""
    return {
        f"{statistic}_{kind}": of(function, column[f"bound_{kind}"])
        for kind in ("free", "prior")
        for statistic, function in (("rms", _rms), ("median", np.median))
    }


def likeness(column: Columns) -> dict:
    """Medians of what compares the deblended light with the truth."""
    return {name: of(np.median, column[name]) for name in ("cosine_distance", "mse", "similarity")}


def of(function: Callable, values) -> float | None:
    """The statistic of the values that are not NaN, or None without any."""
    values = values[~np.isnan(values)]
    return float(function(values)) if len(values) else None


def _rms(values) -> float:
    return np.sqrt(np.mean(np.square(values)))
