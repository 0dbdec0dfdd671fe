"""Images of disks with structure: an exponential disk times a pattern, and knots on top.

Whatever its structure, a disk has the flux, the centroid, the radius and the second moments' axis
ratio and angle of the exponential disk that it replaces: a linear map makes up for what its
structure changed. Lengths are in the disk's half-light radii unless said otherwise.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammainc, gammaincinv

_SCALE_LENGTHS = 1.6783
"""Half-light radius of an exponential disk over its scale length."""
REACH = 5.0
"""From where a disk is cut off: 0.2 % of its light lies further out."""
_KNOT_REACH = 1.8
"""Within which knots lie."""
_KNOT_PIXELS = 0.8
"""Standard deviation of the smallest knot that an image holds [pixel]."""
_ARMS_MEAN = float(np.i0(1.5))
"""Of exp(1.5 cos) over all angles."""
_N_LIGHT = 2000
_LIGHT = (
    gammaincinv(2, (np.arange(_N_LIGHT) + 0.5) / _N_LIGHT) / _SCALE_LENGTHS,
    np.arange(_N_LIGHT) * np.pi * (3 - 5**0.5),
)
"""Radii, and angles [rad], of points of equal light of an exponential disk: a sunflower's."""


class Structure(NamedTuple):
    """What a disk has beyond its profile, seen face on; angles in the disk's plane [rad]."""

    n_arms: int
    winding: float
    """Cotangent of the arms' pitch angle; its sign is the sense in which they wind."""
    arm_phase: float
    arm_contrast: float
    """Between 0 and 1, as are the depths of dust."""
    arm_dust: float
    bar_contrast: float
    bar_length: float
    bar_angle: float
    lopsidedness: float
    """Amplitude of the first harmonic far out, below 1."""
    lopsided_angle: float
    lane_depth: float
    """Of the dust lane along the major axis."""
    lane_place: float
    """Along the minor axis."""
    knot_share: float
    """Of the disk's light."""
    n_knots: int
    knot_size: float
    """Their typical standard deviation, on the sky."""
    bulge_offset: float
    """Typical distance of the bulge from the disk's centroid."""


def disk_image(
    structure: Structure,
    rng: np.random.Generator,
    axes: Float[np.ndarray, "2 2"],
    side: int,
    within: float = 1.0,
) -> Float[np.ndarray, "side side"]:
    """A disk of unit flux as seen on the sky, out to 5 of its half-light radii.

    Args:
        structure: That it has.
        rng: Places its knots.
        axes: From the plane of the disk to the sky, (x, y) each.
        side: [pixel].
        within: Radius within which the disk has as much light as without structure.
    """
    points = _LIGHT[0] * np.stack([np.cos(_LIGHT[1]), np.sin(_LIGHT[1])])
    light = _pattern(structure, points)
    knots, sizes, knot_light = _place_knots(structure, rng, points, light)
    sizes = np.maximum(sizes, _KNOT_PIXELS * 2 * REACH / side)
    smooth = 1 - structure.knot_share
    centre, plane = _corrected(
        np.hstack([points, _spread(knots, sizes, axes)]),
        np.hstack([smooth * light / light.sum(), np.tile(knot_light / 4, 4)]),
        within,
    )
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 * REACH - REACH
    sky = np.stack(np.meshgrid(centres, centres))
    place = np.tensordot((plane @ np.linalg.inv(axes)).astype(np.float32), sky, 1)
    place += centre[:, None, None].astype(np.float32)
    image = _pattern(structure, place) * np.exp(-_SCALE_LENGTHS * np.hypot(*place))
    knots = axes @ np.linalg.solve(plane, knots - centre[:, None])
    return smooth * image / image.sum() + _gaussians(knots, sizes, knot_light, centres)


def _pattern(structure: Structure, place):
    """By what the smooth disk is multiplied at places (x, y) of its plane, 0 or more."""
    s = structure
    x, y = place
    radius = np.maximum(np.hypot(x, y), 1e-3)
    angle = np.arctan2(y, x)
    pattern = 1 + s.lopsidedness * radius / (radius + 0.7) * np.cos(angle - s.lopsided_angle)
    if s.arm_contrast:
        outside = radius**2 / (radius**2 + 0.1)
        phase = s.n_arms * (angle - s.winding * np.log(radius)) - s.arm_phase
        arms = np.exp(1.5 * np.cos(phase)) / _ARMS_MEAN
        dust = np.exp(5 * (np.cos(phase - math.copysign(0.9, s.winding)) - 1))
        pattern *= 1 + s.arm_contrast * outside * (arms - 1)
        pattern *= 1 - s.arm_dust * outside * dust
    if s.bar_contrast:
        along, across = _turned(x, y, s.bar_angle)
        shape = (along / s.bar_length) ** 4 + (across / (0.3 * s.bar_length)) ** 2
        pattern += s.bar_contrast * np.exp(-shape)
    if s.lane_depth:
        lane = np.exp(-0.5 * ((y - s.lane_place) / 0.35) ** 2 - (x / 1.8) ** 2)
        pattern *= 1 - s.lane_depth * lane
    return pattern


def _turned(x, y, angle: float):
    """Coordinates along an angle and across it."""
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _place_knots(structure: Structure, rng, points, light):
    """Places (x, y), sizes and light of the knots: on bright parts, but rarely at the centre."""
    radius, n = _LIGHT[0], structure.n_knots
    likely = light**1.5 * radius / (radius + 0.5)
    # Further out one would take a knot for another galaxy.
    likely = np.cumsum(np.where(radius < _KNOT_REACH, likely, 0))
    chosen = np.searchsorted(likely, likely[-1] * rng.random(n))
    # Luminosities of HII regions: numbers fall as the square.
    luminosity = 1 / rng.uniform(0.1, 1, n)
    sizes = structure.knot_size * rng.lognormal(0, 0.3, n)
    places = points[:, chosen] + 0.05 * rng.standard_normal((2, n))
    return places, sizes, structure.knot_share * luminosity / luminosity.sum()


def _spread(knots, sizes, axes):
    """Four points in the disk's plane for each knot, of the second moments it has on the sky."""
    steps = np.linalg.solve(axes, 2**0.5 * np.eye(2))[:, :, None] * sizes
    return np.concatenate([knots + sign * steps[:, k] for k in (0, 1) for sign in (1, -1)], axis=1)


def _corrected(points, light, within: float):
    """How to undo what structure did to centroid, axis ratio and radius.

    The centroid of weighted points of the plane, and the map by which places of the plane as it
    shall be become distances from the centroid in the plane of the points.
    """
    centre = points @ light
    apart = points - centre[:, None]
    values, vectors = np.linalg.eigh((light * apart) @ apart.T)
    stretch = vectors * (values**2 / values.prod()) ** 0.25 @ vectors.T
    radii = np.hypot(*np.linalg.solve(stretch, apart))
    order = np.argsort(radii)
    share = gammainc(2, _SCALE_LENGTHS * within)
    radius = np.interp(share, np.cumsum(light[order]), radii[order])
    return centre, radius / within * stretch


def _gaussians(places, sizes, light, centres):
    """The sum of round Gaussians of given light per pixel, on the grid of pixel centres."""
    x, y = (np.exp(-0.5 * ((centres - p[:, None]) / sizes[:, None]) ** 2) for p in places)
    norm = light / (x.sum(axis=1) * y.sum(axis=1))
    return (y * norm[:, None]).T @ x
