"""PSFs at places of an image, wherever these are, averaged to the cells of an even grid."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.wcs import WCS
from jaxtyping import Float
from scipy.spatial import cKDTree

from vaedeblend.exceptions import PsfError
from vaedeblend.io.fits.sky import to_pixels
from vaedeblend.survey import inside

CELL = 600
"""Side of a cell within which PSFs are averaged: an arcmin of Euclid's VIS [pixel]."""

_ON_SKY = "ra", "dec"
_PAIRS = ("x", "y"), ("x_image", "y_image"), _ON_SKY
"""Names of places, those before others that are taken first."""


class PsfStamps(NamedTuple):
    """PSFs at places of an image."""

    position: Float[np.ndarray, "n 2"]
    """(y, x) on the image [0-based pixels]."""
    stamps: Float[np.ndarray, "n side side"]
    """As they are in the file: their sum is the share of light that they hold, or any number."""


def psf_cells(
    psfs: PsfStamps, shape: tuple[int, int], cell: int = CELL
) -> Float[np.ndarray, "rows columns side side"]:
    """PSFs of the cells of an even grid over an image.

    A cell has the mean of the PSFs that lie on it, or the nearest one to its centre.

    Args:
        psfs: PSFs and their places.
        shape: Height and width of the image [pixel].
        cell: Side of a cell, nearly [pixel].
    """
    centres = cell_centres(shape, cell)
    parts = centres.shape[:2]
    here = inside(psfs.position, shape)
    row, column = (psfs.position[here] // np.divide(shape, parts)).astype(int).clip(0).T
    number = row * parts[1] + column
    n, side = parts[0] * parts[1], psfs.stamps.shape[1]
    counts = np.bincount(number, minlength=n)
    sums = np.zeros((n, side, side))
    np.add.at(sums, number, psfs.stamps[here])
    nearest = psfs.stamps[cKDTree(psfs.position).query(centres.reshape(-1, 2))[1]]
    means = sums / np.maximum(counts, 1)[:, None, None]
    cells = np.where(counts[:, None, None] > 0, means, nearest)
    return cells.reshape(*parts, side, side)


def cell_centres(shape: tuple[int, int], cell: int = CELL) -> Float[np.ndarray, "rows columns 2"]:
    """(y, x) of the centres of the cells of an even grid [pixel].

    Args:
        shape: Height and width of the image [pixel].
        cell: Side of a cell, nearly [pixel].
    """
    parts = np.maximum(np.rint(np.divide(shape, cell)), 1).astype(int)
    number = np.stack(np.indices(tuple(parts.tolist())), axis=-1)
    return (number + 0.5) * np.divide(shape, parts) - 0.5


def places_of(
    source: str | Path, columns: Mapping[str, Any], shape: tuple[int, int], wcs: WCS | None
) -> Float[np.ndarray, "n 2"]:
    """(y, x) on an image [0-based pixels] of columns X and Y, which count from 1, or RA and DEC.

    NaN of what has no place on the image's sky.

    Args:
        source: Name of what holds the columns, in errors.
        columns: Columns by name, in small or capital letters; coordinates on the sky in degrees.
        shape: Height and width of the image [pixel].
        wcs: Its celestial coordinates.

    Raises:
        PsfError: There are no such columns, one holds no numbers, or the image has no WCS.
    """
    named = {name.lower(): values for name, values in columns.items()}
    pair = next((pair for pair in _PAIRS if named.keys() >= {*pair}), None)
    if pair is None:
        raise PsfError(f"{source}: columns {', '.join(columns)}; wanted x and y, or ra and dec")
    try:
        numbers = (np.ma.filled(np.ma.asarray(named[n], float), np.nan) for n in pair)
        first, second = map(np.atleast_1d, numbers)
    except (TypeError, ValueError) as error:
        raise PsfError(f"{source}: {' and '.join(pair)} hold no numbers ({error})") from error
    if pair == _ON_SKY:
        if wcs is None:
            raise PsfError(f"{source}: has ra and dec, but the image has no WCS; wanted x and y")
        return to_pixels(wcs, first, second, shape)
    return np.stack([second, first], axis=1) - 1
