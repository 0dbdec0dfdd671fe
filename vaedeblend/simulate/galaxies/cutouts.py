"""Real galaxies on stamps: their light before the telescope's PSF, and at the shape asked for.

A stamp's galaxy is deconvolved by the PSF of its telescope, as GalSim's RealGalaxy is, and what is
beyond it is cut off, noise and all. Where it is to be magnified along any direction by more than a
third it is not deconvolved: nothing is sharpened further than the PSF under which it will be seen.
"""

from typing import NamedTuple

import galsim
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

_SHARP = 1.3
"""A stamp magnified by more is not deconvolved: Euclid's PSF would be smaller than its own."""
_REACH, _FULL, _FADING = 10.0, 0.8, 0.2
"""Radius beyond which nothing of a stamp is kept [sigma of the light], and shares of that radius:
out to which all is kept, and over which the window falls."""
_CORE = 1.2
"""Sigma of the Gaussian under which a galaxy is measured, over that of Hubble's PSF, whose wings
the Gaussian lacks."""
_THINNEST, _SMALLEST = 0.04, 0.1
"""Least of the minor axis' second moment, over the major axis' (an axis ratio of 0.2), and of both,
over the Gaussian's: neither thinner nor smaller than Hubble could tell."""
_BLUR, _THRESHOLD = 1.0, 3.0
"""Sigma of the Gaussian under which pixels of sources are found [pixel], and least of them there
[rms there]."""
_LEVELS = 24
"""Levels between threshold and peak at which a galaxy may fall into parts."""
_BLURRED = 1.6
"""Growth of a squared half-light radius under a Gaussian, in squares of its sigma: 2 ln 2 = 1.39
for a galaxy that is a Gaussian itself, and 1.68 for an exponential disk."""


class RealGalaxy(NamedTuple):
    """A real galaxy of unit flux about the origin, with its noise cut off outside of it.

    Attribute `noise` of its light is GalSim's, but of the surface brightness [arcsec^-2].
    """

    light: galsim.GSObject
    axes: Float[np.ndarray, "2 2"]
    """Linear map of the unit circle to the ellipse of half its light, (x, y) [arcsec]."""


class RealStamp(NamedTuple):
    """A galaxy as Hubble saw it."""

    image: galsim.Image
    psf: galsim.Image
    """PSF with the response of the pixel."""
    noise: galsim.BaseCorrelatedNoise


def make_real_galaxies(stamp: RealStamp) -> tuple[RealGalaxy, RealGalaxy] | None:
    """A galaxy deconvolved, and as Hubble saw it; None if there is none on the stamp."""
    scale = float(stamp.image.scale)
    moments, core = (galsim.hsm.FindAdaptiveMom(i, strict=False) for i in (stamp.image, stamp.psf))
    if moments.moments_status or core.moments_status:
        return None
    window = _window(_covariance(moments, scale), _places(stamp.image, moments))
    image = galsim.Image(stamp.image.array * window, scale=scale)
    flux = float(image.array.sum())
    if flux <= 0:
        return None
    seen = galsim.InterpolatedImage(image, flux=1.0)
    seen.noise = stamp.noise / (flux * scale**2) ** 2
    sharpen = galsim.Deconvolve(galsim.InterpolatedImage(stamp.psf, flux=1.0))
    lights = galsim.Convolve(seen, sharpen), seen
    axes = [_half_light_axes(each, _CORE * scale * core.moments_sigma, image) for each in lights]
    if any(each is None for each in axes):
        return None
    shift = scale * (stamp.image.true_center - moments.moments_centroid)
    sharp, blurred = (
        RealGalaxy(each.shift(shift), a) for each, a in zip(lights, axes, strict=True)
    )
    return sharp, blurred


