"""The sources of tiles: each tile's in a file, and all as one catalogue, whatever the tiles were.

The file of a tile holds a cube of pages (see `pixels.profiles`) and two tables: a row a source with
the columns `columns.MEASURED` and corner, and a row a pair of sources that overlap.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.image.columns import catalogue_table
from vaedeblend.io.mosaic import Mosaic
from vaedeblend.io.write import replacing
from vaedeblend.pixels.profiles import Profiles, write_profiles

_SAME = 1.0
"""Distance within which two tiles speak of one source [pixel]."""


class Catalog(NamedTuple):
    """All sources of an image."""

    table: Table
    """One row a source, by y then x: `columns.CATALOGUE_COLUMNS`."""
    pairs: Table
    """Sources that overlap: id_1, id_2, covariance of their fluxes, correlation."""
    profiles: Profiles
    """Light of the sources, in stamps.fits."""
    said: tuple[str, ...] = ()
    """What was assumed, found and mended of the inputs, a sentence each."""


class Part(NamedTuple):
    """The sources of a tile's core, positions on the whole image."""

    columns: dict[str, np.ndarray]
    """The columns `columns.MEASURED`."""
    pair: Float[np.ndarray, "pair 2 2"]
    """(y, x) of two sources that overlap; one of them may be another tile's."""
    correlation: Float[np.ndarray, " pair"]
    profiles: Profiles
    """Light of the sources, in the tile's file."""


def write_part(path: str | Path, part: Part) -> None:
    """Writes the sources of a tile; the file is there when all of them are in it."""
    sources = Table(part.columns | {"corner": part.profiles.corner})
    pairs = Table({"pair": part.pair, "correlation": part.correlation})
    hdus = [fits.PrimaryHDU(part.profiles.copy().pages)]
    hdus += map(fits.table_to_hdu, (sources, pairs))
    with replacing(path) as partial:
        fits.HDUList(hdus).writeto(partial)


def read_part(path: str | Path) -> Part:
    """The sources that `write_part` has written; their light stays in the file."""
    with fits.open(path, memmap=False) as hdus:
        sources, pairs = (
            {name: np.array(hdu.data[name]) for name in hdu.columns.names} for hdu in hdus[1:]
        )
    profiles = Profiles.read(path, sources["binning"], sources.pop("corner"))
    return Part(sources, pairs["pair"], pairs["correlation"], profiles)


def merge(parts: Sequence[Part], mosaic: Mosaic, path: str | Path) -> Catalog:
    """The catalogue of all tiles' sources, whose light goes into a file.

    Args:
        parts: Sources of the tiles that cover the image.
        path: FITS file that takes the sources' stamps, as a cube: page by page.
        mosaic: Image that the tiles cover; see `columns.catalogue_table`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joined = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    order = np.lexsort(joined["position"].T[::-1])
    position, pair = joined["position"][order], np.concatenate([part.pair for part in parts])
    column = {name: values[order] for name, values in joined.items()}
    profiles = write_profiles(path, [part.profiles for part in parts], order)
    correlation = np.concatenate([part.correlation for part in parts])
    pair, correlation = _matched(position, pair, correlation)
    n = len(position)
    graph = coo_array((np.ones(len(pair)), pair.T), shape=(n, n))
    column["group_id"] = connected_components(graph, directed=False)[1] + 1
    column |= {"corner": profiles.corner, "stamp": profiles.first}
    table = catalogue_table(column, mosaic)
    error = column["flux_err"][pair]
    ids = {f"id_{k + 1}": pair[:, k] + 1 for k in (0, 1)}
    pairs = Table(
        ids | {"covariance": correlation * error.prod(axis=1), "correlation": correlation}
    )
    return Catalog(table, pairs, profiles)


def _matched(position, pair, correlation):
    """Pairs of positions as pairs of rows, each once; tiles that meet both know of a pair."""
    from scipy.spatial import cKDTree

    if not len(pair):
        return np.zeros((0, 2), int), correlation
    distance, row = cKDTree(position).query(pair)
    row.sort(axis=1)
    known = (distance < _SAME).all(axis=1) & (row[:, 0] < row[:, 1])
    row, first = np.unique(row[known], axis=0, return_index=True)
    return row, correlation[known][first]
