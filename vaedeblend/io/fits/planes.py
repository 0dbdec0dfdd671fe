"""Planes of FITS files: images of two axes, by number, by name, or by the part that they play.

A plane is named as `file.fits`, `file.fits[2]`, `file.fits[RMS]` or `file.fits[SCI,1]`. Without a
number or name, that of several planes is taken whose EXTNAME says what is wanted.
"""

import contextlib
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from vaedeblend.exceptions import MosaicError

_WORDS = {
    "image": {"SCI", "SCIENCE"},
    "rms": {"RMS", "ERR", "ERROR", "SIGMA", "STD", "STDEV"},
    "variance": {"VAR", "VARIANCE"},
    "weight": {"WHT", "WEIGHT", "WEIGHTS", "WGT", "IVAR", "INVVAR"},
    "mask": {"FLG", "FLAG", "FLAGS", "DQ", "MASK", "MSK"},
}
"""Words of EXTNAME by which a plane is known, by the part that it plays."""

_PICTURES = {"BGSUB", "FLUX", "IMAGE"}
"""Words of EXTNAME beside which those of an image's band stand."""

_ROWS = 32
"""Rows that are read at a time."""


class Plane(NamedTuple):
    """An image of two axes in an open FITS file."""

    path: Path
    number: int
    """Number of its HDU."""
    name: str
    """EXTNAME; empty without one."""
    hdu: fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
    shape: tuple[int, int]
    primary: fits.Header | None
    """Header of the file's first HDU; None of the first itself."""
    alike: tuple[str, ...] = ()
    """Other planes of the file that may have been meant as well."""

    def __str__(self) -> str:
        """File, and name or number of the HDU where it is not the first."""
        plane = self.name or self.number
        return f"{self.path}[{plane}]" if plane else str(self.path)

    def read(self, rows: slice, columns: slice, convert: Callable):
        """Pixels of a window, converted by a function strip by strip."""
        window, compressed = None, isinstance(self.hdu, fits.CompImageHDU)
        first = (0,) * (self.hdu.header["NAXIS"] - 2)
        for low in range(rows.start, rows.stop, _ROWS):
            strip = slice(low, min(low + _ROWS, rows.stop))
            # Whole rows at a time: astropy reads parts of rows one by one.
            part = (*first, strip, columns if compressed else slice(None))
            pixels = self.hdu.section[part]
            found = convert(pixels if compressed else pixels[:, columns])
            if window is None:
                window = np.empty((rows.stop - rows.start, found.shape[1]), found.dtype)
            window[low - rows.start : strip.stop - rows.start] = found
        return window


def split_plane(path: str | Path) -> tuple[Path, str | None]:
    """File, and number or name of the plane where the path ends in one within brackets."""
    found = re.fullmatch(r"(.+)\[([^\[\]]+)\]", str(path))
    if found is None or Path(path).exists():
        return Path(path), None
    return Path(found[1]), found[2].strip()


def open_plane(
    stack: contextlib.ExitStack,
    path: str | Path,
    role: str,
    *,
    hdu: int | str | None = None,
    image: Plane | None = None,
) -> Plane:
    """Opens a plane; the stack closes it.

    Args:
        stack: Closes the file.
        path: FITS file, with the plane in brackets if any.
        role: Part that it plays: image, rms, variance, weight or mask.
        hdu: Number or name of the plane, where the path has none.
        image: Plane of the image, beside whose name another's is sought.

    Raises:
        MosaicError: The file cannot be read, or holds no such plane.
    """
    path, wanted = split_plane(path)
    if wanted is not None and hdu is not None and str(hdu) != wanted:
        raise MosaicError(f"{path}: HDU {hdu} and plane [{wanted}]; wanted one of the two")
    wanted = hdu if wanted is None else wanted
    hdus = _opened(stack, path)
    images = {i: shape for i, each in enumerate(hdus) if (shape := _shape(each))}
    number = _chosen(hdus, images, role, image) if wanted is None else _named(hdus, wanted)
    if number not in images:
        there = ", ".join(
            f"{i}: {each.name or 'IMAGE'} {(each.is_image and each.shape) or ''}"
            for i, each in enumerate(hdus)
        )
        found = "HDU 0" if number is None and wanted is None else f"HDU {wanted}"
        cube = any(each.is_image and len(each.shape) > 2 for each in hdus)
        hint = "; wanted each plane of a cube as an image of its own" * cube
        raise MosaicError(f"{path}: {found} holds no image of two axes; there are {there}{hint}")
    each = hdus[number]
    primary = None if each is hdus[0] else hdus[0].header
    name, alike = str(each.header.get("EXTNAME", "")), ()
    if wanted is None and role == "image":
        alike = _alike(hdus, images, number)
    return Plane(path, number, name, each, images[number], primary, alike)


