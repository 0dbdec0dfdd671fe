"""Point spread functions as images: what a user hands in and what the renderer convolves with.

A PSF is *effective*: optics, detector and the response of one survey pixel together, so that a
point source's pixel values are samples of it. Its image has an odd size, is centred on its middle
pixel and is normalised to unit sum: a PSF that lacks its far wings must not cost flux. What its sum
was says which share of the light it holds (`encircled_energy`).

A PSF that has the survey's sampling is *native*: it needs cropping only. Any other is drawn anew
with GalSim, by `simulate.render.resampled_psf`, so that nothing here depends on the simulator.
"""

import contextlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt, shift

from vaedeblend.exceptions import PsfError
from vaedeblend.io.fits.header import sampling
from vaedeblend.io.fits.planes import split_plane
from vaedeblend.io.write import write_image

PSF_SIZE = 65
"""Side of the PSF images on which networks are conditioned [pixel]."""

LEAST_ENERGY = 0.9
"""Least sum of a PSF's image that is the share of the light that it holds."""

_SAME_SAMPLING = 1e-9
"""Relative difference below which two samplings are one, written twice."""
EDGE, _INNER = (0.85, 1.0), (0.6, 0.75)
"""Rings at a PSF's edge, and within it, where wings and a constant are told apart [half a side]."""
FALL = -3.0
"""Power of the radius by which diffraction's wings fall."""
_WITHIN = 4.0
"""Radius within which a PSF's centre is measured [pixel]."""
_FAINT = 0.05
"""Light of the outer ring over the peak beyond which a stamp holds a PSF's core alone."""
_FLAT, _PEDESTAL, _HOLE = 0.55, 0.04, 0.02
"""Light of the outer ring over that of the inner one above which wings do not fall, and least
shares of the sum of a constant, above 0 and below, that is one."""


class Psf(NamedTuple):
    """An effective PSF, pixel response included, unit sum."""

    image: Float[np.ndarray, "side side"]
    pixel_scale: float
    """Sampling of the image [arcsec]; may be finer than the survey's."""
    total: float = 1.0
    """Sum of the image before it was normalised; 1 where that says nothing."""
    pedestal: float = 0.0
    """Share of that sum which was a constant, and was taken off (`levelled`)."""
    moved: bool = False
    """Whether it peaked beside the middle pixel, and was moved there (`centred`)."""

    @property
    def extent(self) -> float:
        """Side of the image [arcsec]."""
        return self.image.shape[0] * self.pixel_scale

    @property
    def encircled_energy(self) -> float:
        """Share of a point source's light that lies on the image."""
        return float(encircled_energy(np.array(self.total)))