def segment(
    light: Float[np.ndarray, "height width"], rms: float
) -> tuple[Float[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """Light smoothed, and the numbers of the sources that its pixels belong to; 0 for none.

    Args:
        light: Light without sky.
        rms: Rms of its noise.
    """
    blurred = ndimage.gaussian_filter(light, _BLUR)
    labels, _ = ndimage.label(blurred > _THRESHOLD * rms / (2 * np.pi**0.5 * _BLUR))
    return blurred, labels


def is_one(
    light: Float[np.ndarray, "height width"], own: Bool[np.ndarray, "height width"], share: float
) -> bool:
    """Whether pixels are one galaxy: no second peak holds more than a share of their light.

    Args:
        light: Light without sky.
        own: Pixels of the galaxy, or galaxies.
        share: Share of the light beyond which a second peak is another galaxy.
    """
    mine = np.where(own, light, 0)
    for level in np.geomspace(mine.max() / 100, 0.95 * mine.max(), _LEVELS):
        parts, n = ndimage.label(mine > level)
        if n > 1:
            held = np.sort(ndimage.sum_labels(mine, parts, range(1, n + 1)))
            if held[-2] > share * mine.sum():
                return False
    return True


def ellipse(radius: float, axis_ratio: float, angle: float) -> Float[np.ndarray, "2 2"]:
    """Linear map of the unit circle to an ellipse at an angle [rad], in units of the radius."""
    cos, sin = np.cos(angle), np.sin(angle)
    return radius * np.array([[cos, -sin], [sin, cos]]) * [1, axis_ratio]


def as_asked(
    pair: tuple[RealGalaxy, RealGalaxy],
    fluxes: Float[np.ndarray, " band"],
    shape: Float[np.ndarray, "2 2"],
    rng: np.random.Generator,
) -> list[galsim.GSObject]:
    """A real galaxy at the flux of each band and with the ellipse of half its light.

    Args:
        pair: The galaxy deconvolved, and as it was seen.
        fluxes: Flux of each band.
        shape: Linear map of the unit circle to the ellipse (`ellipse`).
        rng: Source of chance: whether it is mirrored or upside down.
    """
    mirror = np.diag(rng.choice([-1.0, 1.0], 2))
    changes = [shape @ mirror @ np.linalg.inv(each.axes) for each in pair]
    blurred = bool(np.linalg.norm(changes[0], 2) > _SHARP)
    light = pair[blurred].light.transform(*changes[blurred].ravel())
    return [light.withFlux(float(flux)) for flux in fluxes]


def _covariance(moments: galsim.hsm.ShapeData, scale: float) -> Float[np.ndarray, "2 2"]:
    """Adaptive second moments [arcsec2]."""
    shape = moments.observed_shape
    # Distortions e1, e2 are (xx - yy, 2 xy) / (xx + yy), and sigma the fourth root of det.
    matrix = np.array([[1 + shape.e1, shape.e2], [shape.e2, 1 - shape.e1]])
    return (scale * moments.moments_sigma) ** 2 * matrix / np.linalg.det(matrix) ** 0.5


def _places(image: galsim.Image, moments) -> Float[np.ndarray, "2 height width"]:
    """(x, y) of pixels from the centroid [arcsec]."""
    y, x = np.indices(image.array.shape) + 1  # GalSim's first pixel is (1, 1)
    centroid = moments.moments_centroid
    return float(image.scale) * np.stack([x - centroid.x, y - centroid.y])


def _window(covariance, place) -> Float[np.ndarray, "height width"]:
    """One out to 8 sigma and zero beyond 10, or less if such an ellipse would leave the stamp."""
    inside = np.array([min(-each.min(), each.max()) for each in place])
    reach = np.clip((inside / np.sqrt(np.diag(covariance))).min(), 0.1, _REACH)
    sigmas = np.sqrt(np.einsum("iyx,ij,jyx->yx", place, np.linalg.inv(covariance), place))
    outward = np.clip((sigmas / reach - _FULL) / _FADING, 0, 1)
    return np.cos(0.5 * np.pi * outward) ** 2


def _half_light_axes(light, blur: float, like: galsim.Image) -> Float[np.ndarray, "2 2"] | None:
    """Those of a `RealGalaxy`, as seen under a Gaussian [arcsec], which has no wings."""
    scale = float(like.scale)
    image = galsim.Convolve(light, galsim.Gaussian(sigma=blur)).drawImage(
        like.copy(), method="no_pixel"
    )
    moments = galsim.hsm.FindAdaptiveMom(image, strict=False)
    if moments.moments_status:
        return None
    values, vectors = np.linalg.eigh(_covariance(moments, scale) - blur**2 * np.eye(2))
    smallest = _SMALLEST * blur**2
    minor, major = np.maximum(values, [max(_THINNEST * values[1], smallest), smallest]) ** 0.5
    along = np.tensordot(vectors.T, _places(image, moments), 1)
    radii = np.hypot(along[0] / minor, along[1] / major) * (minor * major) ** 0.5
    order = np.argsort(radii, axis=None)
    growth = np.maximum.accumulate(np.cumsum(image.array.ravel()[order]) / image.array.sum())
    half = np.interp(0.5, growth, radii.ravel()[order])
    # Never by more than half of the radius: there is little left to tell.
    half = max(half**2 - _BLURRED * blur**2, 0.25 * half**2) ** 0.5
    angle = np.arctan2(vectors[1, 1], vectors[0, 1])
    return ellipse(half * (major / minor) ** 0.5, minor / major, angle)
