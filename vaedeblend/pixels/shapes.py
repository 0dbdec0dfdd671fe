"""Where a galaxy's light lies: centre, half-light radius, axis ratio and angle of profiles.

The light is that of the image, the PSF included.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaedeblend.survey import stamp_centre

FWHM = 2 * np.sqrt(2 * np.log(2))
"""Full width at half maximum of a Gaussian [sigma]."""

_ROUNDS = 10
_CHUNK = 64
"""Profiles that are measured at a time: so many that the processor's cache holds them."""
_CORE = 10.0
"""Radius that holds half of most galaxies' light [pixel]."""
_NARROWEST, _WIDEST = 1.0, 12.0
"""Sigma of the weight [pixel]."""
_LEAST = 1e-12
"""Least weight that counts: products with smaller ones would be subnormal numbers, and slow."""


class Shapes(NamedTuple):
    """Shapes of n profiles; NaN for those that are dark."""

    centre: Float[np.ndarray, "n 2"]
    """(y, x) from the stamp's centre [pixel]."""
    half_light_radius: Float[np.ndarray, " n"]
    """Radius of the circle about the centre that holds half of the total flux [pixel]; NaN where
    the stamp holds less than that."""
    axis_ratio: Float[np.ndarray, " n"]
    position_angle: Float[np.ndarray, " n"]
    """Angle of the major axis, from +x towards +y [deg], above -90 and up to 90."""
    semi_major_axis: Float[np.ndarray, " n"]
    """Rms of the light along the major axis [pixel]."""

    @property
    def fwhm(self) -> Float[np.ndarray, " n"]:
        """Full width at half maximum of the round Gaussian of the same area [pixel]."""
        return FWHM * self.semi_major_axis * np.sqrt(self.axis_ratio)


def measure_shapes(
    profile: Float[np.ndarray, "n size size"], total: Float[np.ndarray, " n"]
) -> Shapes:
    """Shapes of profiles by moments under a round Gaussian of their own size.

    The weight's centre and width follow the light in ten rounds, as SExtractor's windowed
    positions do; the second moments are freed of the weight as if the light were Gaussian
    (Kaiser, Squires & Broadhurst 1995).

    Args:
        profile: Non-negative light.
        total: Flux of each galaxy, in the stamp and outside of it.
    """
    profile = profile.astype(np.float32)
    starts = range(0, max(len(profile), 1), _CHUNK)
    parts = (_measured(profile[i : i + _CHUNK], total[i : i + _CHUNK]) for i in starts)
    return Shapes(*map(np.concatenate, zip(*parts, strict=True)))


def _measured(profile, total) -> Shapes:
    """Shapes of a few profiles."""
    offset = np.arange(profile.shape[1]) - stamp_centre(profile.shape[1])
    y, x = np.zeros((2, len(profile)))
    sigma2 = np.full(len(profile), 9.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(_ROUNDS):
            dy, dx = offset - y[:, None], offset - x[:, None]
            weight_y, weight_x = (_weight(d, sigma2[:, None]) for d in (dy, dx))
            moments = _moments(profile, weight_y, weight_x, dy, dx)
            sums, first_y, first_x, yy, xx, xy = moments
            y, x = y + 2 * first_y / sums, x + 2 * first_x / sums
            seen = (yy + xx) / sums / 2  # 1 / seen = 1 / light's + 1 / weight's
            light = 1 / np.maximum(1 / seen - 1 / sigma2, 1 / _WIDEST**2)
            sigma2 = np.clip(light, _NARROWEST**2, _WIDEST**2)
        major, ratio = _axes(yy / sums, xx / sums, xy / sums, sigma2)
        angle = np.degrees(np.arctan2(2 * xy / sums, (xx - yy) / sums)) / 2
    centre = np.stack([y, x], axis=1)
    radius = _half_light(profile, total, offset, centre)
    return Shapes(centre, radius, ratio, angle, major)


def annuli(
    image: Float[np.ndarray, "n size size"],
    centre: Float[np.ndarray, "n 2"],
    edges: Float[np.ndarray, " k"],
) -> Float[np.ndarray, "n k_1"]:
    """Mean light in rings about a centre [image unit per pixel]; NaN in a ring without a pixel.

    Args:
        image: Stamps.
        centre: (y, x) from the stamp's centre [pixel].
        edges: Edges of the rings [pixel].
    """
    offset = np.arange(image.shape[1]) - stamp_centre(image.shape[1])
    rings, means = len(edges) - 1, np.full((len(image), len(edges) - 1), np.nan)
    for row, stamp, (y, x) in zip(means, image, centre, strict=True):
        radius = np.hypot((offset - y)[:, None], offset - x).ravel()
        ring = np.searchsorted(edges, radius, side="right") - 1
        near = (ring >= 0) & (ring < rings)
        counts = np.bincount(ring[near], minlength=rings)
        sums = np.bincount(ring[near], stamp.ravel()[near], minlength=rings)
        np.divide(sums, counts, out=row, where=counts > 0)
    return means


def turned(
    angle: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Angle by which an axis is turned against another [deg], in [-90, 90)."""
    return (angle - reference + 90) % 180 - 90


def _weight(offset, sigma2):
    weight = np.exp(-(offset**2) / (2 * sigma2))
    return np.where(weight < _LEAST, 0, weight)


def _moments(profile, weight_y, weight_x, dy, dx):
    """Sum, first and second moments under the weight."""
    columns = np.stack([weight_x, weight_x * dx, weight_x * dx**2], axis=-1)
    rows = np.stack([weight_y, weight_y * dy, weight_y * dy**2], axis=-1)
    columns, rows = columns.astype(profile.dtype), rows.astype(profile.dtype)
    table = rows.mT @ (profile @ columns)
    return (
        table[:, 0, 0],
        table[:, 1, 0],
        table[:, 0, 1],
        table[:, 2, 0],
        table[:, 0, 2],
        table[:, 1, 1],
    )


def _axes(yy, xx, xy, sigma2):
    """Rms along the major axis, and minor over major, of the light with these weighted moments."""
    mean, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    major, minor = (1 / (1 / m - 1 / sigma2) for m in (mean + spread, mean - spread))
    fits = (major > 0) & (minor > 0)
    square, ratio2 = (np.where(fits, np.abs(a), np.nan) for a in (major, minor / major))
    return np.sqrt(square), np.sqrt(ratio2).clip(0, 1)


def _half_light(profile, total, offset, centre):
    """Half-light radius [pixel], interpolated between growing circles; a pixel is its centre."""
    radius = np.full(len(profile), np.nan)
    for i, (stamp, flux, (y, x)) in enumerate(zip(profile, total, centre, strict=True)):
        if not (np.isfinite(y + x) and flux > 0):
            continue
        square = (offset - y)[:, None] ** 2 + (offset - x) ** 2
        inner = square < _CORE**2
        if stamp[inner].sum() < 0.6 * flux:
            inner = np.full(stamp.shape, True)
        # Pixels at one distance stay in one order, whatever the centre's last digits.
        order = np.argsort(square[inner].round(4), kind="stable")
        within = np.cumsum(stamp[inner][order], dtype=np.float64) / flux
        at = np.searchsorted(within, 0.5)
        if at < len(within):  # a circle holds as many pixels as it has area: smoother than r
            held = within[at - 1] if at else 0.0
            pixels = at + (0.5 - held) / (within[at] - held)
            radius[i] = np.sqrt(pixels / np.pi)
    return radius
