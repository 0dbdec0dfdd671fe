"""Images of a survey as files, of which windows are read.

Positions are (y, x), 0-based. Whatever its type, byte order or compression in the file, a window
is read as float32, together with a map of its bad pixels.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.nddata import NDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, binary_erosion

from vaedeblend.exceptions import MosaicError
from vaedeblend.io.fits.header import Facts, pixel_unit, read_facts, with_inherited
from vaedeblend.io.fits.memory import MARK, as_hdus, refuse_another
from vaedeblend.io.fits.numbers import as_count as as_count  # of any option of an image
from vaedeblend.io.fits.numbers import as_gain, as_noise, as_uncertainty, is_constant
from vaedeblend.io.fits.numbers import as_number as as_number
from vaedeblend.io.fits.planes import Plane, check_apart, open_plane
from vaedeblend.io.fits.planes import split_plane as split_plane  # of any path to a plane
from vaedeblend.io.write import prepare_folder, replacing, write_image

_LARGEST = 1e15
"""Absolute value above which, or below whose inverse, squares leave single precision's range."""
PSF_CARDS = "PSF", "PSFSCALE"
"""Header cards of results: the PSF that was given, from their folder or the root; its sampling."""
_PLAIN = "".join(map(chr, range(ord(" "), ord("~")))).replace("%", "")
"""What stands in header cards as it is."""
NOISES = "rms", "variance", "weight"
"""Forms of a map of the background's noise."""
_STRIP = 512
"""Rows that are written at a time."""
_RUN = 5
"""Side of the least square of pixels of one value in which there are no data."""


def to_card(text: str) -> str:
    """A text, as a path, in ASCII: what a header cannot hold is written as in URLs."""
    return quote(text, safe=_PLAIN, errors="surrogateescape")


def of_card(text: str) -> str:
    """A text that `to_card` has written."""
    return unquote(text, errors="surrogateescape")


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
    facts: Facts
    """What the header says; zero point and gain may have been given instead."""
    zero_point: float | None
    """AB magnitude of one image unit."""
    gain: float | None
    """Electrons per image unit."""
    planes: Mapping[str, Plane]
    """Image, mask and noise (as rms, variance or weight), those that were given."""
    mask_bits: int
    """Sum of the mask's flag bits that count; -1 for all."""
    scale: float
    """Factor, a power of two, by which the image's unit fits into single precision."""
    empty: float | None
    """Value that squares of pixels without data hold."""
    limits: tuple[float, float] | None
    """Values that a pixel with light lies between; None for any."""
    noise_factor: float
    """What the map of the noise is multiplied by, as an rms."""

    @property
    def wcs(self) -> WCS | None:
        """Celestial coordinates of the image's two axes."""
        return self.facts.wcs

    @property
    def pixel_scale(self) -> float | None:
        """Mean side of a pixel [arcsec]."""
        return self.facts.pixel_scale

    @property
    def unit(self) -> u.UnitBase | None:
        """Unit of a flux."""
        return self.facts.unit

    @property
    def noise(self) -> str | None:
        """Form of the noise's map; None without one."""
        return next((form for form in NOISES if form in self.planes), None)

    def read(self, rows: slice, columns: slice) -> Pixels:
        """Pixels of a window; no more than the window is read.

        Raises:
            MosaicError: The file is damaged there.
        """
        image, mask = (self.plane(each, rows, columns) for each in ("image", "mask"))
        bad = ~self._within(np.abs(image), -1.0)  # true of NaN
        if self.limits is not None:
            bad |= (image <= self.limits[0]) | (image >= self.limits[1])
        if mask is not None:
            bad |= mask
        if self.empty is not None:
            bad |= self._empty(rows, columns)
        rms = None
        if self.noise is not None:
            rms = self.noise_factor * as_rms(self.noise, self.plane(self.noise, rows, columns))
            bad |= ~self._within(rms, 1 / _LARGEST)
            rms[bad] = np.inf
        image[bad] = 0
        return Pixels(image, rms, bad)

    def read_raw(self, rows: slice, columns: slice) -> Pixels:
        """Pixels of a window as they stand in the files, the noise in its own form.

        Raises:
            MosaicError: The file is damaged there.
        """
        parts = ("image", self.noise or "rms", "mask")
        image, noise, mask = (self.plane(each, rows, columns) for each in parts)
        bad = ~np.isfinite(image)
        return Pixels(image, noise, bad if mask is None else bad | mask)

    def _within(self, values, least: float) -> Bool[np.ndarray, "height width"]:
        """True of numbers above the least whose squares stay within range."""
        with np.errstate(over="ignore"):
            scaled = values * self.scale
        return (scaled > least) & (scaled < _LARGEST)

    def plane(self, role: str, rows: slice, columns: slice):
        """Pixels of a window of the image, or of its noise or mask; None without that plane.

        Raises:
            MosaicError: The file is damaged there.
        """
        if role not in self.planes:
            return None
        convert = self._masked if role == "mask" else _single
        try:
            return self.planes[role].read(rows, columns, convert)
        except (OSError, ValueError, TypeError) as error:
            raise MosaicError(f"{self.path}: rows {rows.start}-{rows.stop} ({error})") from error

    def _masked(self, flags) -> Bool[np.ndarray, "height width"]:
        """True where the mask's flags say that a pixel is bad."""
        if self.mask_bits == -1:
            return flags != 0
        known = np.isfinite(flags)
        return ~known | (np.where(known, flags, 0).astype(np.int64) & self.mask_bits != 0)

    def _empty(self, rows: slice, columns: slice) -> Bool[np.ndarray, "height width"]:
        """Pixels without data, whatever the window: what decides is read about it, too."""
        spans = zip((rows, columns), self.shape, strict=True)
        wide = [slice(max(s.start - _RUN, 0), min(s.stop + _RUN, n)) for s, n in spans]
        image = self.plane("image", *wide)
        here = [
            slice(s.start - w.start, s.stop - w.start)
            for s, w in zip((rows, columns), wide, strict=True)
        ]
        return runs(image, self.empty)[*here]


