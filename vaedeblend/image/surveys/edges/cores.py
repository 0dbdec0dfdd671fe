"""Which tile a place of the sky belongs to, and the part of a tile that is measured.

A place belongs to the tile in which it lies deepest: farthest from those edges that lie on another
tile. Where a grid of tiles overlaps evenly, that is the core of each; whatever the tiles are, there
is no place of none or of two.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from vaedeblend.image.surveys.listing import SurveyTile
from vaedeblend.image.tiles import MARGIN
from vaedeblend.io.fits.sky import to_pixels, to_sky

BORDER = 0.5
"""Width of what is measured on both sides of a core's border [arcsec]."""

_APART = 3e-4
"""Distance between tiles of which one may read the other's pixels [rad]."""
_PLACES, _ALONG = 129, 9
"""Places along an axis of a tile at which it is asked whose they are, and along an edge."""


class Core(NamedTuple):
    """The part of a tile that is its own."""

    window: tuple[tuple[int, int], tuple[int, int]]
    """First and last rows, and columns, that hold the core and its border [pixel]; the last are not
    of it, and nothing beyond the tile's own pixels is."""
    pixels: float
    """Area [pixel]."""


def with_edges(tiles: Sequence[SurveyTile]) -> tuple[list[SurveyTile], list[list[int]]]:
    """Tiles that know which of their edges lie on another one, and the indices of neighbours.

    Neighbours overlap, or lie so near that one reads the other's pixels.

    Args:
        tiles: All tiles of a survey.
    """
    near = _neighbours(tiles)
    known = []
    for tile, others in zip(tiles, near, strict=True):
        on_others = np.zeros((4, _ALONG), bool)
        for j in others:
            on_others |= _inside(tiles[j], *_edges(tile)).reshape(4, _ALONG)
        known.append(tile._replace(inner=tuple(on_others.any(axis=1).tolist())))
    return known, near


def depth(
    tile: SurveyTile, ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Distance of places on the sky [deg] from a tile's inner edges [arcsec].

    Beyond the tile it is the negative distance from its edges.
    """
    distance = _distances(tile, ra, dec)
    nearest, inner = distance.min(axis=0), [*tile.inner] if any(tile.inner) else [True] * 4
    inside = np.where(nearest >= 0, distance[inner].min(axis=0), nearest)
    return np.nan_to_num(inside * tile_scale(tile), nan=-np.inf)


def core_depth(
    tile: SurveyTile,
    others: Mapping[str, SurveyTile],
    ra: Float[np.ndarray, " n"],
    dec: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Distance of places from the border of a tile's core; negative beyond it [arcsec].

    A border itself belongs to the first tile by name.
    """
    own, best = depth(tile, ra, dec), np.full(len(ra), -np.inf)
    for name, other in others.items():
        there = depth(other, ra, dec)
        best = np.maximum(best, np.nextafter(there, np.inf) if name < tile.name else there)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(best), (own - best) / 2, own)


def find_core(tile: SurveyTile, others: Mapping[str, SurveyTile]) -> Core:
    """The core of a tile among its neighbours."""
    axes = [(np.arange(_PLACES) + 0.5) * n / _PLACES - 0.5 for n in tile.shape]
    y, x = (each.ravel() for each in np.meshgrid(*axes, indexing="ij"))
    own, spans = core_depth(tile, others, *to_sky(tile.wcs, x, y)) >= 0, []
    if not own.any():
        return Core(((0, 1), (0, 1)), 0.0)  # one pixel is looked at, and nothing on it is its own
    for axis, n in zip((y, x), tile.shape, strict=True):
        beyond = n / _PLACES + BORDER / tile_scale(tile)
        low, high = axis[own].min() - beyond, axis[own].max() + beyond
        spans.append((max(int(np.floor(low)), 0), min(int(np.ceil(high)) + 1, n)))
    return Core(tuple(spans), float(np.prod(tile.shape) * own.mean()))


def tile_scale(tile: SurveyTile) -> float:
    """Mean side of a tile's pixels [arcsec]."""
    return 3600 * float(np.mean([each.value for each in tile.wcs.proj_plane_pixel_scales()]))


def outline(tile: SurveyTile) -> Float[np.ndarray, "2 4"]:
    """Right ascension and declination of a tile's corners [deg]."""
    height, width = tile.shape
    x, y = np.array([0.0, width, width, 0.0]), np.array([0.0, 0.0, height, height])
    return to_sky(tile.wcs, x - 0.5, y - 0.5)


def missing_margin(tile: SurveyTile, window) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels that a window wants about it and the tile lacks: before and after, of each axis."""
    return tuple(
        (max(MARGIN - low, 0), max(high + MARGIN - n, 0))
        for (low, high), n in zip(window, tile.shape, strict=True)
    )


def _neighbours(tiles: Sequence[SurveyTile]) -> list[list[int]]:
    if len(tiles) < 2:
        return [[] for _ in tiles]
    corners = [_edges(each) for each in tiles]
    circle = np.array([_vectors(*each) for each in corners])
    centre = circle.mean(axis=1)
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    reach = np.linalg.norm(circle - centre[:, None], axis=2).max(axis=1)
    near = cKDTree(centre).query_ball_point(centre, reach + reach.max() + _APART)
    return [
        sorted(j for j in found if j != i and _meets(tiles[i], *corners[j]))
        for i, found in enumerate(near)
    ]


def _meets(tile: SurveyTile, ra, dec) -> bool:
    """Whether what edges enclose overlaps with a tile and its margin."""
    place = to_pixels(tile.wcs, ra, dec, tile.shape)
    if np.isnan(place).any():
        return False
    high = np.add(tile.shape, MARGIN)
    return bool((place.max(axis=0) > -MARGIN).all() and (place.min(axis=0) < high).all())


def _inside(tile: SurveyTile, ra, dec) -> Bool[np.ndarray, " n"]:
    with np.errstate(invalid="ignore"):
        return _distances(tile, ra, dec).min(axis=0) > 1


def _distances(tile: SurveyTile, ra, dec) -> Float[np.ndarray, "4 n"]:
    """Distances of places from the bottom, top, left and right edges of a tile [pixel]."""
    y, x = to_pixels(tile.wcs, ra, dec, tile.shape).T + 0.5
    return np.stack([y, tile.shape[0] - y, x, tile.shape[1] - x])


def _edges(tile: SurveyTile) -> Float[np.ndarray, "2 n"]:
    """Right ascension and declination of places along the edges, in the order of `_distances`."""
    height, width = tile.shape
    y, x = (np.linspace(-0.5, n - 0.5, _ALONG) for n in tile.shape)
    low, bottom, top = np.full(_ALONG, -0.5), x, x
    ys = np.concatenate([low, np.full(_ALONG, height - 0.5), y, y])
    xs = np.concatenate([bottom, top, low, np.full(_ALONG, width - 0.5)])
    return to_sky(tile.wcs, xs, ys)


def _vectors(ra, dec) -> Float[np.ndarray, "n 3"]:
    """Places on the sky [deg] as unit vectors."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
