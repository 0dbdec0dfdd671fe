"""Which of the sources that were found is which of the true ones."""

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree


def match(
    true: Float[np.ndarray, "n 2"],
    flux: Float[np.ndarray, " n"],
    found: Float[np.ndarray, "m 2"],
    radius: float = 3.0,
) -> Int[np.ndarray, " n"]:
    """Row of the source found for each true one, or -1; none is taken twice, bright ones choose.

    Args:
        true: Positions (y, x) [pixel].
        flux: Flux of the true sources: the brightest takes the nearest of what is there.
        found: Positions (y, x) [pixel].
        radius: Largest distance of a match [pixel].
    """
    row, free = np.full(len(true), -1), np.ones(len(found), bool)
    if not len(found):
        return row
    near = cKDTree(found).query_ball_point(true, radius)
    for i in np.argsort(-flux, kind="stable"):
        candidates = [j for j in near[i] if free[j]]
        if candidates:
            distance = np.hypot(*(found[candidates] - true[i]).T)
            row[i] = candidates[np.argmin(distance)]
            free[row[i]] = False
    return row
