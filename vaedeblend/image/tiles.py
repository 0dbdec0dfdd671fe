"""A large image in pieces: each is read, measured and kept on disk, so that a killed run goes on.

Tiles overlap by a margin that holds whatever bears on a source of theirs; a source is that of the
tile in whose core it lies, and the others forget it.

The network is imported when the first tile has been read: bad input is answered before that.
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from vaedeblend.image.bands.aligned.windows import (
    AlignedBand,
    BandWindow,
    all_bands,
    in_microjansky,
    joined_noise,
    read_window,
    whole_grids,
)
from vaedeblend.image.catalogue.merge import Part, write_part
from vaedeblend.io.folders.digest import kept_while_unchanged
from vaedeblend.io.mosaic import NOISES, Mosaic, open_mosaic
from vaedeblend.io.parallel import parallel_map
from vaedeblend.io.workdir import find_workdir
from vaedeblend.survey import inside

TILES = ".tiles"
"""Folder of the pieces, within that of the results."""
MARGIN = 192
"""Width of what is read of a tile beyond its core [pixel]: three stamps."""


class Tile(NamedTuple):
    """A piece of an image: its core, and the window that is read."""

    number: int
    core: tuple[slice, slice]
    window: tuple[slice, slice]

    def owns(self, place: Int[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether each (y, x) on the whole image is a pixel of the core."""
        low, high = (np.array([getattr(s, end) for s in self.core]) for end in ("start", "stop"))
        return ((place >= low) & (place < high)).all(axis=1)


class Job(NamedTuple):
    """All that the measurement of a tile needs: plain values, for another process as well."""

    image: str
    files: dict
    """Keywords of `mosaic.open_mosaic`, the rms map among them."""
    background: str | None
    """File of the background that is to be subtracted, if any."""
    folder: str
    """Folder that takes a file for each tile."""
    weights: str
    options: dict
    """Keywords of `measure.measure_field`."""
    positions: Float[np.ndarray, "n 2"] | None
    """(y, x) on the image of the rows of a list, NaN where one is not measured; without, None."""
    psf: Float[np.ndarray, "rows columns side side"] | None
    """PSFs of the parts of an even grid over the image, or its `psf_section`, at its pixels."""
    covariance: Float[np.ndarray, "lag lag"] | None = None
    """Autocovariance of the noise, of unit sum; None where pixels are independent."""
    electrons: float | None = None
    """Electrons that are as many as the background's rms; None where the gain is not known."""
    response: tuple | None = None
    """Correction of the network's fluxes (`calibration.Response`); None for none."""
    bands: tuple[AlignedBand, ...] = ()
    """Further bands of the weights', on the same pixels."""

    @property
    def pixel_variance(self) -> float:
        """Variance of a pixel's noise in units of the white-equivalent one."""
        return 1.0 if self.covariance is None else float(self.covariance.max())

    def from_anywhere(self) -> "Job":
        """The job with paths that lead to its files from any folder."""
        maps = [name for name in (*NOISES, "mask") if self.files.get(name)]
        return self._replace(
            image=os.path.abspath(self.image),
            files=self.files | {name: os.path.abspath(self.files[name]) for name in maps},
            background=self.background and os.path.abspath(self.background),
            weights=os.path.abspath(find_workdir(self.weights)),
        )


def plan(
    shape: tuple[int, int],
    size: int,
    margin: int = MARGIN,
    core: tuple[slice, slice] | None = None,
) -> list[Tile]:
    """Tiles whose cores cover an image, or a core of it, each at most `size` pixels a side."""
    core = core or tuple(slice(0, n) for n in shape)
    spans = [_spans(span, n, size, margin) for span, n in zip(core, shape, strict=True)]
    pairs = ((y, x) for y in spans[0] for x in spans[1])
    return [Tile(i, (y[0], x[0]), (y[1], x[1])) for i, (y, x) in enumerate(pairs)]


def measure_tiles(
    job: Job, tiles: Sequence[Tile], processes: int, report: Callable[[str, int, int], None]
) -> None:
    """Measures the sources of all tiles, side by side, as far as that has not been done.

    Args:
        job: What the measurement needs.
        tiles: Pieces of the image.
        processes: Processes that measure them.
        report: Function of the progress: what is done, how much of it, and of how much.
    """
    report("measuring tiles", 0, len(tiles))
    measured = parallel_map(partial, tiles, processes, measure_tile, job)
    for done, _ in enumerate(measured, 1):
        report("measuring tiles", done, len(tiles))


class Instrument(NamedTuple):
    """A deblender, and what it is given of a piece of an image beside its pixels."""

    deblend: Callable
    size: int
    """Side of its stamps [pixel]."""
    psf: Callable | None
    """Function from numbers and positions on the piece to PSFs; None for the one trained for."""
    gain: float | Float[np.ndarray, " band"] | None
    """Electrons per unit of the scaled image; of several bands, of each."""


