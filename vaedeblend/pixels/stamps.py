"""Stamps cut out of images, and the light of galaxies pasted on images, in NumPy.

A galaxy that is too large for a stamp is seen from farther away: its stamp holds `binning` times
as many of the image's pixels along each axis, added up. Its corner is that of the stamp of the
image's own pixels about the same centre.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Real
from numpy.lib.stride_tricks import sliding_window_view

_SPARSE = 4
"""Distance of the pixels that tell the noise about a source [pixel]."""

PsfAt = Callable[..., Float[np.ndarray, "source side side band"]]
"""`(index, position) -> psf`: image and (y, x) of sources, to the PSF at each."""


class PaddedImages:
    """Images of one shape, from which stamps are cut and on which stamps are pasted."""

    def __init__(
        self,
        image: Float[np.ndarray, "frame height width band"],
        variance: Float[np.ndarray, "frame height width band"] | float,
        *,
        size: int,
        psf: PsfAt | Float[np.ndarray, "side side band"] | None = None,
        gain: Float[np.ndarray, "*frame band"] | float | None = None,
        most: int = 1,
    ):
        """Pads the images with pixels to be ignored.

        Args:
            image: Images, background subtracted.
            variance: The background's variance; infinite where a pixel is to be ignored.
            size: Side of the stamps [pixel].
            psf: PSF given to the network: one for all, or a function of image and position.
            gain: Electrons per image unit: one for all images, or one for each.
            most: Largest binning of a stamp, a power of 2.
        """
        if psf is not None and not callable(psf):
            psf = np.asarray(psf, np.float32)  # native: compiled programs read it
        self.size, self.psf, self.most = size, psf, most
        self.margin = size * (most + 1) // 2
        gain = None if gain is None else np.asarray(gain, np.float32)
        self.gain = None if gain is None else np.broadcast_to(gain, (len(image), image.shape[-1]))
        frames, height, width, bands = image.shape
        shape = frames, height + 2 * self.margin, width + 2 * self.margin, bands
        self.variance, self.image = np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32)
        self.inner(self.variance)[:], self.inner(self.image)[:] = variance, image
        self.ignored = ~np.isfinite(self.variance)
        self.image[self.ignored] = 0

    def cut(self, padded, index, corner, binning=1) -> Float[np.ndarray, "source size size band"]:
        """Stamps of padded images; of a box, the mean of the pixels that are not ignored counts."""

        def boxes(light, valid, n):
            share = np.maximum(valid, 1) / n**2
            return light / share

        return self._stamps(padded, index, corner, binning, boxes)

    def noise(self, index, corner, binning=1) -> Float[np.ndarray, "source size size band"]:
        """Variance of the stamps; infinite where half of a box or more is ignored."""

        def boxes(variance, valid, n):
            share = np.maximum(valid, 1) / n**2
            return np.where(share > 0.5, variance / share**2, np.inf)

        return self._stamps(self.variance, index, corner, binning, boxes)

    def typical_rms(self, index, corner) -> Float[np.ndarray, " source"]:
        """Median background rms about sources, in the first band; infinite without a valid pixel.

        Every few pixels of a stamp tell it: no odd pixel sets a threshold, nor a distant one.
        """
        return np.sqrt(self.median(self.variance, index, corner, _SPARSE))

    def median(self, padded, index, corner, step: int = 1) -> Float[np.ndarray, " source"]:
        """Median of stamps of padded images, first band; infinite where no pixel is valid.

        Args:
            padded: Padded images.
            index: Image of each stamp.
            corner: (y, x) of each stamp's first pixel.
            step: Distance of the pixels that count.
        """
        offset = np.arange(0, self.size, step)
        y, x = (self._first(corner, 1)[:, axis, None] + offset for axis in (0, 1))
        at = index[:, None, None], y[:, :, None], x[:, None, :], 0
        values = np.where(self.ignored[at], np.inf, padded[at])
        flat = np.sort(values.reshape(len(index), len(offset) ** 2), axis=1)  # those ignored last
        middle = np.maximum(np.isfinite(flat).sum(axis=1) - 1, 0) // 2
        return flat[np.arange(len(flat)), middle]

    def paste(
        self, stamps, index, corner, binning=1
    ) -> Float[np.ndarray, "frame padded_y padded_x band"]:
        """Padded images on which the stamps are pasted, added up; dark where a pixel is ignored."""
        canvas = np.zeros(self.image.shape, np.float32)
        each = np.broadcast_to(binning, len(index)).tolist()
        first = self._first(corner, binning).tolist()
        for i, (y, x), stamp, n in zip(index, first, stamps, each, strict=True):
            side = n * self.size
            canvas[i, y : y + side, x : x + side] += spread(stamp, n)
        canvas[self.ignored] = 0
        return canvas

    def apart(self, index, corner) -> Real[np.ndarray, "source 3"]:
        """Corners, with images far from each other along a third axis."""
        return np.concatenate([corner, 4 * self.margin * index[:, None]], axis=1)

    def inner(self, padded) -> Float[np.ndarray, "frame height width band"]:
        """Padded images without their padding."""
        return padded[:, self.margin : -self.margin, self.margin : -self.margin]

    def _stamps(self, padded, index, corner, binning, boxes):
        """Windows; those of binned stamps as `boxes` makes them of sums and numbers of pixels."""
        stamps = np.empty((len(index), self.size, self.size, padded.shape[-1]), padded.dtype)
        binning = np.broadcast_to(binning, len(index))
        for n in np.unique(binning).tolist():
            here = binning == n
            at = index[here], self._first(corner[here], n)
            if n == 1:
                stamps[here] = self._windows(padded, *at, self.size)
                continue
            window = self._windows(padded, *at, n * self.size)
            valid = ~self._windows(self.ignored, *at, n * self.size)
            stamps[here] = boxes(
                box_sums(np.where(valid, window, 0), n), box_sums(valid.astype(np.float32), n), n
            )
        return stamps

    def _windows(self, padded, index, first, side: int):
        windows = sliding_window_view(padded, (side, side), axis=(1, 2))
        return np.moveaxis(windows[index, first[:, 0], first[:, 1]], 1, -1)

    def _first(self, corner, binning) -> Int[np.ndarray, "source 2"]:
        """(y, x) of stamps on the padded images; those beyond lie on the padding."""
        side = np.reshape(binning, (-1, 1)) * self.size
        first = whole_corner(corner, binning, self.size) + self.margin
        return np.clip(first, 0, np.array(self.image.shape[1:3]) - side)


def whole_corner(
    corner: Int[np.ndarray, "n 2"], binning: Int[np.ndarray, " n"] | int, size: int
) -> Int[np.ndarray, "n 2"]:
    """(y, x) of the first of the image's pixels on binned stamps, from their `corner`."""
    return corner - (np.reshape(binning, (-1, 1)) - 1) * size // 2


