r"""What the network cannot draw of bright galaxies, read off the residual.

The decoder is good to a few per cent of a galaxy's light, and binned profiles are coarse in the
core: for bright galaxies that is far more than the noise. What stands out of the residual on any
scale is added to the profiles, shared out among them as errors in proportion to their light would
be ($\propto$ light squared). Fluxes stay as the network measured them.

Scales are those of the starlet transform (Starck, Fadili & Murtagh 2007).
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import convolve1d

from vaedeblend.pixels.stamps import lay, overlap

_SPLINE = np.array([1, 4, 6, 4, 1], np.float32) / 16
_SURE = 4.0
"""Coefficients of a scale beyond so many sigma are no noise."""


def retouch(
    stamps: Sequence[Float[np.ndarray, "_ _"]],
    corner: Int[np.ndarray, "n 2"],
    image: Float[np.ndarray, "height width"],
    noise: Float[np.ndarray, "height width"],
    chosen: Bool[np.ndarray, " n"],
) -> list[Float[np.ndarray, "_ _"]]:
    """The light of sources, that of the chosen ones with what stands out of the residual.

    Args:
        stamps: Light of each source on the image's pixels.
        corner: (y, x) of each stamp's first pixel on the image.
        image: Without background.
        noise: Standard deviation of background and photons; infinite where a pixel is ignored.
        chosen: Sources whose errors of the profile exceed the noise.
    """
    residual, unit = (image - lay(stamps, corner, image.shape)) / noise, noise
    if not (valid := np.isfinite(noise)).all():
        residual, unit = np.where(valid, residual, 0), np.where(valid, noise, 0)
    rows = np.flatnonzero(chosen)
    most = max((stamps[i].max() for i in rows), default=1)  # squares stay in range
    squares = lay([np.square(stamps[i] / most) for i in rows], corner[rows], image.shape)
    touched = list(stamps)
    for i in rows:
        on_image, on_stamp = overlap(corner[i].tolist(), len(stamps[i]), image.shape)
        light = stamps[i][on_stamp]
        share = np.square(light / most) / np.maximum(squares[on_image], np.finfo(np.float32).tiny)
        structure = significant(residual[on_image]) * unit[on_image]
        touched[i] = stamps[i].copy()
        touched[i][on_stamp] = np.maximum(light + share * structure, 0)
    return touched


def significant(
    image: Float[np.ndarray, "height width"],
) -> Float[np.ndarray, "height width"]:
    """What of an image of unit noise is no noise, on scales up to a quarter of it."""
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
    """By a B3 spline whose taps lie 2^scale pixels apart."""
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
