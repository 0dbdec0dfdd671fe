"""The sources of all tiles as one catalogue, the same whatever the tiles were."""

from collections.abc import Sequence
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vaedeblend.field import FLAGS
from vaedeblend.mosaic import Mosaic
from vaedeblend.tiles import Part

_MAGNITUDES = 2.5 / np.log(10)
_SAME = 1.0
"""Distance within which two tiles speak of one source [pixel]."""


class Stamps(Sequence):
    """Light of each source, left on disk until it is asked for."""

    def __init__(
        self, maps: Sequence[Float[np.ndarray, "_ size size"]], order: Int[np.ndarray, " n"]
    ):
        """Stamps of several arrays, one after the other, in an order."""
        self.maps, self.size = maps, maps[0].shape[1]
        ends = np.cumsum([len(each) for each in maps])
        self.map = np.searchsorted(ends, order, side="right")
        self.row = order - np.concatenate([[0], ends])[self.map]

    def __len__(self):
        return len(self.row)

    def __getitem__(self, i) -> Float[np.ndarray, "size size"]:
        return np.array(self.maps[self.map[i]][self.row[i]])

    def take(self, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n size size"]:
        """Several of them."""
        empty = np.zeros((0, self.size, self.size), np.float32)
        return np.stack([self[i] for i in index]) if len(index) else empty


class Catalog(NamedTuple):
    """All sources of an image."""

    table: Table
    """One row a source, by y then x: see `merge`."""
    pairs: Table
    """Sources that overlap: id_1, id_2, covariance of their fluxes, correlation."""
    stamps: Stamps
    corner: Int[np.ndarray, "n 2"]
    """(y, x) of each stamp's first pixel."""


def merge(parts: Sequence[Part], mosaic: Mosaic) -> Catalog:
    """The catalogue of all tiles' sources.

    Its columns: id, x, y, ra, dec, flux, flux_err, mag, mag_err, half_light_radius, purity,
    n_neighbours, axis_ratio, chi2, captured, hidden, flags, group_id.

    Args:
        parts: Of the tiles that cover the image.
        mosaic: The image: its WCS, pixel scale and zero point, each of which may be missing; ra and
            dec, or magnitudes, are NaN then, and radii in pixels.
    """
    joined = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    order = np.lexsort(joined["position"].T[::-1])
    position, pair = joined["position"][order], np.concatenate([part.pair for part in parts])
    stamps = Stamps([part.stamps for part in parts], order)
    column = {name: values[order] for name, values in joined.items()}
    correlation = np.concatenate([part.correlation for part in parts])
    pair, correlation = _matched(position, pair, correlation)
    n = len(position)
    graph = coo_array((np.ones(len(pair)), pair.T), shape=(n, n))
    table = _table(column, mosaic)
    table["group_id"] = connected_components(graph, directed=False)[1] + 1
    error = column["flux_err"][pair]
    ids = {f"id_{k + 1}": pair[:, k] + 1 for k in (0, 1)}
    pairs = Table(
        ids | {"covariance": correlation * error.prod(axis=1), "correlation": correlation}
    )
    return Catalog(table, pairs, stamps, column["corner"])


def _table(column, mosaic: Mosaic) -> Table:
    flux, error = column["flux"], column["flux_err"]
    y, x = column["position"].T
    ra, dec = np.full((2, len(flux)), np.nan)
    if mosaic.wcs is not None and len(flux):
        ra, dec = mosaic.wcs.all_pix2world(x, y, 0)
    zero_point = np.nan if mosaic.zero_point is None else mosaic.zero_point
    scale = mosaic.pixel_scale
    radius = column["half_light_radius"] * (u.pix if scale is None else scale * u.arcsec)
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = zero_point - 2.5 * np.log10(flux)
        magnitude_error = _MAGNITUDES * error / flux
    table = Table(
        {
            "id": np.arange(1, len(flux) + 1),
            "x": x * u.pix,
            "y": y * u.pix,
            "ra": ra * u.deg,
            "dec": dec * u.deg,
            "flux": flux,
            "flux_err": error,
            "mag": magnitude * u.mag,
            "mag_err": magnitude_error * u.mag,
            "half_light_radius": radius,
        }
        | {name: column[name] for name in _KEPT}
    )
    table.meta |= {f"FLAG{bit}": name for bit, (name, _) in FLAGS.items()}
    return table


_KEPT = ("purity", "n_neighbours", "axis_ratio", "chi2", "captured", "hidden", "flags")


def _matched(position, pair, correlation):
    """Pairs of positions as pairs of rows, each once; tiles that meet both know of a pair."""
    if not len(pair):
        return np.zeros((0, 2), int), correlation
    distance, row = cKDTree(position).query(pair)
    row.sort(axis=1)
    known = (distance < _SAME).all(axis=1) & (row[:, 0] < row[:, 1])
    row, first = np.unique(row[known], axis=0, return_index=True)
    return row, correlation[known][first]