def encircled_energy(total: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """What the sum of a PSF's image means: the share of a point source's light that it holds.

    That is the sum itself from 0.9 to 1: stamps are cut off a larger PSF of unit sum. Any other sum
    is that of another unit, and the image is taken to hold all light.
    """
    return np.where((total >= LEAST_ENERGY) & (total <= 1), total, 1.0)


def held_within(psf: Psf, extent: float) -> float:
    """Share of a point source's light on the central square of a PSF's image.

    Args:
        psf: PSF.
        extent: Side of the square [arcsec]; beyond the image there is no light.
    """
    side = len(psf.image)
    inside = abs(np.arange(side) - side // 2) * psf.pixel_scale < extent / 2
    return psf.encircled_energy * float(psf.image[np.ix_(inside, inside)].sum())


def levelled(psf: Psf) -> Psf:
    """A PSF without the constant that its image stands on; the same where there is none.

    The wings of a PSF fall outwards, which a sky that was left in its stamp does not. What a sum
    means that held such a sky is not known.
    """
    level = _constant(psf.image)
    if not level:
        return psf
    image = psf.image - level
    return Psf(image / image.sum(), psf.pixel_scale, 1.0, level * psf.image.size)


def centred(psf: Psf, pixel_scale: float) -> Psf:
    """A PSF moved by whole samples, its peak onto the middle pixel; the same where that is there.

    A wide PSF is flat about its peak, whose noise moves it: light that is centred stays.

    Args:
        psf: PSF.
        pixel_scale: Side of the survey's pixels [arcsec].
    """
    peak = np.array(np.unravel_index(psf.image.argmax(), psf.image.shape))
    offset = peak - len(psf.image) // 2
    if np.abs(offset).max() * psf.pixel_scale <= pixel_scale / 2:
        return psf
    image, reach = shift(psf.image, -offset, order=0), _WITHIN * pixel_scale / psf.pixel_scale
    before, after = (np.hypot(*light_centre(each, reach)) for each in (psf.image, image))
    return psf._replace(image=image / image.sum(), moved=True) if after < before else psf


def light_centre(
    image: Float[np.ndarray, "side side"], reach: float = _WITHIN
) -> Float[np.ndarray, " 2"]:
    """(y, x) of a PSF's light from the middle pixel [pixel].

    Args:
        image: Image of the PSF.
        reach: Radius within which it is measured [pixel].
    """
    y, x = np.indices(image.shape) - len(image) // 2
    light = image * (np.hypot(y, x) < reach)
    return np.array([(light * y).sum(), (light * x).sum()]) / light.sum()


def make_psf(image, pixel_scale: float, *, max_extent: float = np.inf, source: str = "psf") -> Psf:
    """A checked and normalised PSF.

    Args:
        image: Square image of odd size, brightest near its middle pixel.
        pixel_scale: Sampling of the image [arcsec].
        max_extent: Largest side allowed [arcsec]: the stamp that has to hold it.
        source: Name of the PSF in errors.

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
    return Psf(image / image.sum(), float(pixel_scale), float(image.sum()))


def read_psf(
    path,
    *,
    default_pixel_scale: float,
    pixel_scale: float | None = None,
    max_extent: float = np.inf,
) -> Psf:
    """The PSF in a FITS file's first image.

    Its sampling [arcsec] is `pixel_scale`, if given; or the header's, by its PIXSCALE or WCS; or
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

    It has the axes (row, column, height, width), or is the one PSF of the whole image. A part whose
    PSF is NaN or dark has the nearest one.

    Raises:
        PsfError: The file cannot be read, or `make_psf` refuses an image of it.
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
        for y, row in enumerate(_complete(images))
    ]


def is_native(psf: Psf, pixel_scale: float) -> bool:
    """Whether the image of a PSF has the survey's sampling [arcsec]."""
    return math.isclose(psf.pixel_scale, pixel_scale, rel_tol=_SAME_SAMPLING)


def native_psf(psf: Psf, pixel_scale: float, size: int) -> Float[np.ndarray, "size size"]:
    """The PSF at the survey's sampling, cropped or padded to an odd `size`; unit sum.

    Raises:
        PsfError: Its sampling is another.
    """
    if not is_native(psf, pixel_scale):
        raise PsfError(f"PSF sampled at {psf.pixel_scale:.4g} arcsec; wanted {pixel_scale:.4g}")
    margin = (psf.image.shape[0] - size) // 2
    image = np.pad(psf.image, max(0, -margin))
    crop = slice(max(0, margin), max(0, margin) + size)
    image = image[crop, crop]
    return image / image.sum()


def native_psfs(psfs: tuple[Psf, ...], pixel_scale: float) -> Float[np.ndarray, "side side band"]:
    """The PSFs on which a network is conditioned: `native_psf` of PSF_SIZE, one a band, float32.

    Raises:
        PsfError: A PSF has another sampling.
    """
    images = [native_psf(psf, pixel_scale, PSF_SIZE) for psf in psfs]
    return np.stack(images, axis=-1).astype(np.float32)


def write_native_psfs(path, psfs: Float[np.ndarray, "side side band"], pixel_scale: float) -> None:
    """Writes `native_psfs` as a FITS image (band, height, width), whole or not at all.

    Raises:
        FileError: It cannot be written.
    """
    header = fits.Header()
    header["PIXSCALE"] = float(pixel_scale), "arcsec"
    images = np.moveaxis(psfs, -1, 0).astype(np.float32)
    header["DATASUM"] = str(fits.PrimaryHDU(images).add_datasum())
    with write_image(path, images.shape, header) as put:
        put(images)


def read_native_psfs(path, pixel_scale: float) -> Float[np.ndarray, "side side band"]:
    """What `write_native_psfs` wrote, bitwise; images of another size are cropped or padded.

    Raises:
        PsfError: The file cannot be read, holds no image (band, height, width), or its sampling is
            not the survey's `pixel_scale` [arcsec]; or `make_psf` refuses a band's image.
    """
    images, scale = _read(path, None, pixel_scale)
    if images.ndim != 3:
        raise PsfError(f"{path}: PSF image has shape {images.shape}; wanted (band, height, width)")
    psfs = [make_psf(image, scale, source=f"{path}[{i}]") for i, image in enumerate(images)]
    return native_psfs(tuple(psfs), pixel_scale)


def psf_sampling(path, given: float | None, default: float) -> tuple[float, str]:
    """Sampling of a file's PSFs [arcsec], and where it is from: what is given, a card, or nowhere.

    Raises:
        PsfError: The file cannot be read, or its scale is no number.
    """
    with _opened(path) as hdu:
        scale, origin, wrong = sampling(hdu.header)
    if given is not None:
        return given, "--psf-scale"
    if wrong:
        raise PsfError(f"{path}: {wrong}; wanted the sampling of the PSF in arcsec")
    return (default, "") if scale is None else (scale, origin)


def effective_fwhm(
    light: Float[np.ndarray, "*n side side"], noise: float = 0.0
) -> Float[np.ndarray, "*n"]:
    """FWHM of the Gaussian with the same noise-equivalent area [pixel]; NaN where there is none.

    Args:
        light: Images of point sources, without background.
        noise: Rms of their pixels.
    """
    squares = np.square(light).sum(axis=(-2, -1), dtype=float)
    squares -= light.shape[-1] * light.shape[-2] * noise**2
    area = np.square(light.sum(axis=(-2, -1), dtype=float)) / np.where(squares > 0, squares, np.nan)
    return np.sqrt(2 * np.log(2) / np.pi * area)


def _constant(image: Float[np.ndarray, "side side"]) -> float:
    """The constant on which the image of a PSF of unit sum stands; 0 where there is none."""
    outer, inner = (_ring(image, *ring) for ring in (EDGE, _INNER))
    if outer is None or inner is None or outer > _FAINT * image.max():
        return 0.0
    if outer * image.size < -_HOLE:
        return outer
    fall = float(np.divide(np.mean(EDGE), np.mean(_INNER)) ** FALL)
    level = (outer - fall * inner) / (1 - fall)
    return level if outer > _FLAT * inner and level * image.size > _PEDESTAL else 0.0


def _complete(images) -> Float[np.ndarray, "rows columns height width"]:
    """A grid of images, those without a PSF replaced by the nearest one; as it is without any."""
    images = np.asarray(images, float)
    empty = np.isnan(images).all(axis=(2, 3)) | ~images.any(axis=(2, 3))
    if not empty.any() or empty.all():
        return images
    row, column = distance_transform_edt(empty, return_distances=False, return_indices=True)
    return images[row, column]


def _ring(image, low: float, high: float) -> float | None:
    """Median of the pixels at distances from the middle [half a side]; None without any."""
    half = len(image) // 2
    y, x = np.indices(image.shape) - half
    radius = np.hypot(y, x)
    pixels = image[(radius > low * half) & (radius <= high * half)]
    return float(np.median(pixels)) if len(pixels) else None


def _read(path, given: float | None, default: float) -> tuple[np.ndarray, float]:
    """A file's PSF image, or images, and their sampling."""
    scale = psf_sampling(path, given, default)[0]
    with _opened(path) as hdu:
        return hdu.data, scale


@contextlib.contextmanager
def _opened(path) -> Iterator[fits.PrimaryHDU | fits.ImageHDU]:
    """The HDU of the plane that is named, of one named PSF, or of the first image."""
    file, wanted = split_plane(path)
    try:
        with contextlib.ExitStack() as stack:
            hdus = _whole(stack, file)
            if any(hdu.name == "PSF_DATA" or "PSF_MASK" in _columns(hdu) for hdu in hdus):
                raise PsfError(
                    f"{file}: a PSFEx model; wanted an image of the PSF, or a grid of images "
                    "(rows, columns, height, width)"
                )
            images = [hdu for hdu in hdus if hdu.is_image and hdu.data is not None]
            named = [hdu for hdu in images if "PSF" in hdu.name.upper()]
            if len(named) > 1 and not wanted:
                names = ", ".join(hdu.name for hdu in named)
                raise PsfError(f"{file}: planes {names}; wanted one, as FILE[NAME]")
            hdu = hdus[_place(wanted)] if wanted else (named or images)[0]
            if hdu.verify_datasum() == 0:
                raise PsfError(f"{file}: damaged: its data are not those that DATASUM was made of")
            yield hdu
    except (OSError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, PsfError):
            raise
        raise PsfError(f"{path}: no FITS image could be read ({error})") from error


def _whole(stack: contextlib.ExitStack, file: Path) -> fits.HDUList:
    """The HDUs of an open file; astropy only warns of one that was cut off."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        hdus = stack.enter_context(fits.open(file))
        len(hdus)  # reads all headers
    if cut := [str(each.message) for each in said if "truncated" in str(each.message)]:
        raise PsfError(f"{file}: damaged ({cut[0]})")
    return hdus


def _columns(hdu) -> list[str]:
    return hdu.columns.names if isinstance(hdu, fits.BinTableHDU) else []


def _place(wanted: str) -> int | str:
    return int(wanted) if wanted.isdigit() else wanted