@contextlib.contextmanager
def open_mosaic(
    image: str | Path,
    *,
    hdu: int | str | None = None,
    mask: str | Path | None = None,
    mask_bits: Sequence[int] | None = None,
    zero_point=None,
    gain=None,
    scale: float = 1.0,
    empty: float | None = None,
    limits: tuple[float, float] | None = None,
    noise_factor: float = 1.0,
    **noise: str | Path | None,
) -> Iterator[Mosaic]:
    """Opens an image, and its noise and mask where there are any, for reading windows.

    Paths may name a plane of their file; see `planes`.

    Args:
        image: FITS file, compressed or not.
        hdu: Number or name of the image's HDU; by default see `planes.open_plane`.
        mask: FITS file of a mask; pixels that are not 0 are ignored.
        mask_bits: Flag bits that mask a pixel; 0 is the least significant. By default all.
        zero_point: AB magnitude of one image unit, as `numbers.as_number` takes it; by default the
            header's, or that of its unit.
        gain: Electrons per image unit, as `numbers.as_gain` takes them; by default the header's, 0
            for none.
        scale: Power of two by which the image's unit fits into single precision.
        empty: Value that squares of pixels without data hold.
        limits: Values that a pixel with light lies between; any by default.
        noise_factor: What the map of the noise is multiplied by, as an rms.
        **noise: FITS file of the background's standard deviation in the image's unit (`rms`), of
            its square (`variance`), or of that one's inverse (`weight`), 0 without data.

    Raises:
        MosaicError: A file is missing or damaged, holds no such image, or the shapes differ.
    """
    zero_point = as_number(zero_point, "zero point")
    _check_number("zero point", zero_point, -np.inf)
    bits = -1 if mask_bits is None else sum(1 << bit for bit in {*map(_bit, mask_bits)})
    given = _noise(noise) | ({} if mask is None else {"mask": mask})
    with contextlib.ExitStack() as stack:
        planes = {"image": open_plane(stack, image, "image", hdu=hdu)}
        for role, path in given.items():
            planes[role] = open_plane(stack, path, role, image=planes["image"])
        _check_planes(planes)
        if "mask" in planes and mask_bits is not None:
            _check_bits(planes["mask"], max(mask_bits, default=0))
        header, inherited = with_inherited(planes["image"].hdu.header, planes["image"].primary)
        facts = read_facts(header, inherited)
        zero_point = facts.zero_point if zero_point is None else zero_point
        gain = as_gain(gain, facts.unit)
        _check_number("gain", gain, 0.0, or_zero=True)
        gain = facts.gain if gain is None else gain or None
        path, shape = planes["image"].path, planes["image"].shape
        known = path, shape, header, facts, zero_point, gain, planes, bits, scale, empty
        yield Mosaic(*known, limits, noise_factor)


