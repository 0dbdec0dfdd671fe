"""Real galaxies on stamps: their light before the telescope's PSF, and at the shape asked for.

A stamp's galaxy is deconvolved by the PSF of its telescope, as GalSim's RealGalaxy is, and what is
beyond it is cut off, noise and all. Where its PSF would be magnified, along any direction, beyond
the one under which it will be seen, it is not deconvolved: nothing is sharpened further than that,
and no noise blown up.

Other sources on its wings are made up for by the galaxy's own light about them. Those are peaks
outside of it that stand out of the light between; its knots, arms and plumes do not, or lie in it.
"""

from typing import NamedTuple

import galsim
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

_SHARP = 0.069
"""A stamp whose PSF would be magnified to a larger sigma is not deconvolved: it is Euclid's, and
Hubble's magnified by a third [arcsec]."""
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
_OUTSIDE, _STEEP, _SIGNIFICANT = 1.5, 1.4, 6.0
"""Distance from which on a part is another source [sigma of the light], and what its peak is of the
highest level at which it is one with the galaxy, and above that [rms]."""
_RING = 0.25
"""Width of the rings of a galaxy's light [sigma of the light]."""
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
    psf_sigma: float
    """Of its telescope's PSF [arcsec]."""


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
    place = _places(stamp.image, moments)
    covariance = _covariance(moments, scale)
    sigmas = np.sqrt(np.einsum("iyx,ij,jyx->yx", place, np.linalg.inv(covariance), place))
    alone = without_neighbours(stamp.image.array, stamp.noise.getVariance() ** 0.5, sigmas)
    image = galsim.Image(alone * _window(covariance, place, sigmas), scale=scale)
    flux = float(image.array.sum())
    if flux <= 0:
        return None
    seen = galsim.InterpolatedImage(image, flux=1.0)
    seen.noise = stamp.noise / (flux * scale**2) ** 2
    sharpen = galsim.Deconvolve(galsim.InterpolatedImage(stamp.psf, flux=1.0))
    lights = galsim.Convolve(seen, sharpen), seen
    psf_sigma = scale * float(core.moments_sigma)
    axes = [_half_light_axes(each, _CORE * psf_sigma, image) for each in lights]
    if any(each is None for each in axes):
        return None
    shift = scale * (stamp.image.true_center - moments.moments_centroid)
    sharp, blurred = (
        RealGalaxy(each.shift(shift), a, psf_sigma) for each, a in zip(lights, axes, strict=True)
    )
    return sharp, blurred


def without_neighbours(
    light: Float[np.ndarray, "height width"],
    rms: float,
    sigmas: Float[np.ndarray, "height width"],
) -> Float[np.ndarray, "height width"]:
    """The light of one galaxy: its median at their distance in place of other sources.

    Args:
        light: Light without sky.
        rms: Rms of its noise.
        sigmas: Distance of each pixel from the galaxy's centre [sigma of its light].
    """
    blurred, noise = _blurred(light, rms)
    others = np.zeros(light.shape, bool)
    for level in np.geomspace(
        _THRESHOLD * noise, max(blurred.max(), 2 * _THRESHOLD * noise), _LEVELS
    ):
        parts, _ = ndimage.label(blurred > level)
        standing = max(_STEEP * level, level + _SIGNIFICANT * noise)
        for k, box in enumerate(ndimage.find_objects(parts), 1):
            own = parts[box] == k
            if sigmas[box][own].min() > _OUTSIDE and blurred[box][own].max() > standing:
                others[box] |= own
    others = ndimage.binary_dilation(others, iterations=1)
    ring = np.rint(sigmas / _RING).astype(int)
    known = np.unique(ring[~others])
    medians = ndimage.median(light, np.where(others, -1, ring), known)
    return np.where(others, np.interp(sigmas, _RING * known, medians), light)


def segment(
    light: Float[np.ndarray, "height width"], rms: float
) -> tuple[Float[np.ndarray, "height width"], Int[np.ndarray, "height width"]]:
    """Light smoothed, and the numbers of the sources that its pixels belong to; 0 for none.

    Args:
        light: Light without sky.
        rms: Rms of its noise.
    """
    blurred, noise = _blurred(light, rms)
    return blurred, ndimage.label(blurred > _THRESHOLD * noise)[0]


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
    blurred = bool(np.linalg.norm(changes[0], 2) * pair[0].psf_sigma > _SHARP)
    light = pair[blurred].light.transform(*changes[blurred].ravel())
    return [light.withFlux(float(flux)) for flux in fluxes]


def _blurred(light, rms: float) -> tuple[Float[np.ndarray, "height width"], float]:
    """The light under a Gaussian, and the rms of what is left of white noise there."""
    return ndimage.gaussian_filter(light, _BLUR), rms / (2 * np.pi**0.5 * _BLUR)


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


def _window(covariance, place, sigmas) -> Float[np.ndarray, "height width"]:
    """One out to 8 sigma and zero beyond 10, or less if such an ellipse would leave the stamp."""
    inside = np.array([min(-each.min(), each.max()) for each in place])
    reach = np.clip((inside / np.sqrt(np.diag(covariance))).min(), 0.1, _REACH)
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
