"""How good a measurement is: flux errors and their statistics, similarity of stamps, coverage.

The relative flux error is e = (measured - true) / true; a galaxy that was not found has e = -1.
Functions of `ExampleColumns` compare both methods, over all test stamps or in bins of a column.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

OUTLIER = 0.5
"""Relative flux errors beyond this are outliers (Euclid Morphology Challenge)."""
BEYOND = 0.75
"""Largest relative flux error of the class 'one' of `failure_class`."""
FAILURES = ("missed", "one", "one_beyond", "several")
FEWEST = 5
"""Stamps from which a scatter is quoted for a cell of two columns."""

_SSIM_SIGMA = 1.5
"""Sigma of the Gaussian that weighs pixels in the structural similarity [pixel]."""

ExampleColumns = Mapping[str, np.ndarray]
"""ExampleColumns of the per-example table by name, one number a stamp (`table.columns`)."""


def relative_error(
    flux: Float[np.ndarray, "*n"], true: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Relative flux error; a flux that is NaN (a miss) gives -1."""
    return np.nan_to_num((flux - true) / true, nan=-1.0)


def nmad(error: Float[np.ndarray, " n"]) -> float:
    """Normalised median absolute deviation: the standard deviation, were the errors Gaussian."""
    return float(1.4826 * np.median(np.abs(error - np.median(error))))


def summarise(error: Float[np.ndarray, " n"], found: Bool[np.ndarray, " n"] | None = None) -> dict:
    """Statistics of relative flux errors.

    Args:
        error: Relative flux error of each stamp.
        found: Whether a stamp had a detection; true of all of them by default.

    Returns:
        n stamps, number found, bias (median), sigma (standard deviation), nmad, dispersion68 (68 %
        quantile of the distance from the median), outliers (fraction beyond 0.5) and mean_abs;
        None for each that no stamp defines.
    """
    n = len(error)
    counts = {"n": n, "found": n if found is None else int(np.sum(found))}
    names = ("bias", "sigma", "nmad", "dispersion68", "outliers", "mean_abs")
    if not n:
        return counts | dict.fromkeys(names)
    distance = np.abs(error - np.median(error))
    values = (
        np.median(error),
        np.std(error),
        nmad(error),
        np.quantile(distance, 0.68),
        np.mean(np.abs(error) > OUTLIER),
        np.mean(np.abs(error)),
    )
    return counts | dict(zip(names, map(float, values), strict=True))


def bootstrap(
    statistic: Callable[[Float[np.ndarray, " k"]], float],
    error: Float[np.ndarray, " n"],
    galaxy: Int[np.ndarray, " n"],
    rng: np.random.Generator,
    n: int = 200,
) -> float | None:
    """Standard error of a statistic when galaxies, with all stamps of each, are drawn anew.

    None without stamps.
    """
    if not len(error):
        return None
    order = np.argsort(galaxy, kind="stable")
    _, start = np.unique(galaxy[order], return_index=True)
    groups = np.split(order, start[1:])
    draws = rng.integers(len(groups), size=(n, len(groups)))
    values = [statistic(error[np.concatenate([groups[i] for i in draw])]) for draw in draws]
    return float(np.std(values))


def failure_class(error: Float[np.ndarray, " n"], n_objects: Int[np.ndarray, " n"]) -> np.ndarray:
    """Class of SExtractor's failure (|e| > 0.5) on each stamp, as text.

    By the number of objects that it detects on the stamp: 'missed' (none), 'one' (one, with |e| of
    50 to 75 per cent), 'one_beyond' (one, with more) and 'several' (two or more). 'none': no
    failure.
    """
    far, beyond = np.abs(error) > OUTLIER, np.abs(error) > BEYOND
    one = far & (n_objects == 1)
    classes = [far & (n_objects == 0), one & ~beyond, one & beyond, far & (n_objects > 1)]
    return np.select(classes, FAILURES, "none")


