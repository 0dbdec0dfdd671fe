"""Point spread functions as images: what a user hands in and what the renderer convolves with.

A PSF is *effective*: optics, detector and the response of one survey pixel together, so that a
point source's pixel values are samples of it. Its image has an odd size, is centred on its middle
pixel and is normalised to unit sum: a PSF that lacks its far wings must not cost flux.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from vaedeblend.exceptions import PsfError


class Psf(NamedTuple):
    """An effective PSF, pixel response included, unit sum."""

    image: Float[np.ndarray, "side side"]
    pixel_scale: float
    """Of the image [arcsec]; may be finer than the survey's."""

    @property
    def extent(self) -> float:
        """Side of the image [arcsec]."""
        return self.image.shape[0] * self.pixel_scale


def make_psf(image, pixel_scale: float, *, max_extent: float = np.inf, source: str = "psf") -> Psf:
    """A checked and normalised PSF.

    Args:
        image: Square image of odd size, brightest near its middle pixel.
        pixel_scale: [arcsec].
        max_extent: Largest side allowed [arcsec]: the stamp that has to hold it.
        source: What to call it in errors.

    Raises:
        PsfError: Not two-dimensional and square, an even size, values that are not finite, a sum
            that is not positive, a peak off the centre, or an extent beyond `max_extent`.
    """
    image = np.asarray(image, np.float64)
    if image.ndim != 2 or image.shape[0] != image.shape[1]:
        raise PsfError(f"{source}: PSF image has shape {image.shape}; wanted a square image")
    side = image.shape[0]
    if side % 2 == 0:
        raise PsfError(f"{source}: PSF image is {side} pixels wide; wanted an odd number")
    if not np.isfinite(image).all():
        raise PsfError(f"{source}: PSF image has {np.sum(~np.isfinite(image))} NaN or inf pixels")
    if not pixel_scale > 0:
        raise PsfError(f"{source}: pixel scale of the PSF is {pixel_scale}; wanted > 0 arcsec")
    if not image.sum() > 0:
        raise PsfError(f"{source}: PSF image sums to {image.sum():.3g}; wanted a positive sum")
    peak = np.unravel_index(np.argmax(image), image.shape)
    if max(abs(p - side // 2) for p in peak) > max(1.0, 0.1 / pixel_scale):
        raise PsfError(
            f"{source}: PSF peaks at (y, x) = {tuple(map(int, peak))}; "
            f"wanted the middle pixel ({side // 2}, {side // 2})"
        )
    if side * pixel_scale > max_extent:
        raise PsfError(
            f"{source}: PSF image is {side * pixel_scale:.2f} arcsec wide; "
            f"wanted at most the stamp's {max_extent:.2f} arcsec"
        )
    return Psf(image / image.sum(), float(pixel_scale))


def read_psf(
    path,
    *,
    default_pixel_scale: float,
    pixel_scale: float | None = None,
    max_extent: float = np.inf,
) -> Psf:
    """The PSF in a FITS file's first image.

    Its sampling [arcsec] is `pixel_scale`, if given; or the header's PIXSCALE, or
    `default_pixel_scale` without one.

    Raises:
        PsfError: The file cannot be read, or `make_psf` refuses its image.
    """
    image, pixel_scale = _read(path, pixel_scale, default_pixel_scale)
    return make_psf(image, pixel_scale, max_extent=max_extent, source=str(path))


def read_psf_grid(
    path, *, default_pixel_scale: float, pixel_scale: float | None = None
) -> list[list[Psf]]:
    """The PSFs of the parts of an image, row by row, from a FITS file's first image.

    It has the axes (row, column, height, width), or is the one PSF of the whole image.

    Raises:
        PsfError: As `read_psf`.
    """
    images, pixel_scale = _read(path, pixel_scale, default_pixel_scale)
    if images.ndim == 2:
        images = images[None, None]
    if images.ndim != 4:
        raise PsfError(
            f"{path}: PSF image has shape {images.shape}; wanted (height, width), or a grid of "
            "them, (rows, columns, height, width)"
        )
    return [
        [make_psf(image, pixel_scale, source=f"{path}[{y}, {x}]") for x, image in enumerate(row)]
        for y, row in enumerate(images)
    ]


def _read(path, pixel_scale: float | None, default: float) -> tuple[np.ndarray, float]:
    """A FITS file's first image and its sampling."""
    try:
        with fits.open(Path(path)) as hdus:
            hdu = next(hdu for hdu in hdus if hdu.is_image and hdu.data is not None)
            if pixel_scale is None:
                pixel_scale = float(hdu.header.get("PIXSCALE", default))
            return hdu.data, pixel_scale
    except (OSError, StopIteration, TypeError, ValueError) as error:
        raise PsfError(f"{path}: no FITS image could be read ({error})") from error
