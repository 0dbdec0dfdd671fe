"""A catalogue in the terms of Euclid's MER: names, units and conventions of its final catalogue.

So that programs which read EUC_MER_FINAL-CAT read this one, and catalogues of neighbouring tiles
may be put one below the other: a tile's holds the sources of its core alone.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float, Int, Shaped

from vaedeblend.image.catalogue.columns import FLAGS, microjansky
from vaedeblend.io.mosaic import Mosaic

_WIDE, _WIDE_MARGIN = (19200, 19200), 60.0
"""Pixels of a tile of the Wide survey, 32' x 32', and what lies on each side of its core of 30' x
30' [arcsec]."""
_TILE = 1_000_000
"""SEGMENTATION_MAP_ID of source 0 of tile 1."""

_QUALITY = MappingProxyType(
    {
        "masked": 1,
        "beside_bright": 1,
        "unresolved": 1,
        "sky": 1,
        "poor": 1,
        "unmeasured": 1,
        "edge": 8,
        "incomplete": 1024,
    }
)
"""Bits of DET_QUALITY_FLAG that our flags stand for: contaminated by neighbours or bad pixels,
close to the border, not deblended. Bit 2 marks blends, and no flag of ours is of the others."""


class _Terms(NamedTuple):
    """A column of MER's."""

    name: str
    dtype: str
    unit: str | None
    ucd: str
    description: str
    value: Callable[[Table, Mosaic, int], Shaped[np.ndarray, " n"]]


def _plain(name: str):
    """A column of the catalogue."""
    return lambda t, m, tile: np.ma.filled(np.ma.asarray(t[name].data, float), np.nan)


def _microjansky(name: str):
    return lambda t, m, tile: microjansky(m) * _plain(name)(t, m, tile)


def _map_ids(table: Table, _: Mosaic, tile: int) -> Int[np.ndarray, " n"]:
    return tile * _TILE + np.asarray(table["id"], np.int64)


_COLUMNS = (
    _Terms(
        "OBJECT_ID",
        "i8",
        None,
        "meta.id;meta.main",
        "sign(Dec) (int(RA 1e7) 1e9 + int(|Dec| 1e7)), RA and Dec in degrees",
        lambda t, m, tile: object_ids(*(_plain(name)(t, m, tile) for name in ("ra", "dec"))),
    ),
    _Terms("RIGHT_ASCENSION", "f8", "deg", "pos.eq.ra;meta.main", "ICRS", _plain("ra")),
    _Terms("DECLINATION", "f8", "deg", "pos.eq.dec;meta.main", "ICRS", _plain("dec")),
    _Terms("SEGMENTATION_MAP_ID", "i8", None, "meta.id", "tile 1e6 + id of CATALOG", _map_ids),
    _Terms(
        "FLUX_DETECTION_TOTAL",
        "f4",
        "uJy",
        "phot.flux.density",
        "total flux, the posterior's median",
        _microjansky("flux"),
    ),
    _Terms(
        "FLUXERR_DETECTION_TOTAL",
        "f4",
        "uJy",
        "stat.error;phot.flux.density",
        "half the posterior's central 68 % interval",
        _microjansky("flux_err"),
    ),
    _Terms(
        "DEBLENDED_FLAG",
        "i2",
        None,
        "meta.code",
        "1 where the profile overlaps another source's",
        lambda t, m, tile: _parents(t) >= 0,
    ),
    _Terms(
        "PARENT_ID",
        "i8",
        None,
        "meta.id.parent",
        "SEGMENTATION_MAP_ID of the first source of the group that overlaps; -1: not blended",
        lambda t, m, tile: np.where(_parents(t) < 0, -1, tile * _TILE + _parents(t)),
    ),
    _Terms(
        "DET_QUALITY_FLAG",
        "i2",
        None,
        "meta.code.qual",
        "1 contaminated, 2 blended, 8 close to the border, 1024 not deblended",
        lambda t, m, tile: _quality(t),
    ),
    _Terms(
        "POINT_LIKE_PROB",
        "f4",
        None,
        "stat.probability;src.class.starGalaxy",
        "NaN of weights that give none",
        _plain("point_source_prob"),
    ),
    _Terms(
        "SEMIMAJOR_AXIS",
        "f4",
        "pix",
        "phys.angSize.smajAxis",
        "rms along it of the light as seen, PSF included",
        lambda t, m, tile: _plain("semi_major_axis")(t, m, tile) / (m.pixel_scale or 1),
    ),
    _Terms(
        "POSITION_ANGLE",
        "f4",
        "deg",
        "pos.posAng",
        "major axis, counter-clockwise from x; -90 to 90",
        _plain("position_angle"),
    ),
    _Terms(
        "ELLIPTICITY",
        "f4",
        None,
        "src.ellipticity",
        "1 - minor / major axis of the light as seen, PSF included",
        _plain("ellipticity"),
    ),
    _Terms("FWHM", "f4", "arcsec", "phys.angSize", "of a Gaussian of the area", _plain("fwhm")),
    _Terms(
        "VAEDEBLEND_FLAGS",
        "i4",
        None,
        "meta.code.qual",
        "flags of CATALOG; no column of MER's",
        lambda t, m, tile: np.asarray(t["flags"]),
    ),
)


