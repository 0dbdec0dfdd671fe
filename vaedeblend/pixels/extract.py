"""Sources of an image, each from its own light alone: threshold, deblending and cleaning.

It is what SExtractor does (Bertin & Arnouts 1996). But sep deals out the faint pixels of a blend by
lot, by one sequence of numbers for all blends of an image; and it gives up an image where an object
has more pixels or parts than its buffers hold. Here every blend is a call of its own, with buffers
of its size, and one too large to be deblended is first taken apart at higher thresholds. What is
found does not depend on what else an image shows, nor on where it is cut into tiles.
"""

import threading
from typing import NamedTuple

import numpy as np
import sep
from jaxtyping import Bool, Float, Int, Shaped
from scipy.ndimage import label
from scipy.spatial import cKDTree

from vaedeblend.pixels.coadds import filtered_rms

_CONTRAST = 1e-4
"""Least share of a blend's light that counts as a source of its own."""

_PIXELS, _PEAKS = 2**19, 4096
"""Pixels and peaks of a blend above which it is taken apart at higher thresholds first."""

_HIGHER = 2.0
"""By how much the threshold of such a blend grows at a time."""

_ROWS = 64
"""Rows that are filtered at a time: so many that a processor's cache holds them."""

_ZONE, _PAIRS = 10.0, 1000
"""Reach of an object's wings [rms size of it and of the other]; objects that are cleaned at a time.
"""

_SPARE = 16
"""By how much sep's buffers exceed what a blend needs."""

_LIMITS = threading.Lock()
"""Held while sep's limits, which are those of all threads, are changed."""

Kernel = tuple[tuple[float, Float[np.ndarray, " side"]], ...]
"""A filter as a sum of separable ones: weight, and profile along either axis."""


class Extraction(NamedTuple):
    """Sources of an image."""

    position: Float[np.ndarray, "n 2"]
    """(y, x), mean of the filtered light [pixel]."""
    coarse: Bool[np.ndarray, "height width"]
    """Pixels of blends too large to be deblended: sources fainter than their light are missing."""


class _Pixels(NamedTuple):
    """Pixels of an image that belong to sources: the source, and (y, x)."""

    owner: Int[np.ndarray, " pixel"]
    place: Int[np.ndarray, "2 pixel"]


_NONE = _Pixels(np.zeros(0, int), np.zeros((2, 0), int))


class _Shapes(NamedTuple):
    """Sources as CLEAN sees them: an elliptic Moffat profile of exponent 1 with their light."""

    flux: Float[np.ndarray, " n"]
    size: Float[np.ndarray, " n"]
    peak: Float[np.ndarray, " n"]
    slope: Float[np.ndarray, " n"]
    quadratic: Float[np.ndarray, "n 3"]
    """Coefficients of x^2, y^2 and x y in the squared elliptic radius."""
    height: Float[np.ndarray, " n"]
    """Height above the threshold that is reached by as many pixels as a source must have."""


def extract(
    image: Float[np.ndarray, "height width"],
    level: Float[np.ndarray, "height width"],
    kernel: Kernel,
    min_area: int,
) -> Extraction:
    """Sources of an image without background.

    Args:
        image: Image in one band, 0 where a pixel is to be ignored.
        level: Threshold of the filtered image; infinite where a pixel is to be ignored.
        kernel: Filter; its absolute values are normed to unit sum.
        min_area: Pixels of a source above the threshold, at least.
    """
    filtered, level = _filtered(image.astype(np.float32), kernel), level.astype(np.float32)
    coarse, todo = np.zeros(image.shape, bool), [(np.zeros(2, int), filtered, level)]
    pixels, places = [_NONE], [np.zeros((0, 2))]
    while todo:
        corner, light, least = todo.pop()
        found, position, large = _objects(light, least, min_area)
        n, place = sum(len(each) for each in places), found.place + corner[:, None]
        pixels.append(_Pixels(found.owner + n, place))
        places.append(position + corner)
        for of in large:
            box, mine = _box(of)
            at = corner + [s.start for s in box]
            coarse[tuple(of + corner[:, None])] = True
            todo.append((at, np.where(mine, light[box], -np.inf), _HIGHER * least[box]))
    pixels = _Pixels(*(np.concatenate(each, axis=-1) for each in zip(*pixels, strict=True)))
    position = np.concatenate(places)
    if not len(position):
        return Extraction(position, coarse)
    kept = _cleaned(position, _shapes(pixels, position, image, filtered, level, min_area))
    return Extraction(position[kept], coarse)