def spread(stamp: Float[Any, "size size *band"], n: int) -> Float[Any, "side side *band"]:
    """A stamp's light on n x n as many pixels: smooth, and in every box what its pixel held.

    Args:
        stamp: Light of a binned stamp, an array of NumPy or of JAX.
        n: Its binning.
    """
    if n == 1:
        return stamp
    space = stamp.__array_namespace__()
    smooth = _interpolated(_interpolated(stamp, n, 0), n, 1)
    held = box_sums(smooth[None], n)[0]
    ratio = space.where(held != 0, stamp / space.where(held != 0, held, 1), 0)
    return smooth * ratio.repeat(n, axis=0).repeat(n, axis=1)


def page_grid(stamp: Float[Any, "size size band"], n: int) -> Float[Any, "page size size band"]:
    """A stamp's light on n x n pages of the image's own pixels, row by row, each of its own size.

    Args:
        stamp: Light of a binned stamp, an array of NumPy or of JAX.
        n: Its binning.
    """
    size, _, bands = stamp.shape
    pages = spread(stamp, n).reshape(n, size, n, size, bands)
    return pages.swapaxes(1, 2).reshape(n**2, size, size, bands)


def _interpolated(values, n: int, axis: int):
    """Linear between the centres of pixels, constant beyond the first and the last."""
    size, space = values.shape[axis], values.__array_namespace__()
    place = ((np.arange(n * size) + 0.5) / n - 0.5).clip(0, size - 1)
    below = np.minimum(place.astype(int), size - 2)
    share = (place - below).astype(values.dtype)
    share = share.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    low, high = (space.take(values, below + k, axis=axis) for k in (0, 1))
    return low + share * (high - low)


def box_sums(
    images: Float[Any, "n height width *band"], side: int
) -> Float[Any, "n boxes_y boxes_x *band"]:
    """Sums over boxes of pixels.

    Args:
        images: Images, arrays of NumPy or of JAX; height and width are multiples of `side`.
        side: Side of the boxes [pixel].
    """
    rows = sum(images[:, k::side] for k in range(side))
    return sum(rows[:, :, k::side] for k in range(side))


def overlap(
    corner: Sequence[int], side: int, shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where an image and a stamp at `corner` (y, x) of it overlap, on the one and on the other."""
    low = [max(c, 0) for c in corner]
    high = [max(min(c + side, n), first) for c, n, first in zip(corner, shape, low, strict=True)]
    on_image = tuple(map(slice, low, high))
    on_stamp = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
    return on_image, on_stamp
