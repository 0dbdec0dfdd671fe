"""Neighbouring tiles of one sky: a simulated tile cut into pieces that overlap.

Where tiles overlap they hold the same pixels, and their cores together are the tile that was cut.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.euclid.mer.simulate import simulate_tile
from vaedeblend.io import write

_NEXT = 10_000
"""What is added to the number of a tile for each further one of a grid."""
_TRUTH = "truth.fits"


class TileGrid(NamedTuple):
    """Tiles whose cores cover a sky."""

    rows: int = 1
    columns: int = 1
    reach: int = 200
    """Width of what a tile holds beyond its core, as far as the sky goes [pixel]; MER's tiles of
    the Wide survey have 600."""


class _Window(NamedTuple):
    """A tile's pixels on the sky."""

    number: int
    span: tuple[slice, slice]


def simulate_grid(folder: str | Path, grid: TileGrid, *, size: int, **options) -> Table:
    """Writes the products of neighbouring tiles, and truth.fits of each; returns the whole truth.

    Args:
        folder: Folder that takes the tiles' own folders, named by their numbers.
        grid: Number of tiles.
        size: Side of a tile's core [pixel].
        **options: Further keywords of `simulate.simulate_tile`.

    Raises:
        VaedeblendError: As `simulate_tile` does.
    """
    folder = write.prepare_folder(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".whole-") as whole:
        shape = size * grid.rows, size * grid.columns
        truth = simulate_tile(whole, size=shape, **options)
        number = int(truth.meta["tile"])
        for window in _windows(number, size, grid):
            own = write.prepare_folder(folder / f"{window.number:09d}")
            for path in sorted((Path(whole) / truth.meta["tile"]).iterdir()):
                name = re.sub(r"TILE\d{9}", f"TILE{window.number:09d}", path.name)
                _cut_file(path, own / name, window)
    return truth


def _windows(number: int, size: int, grid: TileGrid) -> Iterator[_Window]:
    """The tiles of a grid, row by row."""
    spans = [
        [
            slice(max(k * size - grid.reach, 0), min((k + 1) * size + grid.reach, n * size))
            for k in range(n)
        ]
        for n in (grid.rows, grid.columns)
    ]
    pairs = ((y, x) for y in spans[0] for x in spans[1])
    return (_Window(number + _NEXT * k, pair) for k, pair in enumerate(pairs))


def _cut_file(path: Path, to: Path, window: _Window) -> None:
    """Writes a tile's part of a product, or of the truth."""
    if path.name == _TRUTH:
        truth = Table.read(path, hdu="TRUTH")
        write.write_tables(to, {"TRUTH": _within(truth, window, 0)})
        return
    with fits.open(path, memmap=True) as hdus:
        cut = [_cut(hdu, window) for hdu in hdus]
        with write.replacing(to) as partial:
            fits.HDUList(cut).writeto(partial)


def _cut(hdu, window: _Window):
    """A tile's part of an image, or of a table of stamps on one; stamps that are cut are lost."""
    if hdu.is_image and hdu.data is None:
        return hdu.copy()
    if not hdu.is_image:
        table = _within(Table(hdu.data), window, 1)
        return fits.BinTableHDU(table, name=hdu.name)
    header = hdu.header.copy()
    header.update(WCS(hdu.header)[window.span].to_header())
    kind = fits.PrimaryHDU if isinstance(hdu, fits.PrimaryHDU) else fits.ImageHDU
    return kind(np.array(hdu.data[window.span]), header)


def _within(table: Table, window: _Window, first: int) -> Table:
    """Rows that lie on a tile, at their places (x, y) there, which count from `first`."""
    here, inside = table.copy(), np.ones(len(table), bool)
    for axis, span in zip("yx", window.span, strict=True):
        place = np.asarray(table[axis], float) - first
        inside &= (place >= span.start - 0.5) & (place < span.stop - 0.5)
        here[axis] = np.asarray(table[axis], float) - span.start
        here[axis].unit = table[axis].unit
    return here[inside]
