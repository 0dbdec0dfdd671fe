"""The sources of tiles: each tile's in a file, and all as one catalogue, whatever the tiles were.

The file of a tile holds a cube of pages (see `pixels.profiles`) and two tables: a row a source with
the columns `columns.MEASURED` and corner, and a row a pair of sources that overlap.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Bool, Float, Int

from vaedeblend.catalogues.positions import Listed, with_list
from vaedeblend.image.catalogue.columns import (
    BANDS,
    BESIDE_BRIGHT,
    BRIGHT,
    CATALOGUE_COLUMNS,
    FLUXES,
    MEASURED,
    UNMEASURED,
    catalogue_table,
    unusable,
)
from vaedeblend.io.mosaic import Mosaic, image_header
from vaedeblend.io.write import replacing
from vaedeblend.pixels.profiles import Profiles, write_profiles

_SAME = 1.0
"""Distance within which two tiles speak of one source [pixel]."""


class Catalog(NamedTuple):
    """All sources of an image."""

    table: Table
    """One row a source, those of a list first and then by y, x: `columns.CATALOGUE_COLUMNS`."""
    pairs: Table
    """Sources that overlap: id_1, id_2, covariance of their fluxes, correlation."""
    profiles: Profiles
    """Light of the sources, in stamps.fits."""
    apparent: Float[np.ndarray, " n"] | None = None
    """Flux at least, as the pixels about a source have it [image unit]."""
    said: tuple[str, ...] = ()
    """What was assumed, found and mended of the inputs, a sentence each."""

    @property
    def unusable(self) -> str:
        """Why no source can be used; empty where one can."""
        return unusable(self.table[self.table["binning"] > 0])


class Part(NamedTuple):
    """The sources of a tile's core, positions on the whole image."""

    columns: dict[str, np.ndarray]
    """The columns MEASURED and BANDS of `columns`, and `place`: (y, x) of the pixel by which a
    source is that of a tile, wherever its light was found."""
    pair: Float[np.ndarray, "pair 2 2"]
    """(y, x) of two sources that overlap; one of them may be another tile's."""
    correlation: Float[np.ndarray, " pair"]
    profiles: Profiles
    """Light of the sources, in the tile's file."""

    def scaled(self, factor: float) -> "Part":
        """The same sources in a unit of which `factor` are one of the present unit."""
        columns = {
            name: values * factor if name in FLUXES else values
            for name, values in self.columns.items()
        }
        return self._replace(columns=columns, profiles=self.profiles.scaled(factor))

    def select(self, kept: Bool[np.ndarray, " n"]) -> "Part":
        """Some of the sources, and all pairs."""
        columns = {name: values[kept] for name, values in self.columns.items()}
        return self._replace(columns=columns, profiles=self.profiles.select(kept))


def write_part(path: str | Path, part: Part) -> None:
    """Writes the sources of a tile; the file is there when all of them are in it."""
    sources = Table(part.columns | {"corner": part.profiles.corner})
    pairs = Table({"pair": part.pair, "correlation": part.correlation})
    hdus = [fits.PrimaryHDU(part.profiles.copy().pages)]
    hdus += map(fits.table_to_hdu, (sources, pairs))
    with replacing(path) as partial:
        fits.HDUList(hdus).writeto(partial, checksum=True)


def is_whole_part(path: Path) -> bool:
    """Whether a file is what `write_part` wrote, to the bit."""
    try:
        with (
            warnings.catch_warnings(action="error"),  # astropy warns of a sum that differs
            path.open("rb") as file,
            fits.open(file, checksum=True) as hdus,
        ):
            return len([hdu.data for hdu in hdus if "DATASUM" in hdu.header]) == 3
    except Exception:  # of a reader of damaged files
        return False


def read_part(path: str | Path) -> Part:
    """The sources that `write_part` has written; their light stays in the file."""
    with fits.open(path, memmap=False) as hdus:
        sources, pairs = (
            {name: np.array(hdu.data[name]) for name in hdu.columns.names} for hdu in hdus[1:]
        )
    profiles = Profiles.read(path, sources["binning"], sources.pop("corner"))
    return Part(sources, pairs["pair"], pairs["correlation"], profiles)


