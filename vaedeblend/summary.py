"""From a table of test stamps to the numbers that are quoted: errors, bounds and calibration.

A calibrated posterior shrinks towards what is common, so its bias is judged in bins of what was
estimated; bins of the truth stand beside them.
"""

from collections.abc import Callable, Mapping

import numpy as np
from astropy.table import Table
from jaxtyping import Float
from scipy import stats

from vaedeblend import metrics
from vaedeblend.survey import flux_to_magnitude

MAGNITUDE_EDGES = (23.0, 23.5, 24.0, 24.5, 25.0)
PURITY_EDGES = (0.0, 0.5, 0.8, 0.95, 1.0 + 1e-6)
COMPANION_EDGES = (0, 1, 2, 3, 4)

_HISTOGRAM = 10

Columns = Mapping[str, np.ndarray]


def summarise_examples(table: Table, rng: np.random.Generator) -> dict:
    """Statistics of both methods over a table of test stamps, overall and in bins (first band).

    Args:
        table: Of `evaluation.evaluate`.
        rng: Of the bootstrap.
    """
    column = _columns(table)
    ours, theirs = column["vae_error"], column["sextractor_error"]
    corrected, found, galaxy = column["sextractor_corrected_error"], column["found"], column["id"]
    clean = column["failure"] == "none"
    classes, counts = np.unique(column["failure"], return_counts=True)
    return {
        "n": len(table),
        "unique_galaxies": len(np.unique(galaxy)),
        "vae": metrics.summarise(ours),
        "sextractor": metrics.summarise(theirs, found),
        "sextractor_clean": metrics.summarise(theirs[clean], found[clean]),
        "sextractor_corrected": metrics.summarise(corrected, found),
        "vae_closer": float(np.mean(np.abs(ours) < np.abs(theirs))),
        "vae_closer_corrected": float(np.mean(np.abs(ours) < np.abs(corrected))),
        "vae_sigma_err": metrics.bootstrap(np.std, ours, galaxy, rng),
        "sextractor_sigma_err": metrics.bootstrap(np.std, theirs, galaxy, rng),
        **_calibration(column),
        "bound": _bound(column),
        "pit": uniformity(column["vae_pit"]),
        "median_cosine_distance": float(np.median(column["cosine_distance"])),
        "failure_classes": dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        "by_magnitude": _by(column, "magnitude", MAGNITUDE_EDGES),
        "by_estimated_magnitude": _by(column, "vae_magnitude", MAGNITUDE_EDGES),
        "by_purity": _by(column, "purity", PURITY_EDGES),
        "by_estimated_purity": _by(column, "vae_purity", PURITY_EDGES),
        "by_companions": _by(column, "n_companions", COMPANION_EDGES),
    }


def against(table: Table, flux: Float[np.ndarray, " n"], name: str) -> dict:
    """Statistics of another method's fluxes of the same stamps, and how often ours are closer."""
    true = np.asarray(table["flux"])[:, 0].astype(float)
    error = metrics.relative_error(flux, true)
    return {
        name: metrics.summarise(error, np.isfinite(flux)),
        f"vae_closer_{name.removeprefix('sextractor_')}": float(
            np.mean(np.abs(table["vae_error"]) < np.abs(error))
        ),
    }


def _columns(table: Table) -> Columns:
    """The table's first band as plain arrays, and the magnitude as estimated."""
    column = {name: np.asarray(table[name]) for name in table.colnames}
    column = {name: a[:, 0] if a.ndim == 2 else a for name, a in column.items()}
    for name in ("flux", "vae_flux", "vae_flux_err"):
        column[name] = column[name].astype(float)
    return column | {"vae_magnitude": flux_to_magnitude(column["vae_flux"])}


def _by(column: Columns, name: str, edges: tuple[float | int, ...]) -> list[dict]:
    """Statistics of both methods in bins of a column."""
    rows = []
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (column[name] >= low) & (column[name] < high)
        part = {key: values[inside] for key, values in column.items()}
        rows.append(
            {
                "low": low,
                "high": high,
                "vae": metrics.summarise(part["vae_error"]),
                "sextractor": metrics.summarise(part["sextractor_error"], part["found"]),
                **_calibration(part),
                "bound": _bound(part),
            }
        )
    return rows


def _calibration(column: Columns) -> dict:
    """Coverage of flux +- flux_err and of the posterior's central 95 %; flux_err over NMAD."""
    flux, error, true = (column[name] for name in ("vae_flux", "vae_flux_err", "flux"))
    stated, nmad = _of(np.mean, error / flux), _of(metrics.nmad, column["vae_error"])
    return {
        "coverage68": metrics.coverage(flux, error, true),
        "coverage95": _of(np.mean, np.abs(column["vae_pit"] - 0.5) < 0.475),
        "mean_relative_err": stated,
        "err_over_nmad": stated / nmad if nmad else None,  # one stamp has none
    }


def _bound(column: Columns) -> dict:
    """Root mean square and median of the relative Fisher bound, with and without the prior."""
    return {
        f"{statistic}_{kind}": _of(function, column[f"bound_{kind}"])
        for kind in ("free", "prior")
        for statistic, function in (("rms", _rms), ("median", np.median))
    }


def uniformity(values: Float[np.ndarray, " n"]) -> dict:
    """Histogram of numbers in (0, 1), and their distance from uniform (Kolmogorov-Smirnov)."""
    values = values[np.isfinite(values)]
    counts, _ = np.histogram(values, _HISTOGRAM, (0, 1))
    distance = float(stats.kstest(values, "uniform").statistic) if len(values) else None
    return {"counts": counts.tolist(), "ks_distance": distance}


def _rms(values) -> float:
    return np.sqrt(np.mean(np.square(values)))


def _of(function: Callable, values) -> float | None:
    """The statistic, or None without stamps."""
    return float(function(values)) if len(values) else None