def separable(*terms: tuple[float, Float[np.ndarray, " side"]]) -> Kernel:
    """A filter of terms (weight, profile along either axis)."""
    norm = np.abs(sum(weight * np.outer(line, line) for weight, line in terms)).sum()
    return tuple((weight / norm, np.asarray(line, float)) for weight, line in terms)


def noise_gain(kernel: Kernel, covariance: Float[np.ndarray, "lag lag"] | None = None) -> float:
    """Rms of filtered noise of unit white-equivalent rms.

    Args:
        kernel: Filter.
        covariance: Autocovariance of the noise, as of `coadds.filtered_rms`; None if white.
    """
    return filtered_rms(sum(w * np.outer(line, line) for w, line in kernel), covariance)


def _filtered(image, kernel: Kernel) -> Float[np.ndarray, "height width"]:
    """The image, dark beyond its edges, filtered; a pixel's value does not depend on its place."""
    total = np.zeros_like(image)
    for first in range(0, len(image), _ROWS):
        rows = slice(first, first + _ROWS)
        for weight, line in kernel:
            half = len(line) // 2
            part = _shifted(_shifted(_padded_rows(image, rows, half), weight * line, 0), line, 1)
            total[rows] += part
    return total


def _padded_rows(image, rows: slice, half: int) -> Float[np.ndarray, "height width"]:
    """Some rows of an image, and `half` pixels around them, dark where there are none."""
    low, high = max(rows.start - half, 0), min(rows.stop + half, len(image))
    before = half - (rows.start - low)
    after = half - (high - min(rows.stop, len(image)))
    return np.pad(image[low:high], ((before, after), (half, half)))


def _shifted(image, line, axis: int) -> Float[np.ndarray, "_ _"]:
    """Sum of an image's shifts along an axis, each with its weight."""
    size = image.shape[axis] - len(line) + 1
    total, term = 0, None
    for k, weight in enumerate(line.astype(image.dtype)):
        part = image[k : k + size] if axis == 0 else image[:, k : k + size]
        term = np.multiply(part, weight, out=term)
        total = term.copy() if k == 0 else np.add(total, term, out=total)
    return total


def _objects(light, level, min_area: int):
    """Sources and the pixels of each, their places, and the pixels of each blend too large."""
    above = light > level
    place = np.stack(np.nonzero(above))
    of = label(above, np.ones((3, 3)))[0][tuple(place)] - 1
    peak = _is_peak(light, place)
    order = np.argsort(of.astype(np.int32), kind="stable")
    area = np.bincount(of)
    peaks = np.bincount(of[peak], minlength=len(area))
    ends, enough = np.cumsum(area), area >= min_area
    large = enough & ((area > _PIXELS) | (peaks > _PEAKS))
    single, blend = enough & (peaks <= 1) & ~large, enough & (peaks > 1) & ~large
    owner = np.where(single, np.cumsum(single) - 1, -1)[of]
    weight = light[tuple(place)].astype(float)
    found = [_centres(owner, place, weight, int(single.sum()))]
    n = len(found[0])
    for k in np.flatnonzero(blend):
        rows = order[ends[k] - area[k] : ends[k]]
        part, position = _deblended(light, level, place[:, rows], int(peaks[k]), min_area)
        owner[rows] = np.where(part < 0, -1, part + n)
        found.append(position)
        n += len(position)
    kept = owner >= 0
    too_large = [place[:, order[ends[k] - area[k] : ends[k]]] for k in np.flatnonzero(large)]
    return _Pixels(owner[kept], place[:, kept]), np.concatenate(found), too_large