def merge(
    parts: Sequence[Part],
    mosaic: Mosaic,
    path: str | Path,
    listed: Listed | None = None,
    bands: Sequence[str] = (),
) -> Catalog:
    """The catalogue of all tiles' sources, whose light goes into a file.

    Rows of a list come first, in its order, and all of them: those that no tile has measured are
    NaN and dark.

    Args:
        parts: Sources of the tiles that cover the image; of a pair that two know of, the first one
            tells.
        mosaic: Image that the tiles cover; see `columns.catalogue_table`.
        path: FITS file that takes the sources' stamps, as a cube: page by page.
        listed: List of positions, if one was given; see `positions.with_list`.
        bands: Names of the bands beside the first one.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from vaedeblend.image.groups import beside_bright

    n_listed = 0 if listed is None else len(listed.same_row)
    measured = np.concatenate([part.columns["input_row"] for part in parts])
    missing = np.setdiff1d(np.arange(n_listed), measured)
    parts = [*parts, _unmeasured(missing, parts[0].profiles.size, len(bands))]
    joined = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in (*MEASURED, *BANDS)
    }
    rank = np.where(joined["input_row"] < 0, n_listed, joined["input_row"])
    order = np.lexsort([*joined["position"].T[::-1], rank])
    position, pair = joined["position"][order], np.concatenate([part.pair for part in parts])
    column = {name: values[order] for name, values in joined.items()}
    bright = column["flags"] & BRIGHT > 0
    faint = beside_bright(position, column["flux"], column["apparent"], bright)
    column["flags"] = column["flags"] | np.where(faint, BESIDE_BRIGHT, 0)
    unit = image_header(mosaic).get("BUNIT")
    unit = unit if isinstance(unit, str) else None  # a number says nothing
    profiles = write_profiles(path, [part.profiles for part in parts], order, unit)
    correlation = np.concatenate([part.correlation for part in parts])
    pair, correlation = _matched(position, pair, correlation)
    n = len(position)
    graph = coo_array((np.ones(len(pair)), pair.T), shape=(n, n))
    column["group_id"] = connected_components(graph, directed=False)[1] + 1
    column |= {"corner": profiles.corner, "stamp": profiles.first}
    table = catalogue_table(column, mosaic, bands)
    if listed is not None:
        table = with_list(table, listed)
    error = column["flux_err"][pair]
    ids = {f"id_{k + 1}": pair[:, k] + 1 for k in (0, 1)}
    pairs = Table(
        ids | {"covariance": correlation * error.prod(axis=1), "correlation": correlation}
    )
    return Catalog(table, pairs, profiles, column["apparent"])


def _unmeasured(rows: Int[np.ndarray, " n"], size: int, bands: int) -> Part:
    """Rows of a list as sources of which nothing is known, and that have no page of light."""
    n = len(rows)
    kinds = {column.name: column.dtype for column in CATALOGUE_COLUMNS}
    columns = {
        name: np.full(n, np.nan) if kinds[name] is float else np.zeros(n, kinds[name])
        for name in MEASURED
        if name in kinds
    }
    columns |= {"position": np.full((n, 2), np.nan), "input_row": rows, "apparent": np.zeros(n)}
    columns |= {"position_variance": np.full((n, 3), np.nan), "flux_err_alone": np.full(n, np.nan)}
    columns |= dict.fromkeys(BANDS, np.full((n, bands), np.nan))
    columns["flags"] = np.full(n, UNMEASURED)
    none = np.zeros(n, int)
    dark = Profiles(np.zeros((0, size, size), np.float32), none, none, np.full((n, 2), -1))
    return Part(columns, np.zeros((0, 2, 2)), np.zeros(0), dark)


def _matched(position, pair, correlation):
    """Pairs of positions as pairs of rows, each once; tiles that meet both know of a pair."""
    from scipy.spatial import cKDTree

    if not len(pair):
        return np.zeros((0, 2), int), correlation
    placed = np.flatnonzero(np.isfinite(position).all(axis=1))
    distance, row = cKDTree(position[placed]).query(pair)
    row = placed[row]
    row.sort(axis=1)
    known = (distance < _SAME).all(axis=1) & (row[:, 0] < row[:, 1])
    row, first = np.unique(row[known], axis=0, return_index=True)
    return row, correlation[known][first]
