"""From a table of test stamps to the numbers that are quoted: errors, bounds, calibration, shapes.

A calibrated posterior shrinks towards what is common, so its bias is judged in bins of what was
estimated; bins of the truth stand beside them.
"""

import numpy as np
from astropy.table import Table
from jaxtyping import Float
from scipy import stats

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.metrics import ExampleColumns, finite_statistic
from vaedeblend.evaluate.table import columns
from vaedeblend.pixels.shapes import turned
from vaedeblend.simulate.scenes import BM_1_EDGES, FLUX_RATIO_EDGES
from vaedeblend.survey import flux_to_magnitude

MAGNITUDE_EDGES = (23.0, 23.5, 24.0, 24.5, 25.0)
PURITY_EDGES = (0.0, 0.5, 0.8, 0.95, 1.0 + 1e-6)
COMPANION_EDGES = (0, 1, 2, 3, 4)
MAPS = {
    "bm_1_flux_ratio": (("bm_1", "flux_ratio"), (BM_1_EDGES, FLUX_RATIO_EDGES)),
    "purity_separation": (
        ("purity", "separation"),
        (np.array([0, 0.2, 0.4, 0.6, 0.8, 0.95]), np.array([0.3, 0.6, 0.9, 1.2, 1.8, 3.0])),
    ),
}
"""ExampleColumns along x and y of the maps of complexity, and their edges."""
NOMINAL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.683, 0.8, 0.9, 0.95, 0.99)
"""Probabilities of the intervals whose coverage is measured."""
WITHIN = (10, 15)
"""Relative flux errors [%]; the share of galaxies within each is quoted."""
ELONGATED = 0.8
"""Axis ratio below which a galaxy's position angle is well defined."""

_HISTOGRAM = 10
_DEFAULTS = ("sextractor_default_error", "default_failure", "default_n_objects")


