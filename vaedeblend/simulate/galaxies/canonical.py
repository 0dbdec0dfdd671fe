"""Galaxies in their rest frame: unit flux, centred, face on, of one radius, major axis along x.

What is left in this frame is morphology: a generator that learns it has nothing to learn of flux,
size, ellipticity and place, and nothing to get wrong. `measure_frame` finds the frame of an image,
so that a galaxy drawn imperfectly is put right when it goes back to the sky.
"""

from collections.abc import Sequence
from typing import NamedTuple

import galsim
import numpy as np
from jaxtyping import Float
from scipy.ndimage import affine_transform

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.simulate.galaxies.profiles import bulge_share, dominant_shape, half_light_radius
from vaedeblend.survey import flux_to_magnitude

SIDE = 64
"""Side of a canonical stamp [pixel], half of which are five half-light radii."""
CANONICAL_RADIUS = SIDE / 10
"""Half-light radius in it [pixel]."""
CONDITIONS = ("magnitude", "log_radius", "bulge_share", "axis_ratio")
"""Names of the numbers by which `describe` describes a galaxy."""

_FINE = 16
"""Pixels in a half-light radius of the image from which a stamp is resampled."""
_BLUR = 0.6
"""Sigma by which it is smoothed [pixel]: the cusps of bulges have no value at a point."""
_QUICK = galsim.GSParams(folding_threshold=0.01, maxk_threshold=0.01)
_SAMPLING, _SIDES = 0.03, (64, 160)
"""Pixel of a galaxy's image on the sky [arcsec], as far as the side lies within limits [pixel]."""
_APERTURE, _EDGE = 4.0, 1.0
"""Radius within which moments are taken, and over which their weight falls [half-light radius]."""
_ROUNDS = 8
_PIXEL = 1 / 12
"""Second moment of a pixel [pixel2]: light in one pixel is as wide as that."""
_BINS = 16
"""Bins of radius in a pixel."""


class Frame(NamedTuple):
    """An image's own frame."""

    centre: Float[np.ndarray, "2"]
    """(x, y) of its light from the image's centre [pixel]."""
    plane: Float[np.ndarray, "2 2"]
    """Linear map of offsets (x, y) [pixel] to where the light is round, of half-light radius 1."""


def describe(galaxy: Galaxies) -> Float[np.ndarray, "4"]:
    """A galaxy in the numbers of CONDITIONS, as asked for by the catalogue.

    Magnitude in the first band [AB], log10 of the half-light radius along the major axis [arcsec],
    the bulge's share of the light of all bands, and the axis ratio of the brighter component.
    """
    magnitude = float(flux_to_magnitude(galaxy.flux[0]))
    radius = np.log10(half_light_radius(galaxy))
    return np.array([magnitude, radius, bulge_share(galaxy), dominant_shape(galaxy)[0]])


def measure_frame(image: Float[np.ndarray, "side side"], radius: float = CANONICAL_RADIUS) -> Frame:
    """The frame of an image: its centroid, second moments and half-light radius.

    Moments are those within four half-light radii of the frame, which is found by iteration, so
    that shearing an image shears its frame. The half-light radius is of all the image's light.

    Args:
        image: Light, not negative and not zero everywhere.
        radius: Half-light radius that is about right [pixel].
    """
    points, light = _points(image)
    centre, plane = np.zeros(2), np.eye(2) / radius
    for _ in range(_ROUNDS):
        apart = points - centre[:, None]
        weight = light * np.clip((_APERTURE - _radii(plane, apart)) / _EDGE + 0.5, 0, 1)
        weight /= weight.sum()
        offset = apart @ weight
        values, vectors = np.linalg.eigh((weight * apart) @ apart.T - np.outer(offset, offset))
        centre, values = centre + offset, np.maximum(values, _PIXEL)
        plane = vectors * (values.prod() ** 0.25 / np.sqrt(values)) @ vectors.T
        plane /= _half_light(_radii(plane, points - centre[:, None]), light)
    return Frame(centre, plane)


