"""A large image in pieces: each is read, measured and kept on disk, so that a killed run goes on.

Tiles overlap by a margin that holds whatever bears on a source of theirs; a source is that of the
tile in whose core it lies, and the others forget it.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaedeblend.deblend.network import load_deblender
from vaedeblend.image.measure import Measured, measure_field
from vaedeblend.io.mosaic import Mosaic, open_mosaic
from vaedeblend.io.write import replacing

MARGIN = 192
"""Of a tile, beyond its core [pixel]: three stamps."""


class Tile(NamedTuple):
    """A piece of an image: its core, and what is read of it."""

    number: int
    core: tuple[slice, slice]
    window: tuple[slice, slice]


class Part(NamedTuple):
    """The sources of a tile's core, positions on the whole image."""

    columns: dict[str, np.ndarray]
    """Of `field.Measured.table`, and corner: (y, x) of each stamp's first pixel on the image."""
    pair: Float[np.ndarray, "pair 2 2"]
    """(y, x) of two sources that overlap; one of them may be another tile's."""
    correlation: Float[np.ndarray, " pair"]
    stamps: Path
    """File of their light (page, size, size); see `measure.Measured`."""


class Job(NamedTuple):
    """What it takes to measure any tile: plain values, which another process can be sent."""

    image: str
    files: dict
    """Of `mosaic.open_mosaic`, the rms map among them."""
    background: str | None
    """File of what is to be subtracted, if anything."""
    folder: str
    """Takes a file for each tile."""
    weights: str
    options: dict
    """Of `measure.measure_field`."""
    positions: Float[np.ndarray, "n 2"] | None
    """(y, x) on the image, where a list was given."""
    psf: Float[np.ndarray, "rows columns side side"] | None
    """Of the parts of an even grid over the image, at its pixels."""


def plan(shape: tuple[int, int], size: int, margin: int = MARGIN) -> list[Tile]:
    """Tiles whose cores cover an image, each at most `size` pixels a side."""
    spans = [_spans(n, size, margin) for n in shape]
    pairs = ((y, x) for y in spans[0] for x in spans[1])
    return [Tile(i, (y[0], x[0]), (y[1], x[1])) for i, (y, x) in enumerate(pairs)]


def measure_tile(job: Job, tile: Tile) -> None:
    """Measures the sources of a tile's core and writes them, unless that has been done."""
    if _file(job.folder, tile, "npz").exists():
        return
    with open_mosaic(job.image, **job.files) as mosaic:
        image, rms = read_pixels(mosaic, job.background, *tile.window)
        corner = np.array([s.start for s in tile.window])
        here = None
        if job.positions is not None:
            place = job.positions - corner
            inside = (place >= -0.5) & (place < np.subtract(image.shape, 0.5))
            here = place[inside.all(axis=1)]
        deblend, size = _network(job.weights)
        psf = None if job.psf is None else _psf_at(job.psf, corner, mosaic.shape)
        options = {"positions": here, "psf": psf, "gain": mosaic.gain} | job.options
        found = measure_field(deblend, image, rms, size=size, **options)
    _write(job.folder, tile, found, corner)


def read_part(folder: str | Path, tile: Tile) -> Part:
    """What `measure_tile` has written."""
    with np.load(_file(folder, tile, "npz")) as arrays:
        columns = dict(arrays)
    pair, correlation = columns.pop("pair"), columns.pop("correlation")
    return Part(columns, pair, correlation, _file(folder, tile, "npy"))


def read_pixels(mosaic: Mosaic, background: str | None, rows: slice, columns: slice):
    """Image less its background, and the rms; 0 and infinite where a pixel is to be ignored."""
    image, rms, _ = mosaic.read(rows, columns)
    if background is not None:
        with open_mosaic(background) as under:
            image = np.where(np.isfinite(rms), image - under.read(rows, columns).image, 0)
    return image, rms


def _write(folder, tile: Tile, found: Measured, corner) -> None:
    """Sources in the core and their pairs; the second file says that the tile is done."""
    table, pair = found.table, found.groups.pair
    low, high = (np.array([getattr(s, end) for s in tile.core]) for end in ("start", "stop"))
    # Where a source was first put, not where its light was found, decides: it cannot be lost.
    binning = np.asarray(table["binning"])
    place = found.corner + binning[:, None] * found.stamps.shape[1] // 2 + corner
    inside = ((place >= low) & (place < high)).all(axis=1)
    mine, position = inside[pair].any(axis=1), np.asarray(table["position"]) + corner
    columns = {name: np.asarray(table[name]) for name in table.colnames}
    columns |= {"position": position, "corner": found.corner + corner}
    columns = {name: values[inside] for name, values in columns.items()}
    pairs = {"pair": position[pair[mine]], "correlation": found.groups.correlation[mine]}
    with replacing(_file(folder, tile, "npy")) as partial, open(partial, "wb") as file:
        np.save(file, found.stamps[inside.repeat(binning**2)])
    with replacing(_file(folder, tile, "npz")) as partial, open(partial, "wb") as file:
        np.savez(file, **columns, **pairs)


def _file(folder, tile: Tile, suffix: str) -> Path:
    return Path(folder) / f"tile_{tile.number}.{suffix}"


def _spans(n: int, size: int, margin: int) -> list[tuple[slice, slice]]:
    cores = [slice(low, min(low + size, n)) for low in range(0, n, size)]
    return [(c, slice(max(c.start - margin, 0), min(c.stop + margin, n))) for c in cores]


@lru_cache(maxsize=1)
def _network(weights: str):
    """The deblender and the size of its stamps."""
    deblender = load_deblender(weights)
    return deblender.of_fields(), deblender.model.stamp_size


def _psf_at(grid, corner, shape):
    """The function from image and position on a tile to the PSF of the nearest part of the grid."""
    parts = np.array(grid.shape[:2])

    def psf_at(index, position):
        cell = (position + corner) * parts / np.array(shape)
        y, x = np.clip(cell.astype(int), 0, parts - 1).T
        return grid[y, x][..., None]

    return psf_at
