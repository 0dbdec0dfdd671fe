"""Ellipses of sources in users' terms: angles and ellipticities, on pixels and on the sky."""

import numpy as np
from astropy.wcs import WCS
from jaxtyping import Float

from vaedeblend.io.fits.sky import to_sky


def ellipticities(
    axis_ratio: Float[np.ndarray, " n"], angle: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "2 n"]:
    """Both components of (a^2 - b^2) / (a^2 + b^2): along x, and along the diagonal of x and y.

    Args:
        axis_ratio: Minor over major axis b / a.
        angle: Angle of the major axis, from +x towards +y [deg].
    """
    size = (1 - axis_ratio**2) / (1 + axis_ratio**2)
    twice = 2 * np.radians(angle)
    return size * np.array([np.cos(twice), np.sin(twice)])


def sky_axes(wcs: WCS | None, position: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2 2"]:
    """Steps (east, north) on the sky of a pixel's step along x and along y [arcsec].

    Args:
        wcs: Coordinates of the image; without them, or with no position, steps are NaN.
        position: (y, x) of each source [0-based pixel].
    """
    axes = np.full((len(position), 2, 2), np.nan)
    known = np.isfinite(position).all(axis=1)
    if wcs is None or not known.any():
        return axes
    y, x = position[known].T
    ra, dec = to_sky(wcs, x, y)
    for axis, (step_x, step_y) in enumerate([(0.5, 0.0), (0.0, 0.5)]):
        ends = (to_sky(wcs, x + sign * step_x, y + sign * step_y) for sign in (1, -1))
        (ra_2, dec_2), (ra_1, dec_1) = ends
        east = ((ra_2 - ra_1 + 180) % 360 - 180) * np.cos(np.radians(dec))
        axes[known, :, axis] = 3600 * np.stack([east, dec_2 - dec_1], axis=1)
    return axes


def sky_angles(
    axis_ratio: Float[np.ndarray, " n"],
    angle: Float[np.ndarray, " n"],
    axes: Float[np.ndarray, "n 2 2"],
) -> Float[np.ndarray, " n"]:
    """Angle of the major axis on the sky, from north towards east, from 0 to below 180 [deg].

    Args:
        axis_ratio: Minor over major axis on the image.
        angle: Angle of the major axis on the image, from +x towards +y [deg].
        axes: Steps on the sky, as of `sky_axes`.
    """
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], axis=-2)
    along = axes @ turn  # the ellipse's own axes, on the sky
    square = (along * np.stack([np.ones_like(axis_ratio), axis_ratio**2], -1)[:, None]) @ along.mT
    east, north, mixed = square[:, 0, 0], square[:, 1, 1], square[:, 0, 1]
    return np.degrees(np.arctan2(2 * mixed, north - east)) / 2 % 180


def sky_errors(
    variance: Float[np.ndarray, "n 3"], axes: Float[np.ndarray, "n 2 2"]
) -> Float[np.ndarray, "2 n"]:
    """Errors of positions towards east and north [arcsec].

    Args:
        variance: Variances along y and x and covariance on the image [pixel^2].
        axes: Steps on the sky, as of `sky_axes`.
    """
    yy, xx, xy = variance.T
    covariance = np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], axis=-2)
    return np.sqrt(np.diagonal(axes @ covariance @ axes.mT, axis1=1, axis2=2)).T
