"""Images from which stamps are cut, and on which the light of galaxies is laid."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

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
        pad = [(0, 0), (size, size), (size, size), (0, 0)]
        variance = np.broadcast_to(variance, image.shape).astype(np.float32)
        self.variance = np.pad(variance, pad, constant_values=np.inf)
        self.image = np.pad(image.astype(np.float32), pad)
        self.image[~np.isfinite(self.variance)] = 0

    def cut(self, padded, index, corner) -> Float[np.ndarray, "source size size band"]:
        """Stamps of padded images."""
        stamps = np.empty((len(index), self.size, self.size, padded.shape[-1]), padded.dtype)
        for stamp, at in zip(stamps, self._windows(index, corner), strict=True):
            stamp[:] = padded[at]
        return stamps

    def paste(self, stamps, index, corner) -> Float[np.ndarray, "frame padded_y padded_x band"]:
        """Padded images on which the stamps lie, added up; nothing where a pixel is ignored."""
        canvas = np.zeros_like(self.image)
        for at, stamp in zip(self._windows(index, corner), stamps, strict=True):
            canvas[at] += stamp
        return np.where(np.isfinite(self.variance), canvas, 0)

    def inner(self, padded) -> Float[np.ndarray, "frame height width band"]:
        """Padded images without their padding."""
        return padded[:, self.size : -self.size, self.size : -self.size]

    def _windows(self, index, corner):
        limit = np.array(self.image.shape[1:3]) - self.size
        for i, (y, x) in zip(index, np.clip(corner + self.size, 0, limit), strict=True):
            yield i, slice(y, y + self.size), slice(x, x + self.size)
