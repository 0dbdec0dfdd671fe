"""Shifts of a band's image against VIS's, fitted on bright sources and averaged by region."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.ndimage import map_coordinates

REGION = 1024
"""Side of a region, nearly [pixel]."""
_FLOOR = 0.02
"""Error of any place, of both bands' own [pixel]."""
_ALIKE = 0.05
"""Difference of a region's shift from the image's that is expected [pixel]."""
_LARGEST, _FEWEST = 3.0, 3
"""Largest shift that is one [pixel], and least number of sources of which one is made."""
_CLIP = 4.0
"""Distance from the median beyond which a source's shift is none [its scatter]."""


class Shifts(NamedTuple):
    """Shifts of single sources."""

    position: Float[np.ndarray, "n 2"]
    """(y, x) on the band's image."""
    shift: Float[np.ndarray, "n 2"]
    """(y, x) from where the WCS has the source [pixel]."""
    variance: Float[np.ndarray, "n 2"]


class ShiftField(NamedTuple):
    """Shifts at the centres of the regions of an even grid over an image."""

    cells: Float[np.ndarray, "rows columns 2"]
    shape: tuple[int, int]

    def at(self, position: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Shifts at places (y, x), linear between the regions' centres."""
        parts = np.array(self.cells.shape[:2])
        place = np.nan_to_num((position + 0.5) * parts / np.array(self.shape) - 0.5).T
        options = {"order": 1, "mode": "nearest"}
        return np.stack(
            [map_coordinates(self.cells[..., k], place, **options) for k in (0, 1)], axis=1
        )

    def added(self, other: "ShiftField") -> "ShiftField":
        """The sum of both."""
        return self._replace(cells=self.cells + other.cells)


def no_shift(shape: tuple[int, int]) -> ShiftField:
    """A field without shifts over an image of a height and width."""
    return ShiftField(
        np.zeros((*np.maximum(np.rint(np.divide(shape, REGION)), 1).astype(int), 2)), shape
    )


def source_shift(
    residual: Float[np.ndarray, " pixel"],
    weight: Float[np.ndarray, " pixel"],
    flux: float,
    parts: Sequence[Float[np.ndarray, " pixel"]],
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """The shift (y, x) of one source, and its variances, by a fit of flux and place.

    Args:
        residual: Image less the model of all sources.
        weight: Inverse variance.
        flux: The source's flux in the model.
        parts: Its template, and the change of that with a shift along y and x.
    """
    columns = np.stack([parts[0], flux * parts[1], flux * parts[2]], axis=1)
    normal = columns.T @ (weight[:, None] * columns)
    covariance = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
    return (covariance @ (columns.T @ (weight * residual)))[1:], np.diagonal(covariance)[1:]


def shift_field(shifts: Shifts, shape: tuple[int, int]) -> tuple[ShiftField, int]:
    """The field of single sources' shifts, and how many of them it is of.

    A region's is the weighted mean of its sources', drawn towards that of the whole image where
    these are few.

    Args:
        shifts: Sources.
        shape: Height and width of the image.
    """
    field = no_shift(shape)
    shifts = _usable(shifts)
    if len(shifts.shift) < _FEWEST:
        return field, 0
    weight = 1 / (shifts.variance + _FLOOR**2)
    mean = (weight * shifts.shift).sum(axis=0) / weight.sum(axis=0)
    parts = np.array(field.cells.shape[:2])
    cell = ((shifts.position + 0.5) * parts / np.array(shape)).astype(int).clip(0, parts - 1)
    total, weights = (np.zeros_like(field.cells) for _ in range(2))
    np.add.at(total, tuple(cell.T), weight * shifts.shift)
    np.add.at(weights, tuple(cell.T), weight)
    prior = 1 / _ALIKE**2
    return field._replace(cells=(total + prior * mean) / (weights + prior)), len(shifts.shift)


def joined(parts: Sequence[Shifts]) -> Shifts:
    """The shifts of all pieces of an image."""
    return Shifts(*map(np.concatenate, zip(*parts, strict=True)))


def _usable(shifts: Shifts) -> Shifts:
    """Shifts that are measured, and no more off than the scatter of all."""
    good = (np.abs(shifts.shift) < _LARGEST).all(axis=1) & (shifts.variance > 0).all(axis=1)
    shifts = _taken(shifts, good)
    if not good.any():
        return shifts
    off = np.abs(shifts.shift - np.median(shifts.shift, axis=0))
    scatter = np.hypot(1.4826 * np.median(off, axis=0), np.sqrt(shifts.variance + _FLOOR**2))
    return _taken(shifts, (off < _CLIP * scatter).all(axis=1))


def _taken(shifts: Shifts, rows: Shaped[np.ndarray, " _"]) -> Shifts:
    return Shifts(*(each[rows] for each in shifts))
