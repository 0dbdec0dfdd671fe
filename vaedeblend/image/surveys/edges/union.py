"""Shards put side by side: what two tiles hold of one source is settled, and nothing else changes.

Tiles measure a little beyond their cores. Of what several tiles found at one place there is one
row in the end: that of the tile in whose core the first of them, by name, has put it. A settled
file names a tile's own rows of its shard, and their flags; the shard stays as it is.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack
from jaxtyping import Bool, Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vaedeblend.exceptions import SurveyError
from vaedeblend.image.catalogue.columns import BESIDE_BRIGHT, BRIGHT
from vaedeblend.image.groups import beside_bright
from vaedeblend.image.surveys import shards
from vaedeblend.image.surveys.edges.cores import BORDER, depth, tile_scale
from vaedeblend.image.surveys.listing import SurveyTile
from vaedeblend.io.folders.digest import digest

_SAME = 0.3
"""Distance within which two tiles speak of one source [arcsec]."""
_COLUMNS = "ra", "dec", "core_depth", "flux_ujy", "apparent", "flags"
"""Columns that are compared."""


class UnionTask(NamedTuple):
    """A tile whose shard is settled with its neighbours'."""

    out: str
    tile: SurveyTile
    others: tuple[SurveyTile, ...]
    """Neighbours that have a shard."""
    digest: str
    """Digest of all the shards that take part."""


def union_tasks(
    out: Path, tiles: Sequence[SurveyTile], others: Mapping[str, Sequence[SurveyTile]]
) -> dict[str, UnionTask]:
    """A task for each tile that has a shard, by name.

    Args:
        out: Folder of the survey.
        tiles: All tiles.
        others: Neighbours of each, by its name.
    """
    marks = {tile.name: shards.read_mark(out, tile.name) for tile in tiles}
    found = {}
    for tile in tiles:
        if marks[tile.name] is None:
            continue
        near = tuple(each for each in others[tile.name] if marks[each.name] is not None)
        parts = sorted((each.name, marks[each.name].shard) for each in (tile, *near))
        found[tile.name] = UnionTask(str(out), tile, near, digest(str(parts).encode()))
    return found


def settle(task: UnionTask) -> int:
    """Writes which sources are a tile's own, unless that has been done; their number.

    Raises:
        SurveyError: A shard is damaged.
        FileError: The file cannot be written.
    """
    out, name = Path(task.out), task.tile.name
    mark = shards.read_mark(out, name)
    if mark is None or not shards.is_whole(out, mark):
        raise SurveyError(f"{shards.shard_path(out, name)}: is not what its mark was written for")
    path = shards.shard_path(out, name, shards.SETTLED)
    known = shards.settled_rows(path, task.digest)
    if known is not None:
        return known
    tables = {
        each.name: shards.read_shard(shards.shard_path(out, each.name), _COLUMNS)
        for each in (task.tile, *task.others)
    }
    row = np.flatnonzero(_owned(tables, task))
    flags = np.asarray(_flagged(tables, task.tile)["flags"])[row]
    shards.write_shard(path, Table({"row": row, "flags": flags}), shards=task.digest)
    return len(row)


def _owned(tables: dict[str, Table], task: UnionTask) -> Bool[np.ndarray, " n"]:
    """Rows of a tile that stay: those inside, and at the border one of each source."""
    name, mine = task.tile.name, tables[task.tile.name]
    near = {each: np.abs(table["core_depth"]) < 2 * BORDER for each, table in tables.items()}
    tiles = {each.name: each for each in (task.tile, *task.others)}
    kept = np.asarray(mine["core_depth"]) >= 0
    rows = [(each, i) for each in sorted(tables) for i in np.flatnonzero(near[each])]
    if len(tables) == 1 or not rows:
        return np.ones(len(mine), bool)
    sky = np.array([[tables[each][axis][i] for axis in ("ra", "dec")] for each, i in rows])
    clusters = _clusters(sky, [each for each, _ in rows])
    owners = _owners(tiles, sky[[members[0] for members in clusters]])
    for members, owner in zip(clusters, owners, strict=True):
        names = [rows[k][0] for k in members]
        taken = owner if owner in names else names[0]
        for k in members:
            if rows[k][0] == name:
                kept[rows[k][1]] = taken == name
    return kept


def _owners(tiles: dict[str, SurveyTile], places: Float[np.ndarray, "n 2"]) -> list[str]:
    """Tiles in whose cores places lie."""
    names = sorted(tiles)  # of tiles in which a place lies as deep the first has it
    depths = [depth(tiles[name], *places.T) for name in names]
    return [names[i] for i in np.argmax(depths, axis=0)]


def _clusters(sky: Float[np.ndarray, "n 2"], names: Sequence[str]) -> list[np.ndarray]:
    """Rows of different tiles that are of one source: each other's nearest; first tiles first."""
    n, vectors = len(sky), SkyCoord(*sky.T, unit="deg").cartesian.xyz.value.T
    pairs, of = [], np.array(names)
    for one in sorted({*names}):
        for other in sorted({each for each in names if each > one}):
            i, j = np.flatnonzero(of == one), np.flatnonzero(of == other)
            distance, there = cKDTree(vectors[j]).query(vectors[i])
            _, back = cKDTree(vectors[i]).query(vectors[j])
            mutual = (back[there] == np.arange(len(i))) & (distance < np.radians(_SAME / 3600))
            pairs += [(i[k], j[there[k]]) for k in np.flatnonzero(mutual)]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _flagged(tables: dict[str, Table], tile: SurveyTile) -> Table:
    """A tile's sources, those that lie beside a bright source of a neighbour flagged."""
    mine = tables[tile.name]
    bright = [mine] + [
        table[np.asarray(table["flags"]) & BRIGHT > 0]
        for name, table in tables.items()
        if name != tile.name
    ]
    joined = vstack(bright, metadata_conflicts="silent")
    if len(joined) == len(mine):
        return mine
    ra, dec = np.asarray(joined["ra"]), np.asarray(joined["dec"])
    east = ((ra - ra[0] + 180) % 360 - 180) * np.cos(np.radians(dec))
    place = np.stack([dec - dec[0], east], axis=1) * 3600 / tile_scale(tile)
    flux, apparent = (np.asarray(joined[name], float) for name in ("flux_ujy", "apparent"))
    is_bright = np.asarray(joined["flags"]) & BRIGHT > 0
    faint = beside_bright(place, flux, apparent, is_bright)[: len(mine)]
    mine["flags"] |= np.where(faint, BESIDE_BRIGHT, 0)
    return mine
