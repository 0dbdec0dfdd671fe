"""Pixels without data: squares of one exact value, what the mask leaves out, ends of the range."""

import numpy as np
from scipy.ndimage import binary_dilation

from vaedeblend.image.inspection.ends import cut_findings, end_findings
from vaedeblend.image.inspection.findings import Finding
from vaedeblend.image.inspection.samples import Blocks
from vaedeblend.io.mosaic import Mosaic, Pixels, runs

_MOST = 0.5
"""Least share of equal neighbours that are of the one value: others are those of whole numbers."""
_FADING = 0.1
"""Light that fades into the value differs from it by less than this share of all the light."""
_COARSE = 2.5
"""Steps of whole numbers beside noise that may be equal over a square by chance."""

_MASKED = 0.75
"""Share of the pixels that a mask leaves out which is said."""
_BRIGHT, _COVERED, _FREE, _FEWEST = 10.0, 0.8, 0.4, 50
"""Light of bright pixels [rms]; least share of them, most of the others, and number of bright ones,
that a mask of objects leaves out."""


def pixel_findings(
    mosaic: Mosaic, raw: list[Pixels], strips: list[Pixels], blocks: Blocks, noise: float
) -> tuple[list[Finding], tuple[float, float] | None]:
    """What the mask leaves out, and pixels whose values are none of light; the limits of these.

    Args:
        mosaic: The image.
        raw: Strips as they stand in the files.
        strips: Their valid pixels.
        blocks: Blocks of these.
        noise: Typical noise [image unit]; NaN where it is not known.
    """
    ends, limits = end_findings(mosaic, blocks, noise)
    masks, cut = _mask(mosaic, raw, blocks), cut_findings(mosaic, strips, blocks, noise)
    return [*cut, *ends, *masks], limits


def _mask(mosaic: Mosaic, strips: list[Pixels], blocks: Blocks) -> list[Finding]:
    """A mask that leaves out most of the image, or its sources."""
    if "mask" not in mosaic.planes:
        return []
    image, bad = (np.concatenate([each[i].ravel() for each in strips]) for i in (0, 2))
    known = np.isfinite(image)
    masked, path = bad[known], mosaic.planes["mask"]
    if not len(masked):
        return []
    if masked.mean() > _MASKED:
        text = f"{path}: {100 * masked.mean():.3g} % of the pixels are masked; wanted 0 where one "
        return [Finding("warned", "mask", text + "is good, or the bits of bad ones as --mask-bits")]
    if not len(blocks.level):
        return []
    sky, noise = np.quantile(blocks.level, 0.25), np.median(blocks.scatter)
    bright = image[known] > sky + _BRIGHT * noise
    if bright.sum() < _FEWEST or masked[bright].mean() < _COVERED or masked[~bright].mean() > _FREE:
        return []
    share = 100 * masked[bright].mean()
    text = f"{path}: {share:.3g} % of the bright pixels are masked: does it mark "
    return [Finding("warned", "mask", text + "objects? Give the bits of bad pixels as --mask-bits")]


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


def said_of_empty(mosaic: Mosaic, empty: float, share: float) -> str:
    """What is said of the value of pixels without data, and of the share that hold it."""
    image = mosaic.planes["image"]
    return f"{image}: {100 * share:.3g} % of its pixels are exactly {empty:g} in one piece: no data"


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