def _is_peak(light, place) -> Bool[np.ndarray, " pixel"]:
    """Whether no neighbour of a pixel is brighter."""
    around = np.pad(light, 1, constant_values=-np.inf)
    (y, x), own = place, light[tuple(place)]
    peak = np.ones(len(own), bool)
    for dy, dx in np.argwhere(np.ones((3, 3))):
        peak &= around[y + dy, x + dx] <= own
    return peak


def _centres(owner, place, weight, n: int) -> Float[np.ndarray, "n 2"]:
    """Mean places of the sources' light."""
    own = owner >= 0
    owner, place, weight = owner[own], place[:, own], weight[own]
    moments = np.stack([_sums(owner, weight * axis, n) for axis in place], axis=1)
    return moments / _sums(owner, weight, n)[:, None]


def _box(place) -> tuple[tuple[slice, slice], Bool[np.ndarray, "height width"]]:
    """The smallest box about some pixels, and which of its pixels they are."""
    low, high = place.min(axis=1), place.max(axis=1) + 1
    mine = np.zeros(high - low, bool)
    mine[tuple(place - low[:, None])] = True
    return tuple(slice(*ends) for ends in zip(low, high, strict=True)), mine


def _deblended(light, level, place, peaks: int, min_area: int):
    """The source of each pixel of a blend (-1: of none), and the sources' places."""
    box, mine = _box(place)
    limits = {"pixels": place.shape[1] + _SPARE, "parts": peaks + _SPARE}
    options = {"err": np.ascontiguousarray(level[box]), "mask": ~mine, "minarea": min_area}
    options |= {"filter_kernel": None, "deblend_cont": _CONTRAST, "clean": False}
    options["segmentation_map"] = True
    found, part = sep_extract(np.ascontiguousarray(light[box]), 1.0, **limits, **options)
    position = np.stack([found["y"], found["x"]], axis=1) + [s.start for s in box]
    return part[mine].astype(int) - 1, position


def sep_extract(image, threshold: float, *, pixels: int, parts: int = 1024, **options):
    """`sep.extract` with limits of its own, which sep keeps for the whole process.

    Args:
        image: Image.
        threshold: Detection threshold [rms].
        pixels: Number of pixels above the threshold that incomplete objects may have together.
        parts: Number of parts that an object may have at a threshold of its deblending.
        **options: Keywords of `sep.extract`.
    """
    with _LIMITS:
        before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
        try:
            _set_limits(pixels, parts)
            return sep.extract(image, threshold, **options)
        finally:
            _set_limits(*before)


def _set_limits(pixels: int, parts: int) -> None:
    sep.set_extract_pixstack(pixels)
    sep.set_sub_object_limit(parts)


def _shapes(pixels: _Pixels, position, image, filtered, level, min_area: int) -> _Shapes:
    """Moments of the sources' filtered light, and what follows of them (SExtractor's manual)."""
    n, (owner, (y, x)) = len(position), pixels
    own, seen, least = (a[y, x].astype(float) for a in (image, filtered, level))
    count, flux, least_sum = (_sums(owner, v, n) for v in (np.ones(len(y)), seen, least))
    threshold = least_sum / np.maximum(count, 1)
    dy, dx = y - position[owner, 0], x - position[owner, 1]
    xx, yy, xy = (_sums(owner, seen * v, n) / flux for v in (dx * dx, dy * dy, dx * dy))
    point = 0.0833333 * (xx * yy - xy * xy < 0.00694)
    xx, yy = xx + point, yy + point
    determinant = xx * yy - xy * xy
    quadratic = np.stack([yy, xx, -2 * xy], axis=1) / determinant[:, None]
    area = np.sqrt(np.maximum(determinant, 1e-12))  # a b
    size = np.sqrt((xx + yy) / 2 + np.sqrt(np.square(xx - yy) / 4 + np.square(xy)))
    top = np.full(n, -np.inf)
    np.maximum.at(top, owner, own)
    half = (threshold + top) / 2
    core = _sums(owner, own > half[owner], n) - _sums(owner, own > threshold[owner], n)
    ratio = np.where(half > threshold, threshold / half, 0.99)
    shrunk = np.where(core < 0, core, -1.0) / (2 * np.pi * np.log(ratio) * area)
    peak = flux / (2 * np.pi * area * np.minimum(shrunk, 1.0))
    slope = (peak / threshold - 1) * np.pi * area / np.maximum(count, 1)
    height = _nth_largest(owner, seen - least, n, min_area)
    return _Shapes(flux, size, peak, slope, quadratic, height)