def check_apart(planes: dict[str, Plane]) -> None:
    """No plane plays two parts: the image is never its own rms or mask.

    Raises:
        MosaicError: One does.
    """
    known: dict[tuple[Path, int], str] = {}
    for role, plane in planes.items():
        place = plane.path.resolve(), plane.number
        if place in known:
            raise MosaicError(
                f"{plane}: is the {known[place]} already; wanted another plane as {role}, "
                f"as {plane.path}[NAME]"
            )
        known[place] = role


def _opened(stack: contextlib.ExitStack, path: Path) -> fits.HDUList:
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            # Not mapped: pages of a mapped file would count as memory, and stay.
            hdus = stack.enter_context(fits.open(path, memmap=False))
            [_shape(each) for each in hdus]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MosaicError(f"{path}: no FITS file could be read ({error})") from error
    if cut := [str(each.message) for each in said if "truncated" in str(each.message)]:
        raise MosaicError(f"{path}: {cut[0]}")
    return hdus


def _shape(hdu) -> tuple[int, int] | None:
    """Height and width of an image, whose further axes have one pixel; None of anything else."""
    shape = hdu.shape if hdu.header["NAXIS"] >= 2 and hdu.is_image else ()
    if len(shape) < 2 or 0 in shape or any(n != 1 for n in shape[:-2]):
        return None
    return tuple(shape[-2:])


def _named(hdus: fits.HDUList, wanted: int | str) -> int | None:
    """Number of the HDU of a number, of a name, or of name and version."""
    name, _, version = str(wanted).partition(",")
    if version and not re.fullmatch(r"\s*\d+\s*", version):
        return None
    if re.fullmatch(r"-?\d+", name.strip()):
        return int(name)
    same = [
        i
        for i, hdu in enumerate(hdus)
        if hdu.name.upper() == name.strip().upper() and (not version or hdu.ver == int(version))
    ]
    return same[0] if same else None


def _chosen(hdus, images: dict, role: str, image: Plane | None) -> int | None:
    """Number of the plane that plays a part, where none is named."""
    known = [i for i in images if _role(hdus[i].name) == role]
    if role == "image":
        return known[0] if known else _only_band(hdus, images)
    if len(known) > 1 and image is not None:
        known = [i for i in known if _stem(hdus[i].name) == _stem(image.name)] or known
    if len(known) > 1:
        names = ", ".join(hdus[i].name for i in known)
        said = f"planes {names}; wanted one, as FILE[NAME], or FILE[NAME,2] of several of a name"
        raise MosaicError(f"{hdus.filename()}: {said}")
    if known or len(images) < 2:
        return (known or [*images, None])[0]
    others = [i for i in images if not _role(hdus[i].name) and not _is(image, hdus, i)]
    if not others:
        names = ", ".join(hdus[i].name or str(i) for i in images)
        raise MosaicError(f"{hdus.filename()}: planes {names}; wanted one of {role}, as FILE[NAME]")
    return others[0]


def _only_band(hdus, images: dict) -> int | None:
    """Number of the first image, unless it is that of one band beside those of others."""
    first = next(iter(images), None)
    bands = [i for i in images if _PICTURES & {*_words(hdus[i].name)}]
    if first in bands and len({_stem(hdus[i].name) for i in bands}) > 1:
        names = ", ".join(hdus[i].name for i in bands)
        raise MosaicError(f"{hdus.filename()}: images {names}; wanted one, as FILE[NAME]")
    return first


def _alike(hdus, images: dict, number: int) -> tuple[str, ...]:
    """Planes of the same shape and part as one that is taken, by name and version, or number."""
    own = _role(hdus[number].name)
    same = [i for i in images if images[i] == images[number] and _role(hdus[i].name) == own]
    names = [hdus[i].name for i in same]
    versions = {i: f"{hdus[i].name},{hdus[i].ver}" for i in same}
    known = {i: hdus[i].name if names.count(hdus[i].name) == 1 else versions[i] for i in same}
    return tuple(known[i] if hdus[i].name else str(i) for i in same if i != number)


def _is(image: Plane | None, hdus: fits.HDUList, number: int) -> bool:
    same = image is not None and Path(hdus.filename()).resolve() == image.path.resolve()
    return same and image.number == number


def _words(name: str) -> Sequence[str]:
    return re.split(r"[^A-Z0-9]+", name.upper())


def _role(name: str) -> str | None:
    """The part that a name speaks of."""
    words = {*_words(name)}
    return next((role for role, known in _WORDS.items() if words & known), None)


def _stem(name: str) -> tuple[str, ...]:
    """What a name says besides its part: VIS of VIS_RMS."""
    known = set().union(*_WORDS.values(), _PICTURES)
    return tuple(word for word in _words(name) if word not in known)
