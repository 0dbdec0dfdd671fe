"""Images in memory as FITS HDUs: arrays of any kind, NDData, and HDUs themselves."""

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from astropy.wcs import WCS

from vaedeblend.exceptions import MosaicError

_HDUS = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU


def as_hdus(value, name: str) -> fits.HDUList:
    """HDUs that hold an image, with its unit and WCS as far as it has them.

    Args:
        value: Array, masked array, Quantity, NDData, HDU or list of HDUs.
        name: What it is, for messages.

    Raises:
        MosaicError: It is none of these, or holds no numbers.
    """
    if isinstance(value, fits.HDUList):
        return fits.HDUList([hdu.copy() for hdu in value])
    if isinstance(value, fits.PrimaryHDU):
        return fits.HDUList([value.copy()])
    if isinstance(value, _HDUS):
        return fits.HDUList([fits.PrimaryHDU(), value.copy()])
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
    if values.dtype.kind not in "biuf" or not values.ndim:
        raise MosaicError(f"{name}: {type(value).__name__}; wanted a path, an array or an HDU")
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8):  # half, or long double
        return values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    return values