def canonical_stamp(
    light: Sequence[galsim.GSObject], galaxy: Galaxies
) -> Float[np.ndarray, "64 64"]:
    """The canonical stamp of a galaxy's light before the PSF.

    Its radius is that of the light out to six half-light radii, its shape that within four. A stamp
    has unit sum: light that falls outside is left out, a tenth of a de Vaucouleurs bulge's.

    Args:
        light: Light in each band, as a style draws it; the bands are added up.
        galaxy: Parameters of that light, from which its frame is found.
    """
    # Seen on the sky and resampled: GalSim takes five times as long for sheared images.
    scale = half_light_radius(galaxy) / _FINE
    blurred = galsim.Convolve(
        galsim.Sum(*light), galsim.Gaussian(sigma=_BLUR * scale)
    ).withGSParams(_QUICK)
    side = 12 * _FINE
    sky = blurred.drawImage(nx=side, ny=side, scale=scale, method="no_pixel", dtype=float)
    sky = sky.array.clip(0)
    centre, plane = measure_frame(
        sky.reshape(side // 2, 2, side // 2, 2).sum(axis=(1, 3)), _FINE / 2
    )
    _, angle = dominant_shape(galaxy)
    stamp = resampled(
        sky, 2 * centre, np.linalg.inv(CANONICAL_RADIUS * _turn(-angle) @ plane / 2), SIDE
    )
    return stamp / stamp.sum()


def place_on_sky(
    stamp: Float[np.ndarray, "64 64"], radius: float, axis_ratio: float, angle: float
) -> galsim.GSObject:
    """The light of unit flux that a canonical stamp stands for, about the origin of the sky.

    The half-light radius and axis ratio are those asked for however far the stamp is from having
    the canonical ones: they are measured on it, the radius once more where it has been placed.

    Args:
        stamp: Light, not negative.
        radius: Half-light radius along the major axis [arcsec].
        axis_ratio: Minor over major axis of the second moments.
        angle: Position angle of the major axis, from +x towards +y [deg].
    """
    centre, plane = measure_frame(stamp)
    side = int(np.clip(8 * round(10 * radius / _SAMPLING / 8), *_SIDES))
    to_stamp = np.linalg.inv(side / 10 * _turn(angle) * [1, axis_ratio] @ plane)
    image = resampled(stamp, centre, to_stamp, side)
    points, light = _points(image)
    scale = radius / _half_light(_radii(_turn(-angle) / [[1], [axis_ratio]], points), light)
    return galsim.InterpolatedImage(
        galsim.Image(image, scale=scale),
        x_interpolant="cubic",
        flux=1.0,
        pad_factor=2,
        _force_stepk=2 * np.pi / (side * scale),
        _force_maxk=np.pi / scale,
    )


def resampled(
    image: Float[np.ndarray, "height width"],
    centre: Float[np.ndarray, "2"],
    matrix: Float[np.ndarray, "2 2"],
    side: int,
) -> Float[np.ndarray, "side side"]:
    """An image at other places: by a cubic spline, zero outside of it and nowhere negative.

    Args:
        image: Light per pixel.
        centre: (x, y) in it where the middle of the new image lies, from its own middle [pixel].
        matrix: Linear map of offsets (x, y) in the new image to those in the old one.
        side: Side of the new image [pixel].
    """
    matrix = matrix[::-1, ::-1]  # scipy's places are (y, x)
    middle = (np.array(image.shape) - 1) / 2 + centre[::-1]
    offset = middle - matrix @ np.full(2, (side - 1) / 2)
    placed = affine_transform(image, matrix, offset, (side, side), float, order=3)
    return placed.clip(0)


def _points(image):
    """Places (x, y) of an image's pixels from its middle [pixel], and their shares of the light."""
    axis = np.arange(len(image)) - (len(image) - 1) / 2
    points = np.stack([np.tile(axis, len(axis)), np.repeat(axis, len(axis))])
    return points, np.asarray(image, float).ravel() / image.sum(dtype=float)


def _radii(plane, apart):
    return np.hypot(*(plane @ apart))


def _turn(angle: float) -> Float[np.ndarray, "2 2"]:
    """Rotation by an angle from +x towards +y [deg]."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[cos, -sin], [sin, cos]])


def _half_light(radii, light) -> float:
    """Radius of half of the light [pixel], at least 1; a pixel's is spread over its width."""
    bins = np.bincount((_BINS * radii).astype(int), light)
    growth = np.cumsum(np.convolve(bins, np.full(_BINS, 1 / _BINS)))
    return max(1.0, np.interp(0.5, growth, (np.arange(len(growth)) + 1.5) / _BINS - 0.5))
