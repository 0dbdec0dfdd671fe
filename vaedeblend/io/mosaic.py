"""Images of a survey as files, of which windows are read.

Positions are (y, x), 0-based. Whatever its type, byte order or compression in the file, a window
is read as float32, together with a map of its bad pixels.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from jaxtyping import Bool, Float

from vaedeblend.exceptions import MosaicError

_ZERO_POINTS = "MAGZERO", "MAGZPT", "MAGZP", "MAG_ZERO", "ZEROPNT", "ZEROPOINT", "ZP", "PHOTZP"
_GAINS = "GAIN", "EGAIN"
_ROWS = 32
"""Rows that are read at a time."""
_LARGEST = 1e15
"""Absolute value above which, or below whose inverse, squares leave single precision's range."""

_UNITS = {"jy": 8.9, "mjy": 16.4, "ujy": 23.9, "microjy": 23.9, "njy": 31.4, "nanojy": 31.4}
"""AB magnitude of one unit, by the unit's name in BUNIT in small letters."""


class Pixels(NamedTuple):
    """A window of an image."""

    image: Float[np.ndarray, "height width"]
    """Pixel values in the image's unit; 0 where a pixel is bad."""
    rms: Float[np.ndarray, "height width"] | None
    """Background noise in the image's unit, infinite where a pixel is bad; None without a map."""
    bad: Bool[np.ndarray, "height width"]
    """Pixels that are NaN, infinite or close to it, masked, or without a positive rms."""


class Mosaic(NamedTuple):
    """An open image with what belongs to it."""

    path: Path
    shape: tuple[int, int]
    header: fits.Header
    wcs: WCS | None
    """Celestial coordinates of the image's two axes."""
    pixel_scale: float | None
    """Mean side of a pixel [arcsec]."""
    zero_point: float | None
    """AB magnitude of one image unit."""
    gain: float | None
    """Electrons per image unit."""
    unit: u.UnitBase | None
    """Unit of a pixel's flux."""
    hdus: tuple
    """HDUs of image, rms and mask; None where a file is not given."""
    mask_bits: int
    """Sum of the mask's flag bits that count; -1 for all."""

    def read(self, rows: slice, columns: slice) -> Pixels:
        """Pixels of a window; no more than the window is read.

        Raises:
            MosaicError: The file is damaged there.
        """
        try:
            image, rms, mask = (
                None if hdu is None else _window(hdu, rows, columns, convert)
                for hdu, convert in zip(self.hdus, (_single, _single, self._masked), strict=True)
            )
        except (OSError, ValueError, TypeError) as error:
            raise MosaicError(f"{self.path}: rows {rows.start}-{rows.stop} ({error})") from error
        bad = ~(np.abs(image) < _LARGEST)  # true of NaN
        if mask is not None:
            bad |= mask
        if rms is not None:
            bad |= ~((rms > 1 / _LARGEST) & (rms < _LARGEST))
            rms[bad] = np.inf
        image[bad] = 0
        return Pixels(image, rms, bad)

    def _masked(self, flags) -> Bool[np.ndarray, "height width"]:
        """True where the mask's flags say that a pixel is bad."""
        bits = self.mask_bits
        return flags != 0 if bits == -1 else flags.astype(np.int64) & bits != 0


@contextlib.contextmanager
def open_mosaic(
    image: str | Path,
    *,
    rms: str | Path | None = None,
    mask: str | Path | None = None,
    mask_bits: Sequence[int] | None = None,
    hdu: int | None = None,
    zero_point: float | None = None,
    gain: float | None = None,
) -> Iterator[Mosaic]:
    """Opens an image, and its rms and mask where there are any, for reading windows.

    Args:
        image: FITS file, compressed or not.
        rms: FITS file of the background's standard deviation, in the image's unit.
        mask: FITS file of a mask; pixels that are not 0 are ignored.
        mask_bits: Flag bits that mask a pixel; 0 is the least significant. By default all.
        hdu: Number of the image's HDU; by default the first with an image of two axes.
        zero_point: AB magnitude of one image unit; by default the header's, or that of its unit.
        gain: Electrons per image unit; by default the header's.

    Raises:
        MosaicError: A file is missing or damaged, holds no such image, or the shapes differ.
    """
    _check_number("zero point", zero_point, -np.inf)
    _check_number("gain", gain, 0.0)
    bits = -1 if mask_bits is None else sum(1 << bit for bit in {*map(_bit, mask_bits)})
    with contextlib.ExitStack() as stack:
        hdus = [_opened(stack, image, hdu)]
        for path in (rms, mask):
            hdus.append(None if path is None else _opened(stack, path, None))
            if path is not None and hdus[-1].shape != hdus[0].shape:
                raise MosaicError(
                    f"{path}: {hdus[-1].shape} pixels; wanted those of {image}, {hdus[0].shape}"
                )
        header = hdus[0].header
        wcs, scale = _wcs(header)
        zero_point = _zero_point(header) if zero_point is None else zero_point
        gain = next(_numbers(header, _GAINS, 1 / _LARGEST), None) if gain is None else gain
        shape = tuple(hdus[0].shape)
        known = wcs, scale, zero_point, gain, _unit(header)
        yield Mosaic(Path(image), shape, header, *known, tuple(hdus), bits)


