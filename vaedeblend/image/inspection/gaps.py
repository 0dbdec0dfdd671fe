"""Pixels without data that are not NaN: squares that hold one exact value alone."""

import numpy as np
from scipy.ndimage import binary_dilation

from vaedeblend.io.mosaic import Pixels, runs

_MOST = 0.5
"""Least share of equal neighbours that are of the one value: others are those of whole numbers."""
_FADING = 0.1
"""Light that fades into the value differs from it by less than this share of all the light."""


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
    return (None, 0.0) if share == 0 or _fades(strips, masks, value) else (value, float(share))


def _repeated(image) -> np.ndarray:
    """Values that a square of two by two pixels holds alone."""
    same = (image[1:, 1:] == image[:-1, 1:]) & (image[1:, 1:] == image[1:, :-1])
    return image[1:, 1:][same & (image[1:, 1:] == image[:-1, :-1])]


def _commonest(values: list[np.ndarray]) -> float | None:
    found, n = np.unique(np.concatenate(values), return_counts=True)
    return float(found[n.argmax()]) if len(n) and n.max() > _MOST * n.sum() else None


def _fades(strips: list[Pixels], masks: list[np.ndarray], value: float) -> bool:
    """Whether the light beside the value fades into it: a noise-free sky, and no gap."""
    beside, all_light = [], []
    for strip, mask in zip(strips, masks, strict=True):
        light, other = np.abs(strip.image - value), np.isfinite(strip.image) & ~mask
        beside.append(light[other & binary_dilation(mask, np.ones((3, 3), bool))])
        all_light.append(light[other])
    beside, all_light = np.concatenate(beside), np.concatenate(all_light)
    return bool(len(beside) and np.median(beside) < _FADING * np.median(all_light))
