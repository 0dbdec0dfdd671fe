r"""Starlet residual correction of profiles: what the network cannot draw of bright galaxies.

The decoder is good to a few per cent of a galaxy's light, and binned profiles are coarse in the
core: for bright galaxies that is far more than the noise. What stands out of the residual on any
scale is added to the profiles, shared out among them as errors in proportion to their light would
be ($\propto$ light squared). Fluxes stay as the network measured them.

Scales are those of the starlet transform (Starck, Fadili & Murtagh 2007).
"""

import functools

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import convolve1d

from vaedeblend.pixels.blending import footprint_owner
from vaedeblend.pixels.coadds import pixel_variance
from vaedeblend.pixels.profiles import Profiles

_SPLINE = np.array([1, 4, 6, 4, 1], np.float32) / 16
_SURE = 4.0
"""Coefficients of a scale beyond so many sigma are no noise."""


def correct_profiles(
    profiles: Profiles,
    image: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    chosen: Bool[np.ndarray, " n"],
) -> Profiles:
    """The light of sources, that of the chosen ones with what stands out of the residual.

    Args:
        profiles: Light of the sources.
        image: Image without background.
        noise: Standard deviation of background and photons; infinite where a pixel is ignored.
        chosen: Sources whose errors of the profile exceed the noise.
    """
    residual, unit = (image - profiles.lay(image.shape)) / noise, noise
    if not (valid := np.isfinite(noise)).all():
        residual, unit = np.where(valid, residual, 0), np.where(valid, noise, 0)
    before, corrected = profiles.select(chosen), profiles.copy()
    most = max((stamp.max() for stamp in before), default=1)  # squares stay in range
    squares = np.zeros(image.shape, np.float32)
    for there, light in before.on_image(image.shape):
        squares[there] += np.square(light / most)
    lights = before.on_image(image.shape), corrected.select(chosen).on_image(image.shape)
    for (there, light), (_, better) in zip(*lights, strict=True):
        share = np.square(light / most) / np.maximum(squares[there], np.finfo(np.float32).tiny)
        structure = significant(residual[there]) * unit[there]
        better[:] = np.maximum(light + share * structure, 0)
    return corrected


def footprint_chi2(
    profiles: Profiles,
    residual: Float[np.ndarray, "height width"],
    rms: Float[np.ndarray, "height width"],
    covariance: Float[np.ndarray, "lag lag"] | None = None,
) -> Float[np.ndarray, " n"]:
    """Mean squared residual over each source's footprint, which holds valid pixels alone, or NaN.

    It is 1 of noise alone, correlated or not.

    Args:
        profiles: Light of the sources.
        residual: Image less the light of all sources [noise].
        rms: Background noise; infinite where a pixel is ignored.
        covariance: Autocovariance of the noise, of unit sum, its middle lag 0; None if white.
    """
    footprint = footprint_owner(profiles, rms)
    owner, chi2 = footprint[footprint > 0], np.square(residual[footprint > 0])
    sums, counts = (np.bincount(owner, each, len(profiles) + 1)[1:] for each in (chi2, None))
    return sums / np.where(counts == 0, np.nan, counts) / pixel_variance(covariance)


def significant(
    image: Float[np.ndarray, "height width"],
) -> Float[np.ndarray, "height width"]:
    """Structure of an image of unit noise that is no noise, on scales up to a quarter of it."""
    kept, smooth = np.zeros_like(image), image
    n_scales = max(int(np.log2(max(min(image.shape), 1))) - 2, 0)
    for scale in range(n_scales):
        smoother = _smoothed(smooth, scale)
        detail = smooth - smoother
        kept += np.where(np.abs(detail) > _SURE * _noise(scale)[0], detail, 0)
        smooth = smoother
    last = _noise(n_scales - 1)[1] if n_scales else 1.0
    return kept + np.where(np.abs(smooth) > _SURE * last, smooth, 0)


def _smoothed(image, scale: int):
    """The image smoothed by a B3 spline whose taps lie 2^scale pixels apart."""
    kernel = np.zeros(4 * 2**scale + 1, np.float32)
    kernel[:: 2**scale] = _SPLINE
    return convolve1d(convolve1d(image, kernel, axis=0), kernel, axis=1)


@functools.cache
def _noise(scale: int) -> tuple[float, float]:
    """Standard deviation of unit noise in the details of a scale, and in what is smoother."""
    smooth = np.zeros(2 * (8 * 2**scale,), np.float32)
    smooth[4 * 2**scale, 4 * 2**scale] = 1
    for each in range(scale + 1):
        before, smooth = smooth, _smoothed(smooth, each)
    return float(np.linalg.norm(before - smooth)), float(np.linalg.norm(smooth))