def cosine_distance(
    image: Float[np.ndarray, "n height width band"], truth: Float[np.ndarray, "n height width band"]
) -> Float[np.ndarray, " n"]:
    r"""$1 - \sum xy / \sqrt{\sum x^2 \sum y^2}$ of each stamp: 0 for profiles that agree.

    NaN where one of them is dark.
    """
    x, y = (a.reshape(len(a), -1) for a in (image, truth))
    product = np.einsum("np,np->n", x, y)
    norm = np.sqrt(np.einsum("np,np->n", x, x) * np.einsum("np,np->n", y, y))
    with np.errstate(invalid="ignore"):
        return 1 - product / norm


def mean_squared_error(
    image: Float[np.ndarray, "n height width band"], truth: Float[np.ndarray, "n height width band"]
) -> Float[np.ndarray, " n"]:
    """Mean of the squared difference of each stamp, not its root [uJy2]."""
    return np.square(image - truth).reshape(len(image), -1).mean(axis=1)


def similarity(
    image: Float[np.ndarray, "n height width"], truth: Float[np.ndarray, "n height width"]
) -> Float[np.ndarray, " n"]:
    """Mean structural similarity (SSIM, Wang+ 2004) of each stamp: 1 for stamps that agree.

    Weights are Gaussian, of 1.5 pixels; the dynamic range is the brightest pixel of the truth.
    NaN where either has a NaN, or the truth is dark.
    """
    peak = truth.max(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = image / peak, truth / peak

        def smooth(values):
            return ndimage.gaussian_filter(values, (0, _SSIM_SIGMA, _SSIM_SIGMA), truncate=3.5)

        mean_x, mean_y = smooth(x), smooth(y)
        xx, yy, xy = (smooth(a * b) - m * k for a, b, m, k in _pairs(x, y, mean_x, mean_y))
        ssim = (2 * mean_x * mean_y + 1e-4) * (2 * xy + 9e-4)
        ssim /= (mean_x**2 + mean_y**2 + 1e-4) * (xx + yy + 9e-4)
    return ssim.mean(axis=(1, 2))


def _pairs(x, y, mean_x, mean_y):
    return (x, x, mean_x, mean_x), (y, y, mean_y, mean_y), (x, y, mean_x, mean_y)


def coverage(
    flux: Float[np.ndarray, " n"], flux_err: Float[np.ndarray, " n"], true, width: float = 1.0
) -> float | None:
    """Share of stamps whose true flux lies within `width` errors of the measured one."""
    if not len(flux):
        return None
    return float(np.mean(np.abs(true - flux) < width * flux_err))


def weighted_size(
    image: Float[np.ndarray, "*n height width band"], sigma: float = 4.0
) -> Float[np.ndarray, "*n"]:
    """Root mean square radius of the light, weighted by a round Gaussian at the centre [pixel].

    Bands are added up.

    Args:
        image: Stamps of light in any unit.
        sigma: Width of the Gaussian, which keeps the stamp's far pixels out [pixel].
    """
    y, x = (np.arange(n) - (n - 1) / 2 for n in image.shape[-3:-1])
    square = y[:, None] ** 2 + x**2
    weight = np.exp(-square / (2 * sigma**2))
    light = image.sum(axis=-1)
    weighted = np.einsum("...hw,hw->...", light, weight * square)
    return np.sqrt(weighted / np.einsum("...hw,hw->...", light, weight))


def ranks(
    samples: Float[np.ndarray, "sample n"], true: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Share of each galaxy's posterior samples below the truth: uniform where calibrated.

    Simulation-based calibration (Talts+ 2018).
    """
    return np.mean(samples < true, axis=0)


def tarp(
    samples: Float[np.ndarray, "n sample dim"],
    true: Float[np.ndarray, "n dim"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " n"]:
    """Credibility of the region that just holds the truth: uniform where a posterior is calibrated.

    Tests of accuracy with random points (Lemos+ 2023): the regions are balls about another truth
    of the set, in units of each number's scatter over the set.

    Args:
        samples: Posterior samples of several numbers of each galaxy.
        true: Their true values.
        rng: Generator that chooses the balls' centres.
    """
    scale = true.std(axis=0)
    centre = np.roll(true[rng.permutation(len(true))], 1, axis=0)
    far = np.linalg.norm((true - centre) / scale, axis=-1)
    distance = np.linalg.norm((samples - centre[:, None]) / scale, axis=-1)
    return np.mean(distance < far[:, None], axis=1)


def binned(column: ExampleColumns, name: str, edges: Sequence[float | int]) -> list[dict]:
    """Statistics of both methods in bins of a column."""
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = (column[name] >= low) & (column[name] < high)
        part = {key: values[inside] for key, values in column.items()}
        row = {"low": low, "high": high, **method_errors(part), **error_calibration(part)}
        row |= closer_counts(part) | {"bound": bound_statistics(part)}
        rows.append(row | {"likeness": similarity_statistics(part)})
    return rows


def cells(column: ExampleColumns, names: tuple[str, str], edges: tuple) -> list[dict]:
    """Scatter of both methods, and its ratio, in each cell of two columns.

    Args:
        column: Columns of the per-example table.
        names: Columns along x and y.
        edges: Bin edges of either.
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


def extended_edges(
    edges: Sequence[float | int], values: Float[np.ndarray, " n"], step: float
) -> list[float]:
    """The edges, and further ones at a step until they hold all finite values."""
    edges, values = list(edges), values[np.isfinite(values)]
    below = int(np.ceil((edges[0] - values.min()) / step)) if len(values) else 0
    above = int(np.floor((values.max() - edges[-1]) / step)) + 1 if len(values) else 0
    first = [edges[0] - step * k for k in range(max(below, 0), 0, -1)]
    return first + edges + [edges[-1] + step * k for k in range(1, max(above, 0) + 1)]


def method_errors(column: ExampleColumns) -> dict:
    """Errors of either method; SExtractor's of the stamps on which it has been run."""
    ours, theirs = column["vae_error"], column["sextractor_error"]
    run = np.isfinite(theirs)
    found = column["found"][run]
    measured = np.isfinite(column["vae_flux"])
    return {"vae": summarise(ours, measured), "sextractor": summarise(theirs[run], found)}


def closer_counts(column: ExampleColumns) -> dict:
    """How often the network is closer, and the errors of both where it is not."""
    ours, theirs = (np.abs(column[f"{m}_error"]) for m in ("vae", "sextractor"))
    run = np.isfinite(theirs)
    ours, theirs = ours[run], theirs[run]
    lost = ours >= theirs
    return {
        "vae_closer": finite_statistic(np.mean, ~lost),
        "lost": int(lost.sum()),
        "lost_vae_mean_abs": finite_statistic(np.mean, ours[lost]),
        "lost_sextractor_mean_abs": finite_statistic(np.mean, theirs[lost]),
    }


def error_calibration(column: ExampleColumns) -> dict:
    """Coverage of flux +- flux_err and of the posterior's central 95 %; flux_err over NMAD."""
    flux, error, true = (column[name] for name in ("vae_flux", "vae_flux_err", "flux"))
    stated = finite_statistic(np.mean, error / flux)
    spread = finite_statistic(nmad, column["vae_error"])
    return {
        "coverage68": coverage(flux, error, true),
        "coverage95": finite_statistic(np.mean, np.abs(column["vae_pit"] - 0.5) < 0.475),
        "mean_relative_err": stated,
        "err_over_nmad": stated / spread if stated and spread else None,  # one stamp has none
    }


def bound_statistics(column: ExampleColumns) -> dict:
    """Root mean square and median of the relative Fisher bound, with and without the prior."""
    return {
        f"{statistic}_{kind}": finite_statistic(function, column[f"bound_{kind}"])
        for kind in ("free", "prior")
        for statistic, function in (("rms", _rms), ("median", np.median))
    }


def similarity_statistics(column: ExampleColumns) -> dict:
    """Medians of cosine distance, mean squared error [uJy2] and structural similarity."""
    names = "cosine_distance", "mse", "similarity"
    return {name: finite_statistic(np.median, column[name]) for name in names}


def finite_statistic(function: Callable, values) -> float | None:
    """The statistic of the values that are not NaN, or None without any."""
    values = values[~np.isnan(values)]
    return float(function(values)) if len(values) else None


def _rms(values) -> float:
    return np.sqrt(np.mean(np.square(values)))
