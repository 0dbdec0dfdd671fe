"""A subsample of an image: strips of it, and blocks whose sky and noise are measured.

Noise is measured from differences of pixels four apart, which correlated noise of resampled images
hardly changes, and from the lower half of the pixels, which sources hardly change.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vaedeblend.io.mosaic import Mosaic, Pixels, as_rms, runs

_STRIPS, _ROWS = 8, 32
"""Number and height of the strips that are read [pixel]."""
_BLOCK, _MOST = 16, 2048
"""Side of a block [pixel], and the most blocks that are used."""
_LAG = 4
"""Distance of the pixels whose difference is noise [pixel]."""
_SEEN = 0.5
"""Least share of a block's pixels that are valid."""

_BRIGHT = 20.0, 10.0
"""Light of bright pixels [rms]: the second where the first has too few."""
FEWEST_BRIGHT = 50
"""Least number of bright pixels from which photon noise is measured."""

_DIFFERENCE = 0.6745 * np.sqrt(2)
"""Median absolute difference of two pixels whose noise is 1."""
_LOWER = 0.9703
"""Difference of the 25th and 5th percentile of noise that is 1."""


class Blocks(NamedTuple):
    """Blocks of an image, those with enough valid pixels."""

    image: Float[np.ndarray, "n side side"]
    """NaN where a pixel is not valid."""
    rms: Float[np.ndarray, "n side side"] | None
    """The noise as given, as an rms, NaN where a pixel is not valid."""
    level: Float[np.ndarray, " n"]
    """Median of the pixels."""
    scatter: Float[np.ndarray, " n"]
    """Noise of the pixels; that of sources and gradients raises it."""
    floor: Float[np.ndarray, " n"]
    """The least that the noise may be: that of the lower pixels alone."""
    place: Float[np.ndarray, "n 2"]
    """(y, x) of the block's middle, as a share of the image's sides."""


def read_strips(mosaic: Mosaic) -> list[Pixels]:
    """Strips over the whole width of an image, its first and last among them, as in the files."""
    height, width = mosaic.shape
    return [mosaic.read_raw(rows, slice(0, width)) for rows in _strip_rows(height)]


def _strip_rows(height: int) -> list[slice]:
    """Rows of the strips of an image of some height."""
    if height <= _STRIPS * _ROWS:
        return [slice(0, height)]
    lows = np.linspace(0, height - _ROWS, _STRIPS).astype(int)
    return [slice(low, low + _ROWS) for low in lows.tolist()]


def valid_strips(strips: list[Pixels], form: str | None) -> list[Pixels]:
    """The strips in double precision, NaN where a pixel is not valid, the noise as an rms."""
    return [_valid(each, form) for each in strips]


def without(strips: list[Pixels], empty: float | None) -> list[Pixels]:
    """Valid strips without the squares that hold a value alone."""
    if empty is None:
        return strips
    return [s._replace(image=np.where(runs(s.image, empty), np.nan, s.image)) for s in strips]


def cut_blocks(strips: list[Pixels], shape: tuple[int, int]) -> Blocks:
    """Blocks of the valid strips of an image of some shape."""
    side = min(_BLOCK, *strips[0].image.shape)
    image = np.concatenate([_tiles(each.image, side) for each in strips])
    kept = np.flatnonzero(np.isfinite(image).mean(axis=(1, 2)) >= _SEEN)
    kept = kept[:: -(-len(kept) // _MOST) or 1]
    image, rms = image[kept], None
    if strips[0].rms is not None:
        rms = np.concatenate([_tiles(each.rms, side) for each in strips])[kept]
    lag = min(_LAG, side - 1)
    scatter = block_quantile(np.abs(image[:, :, lag:] - image[:, :, :-lag]), 0.5) / _DIFFERENCE
    lower = (block_quantile(image, 0.25) - block_quantile(image, 0.05)) / _LOWER
    level, place = block_quantile(image, 0.5), _places(shape, side)[kept]
    return Blocks(image, rms, level, scatter, np.fmin(scatter, lower), place)


def _places(shape: tuple[int, int], side: int) -> Float[np.ndarray, "n 2"]:
    """The middle of each block of an image's strips, as a share of its sides."""
    rows = np.concatenate(
        [np.arange(r.start, r.stop - side + 1, side) for r in _strip_rows(shape[0])]
    )
    columns = np.arange(0, shape[1] - side + 1, side)
    middle = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1) + side / 2
    return middle.reshape(-1, 2) / shape


def bright_pixels(blocks: Blocks, rms: float) -> Bool[np.ndarray, "n side side"]:
    """Pixels that are bright beside the sky; none where there are too few.

    Args:
        blocks: Blocks of an image.
        rms: The sky's.
    """
    masks = (blocks.image > level * rms for level in _BRIGHT)
    nothing = np.zeros(blocks.image.shape, bool)
    return next((mask for mask in masks if mask.sum() >= FEWEST_BRIGHT), nothing)


def block_quantile(
    blocks: Float[np.ndarray, "n height width"], q: float
) -> Float[np.ndarray, " n"]:
    """A quantile of each block's finite pixels; NaN without any."""
    flat = np.sort(blocks.reshape(len(blocks), math.prod(blocks.shape[1:])), axis=1)  # NaN last
    n = np.isfinite(flat).sum(axis=1)
    if not flat.size:
        return np.full(len(blocks), np.nan)
    at = np.rint(q * (n - 1)).clip(0).astype(int)
    return np.where(n > 0, flat[np.arange(len(flat)), at], np.nan)


def _valid(strip: Pixels, form: str | None) -> Pixels:
    image, bad = strip.image.astype(float), strip.bad
    if form is None:
        return Pixels(np.where(bad, np.nan, image), None, bad)
    rms = as_rms(form, strip.rms.astype(float))
    with np.errstate(invalid="ignore"):
        bad = bad | ~(np.isfinite(rms) & (rms > 0))
    return Pixels(*(np.where(bad, np.nan, each) for each in (image, rms)), bad)


def _tiles(image: Float[np.ndarray, "height width"], side: int):
    height, width = (n // side * side for n in image.shape)
    tiles = image[:height, :width].reshape(height // side, side, width // side, side)
    return tiles.swapaxes(1, 2).reshape(-1, side, side)