def summarise_examples(table: Table, rng: np.random.Generator) -> dict:
    """Statistics of both methods over a table of test stamps, overall and in bins (first band).

    Args:
        table: Per-example table of `table.make_table`.
        rng: Random numbers of the bootstrap.
    """
    column = with_estimates(table)
    galaxy, theirs = column["id"], column["sextractor_error"]
    run = np.isfinite(theirs)
    magnitudes = metrics.extended_edges(MAGNITUDE_EDGES, column["magnitude"], 0.5)
    return {
        "n": len(table),
        "unique_galaxies": len(np.unique(galaxy)),
        "median_purity": finite_statistic(np.median, column["purity"]),
        **metrics.method_errors(column),
        **_without_failures(column),
        **metrics.closer_counts(column),
        "within": {
            f"{w}": finite_statistic(np.mean, np.abs(column["vae_error"]) < w / 100) for w in WITHIN
        },
        "vae_sigma_err": metrics.bootstrap(np.std, column["vae_error"], galaxy, rng),
        "sextractor_sigma_err": metrics.bootstrap(np.std, theirs[run], galaxy[run], rng),
        **metrics.error_calibration(column),
        "coverage": _coverage(column),
        "bound": metrics.bound_statistics(column),
        "pit": uniformity(column["vae_pit"]),
        "median_cosine_distance": finite_statistic(np.median, column["cosine_distance"]),
        "likeness": metrics.similarity_statistics(column),
        "failure_classes": _classes(column, "sextractor_error", "failure", "n_objects"),
        "default_failure_classes": _classes(column, *_DEFAULTS),
        "shape": {name: shape(column) for name, shape in _SHAPES.items()},
        "profile": _profile(column),
        "by_magnitude": metrics.binned(column, "magnitude", magnitudes),
        "by_estimated_magnitude": metrics.binned(column, "vae_magnitude", magnitudes),
        "by_purity": metrics.binned(column, "purity", PURITY_EDGES),
        "by_estimated_purity": metrics.binned(column, "vae_purity", PURITY_EDGES),
        "by_companions": metrics.binned(column, "n_companions", COMPANION_EDGES),
        "maps": {name: _map(column, *of_map) for name, of_map in MAPS.items()},
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


def with_estimates(table: Table) -> dict[str, np.ndarray]:
    """The table's columns in the first band, and the magnitude as estimated."""
    column = columns(table)
    with np.errstate(all="ignore"):
        return column | {"vae_magnitude": flux_to_magnitude(column["vae_flux"])}


def uniformity(values: Float[np.ndarray, " n"]) -> dict:
    """Histogram of numbers in (0, 1), and their distance from uniform (Kolmogorov-Smirnov)."""
    values = values[np.isfinite(values)]
    counts, _ = np.histogram(values, _HISTOGRAM, (0, 1))
    distance = float(stats.kstest(values, "uniform").statistic) if len(values) else None
    return {"counts": counts.tolist(), "ks_distance": distance}


def _map(column: ExampleColumns, names: tuple[str, str], edges: tuple) -> dict:
    """Cells of two columns, and those where the network gains most and least."""
    found = metrics.cells(column, names, edges)
    known = [cell for cell in found if cell["ratio"] is not None]
    ends = {"most": max, "least": min}
    ends = {key: choose(known, key=lambda c: c["ratio"]) for key, choose in ends.items() if known}
    return {"cells": found, "stamps": sum(cell["n"] for cell in found), **ends}


def _without_failures(column: ExampleColumns) -> dict:
    """SExtractor with its failures set aside, and with its bias removed."""
    theirs, corrected = column["sextractor_error"], column["sextractor_corrected_error"]
    run, found = np.isfinite(theirs), column["found"]
    clean = run & (column["failure"] == "none")
    ours = np.abs(column["vae_error"][run])
    return {
        "sextractor_clean": metrics.summarise(theirs[clean], found[clean]),
        "sextractor_corrected": metrics.summarise(corrected[run], found[run]),
        "vae_closer_corrected": finite_statistic(np.mean, ours < np.abs(corrected[run])),
    }


def _classes(column: ExampleColumns, error: str, failure: str, n_objects: str) -> dict:
    """Number of stamps in each class of failure, and in all of them."""
    counts = {name: int(np.sum(column[failure] == name)) for name in metrics.FAILURES}
    run = np.isfinite(column[error])
    failed = sum(counts.values())
    right = column[n_objects][run] == 1 + column["n_companions"][run]
    counts |= {"failed": failed, "failed_share": failed / int(run.sum()) if run.any() else None}
    counts |= {"undetected": int(np.sum(column[error] == -1))}
    return counts | {"n": int(run.sum()), "counted_right": finite_statistic(np.mean, right)}


def _coverage(column: ExampleColumns) -> dict:
    """Share of true fluxes within central intervals of a probability, of either method."""
    wide = np.abs(column["vae_pit"] - 0.5)
    with np.errstate(all="ignore"):
        ratio = np.abs(column["flux"] - column["sextractor_flux"]) / column["sextractor_flux_err"]
    ratio = np.where(np.isfinite(column["sextractor_error"]), np.nan_to_num(ratio, nan=99), np.nan)
    return {
        "nominal": list(NOMINAL),
        "vae": [finite_statistic(np.mean, _within(wide, p / 2)) for p in NOMINAL],
        "sextractor": [
            finite_statistic(np.mean, _within(ratio, stats.norm.ppf((1 + p) / 2))) for p in NOMINAL
        ],
    }


def _within(values, limit):
    return np.where(np.isnan(values), np.nan, values < limit)


def _radius(column: ExampleColumns) -> dict:
    found, true = (column[f"{m}_half_light_radius"] for m in ("vae", "truth"))
    return _spread(found / true - 1)


def _axis_ratio(column: ExampleColumns) -> dict:
    return _spread(column["vae_axis_ratio"] - column["truth_axis_ratio"])


def _angle(column: ExampleColumns) -> dict:
    """Error of the position angle of elongated galaxies [deg]."""
    turn = turned(column["vae_position_angle"], column["truth_position_angle"])
    return _spread(turn[column["truth_axis_ratio"] < ELONGATED])


def _shear(column: ExampleColumns) -> dict:
    """Response of measured to true ellipticity, as a shear's user asks: e = (1 + m) e_true + c."""
    found, true = (np.concatenate(ellipticity(column, m)) for m in ("vae", "truth"))
    known = np.isfinite(found + true)
    if known.sum() < 3 or not np.ptp(true[known]):
        return {"m": None, "c": None, "scatter": None, "n": int(known.sum())}
    fit = stats.linregress(true[known], found[known])
    scatter = float(np.std(found[known] - true[known]))
    return {"m": fit.slope - 1, "c": fit.intercept, "scatter": scatter, "n": int(known.sum())}


_SHAPES = {
    "half_light_radius": _radius,
    "axis_ratio": _axis_ratio,
    "position_angle": _angle,
    "ellipticity": _shear,
}


def ellipticity(column: ExampleColumns, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Both components of the ellipticity (1 - q) / (1 + q), of 'truth' or 'vae'."""
    q, angle = (column[f"{method}_{name}"] for name in ("axis_ratio", "position_angle"))
    length, double = (1 - q) / (1 + q), 2 * np.radians(angle)
    return length * np.cos(double), length * np.sin(double)


def _spread(values) -> dict:
    values = values[np.isfinite(values)]
    return {
        "n": len(values),
        "bias": finite_statistic(np.median, values),
        "nmad": finite_statistic(metrics.nmad, values),
    }


def _profile(column: ExampleColumns) -> dict:
    """Mean surface brightness of the truth, and the deblended light's relative error, a ring."""
    found, true = (column[f"{m}_profile"].astype(float) for m in ("vae", "truth"))
    found, true = (np.where(np.isfinite(found + true), each, np.nan) for each in (found, true))
    mean, mean_true = (
        [finite_statistic(np.mean, ring) for ring in each.T] for each in (found, true)
    )
    error = [
        a / b - 1 if a is not None and b else None for a, b in zip(mean, mean_true, strict=True)
    ]
    return {"truth": mean_true, "vae": mean, "error": error}
