"""The catalogue's columns: name, type, unit, meaning and origin of each, in this one place.

`measure` computes what a piece of an image tells of its sources, `merge` knows ids, groups and
pages of the whole image, and `catalogue_table` makes the table of catalog.fits of them. To add a
column, add a row to `CATALOGUE_COLUMNS`, and where it is measured, a value to `measure._described`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Float, Shaped

from vaedeblend.io.fits.sky import to_sky
from vaedeblend.io.mosaic import Mosaic

FLAGS = {
    1: ("edge", "a tenth or more of the light lies beyond the image"),
    2: ("masked", "a tenth or more of the light lies on pixels to be ignored"),
    4: ("large", "measured on binned pixels, or less than nine tenths of the light on the stamp"),
    8: ("bright", "the galaxy, or a pixel near its centre, is brighter than any trained on"),
    16: (
        "poor",
        "the residual under the galaxy is far from noise (chi2 above 3), or no flux is believed",
    ),
    32: (
        "unmeasured",
        "no valid pixel, no flux that is believed, or a row of a list off the image or within a "
        "pixel of an earlier one: flux and all else are NaN",
    ),
    64: (
        "beside_bright",
        "so faint beside a source brighter than any trained on that it may be a part of that "
        "one's light: of spikes, a halo, a bleeding column, arms",
    ),
    128: (
        "incomplete",
        "in a blend too large to be taken apart: fainter sources are missing there",
    ),
    256: (
        "unresolved",
        "another source lies within 2.5 pixels: how they share their light is a guess",
    ),
    512: (
        "sky",
        "light that is left about the source, or too much subtracted, moves its flux by a tenth or "
        "more, and by more than its error",
    ),
}
"""Bits of the column flags: name and meaning."""

_BITS = {name: bit for bit, (name, _) in FLAGS.items()}
BRIGHT, POOR, UNMEASURED = (_BITS[name] for name in ("bright", "poor", "unmeasured"))
BESIDE_BRIGHT, INCOMPLETE = _BITS["beside_bright"], _BITS["incomplete"]
UNRESOLVED, SKY = _BITS["unresolved"], _BITS["sky"]

_MAGNITUDES = 2.5 / np.log(10)
"""Magnitude error of a small relative flux error of one."""

Measurements = Mapping[str, np.ndarray]
"""Measured columns of all sources, their positions (y, x), and what `merge` knows of them."""


class Column(NamedTuple):
    """A column of the catalogue."""

    name: str
    dtype: type
    unit: str | Callable[[Mosaic], u.UnitBase | u.Quantity | None] | None
    """Unit, or a function of the image where it is the image's."""
    description: str
    value: Callable[[Measurements, Mosaic], Shaped[np.ndarray, " n"]] | None = None
    """Values of all sources; None where `measure` gives them under the column's name."""


def _image_unit(mosaic: Mosaic) -> u.UnitBase | None:
    return mosaic.unit


def _pixel(mosaic: Mosaic) -> u.UnitBase | u.Quantity:
    """A pixel, as an angle where the image has a scale."""
    return u.pix if mosaic.pixel_scale is None else mosaic.pixel_scale * u.arcsec


def _magnitude(sources: Measurements, mosaic: Mosaic) -> Float[np.ndarray, " n"]:
    zero_point = np.nan if mosaic.zero_point is None else mosaic.zero_point
    return zero_point - 2.5 * np.log10(sources["flux"])


CATALOGUE_COLUMNS = (
    Column(
        "id",
        int,
        None,
        "from 1: rows of a list in its order, then by y, x",
        lambda s, _: 1 + np.arange(len(s["flux"])),
    ),
    Column("x", float, "pix", "0-based", lambda s, _: s["position"][:, 1]),
    Column("y", float, "pix", "0-based", lambda s, _: s["position"][:, 0]),
    Column("ra", float, "deg", "ICRS; NaN without a WCS", lambda s, m: _sky(s["position"], m)[0]),
    Column("dec", float, "deg", "ICRS; NaN without a WCS", lambda s, m: _sky(s["position"], m)[1]),
    Column("flux", float, _image_unit, "total, the posterior's median"),
    Column("flux_err", float, _image_unit, "half the posterior's central 68 % interval"),
    Column("mag", float, "mag", "AB; NaN without a zero point", _magnitude),
    Column("mag_err", float, "mag", "", lambda s, _: _MAGNITUDES * s["flux_err"] / s["flux"]),
    Column("half_light_radius", float, _pixel, "of the light as seen, PSF included"),
    Column("purity", float, None, "share of the light under the profile that is the source's own"),
    Column("n_neighbours", int, None, "sources with which it overlaps"),
    Column("axis_ratio", float, None, "of the light as seen, PSF included"),
    Column("chi2", float, None, "of the network's profile, mean over the source's footprint"),
    Column("captured", float, None, "share of the flux that the stamp holds"),
    Column("hidden", bool, None, "found behind others, not by the first detection"),
    Column("flags", int, None, "sum of the bits of FLAGS"),
    Column("x_stamp", int, None, "first pixel of the stamp", lambda s, _: s["corner"][:, 1]),
    Column("y_stamp", int, None, "first pixel of the stamp", lambda s, _: s["corner"][:, 0]),
    Column("binning", int, None, "side of the stamp over that of a page of stamps.fits"),
    Column("group_id", np.int32, None, "sources that overlap share it", lambda s, _: s["group_id"]),
    Column("input_row", int, None, "row of the list that was given, from 0; -1 beside it"),
    Column("stamp", int, None, "first page in stamps.fits, from 0", lambda s, _: s["stamp"]),
)
"""Columns of the table CATALOG of catalog.fits, in their order."""

MEASURED = (
    "position",
    "apparent",
    *(column.name for column in CATALOGUE_COLUMNS if column.value is None),
)
"""Columns that `measure` gives for a piece of an image, lengths in pixels."""


def catalogue_table(sources: Measurements, mosaic: Mosaic) -> Table:
    """The table CATALOG, a row a source.

    Args:
        sources: Columns MEASURED with positions on the whole image, and corner, group_id and stamp.
        mosaic: The image; ra and dec, or magnitudes, are NaN where its WCS or zero point is not
            known, and radii are in pixels where its pixel scale is not.
    """
    table = Table()
    for name, dtype, unit, _, value in CATALOGUE_COLUMNS:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = sources[name] if value is None else value(sources, mosaic)
        scale = u.Unit(unit) if isinstance(unit, str) else unit and unit(mosaic)
        values = np.asarray(values, dtype)
        table[name] = values if scale is None else values * scale
    table.meta |= {f"FLAG{bit}": name for bit, (name, _) in FLAGS.items()}
    return table


def unusable(table: Table) -> str:
    """Why no source of a catalogue can be used; empty where one can."""
    if not len(table):
        return f"no sources: {table.meta.get('REASON', 'none were found')}"
    bad = np.asarray(table["flags"]) & (UNMEASURED | POOR) > 0
    if not bad.all():
        return ""
    names = [name for bit, (name, _) in FLAGS.items() if np.any(table["flags"] & bit)]
    return (
        f"no source can be used: each of {len(table)} is flagged unmeasured or poor "
        f"({', '.join(names)}); check rms, gain, PSF and background"
    )


def _sky(position: Float[np.ndarray, "n 2"], mosaic: Mosaic) -> Float[np.ndarray, "2 n"]:
    """Right ascension and declination [deg], ICRS; NaN without a WCS."""
    if mosaic.wcs is None or not len(position):
        return np.full((2, len(position)), np.nan)
    y, x = position.T
    return to_sky(mosaic.wcs, x, y)
