"""PSFs of a MER tile: stamps at many places, averaged to the cells of an even grid.

GRID-PSF and CATALOG-PSF hold one image, of stamps of STMPSIZE pixels, and a table of their places:
on that image (`x_center`, `y_center`; the mosaic's own for a grid) and on the mosaic (`x`, `y`),
all 1-based. Neither need be complete: rows may be NaN, and places without a stamp exist.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Float
from scipy.spatial import cKDTree

from vaedeblend.exceptions import MerError

CELL = 600
"""Side of a cell within which PSFs are averaged: an arcmin [pixel]."""

_LEAST, _MOST = 0.5, 1.5
"""Sums of a stamp that holds a PSF."""


class PsfStamps(NamedTuple):
    """PSFs at places of a mosaic, at its pixels."""

    position: Float[np.ndarray, "n 2"]
    """(y, x) on the mosaic [0-based pixels]."""
    stamps: Float[np.ndarray, "n side side"]
    """As they are in the file: their sum is the share of light that they hold, or 1."""


def is_psf_product(path: str | Path) -> bool:
    """Whether a FITS file holds stamps of PSFs and a table of their places."""
    try:
        hdus = fits.open(path)
    except (OSError, ValueError):  # also of one plane of a file
        return False
    with hdus:
        return len(hdus) > 2 and "STMPSIZE" in hdus[1].header and not hdus[2].is_image


def read_psf_product(path: str | Path) -> PsfStamps:
    """The PSFs of a GRID-PSF or CATALOG-PSF product; rows without a usable stamp are left out.

    Raises:
        MerError: The file is damaged or of another kind, or holds no PSF.
    """
    try:
        with fits.open(path, memmap=True) as hdus:
            size = int(hdus[1].header["STMPSIZE"])
            places = Table(hdus[2].data)
            position, centre = _places(path, places)
            image = hdus[1].data
            stamps = [_cut(image, at, size) for at in centre]
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise MerError(
            f"{path}: no PSF product could be read ({error}); wanted an image of stamps with "
            "STMPSIZE, and a table of their places"
        ) from error
    if size < 3 or size % 2 == 0:
        raise MerError(f"{path}: STMPSIZE is {size}; wanted an odd number from 3")
    usable = np.array([stamp is not None and _is_psf(stamp) for stamp in stamps], bool)
    if not usable.any():
        raise MerError(f"{path}: none of {len(stamps)} stamps holds a PSF; wanted at least one")
    kept = np.stack([stamp for stamp, use in zip(stamps, usable, strict=True) if use])
    return PsfStamps(position[usable], kept)


def psf_cells(
    psfs: PsfStamps, shape: tuple[int, int], cell: int = CELL
) -> Float[np.ndarray, "rows columns side side"]:
    """PSFs of the cells of an even grid over a mosaic.

    A cell has the mean of the PSFs that lie on it, or the nearest one to its centre.

    Args:
        psfs: PSFs and their places.
        shape: Height and width of the mosaic [pixel].
        cell: Side of a cell, nearly [pixel].
    """
    parts = np.maximum(np.rint(np.divide(shape, cell)), 1).astype(int)
    sides = np.divide(shape, parts)
    row, column = (psfs.position // sides).astype(int).clip(0, parts - 1).T
    number = row * parts[1] + column
    n, side = parts.prod(), psfs.stamps.shape[1]
    counts = np.bincount(number, minlength=n)
    sums = np.zeros((n, side, side))
    np.add.at(sums, number, psfs.stamps)
    centres = (np.stack(np.divmod(np.arange(n), parts[1]), axis=1) + 0.5) * sides
    nearest = psfs.stamps[cKDTree(psfs.position).query(centres)[1]]
    means = sums / np.maximum(counts, 1)[:, None, None]
    cells = np.where(counts[:, None, None] > 0, means, nearest)
    return cells.reshape(*parts, side, side)


def _places(path, table: Table):
    """(y, x) of each PSF on the mosaic, and of its stamp's centre on the image; 0-based."""
    names = {name.lower(): name for name in table.colnames}
    if not names.keys() >= {"x", "y"}:
        raise MerError(f"{path}: columns {table.colnames}; wanted x and y")
    on_image = ("y_center", "x_center") if "x_center" in names else ("y", "x")
    pairs = (("y", "x"), on_image)
    return [
        np.stack([np.asarray(table[names[name]], float) - 1 for name in pair], axis=1)
        for pair in pairs
    ]


def _cut(image, centre, size: int) -> Float[np.ndarray, "size size"] | None:
    """The stamp about a place; None where that is NaN, or the stamp reaches out of the image."""
    if not np.isfinite(centre).all():
        return None
    y, x = np.rint(centre).astype(int) - size // 2
    inside = 0 <= y <= image.shape[0] - size and 0 <= x <= image.shape[1] - size
    return np.array(image[y : y + size, x : x + size], float) if inside else None


def _is_psf(stamp) -> bool:
    """Whether a stamp is finite, of about unit sum, and brightest in its middle."""
    y, x = np.unravel_index(np.argmax(np.nan_to_num(stamp)), stamp.shape)
    middle = len(stamp) // 2
    sum_ = stamp.sum()
    return bool(_LEAST < sum_ < _MOST and max(abs(y - middle), abs(x - middle)) < 2)
