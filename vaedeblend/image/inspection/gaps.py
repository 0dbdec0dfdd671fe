"""Pixels without data that are not NaN: squares that hold one exact value alone."""

import numpy as np
from scipy.ndimage import binary_dilation

from vaedeblend.io.mosaic import Pixels, runs

_MOST = 0.5
"""Least share of equal neighbours that are of the one value: others are those of whole numbers."""
_FADING = 0.1
"""Light that fades into the value differs from it by less than this share of all the light."""
_COARSE = 2.5
"""Steps of whole numbers beside noise that may be equal over a square by chance."""


def find_empty(strips: list[Pixels]) -> tuple[float | None, float]:
    """The value of pixels without data, if any, and the share of valid pixels that hold it.

    Args:
        strips: Valid strips, NaN where a pixel is not valid.
    """
    value = _commonest([_repeated(each.image) for each in strips])
    if value is None:
        return None, 0.0
    masks = [runs(each.image, value) for each in strips]
    share = sum(mask.sum() for mask in masks) / sum(np.isfinite(s.image).sum() for s in strips)
    if share == 0 or _is_light(strips, masks, value):
        return None, 0.0
    return value, float(share)


def _repeated(image) -> np.ndarray:
    """Values that a square of two by two pixels holds alone."""
    same = (image[1:, 1:] == image[:-1, 1:]) & (image[1:, 1:] == image[1:, :-1])
    return image[1:, 1:][same & (image[1:, 1:] == image[:-1, :-1])]


def _commonest(values: list[np.ndarray]) -> float | None:
    found, n = np.unique(np.concatenate(values), return_counts=True)
    return float(found[n.argmax()]) if len(n) and n.max() > _MOST * n.sum() else None


def _is_light(strips: list[Pixels], masks: list[np.ndarray], value: float) -> bool:
    """Whether the value is one of the sky: noise-free, or of numbers coarser than the noise."""
    beside, light = [], []
    for strip, mask in zip(strips, masks, strict=True):
        difference, other = np.abs(strip.image - value), np.isfinite(strip.image) & ~mask
        beside.append(difference[other & binary_dilation(mask, np.ones((3, 3), bool))])
        light.append(difference[other])
    beside, light = np.concatenate(beside), np.concatenate(light)
    if not len(light):
        return False
    fades = len(beside) and np.median(beside) < _FADING * np.median(light)
    steps = np.diff(np.unique(light))
    return bool(fades or (len(steps) and np.median(light) < _COARSE * steps.min()))
