"""Images from which stamps are cut, and on which the light of galaxies is laid."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import sliding_window_view

PsfAt = Callable[..., Float[np.ndarray, "source side side band"]]
"""`(index, position) -> psf`: image and (y, x) of sources, to the PSF at each."""


class Frames:
    """Images of one shape, from which stamps are cut and on which stamps are laid."""

    def __init__(
        self,
        image: Float[np.ndarray, "frame height width band"],
        variance: Float[np.ndarray, "frame height width band"] | float,
        *,
        size: int,
        psf: PsfAt | Float[np.ndarray, "side side band"] | None = None,
        gain: Float[np.ndarray, "*frame band"] | float | None = None,
    ):
        """Pads the images with pixels to be ignored.

        Args:
            image: Background subtracted.
            variance: The background's; infinite where a pixel is to be ignored.
            size: Of the stamps [pixel].
            psf: Of `deblend`; one for all, or a function of image and position.
            gain: Of `deblend`; one for all images, or one for each.
        """
        self.size, self.psf = size, psf
        self.gain = None if gain is None else np.broadcast_to(gain, (len(image), image.shape[-1]))
        frames, height, width, bands = image.shape
        shape = frames, height + 2 * size, width + 2 * size, bands
        self.variance, self.image = np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32)
        self.inner(self.variance)[:], self.inner(self.image)[:] = variance, image
        self.ignored = ~np.isfinite(self.variance)
        self.image[self.ignored] = 0

    def cut(self, padded, index, corner) -> Float[np.ndarray, "source size size band"]:
        """Stamps of padded images."""
        windows = sliding_window_view(padded, (self.size, self.size), axis=(1, 2))
        y, x = self._first(corner).T
        return np.moveaxis(windows[index, y, x], 1, -1)

    def paste(self, stamps, index, corner) -> Float[np.ndarray, "frame padded_y padded_x band"]:
        """Padded images on which the stamps lie, added up; nothing where a pixel is ignored."""
        canvas, size = np.zeros_like(self.image), self.size
        for i, (y, x), stamp in zip(index, self._first(corner).tolist(), stamps, strict=True):
            canvas[i, y : y + size, x : x + size] += stamp
        canvas[self.ignored] = 0
        return canvas

    def inner(self, padded) -> Float[np.ndarray, "frame height width band"]:
        """Padded images without their padding."""
        return padded[:, self.size : -self.size, self.size : -self.size]

    def _first(self, corner) -> Int[np.ndarray, "source 2"]:
        """(y, x) of stamps on the padded images; those beyond lie on the padding."""
        return np.clip(corner + self.size, 0, np.array(self.image.shape[1:3]) - self.size)