def _sums(owner, values, n: int) -> Float[np.ndarray, " n"]:
    return np.bincount(owner, values, minlength=n).astype(float)


def _nth_largest(owner, values, n: int, rank: int) -> Float[np.ndarray, " n"]:
    """The value of a rank among those, all positive, of each owner; 0 of one with fewer."""
    scale = 2 * values.max(initial=1e-300)
    key = np.sort(owner - values / scale)  # by owner, then downwards
    count = np.bincount(owner, minlength=n)
    enough, at = count >= rank, np.cumsum(count) - count + rank - 1
    return np.where(enough, (np.arange(n) - key[np.where(enough, at, 0)]) * scale, 0.0)


def _cleaned(position, shapes: _Shapes) -> Bool[np.ndarray, " n"]:
    """Sources that are more than the wings of a brighter one: SExtractor's CLEAN.

    The brightest come first, and what is gone takes no other.
    """
    kept, tree = np.ones(len(position), bool), cKDTree(position)
    eater, victim = [], []
    for first in range(0, len(position), _PAIRS):
        rows = np.arange(first, min(first + _PAIRS, len(position)))
        one, other = _near(tree, rows, shapes.size)
        bright, faint = _ordered(one, other, shapes.flux)
        outshone = _outshone(position, shapes, bright, faint)
        eater.append(bright[outshone])
        victim.append(faint[outshone])
    eater, victim = (np.concatenate([*a, np.zeros(0, int)]).astype(int) for a in (eater, victim))
    for k in np.argsort(-shapes.flux[eater], kind="stable"):
        if kept[eater[k]]:
            kept[victim[k]] = False
    return kept


def _near(tree: cKDTree, rows, size):
    """Pairs of sources within each other's zone, that of the larger one among some rows."""
    near = tree.query_ball_point(tree.data[rows], 2 * _ZONE * size[rows])
    one = np.repeat(rows, [len(others) for others in near])
    other = np.concatenate([*near, np.zeros(0)]).astype(int)
    smaller = (size[other] < size[one]) | ((size[other] == size[one]) & (other < one))
    one, other = one[smaller], other[smaller]
    apart = np.hypot(*(tree.data[one] - tree.data[other]).T)
    close = apart <= _ZONE * (size[one] + size[other])
    return one[close], other[close]


def _ordered(one, other, flux: Shaped[np.ndarray, " n"]):
    """The brighter and the fainter one of pairs."""
    swapped = flux[other] > flux[one]
    return np.where(swapped, other, one), np.where(swapped, one, other)


def _outshone(position, shapes: _Shapes, bright, faint) -> Bool[np.ndarray, " pair"]:
    dy, dx = (position[faint] - position[bright]).T
    xx, yy, xy = shapes.quadratic[bright].T
    fall = 1 + shapes.slope[bright] * (xx * dx * dx + yy * dy * dy + xy * dx * dy)
    wing = np.where(fall < 1e10, shapes.peak[bright] / np.maximum(fall, 1), 0)
    return (fall > 1) & (wing > shapes.height[faint])
