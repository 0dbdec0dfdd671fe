"""Light within circles on stamps."""

import numpy as np
import sep
from jaxtyping import Float, Shaped

from vaedeblend.survey import stamp_centre


def circle_sums(
    images: Shaped[np.ndarray, "n size size"],
    centre: Float[np.ndarray, "n 2"],
    radius: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Light of each stamp within a circle, pixels at its rim by the share of them that it covers.

    NaN where the circle is not known, or reaches beyond the stamp.

    Args:
        images: Stamps.
        centre: (y, x) from the stamp's centre [pixel].
        radius: Radius of each circle [pixel].
    """
    size, found = images.shape[-1], np.full(len(images), np.nan)
    within = np.flatnonzero(np.abs(centre).max(axis=1, initial=0) + radius < size / 2)
    y, x = (centre[within] + stamp_centre(size)).T
    # One below the other, the stamps are one image.
    stacked = np.ascontiguousarray(images[within], np.float64).reshape(-1, size)
    if len(within):
        y = y + size * np.arange(len(within))
        found[within] = sep.sum_circle(stacked, x, y, radius[within], subpix=0)[0]
    return found