def write_given(
    inputs: Mapping[str, Any], folder: Path, hdu: int | str | None = None
) -> dict[str, Any]:
    """Inputs of a job, those that are in memory as FITS files, so that any process can read them.

    Arrays, masked arrays, Quantities, NDData, HDUs and lists of them become files named for what
    they are; an image's NDData has mask and noise, too, where these are not given. Noise is brought
    to the image's unit, where both have one; a number is that of every pixel. Paths and tables stay
    as they are.

    Args:
        inputs: Inputs by name, that of the image being `image`.
        folder: Folder that takes the files.
        hdu: Number or name of the image's HDU, where the image is a file.

    Raises:
        MosaicError: There is no image, or a unit or a type is not what is wanted.
        FolderError: A file of these names is there that no run has written.
        FileError: A file cannot be written.
    """
    given = dict(inputs)
    image = given["image"]
    if image is None:
        raise MosaicError("image: None; wanted a path, an array or an HDU")
    if isinstance(image, NDData):
        given |= _parts(image, given)
    files: dict[str, Path] = {}
    in_memory = {
        name: value
        for name, value in given.items()
        if not (value is None or isinstance(value, str | Path | Table))
    }
    for name in in_memory:
        refuse_another(folder / f"{name}.fits")
    for name, value in in_memory.items():
        if name in NOISES and getattr(value, "unit", None) is not None:
            unit = getattr(image, "unit", None) or _unit_of(files.get("image", image), hdu)
            value = as_noise(value, name, unit)
        files[name] = prepare_folder(folder) / f"{name}.fits"
        if name in NOISES and is_constant(value):
            _write_constant(files[name], value, name, files.get("image", image), hdu)
            continue
        with replacing(files[name]) as partial, warnings.catch_warnings():
            warnings.simplefilter("ignore", VerifyWarning)  # cards are as the caller has them
            as_hdus(value, name).writeto(partial, output_verify="silentfix")
    return given | files


def _unit_of(image: str | Path, hdu) -> u.UnitBase | None:
    with open_mosaic(image, hdu=hdu) as mosaic:
        return pixel_unit(mosaic.header)


def _write_constant(path: Path, value, name: str, image: str | Path, hdu) -> None:
    """Writes an image of one number, as large as that of a file."""
    number = as_number(getattr(value, "value", value), name)
    _check_number(name, number, 0.0)
    with open_mosaic(image, hdu=hdu) as mosaic:
        height, width = mosaic.shape
    with write_image(path, (height, width), fits.Header([MARK])) as put:
        for low in range(0, height, _STRIP):
            put(np.full((min(_STRIP, height - low), width), number, np.float32))


def _parts(image: NDData, given: Mapping) -> dict[str, Any]:
    """Mask and noise of an NDData, where they are not given."""
    parts = {}
    if image.mask is not None and given.get("mask") is None:
        parts["mask"] = image.mask
    if image.uncertainty is not None and not any(given.get(each) is not None for each in NOISES):
        deviation = as_uncertainty(image.uncertainty, StdDevUncertainty, MosaicError)
        unit = deviation.unit
        parts["rms"] = deviation.array if unit is None else u.Quantity(deviation.array, unit)
    return parts


def as_rms(form: str, noise: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The rms of a map of noise in one of the forms NOISES; NaN where there is none."""
    if form == "rms":
        return noise
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(noise)
        return root if form == "variance" else 1 / root


def runs(
    image: Float[np.ndarray, "height width"], value: float
) -> Bool[np.ndarray, "height width"]:
    """Pixels of squares that hold one value alone; beyond the image all pixels do."""
    equal = image == value
    if not equal.any():
        return equal
    square = np.ones((_RUN, _RUN), bool)
    return binary_dilation(binary_erosion(equal, square, border_value=1), square) & equal


def _noise(given: Mapping) -> dict[str, str | Path]:
    """The one map of noise, by its form."""
    if unknown := given.keys() - {*NOISES}:
        raise TypeError(f"open_mosaic: no option {min(unknown)!r}")
    maps = {form: path for form, path in given.items() if path is not None}
    if len(maps) > 1:
        raise MosaicError(f"{' and '.join(maps)} are given; wanted one of {', '.join(NOISES)}")
    return maps


def _check_planes(planes: Mapping[str, Plane]) -> None:
    check_apart(planes)
    image = planes["image"]
    for plane in planes.values():
        if plane.shape != image.shape:
            raise MosaicError(
                f"{plane.path}: {plane.shape} pixels; wanted those of {image.path}, {image.shape}"
            )


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


def _single(pixels) -> Float[np.ndarray, "height width"]:
    return pixels.astype(np.float32)


def _bit(bit: int) -> int:
    if not 0 <= bit < 63:
        raise MosaicError(f"bit {bit} of the mask; wanted those from 0 to 62")
    return bit


def _check_bits(mask: Plane, highest: int) -> None:
    """Refuses a bit that the mask's numbers do not have: it may be the value of one."""
    bits = abs(mask.hdu.header["BITPIX"])
    if highest >= bits:
        wanted = f"wanted the numbers of bits, from 0 to {bits - 1}, and not their values"
        raise MosaicError(f"{mask}: bit {highest} of numbers of {bits} bits; {wanted}")


def _check_number(name: str, value: float | None, above: float, or_zero: bool = False) -> None:
    usable = value is None or (np.isfinite(value) and value > above) or (or_zero and value == 0)
    if not usable:
        wanted = "a finite number" if np.isinf(above) else f"a finite number above {above:g}"
        raise MosaicError(f"{name} is {value}; wanted {wanted}{', or 0 for none' * or_zero}")
