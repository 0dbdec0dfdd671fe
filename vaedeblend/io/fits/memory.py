"""Images in memory as FITS HDUs: arrays of any kind, NDData, and HDUs themselves."""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from vaedeblend.exceptions import FolderError, MosaicError
from vaedeblend.io.fits.header import mended

MARK = "GIVEN", True, "to a run, in memory"
"""Header card by which a file is known to be what was given in memory."""
_HDUS = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU


def as_hdus(value, name: str) -> fits.HDUList:
    """HDUs that hold an image, with its unit and WCS as far as it has them, and MARK.

    Args:
        value: Array, masked array, Quantity, NDData, HDU or list of HDUs.
        name: What it is, for messages.

    Raises:
        MosaicError: It is none of these, or holds no numbers.
    """
    hdus = _hdus(value, name)
    for hdu in hdus:
        hdu.header = mended(hdu.header)
    hdus[0].header.append(MARK)
    return hdus


def refuse_another(path: Path) -> None:
    """What is given in memory takes the place of what was before, and of no other file.

    Raises:
        FolderError: There is another one.
    """
    try:
        ours = not path.exists() or fits.getheader(path).get(MARK[0]) is True
    except OSError:
        ours = False
    if not ours:
        raise FolderError(
            f"{path}: would be overwritten, and no run of this program has written it; wanted "
            "another folder for the results"
        )


def _hdus(value, name: str) -> fits.HDUList:
    if isinstance(value, fits.HDUList):
        return fits.HDUList([_copied(hdu, name) for hdu in value])
    if isinstance(value, fits.PrimaryHDU):
        return fits.HDUList([_copied(value, name)])
    if isinstance(value, _HDUS):
        return fits.HDUList([fits.PrimaryHDU(), _copied(value, name)])
    unit = getattr(value, "unit", None)
    header = fits.Header()
    if isinstance(value, NDData):
        if isinstance(value.meta, fits.Header):
            header = value.meta.copy()
        if isinstance(value.wcs, WCS):
            header.update(value.wcs.to_header(relax=True))
        value = value.data
    if unit is not None:
        header["BUNIT"] = _unit_name(unit)
    return fits.HDUList([fits.PrimaryHDU(_numbers(value, name), header)])


def _copied(hdu, name: str):
    try:
        return hdu.copy()
    except ValueError as error:  # its file was closed before its pixels were read
        raise MosaicError(f"{name}: HDU {hdu.name!r} ({error}); wanted an open file") from error


def _unit_name(unit: u.UnitBase) -> str:
    try:
        return unit.to_string("fits")
    except ValueError:  # not among FITS's units
        return str(unit)


def _numbers(value, name: str) -> np.ndarray:
    """Numbers of a kind that FITS has; NaN where they are masked."""
    if np.ma.isMaskedArray(value):
        value = np.where(np.ma.getmaskarray(value), np.nan, value.filled(0))
    values = np.asarray(getattr(value, "value", value))
    if values.ndim and values.dtype.kind not in "biuf":
        raise MosaicError(f"{name}: an array of {values.dtype}; wanted real numbers")
    if not values.ndim:
        raise MosaicError(f"{name}: {type(value).__name__}; wanted a path, an array or an HDU")
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):  # half, or long double
        return values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    return values