def network_at(
    job: Job,
    mosaic: Mosaic,
    corner: Int[np.ndarray, " 2"],
    windows: Sequence[BandWindow] = (),
) -> Instrument:
    """The network of a job as it measures a piece of the image.

    Args:
        job: What the measurement needs.
        mosaic: The image.
        corner: (y, x) of the first pixel of the piece.
        windows: Pixels of the further bands on the piece.
    """
    deblend, size = _network(job.weights)
    covariance = joined_noise([job.covariance, *(band.covariance for band in job.bands)])
    if covariance is not None:
        deblend = deblend.under_noise(covariance)
    if job.response is not None:
        deblend = deblend.responding(job.response)
    grids = [job.psf, *(band.psf for band in job.bands)]
    psf = None
    if any(grid is not None for grid in grids):
        whole = tuple(slice(0, n) for n in mosaic.shape)
        section = mosaic.facts.psf_section or whole
        psf = _psf_at(whole_grids(grids, deblend), corner, section)
    gain = None if mosaic.gain is None else mosaic.gain / mosaic.scale
    if windows:
        gain = np.array([np.inf if gain is None else gain, *(each.gain for each in windows)])
    return Instrument(deblend, size, psf, gain)


def measure_tile(job: Job, tile: Tile) -> None:
    """Measures the sources of a tile's core and writes them, unless that has been done."""
    if part_file(job.folder, tile).exists():
        return
    with open_mosaic(job.image, **job.files) as mosaic:
        image, rms = read_pixels(mosaic, job.background, *tile.window)
        corner = np.array([s.start for s in tile.window])
        rows = here = None
        if job.positions is not None:
            rows = np.flatnonzero(inside(job.positions - corner, image.shape))
            here = job.positions[rows] - corner
        from vaedeblend.image.measure import measure_field

        windows = [read_window(band, *tile.window) for band in job.bands]
        network, scale = network_at(job, mosaic, corner, windows), mosaic.scale
        options = network._asdict() | {"positions": here, "covariance": job.covariance}
        image, rms = all_bands(image * scale, rms * scale, windows)
        found = measure_field(image=image, rms=rms, **options, **job.options)
    in_microjansky(found.table, windows)
    listed = None if rows is None else (rows, job.positions[rows])
    write_part(part_file(job.folder, tile), _of_core(tile, found, corner, scale, listed))


def read_pixels(mosaic: Mosaic, background: str | None, rows: slice, columns: slice):
    """Image less its background, and the rms; 0 and infinite where a pixel is to be ignored."""
    image, rms, _ = mosaic.read(rows, columns)
    if background is not None:
        with open_mosaic(background) as under:
            image = np.where(np.isfinite(rms), image - under.read(rows, columns).image, 0)
    return image, rms


def part_file(folder: str | Path, tile: Tile) -> Path:
    """File that takes the sources of a tile."""
    return Path(folder) / f"tile_{tile.number}.fits"


def are_tiles(folder: Path) -> bool:
    """Whether a folder holds nothing but files of tiles: a run was killed as it removed them."""
    return all(re.fullmatch(r"tile_\d+\.fits(\.partial)?", each.name) for each in folder.iterdir())


def _of_core(tile: Tile, found, corner: Int[np.ndarray, " 2"], scale: float, listed=None) -> Part:
    """The measured sources in a tile's core and their pairs, on the whole image, in its unit.

    A source of a list belongs where the list has it: `listed` holds rows and positions of those on
    the window, which come first.
    """
    profiles, pair = found.profiles.moved(-corner), found.groups.pair
    # Tiles put a source at the same pixel, but may find its light a pixel from each other.
    place = found.origin + corner
    row = np.array(found.table["input_row"])
    if listed is not None:
        rows, given = listed
        row[: len(rows)], place[: len(rows)] = rows, np.floor(given + 0.5)
    own = tile.owns(place)
    mine, position = own[pair].any(axis=1), np.asarray(found.table["position"]) + corner
    measured = dict(found.table) | {"position": position, "input_row": row}
    measured["place"] = place
    columns = {name: np.asarray(values)[own] for name, values in measured.items()}
    correlation = found.groups.correlation[mine]
    part = Part(columns, position[pair[mine]], correlation, profiles.select(own))
    return part.scaled(1 / scale)


def _spans(core: slice, n: int, size: int, margin: int) -> list[tuple[slice, slice]]:
    low, high = core.start, core.stop
    cores = [slice(start, min(start + size, high)) for start in range(low, high, size)]
    return [(c, slice(max(c.start - margin, 0), min(c.stop + margin, n))) for c in cores]


def _network(weights: str):
    """The deblender and the size of its stamps."""
    return _loaded(find_workdir(weights))


@kept_while_unchanged(maxsize=1)
def _loaded(workdir: Path):
    from vaedeblend.deblend.network import load_deblender

    deblender = load_deblender(workdir)
    return deblender.of_fields(), deblender.model.stamp_size


def _psf_at(grids, corner, section):
    """The function from image and position on a tile to the PSFs of the nearest parts of grids."""
    first, end = (np.array([getattr(s, name) for s in section]) for name in ("start", "stop"))

    def psf_at(index, position):
        place = (position + corner - first) / (end - first)
        return np.stack([_nearest(grid, place) for grid in grids], axis=-1)

    return psf_at


def _nearest(grid, place) -> Float[np.ndarray, "source side side"]:
    """PSFs of the parts of a grid at places from 0 to 1 on the image."""
    parts = np.array(grid.shape[:2])
    y, x = np.clip((place * parts).astype(int), 0, parts - 1).T
    return grid[y, x]
