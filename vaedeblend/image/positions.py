"""Where the user says that an image's sources are."""

from pathlib import Path

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.exceptions import MosaicError
from vaedeblend.io.mosaic import Mosaic


def read_positions(path: str | Path, mosaic: Mosaic):
    """(y, x) of the rows of a table, which may lie off the image: those are left out.

    Raises:
        MosaicError: The table cannot be read, has no positions, or the image no WCS for them.
    """
    try:
        table = Table.read(path)
    except Exception as error:  # of readers of many formats
        why = str(error).partition("\n")[0]  # others list all formats that astropy knows
        raise MosaicError(f"{path}: no table could be read ({why})") from error
    names = {name.lower(): name for name in table.colnames}
    kind = next((kind for kind in (("x", "y"), ("ra", "dec")) if names.keys() >= {*kind}), None)
    if kind is None:
        raise MosaicError(f"{path}: columns {table.colnames}; wanted x and y, or ra and dec")
    x, y = (_numbers(path, table[names[name]]) for name in kind)
    if kind == ("ra", "dec"):
        if mosaic.wcs is None:
            raise MosaicError(f"{path}: has ra and dec, but {mosaic.path} has no WCS; wanted x, y")
        x, y = _pixels(mosaic.wcs, x, y)
    position = np.stack([y, x], axis=1)
    inside = (position >= -0.5) & (position < np.subtract(mosaic.shape, 0.5))  # False for NaN
    return position[inside.all(axis=1)]


def _numbers(path, column) -> Float[np.ndarray, " n"]:
    """Of a column, NaN where it is masked."""
    try:
        values = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    except (ValueError, TypeError) as error:
        raise MosaicError(f"{path}: column {column.name} ({error}); wanted numbers") from error
    if values.ndim > 1:
        raise MosaicError(f"{path}: column {column.name} of {values.ndim} axes; wanted one number")
    return values


def _pixels(wcs, ra, dec):
    """Of places on the sky; NaN where one has none."""
    x, y = np.full((2, len(ra)), np.nan)
    known = np.isfinite(ra + dec)
    if known.any():
        x[known], y[known] = wcs.all_world2pix(ra[known], dec[known], 0, quiet=True)
    return x, y
