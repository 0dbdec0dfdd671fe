"""Where the galaxies are: on an image, and on stamps."""

import numpy as np
import sep
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter

from vaedeblend.pixels.extract import (
    Extraction,
    Kernel,
    extract,
    noise_gain,
    separable,
)
from vaedeblend.survey import stamp_centre

THRESHOLD = 1.5
"""Detection threshold of an image [rms, filtered by 3 x 3 pixels]."""

_BRIDGE, _SEEN = 1.5, 0.25
"""Sigma of the Gaussian that fills gaps [pixel], and the share of it that has to be valid."""

_MESHES, _SHARED, _SEEN_MESH = range(112, 145), 4, 0.5
"""Sides that a box of constant background may have [pixel]; boxes that strips of an image have in
common beyond their border; and the share of a box that has to be valid, which is sep's."""

_MIN_AREA = 5
"""[pixel]."""

_SMOOTH = separable((1.0, np.array([1.0, 2.0, 1.0])))
"""Filter of the detection."""

_NEAREST = 2.5
"""Detections nearer to a stamp's centre are its central galaxy [pixel]."""


def detect(
    image: Float[np.ndarray, "height width"],
    rms: Float[np.ndarray, "height width"],
    threshold: float = THRESHOLD,
) -> Float[np.ndarray, "n 2"]:
    """(y, x) of the sources of an image without background.

    Args:
        image: Image in one band, background subtracted.
        rms: Background rms in the image's unit; infinite where a pixel is to be ignored.
        threshold: SExtractor's DETECT_THRESH [rms].
    """
    return detect_all(image, rms, threshold).position


def detect_all(
    image: Float[np.ndarray, "height width"],
    rms: Float[np.ndarray, "height width"],
    threshold: float = THRESHOLD,
    covariance: Float[np.ndarray, "lag lag"] | None = None,
) -> Extraction:
    """The sources of an image without background, and where some of them are missing.

    Args:
        image: Image in one band, background subtracted.
        rms: Background rms in the image's unit; infinite where a pixel is to be ignored.
        threshold: SExtractor's DETECT_THRESH [rms], as white noise would have it: correlated noise
            is passed as often by chance.
        covariance: Autocovariance of the noise, as of `coadds.filtered_rms`; None if white.
    """
    if covariance is not None:
        threshold *= noise_gain(_SMOOTH, covariance) / noise_gain(_SMOOTH)
    return _extract(image, rms, threshold, _MIN_AREA, _SMOOTH)


def _extract(image, rms, threshold: float, min_area: int, kernel: Kernel) -> Extraction:
    valid = np.isfinite(rms) & (rms > 0) & np.isfinite(image)
    if not valid.all():
        image, valid = _bridged(np.where(valid, image, 0), valid)
    # CLEAN takes faint sources of a matched filter for bright ones' wings: a plain one filters.
    level = np.where(valid, threshold * _finite(rms), np.inf)
    return extract(np.where(valid, image, 0), level, kernel, min_area)


def _bridged(image, valid):
    """Gaps narrow enough to see across are filled: a dead column must not cut a galaxy in two."""
    seen = gaussian_filter(valid.astype(np.float32), _BRIDGE)
    smooth = gaussian_filter(image.astype(np.float32), _BRIDGE) / np.maximum(seen, 1e-3)
    return np.where(valid, image, smooth), valid | (seen > _SEEN)


def _finite(rms) -> Float[np.ndarray, "height width"]:
    """The rms, in ignored pixels that of the others."""
    known = np.isfinite(rms) & (rms > 0)
    if known.all():
        return rms.astype(np.float32)
    typical = np.median(rms[known]) if known.any() else 1.0
    return np.where(known, rms, typical).astype(np.float32)


def estimate_background(
    image: Float[np.ndarray, "height width"],
    bad: Bool[np.ndarray, "height width"],
    mesh: tuple[int, int] | None = None,
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Background and its rms, of an image with sources (Bertin & Arnouts 1996, section 3).

    Args:
        image: Image in one band.
        bad: Pixels to be ignored.
        mesh: Height and width of the boxes in which the background is constant [pixel]; by default
            those of `mesh_side`.
    """
    height, width = mesh or tuple(mesh_side(n) for n in image.shape)
    if not _box_shares(~bad, height, width).max() >= _SEEN_MESH:
        return _even_background(image, ~bad)
    found = sep.Background(image.astype(np.float64), mask=bad, bw=width, bh=height)
    return found.back(dtype=np.float32), found.rms(dtype=np.float32)


def _box_shares(valid, height: int, width: int) -> Float[np.ndarray, "rows columns"]:
    """Shares of valid pixels of the boxes of a mesh."""
    first = [np.arange(0, n, side) for n, side in zip(valid.shape, (height, width), strict=True)]
    sums = np.add.reduceat(np.add.reduceat(valid, first[0], axis=0, dtype=int), first[1], axis=1)
    sides = (np.diff(at, append=n) for at, n in zip(first, valid.shape, strict=True))
    return sums / np.multiply.outer(*sides)


def _even_background(image, valid):
    """The background of an image of which too little is valid for any box of a mesh."""
    light = image[valid]
    level = np.median(light) if len(light) else 0.0
    rms = 1.4826 * np.median(np.abs(light - level)) if len(light) else np.nan
    return np.full(image.shape, level, np.float32), np.full(image.shape, rms, np.float32)


def mesh_side(n: int) -> int:
    """Side of the boxes of a mesh along an axis, so that the last one is about as large [pixel].

    Args:
        n: Length of the image's axis [pixel].
    """
    if n <= _MESHES[-1]:
        return n
    return min(_MESHES, key=lambda side: (-n % side, abs(side - _MESHES[len(_MESHES) // 2])))


def background_strips(height: int, rows: int) -> list[tuple[slice, slice]]:
    """Strips of an image whose backgrounds join without steps: rows kept, and rows to be read.

    Args:
        height: Height of the image [pixel].
        rows: Height of a strip, about [pixel].
    """
    side = mesh_side(height)
    step = max(rows // side, 1) * side
    strips = []
    for low in range(0, height, step):
        high = min(low + step, height)
        read = slice(max(low - _SHARED * side, 0), min(high + _SHARED * side, height))
        strips.append((slice(low, high), read))
    return strips


def members(
    images: Float[np.ndarray, "n size size"], rms: Float[np.ndarray, "n size size"]
) -> tuple[Int[np.ndarray, " source"], Int[np.ndarray, "source 2"]]:
    """Stamp and corner of every stamp's galaxies: its central one at the centre, then detections.

    A corner is the (y, x), on the stamp, of the first pixel of a stamp about the galaxy.
    """
    centre = stamp_centre(images.shape[1])
    index, corner = [], []
    for i, (image, each) in enumerate(zip(images, rms, strict=True)):
        offset = detect(image, each) - centre
        others = offset[np.hypot(*offset.T) > _NEAREST]
        index.append(np.full(1 + len(others), i))
        corner.append(np.concatenate([np.zeros((1, 2)), np.rint(others)]).astype(int))
    return np.concatenate(index), np.concatenate(corner)
