"""The sources of all tiles as one catalogue, the same whatever the tiles were."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vaedeblend.image.columns import catalogue_table
from vaedeblend.image.tiles import Part
from vaedeblend.io.mosaic import Mosaic
from vaedeblend.io.write import write_image

_CHUNK = 1000
"""Stamps that are copied at a time."""
_SAME = 1.0
"""Distance within which two tiles speak of one source [pixel]."""


class Stamps(Sequence):
    """Light of each source on the image's pixels, left on disk until it is asked for."""

    def __init__(
        self, path: str | Path, page: Int[np.ndarray, " n"], binning: Int[np.ndarray, " n"]
    ):
        """Of a cube (page, size, size) in a FITS file: from which page on each fills binning^2."""
        with fits.open(path) as hdus:
            self.path, self.shape = Path(path), hdus[0].shape
            self.offset = hdus[0].fileinfo()["datLoc"]
        self.page, self.binning = page, binning

    @property
    def sides(self) -> Int[np.ndarray, " n"]:
        """Of the stamps [pixel]."""
        return self.shape[1] * self.binning

    def __len__(self):
        return len(self.page)

    def __getitem__(self, i: int) -> Float[np.ndarray, "side side"]:
        return self.take(np.arange(len(self))[[i]])[0]

    def take(self, index: Int[np.ndarray, " n"]) -> list[Float[np.ndarray, "_ _"]]:
        """Several of them."""
        if not len(index):
            return []
        cube = np.memmap(self.path, ">f4", "r", self.offset, self.shape)  # forgotten at once
        pages, binning = _pages(self.page[index], self.binning[index]), self.binning[index]
        light = cube[pages].astype(np.float32)
        each = np.split(light, np.cumsum(binning**2)[:-1])
        return [
            stamp.reshape(side, side) for stamp, side in zip(each, self.sides[index], strict=True)
        ]

    def only(self, index: Int[np.ndarray, " n"]) -> "Stamps":
        """The same, without the others."""
        return Stamps(self.path, self.page[index], self.binning[index])


def _pages(first: Int[np.ndarray, " n"], binning: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """All pages of stamps, one stamp's after the other's, from the first of each."""
    counts = binning**2
    return (first - _first(binning)).repeat(counts) + np.arange(counts.sum())


def _first(binning: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """First page of each stamp, where all lie one after the other."""
    return np.cumsum(binning**2) - binning**2


class Catalog(NamedTuple):
    """All sources of an image."""

    table: Table
    """One row a source, by y then x: `columns.COLUMNS`."""
    pairs: Table
    """Sources that overlap: id_1, id_2, covariance of their fluxes, correlation."""
    stamps: Stamps
    corner: Int[np.ndarray, "n 2"]
    """(y, x) of each stamp's first pixel."""


def merge(parts: Sequence[Part], mosaic: Mosaic, path: str | Path) -> Catalog:
    """The catalogue of all tiles' sources, whose light goes into a file.

    Args:
        parts: Of the tiles that cover the image.
        path: FITS file that takes the sources' stamps, as a cube: page by page.
        mosaic: Image that the tiles cover; see `columns.catalogue_table`.
    """
    joined = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    order = np.lexsort(joined["position"].T[::-1])
    position, pair = joined["position"][order], np.concatenate([part.pair for part in parts])
    column = {name: values[order] for name, values in joined.items()}
    pages = _pages(_first(joined["binning"])[order], column["binning"])
    _write_pages(path, [part.stamps for part in parts], pages)
    correlation = np.concatenate([part.correlation for part in parts])
    pair, correlation = _matched(position, pair, correlation)
    n = len(position)
    graph = coo_array((np.ones(len(pair)), pair.T), shape=(n, n))
    column["group_id"] = connected_components(graph, directed=False)[1] + 1
    column["stamp"] = _first(column["binning"])
    table = catalogue_table(column, mosaic)
    error = column["flux_err"][pair]
    ids = {f"id_{k + 1}": pair[:, k] + 1 for k in (0, 1)}
    pairs = Table(
        ids | {"covariance": correlation * error.prod(axis=1), "correlation": correlation}
    )
    stamps = Stamps(path, column["stamp"], column["binning"])
    return Catalog(table, pairs, stamps, column["corner"])


def _write_pages(path: str | Path, files: Sequence[Path], order: Int[np.ndarray, " n"]) -> None:
    """The pages of several arrays, taken one after the other, in an order."""
    shapes = [np.load(file, mmap_mode="r").shape for file in files]
    ends = np.cumsum([len_ for len_, *_ in shapes])
    starts, size = np.concatenate([[0], ends[:-1]]), shapes[0][1:]
    with write_image(path, (len(order), *size), fits.Header()) as put:
        for rows in np.split(order, range(_CHUNK, len(order), _CHUNK)):
            light, part = (
                np.empty((len(rows), *size), np.float32),
                np.searchsorted(ends, rows, "right"),
            )
            for i in np.unique(part):
                here = part == i
                light[here] = np.load(files[i], mmap_mode="r")[rows[here] - starts[i]]
            put(light)


def _matched(position, pair, correlation):
    """Pairs of positions as pairs of rows, each once; tiles that meet both know of a pair."""
    if not len(pair):
        return np.zeros((0, 2), int), correlation
    distance, row = cKDTree(position).query(pair)
    row.sort(axis=1)
    known = (distance < _SAME).all(axis=1) & (row[:, 0] < row[:, 1])
    row, first = np.unique(row[known], axis=0, return_index=True)
    return row, correlation[known][first]