def mer_table(table: Table, mosaic: Mosaic, *, tile: int, margin: float | None = None) -> Table:
    """The sources of a tile's core in MER's terms.

    Args:
        table: The table CATALOG of the whole tile.
        mosaic: The tile's image, whose WCS and zero point are known.
        tile: TILE_INDEX; 0 for another image.
        margin: Width of what lies about the core [arcsec]; by default 60 for a tile of the Wide
            survey, and 0 for other images.
    """
    margin = _margin(mosaic) if margin is None else margin
    kept, found = _in_core(table, mosaic, margin), Table()
    for name, dtype, unit, ucd, description, value in _COLUMNS:
        found[name] = np.asarray(value(table, mosaic, tile)[kept], dtype)
        found[name].unit, found[name].info.meta = unit, {"ucd": ucd}
        found[name].info.description = description
    cards = {name: value for name, value in table.meta.items() if not name.startswith("FLAG")}
    found.meta |= cards | {"TILE": tile, "COREMARG": margin}
    return found


def object_ids(ra: Float[np.ndarray, " n"], dec: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """OBJECT_ID of places on the sky [deg]; 0 of those that are NaN."""
    known = np.isfinite(ra + dec)
    ra, dec = (np.where(known, each, 0) for each in (ra % 360, dec))
    right, up = ((each * 1e7).astype(np.int64) for each in (ra, np.abs(dec)))
    return np.where(known, np.where(dec < 0, -1, 1) * (right * 10**9 + up), 0)


def _margin(mosaic: Mosaic) -> float:
    return _WIDE_MARGIN if mosaic.shape == _WIDE else 0.0


def _in_core(table: Table, mosaic: Mosaic, margin: float) -> Bool[np.ndarray, " n"]:
    """Sources in the core, of whole pixels, whose first edges belong to it and last do not."""
    pixels = np.rint(margin / (mosaic.pixel_scale or 1))
    place = np.stack([_plain(name)(table, mosaic, 0) for name in "yx"], axis=1) + 0.5
    return ((place >= pixels) & (place < np.subtract(mosaic.shape, pixels))).all(axis=1)


def _parents(table: Table) -> Int[np.ndarray, " n"]:
    """The id of the first source of each one's group; -1 of a source alone."""
    group = np.asarray(table["group_id"])
    _, first, of_group, counts = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    ids = np.asarray(table["id"], np.int64)[first] if len(table) else first
    return np.where(counts > 1, ids, -1)[of_group]


def _quality(table: Table) -> Int[np.ndarray, " n"]:
    """DET_QUALITY_FLAG."""
    flags, found = np.asarray(table["flags"]), np.where(_parents(table) < 0, 0, 2)
    for bit, (name, _) in FLAGS.items():
        found = found | np.where(flags & bit > 0, _QUALITY.get(name, 0), 0)
    return found