def image_header(mosaic: Mosaic) -> fits.Header:
    """Header of an image on the mosaic's pixels: WCS, unit, zero point and gain."""
    header = fits.Header()
    if mosaic.wcs is not None:
        header.update(mosaic.wcs.to_header(relax=True))  # relaxed, it keeps SIP
    if "BUNIT" in mosaic.header:
        header["BUNIT"] = mosaic.header["BUNIT"]
    for name, value in (("MAGZERO", mosaic.zero_point), ("GAIN", mosaic.gain)):
        if value is not None:
            header[name] = value
    return header


def _opened(stack: contextlib.ExitStack, path, number: int | None):
    """The HDU of a file's image."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            # Not mapped: pages of a mapped file would count as memory, and stay.
            hdus = stack.enter_context(fits.open(path, memmap=False))
            kinds = [(h.name or "IMAGE", h.header["NAXIS"], h.is_image and h.shape) for h in hdus]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MosaicError(f"{path}: no FITS file could be read ({error})") from error
    if cut := [str(each.message) for each in said if "truncated" in str(each.message)]:
        raise MosaicError(f"{path}: {cut[0]}")
    images = [axes == 2 and bool(shape) and 0 not in shape for _, axes, shape in kinds]
    if number is None:
        number = images.index(True) if True in images else 0
    if not (0 <= number < len(hdus) and images[number]):
        there = ", ".join(f"{i}: {name} {shape or ''}" for i, (name, _, shape) in enumerate(kinds))
        raise MosaicError(f"{path}: HDU {number} holds no image of two axes; there are {there}")
    return hdus[number]


def _window(hdu, rows: slice, columns: slice, convert: Callable):
    """Pixels of a window, converted by a function strip by strip."""
    window, compressed = None, isinstance(hdu, fits.CompImageHDU)
    for low in range(rows.start, rows.stop, _ROWS):
        strip = slice(low, min(low + _ROWS, rows.stop))
        # Whole rows at a time: astropy reads parts of rows one by one.
        pixels = hdu.section[strip, columns] if compressed else hdu.section[strip, :][:, columns]
        found = convert(pixels)
        if window is None:
            window = np.empty((rows.stop - rows.start, found.shape[1]), found.dtype)
        window[low - rows.start : strip.stop - rows.start] = found
    return window


def _single(pixels) -> Float[np.ndarray, "height width"]:
    return pixels.astype(np.float32)


def _bit(bit: int) -> int:
    if not 0 <= bit < 63:
        raise MosaicError(f"bit {bit} of the mask; wanted those from 0 to 62")
    return bit


def _wcs(header) -> tuple[WCS | None, float | None]:
    """Celestial coordinates and the pixel scale [arcsec], as far as the header has them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(header)
            if wcs.naxis == 2 and wcs.has_celestial:
                return wcs, float(np.mean(proj_plane_pixel_scales(wcs)) * 3600)
    except Exception:  # wcslib's errors are of many kinds, and none of them is a reason to stop
        pass
    return None, next(_numbers(header, ["PIXSCALE"], 0.0), None)


def _zero_point(header) -> float | None:
    return next(_numbers(header, _ZERO_POINTS, -np.inf), _UNITS.get(_unit_name(header).lower()))


def _unit_name(header) -> str:
    name = str(header.get("BUNIT", "")).replace(" ", "")
    return name.removesuffix("/pixel").removesuffix("/pix")


def _unit(header) -> u.UnitBase | None:
    """The unit of BUNIT; none where its factor is one that FITS tables cannot carry."""
    try:
        unit = u.Unit(_unit_name(header))
    except (ValueError, TypeError):
        return None
    try:
        return unit if unit.scale > 0 and unit.to_string("fits") else None
    except u.UnitScaleError:
        return None
    except ValueError:  # not among FITS's units, which astropy writes all the same
        return unit


def _numbers(header, names, above: float) -> Iterator[float]:
    """Values of those keywords that hold a finite number above a limit."""
    for name in names:
        value = header.get(name)
        if isinstance(value, int | float) and np.isfinite(value) and value > above:
            yield float(value)


def _check_number(name: str, value: float | None, above: float) -> None:
    if value is not None and not (np.isfinite(value) and value > above):
        wanted = "a finite number" if np.isinf(above) else f"a finite number above {above:g}"
        raise MosaicError(f"{name} is {value}; wanted {wanted}")
