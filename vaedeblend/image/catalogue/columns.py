"""The catalogue's columns: name, type, unit, meaning and origin of each, in this one place.

`measure` computes what a piece of an image tells of its sources, `merge` knows ids, groups and
pages of the whole image, and `catalogue_table` makes the table of catalog.fits of them. To add a
column, add a row to `CATALOGUE_COLUMNS`, and where it is measured, a value to `measure._described`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Float, Shaped

from vaedeblend.image.catalogue.ellipses import ellipticities, sky_angles, sky_axes, sky_errors
from vaedeblend.io.fits.sky import to_sky
from vaedeblend.io.mosaic import Mosaic
from vaedeblend.pixels.shapes import FWHM
from vaedeblend.survey import magnitude_error, magnitude_to_flux

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
        "another source lies within 2.5 pixels: how they share their light is a guess, of which "
        "their errors hold half the fainter one's flux",
    ),
    512: (
        "sky",
        "light that is left about the source, or too much subtracted, moves its flux by a tenth or "
        "more, and by more than its error",
    ),
    1024: (
        "unlike",
        "the light left about it says that it is unlike the galaxies trained on (unlike_prob above "
        "0.5): its flux is more the pixels' than the network's",
    ),
}
"""Bits of the column flags: name and meaning."""

_BITS = {name: bit for bit, (name, _) in FLAGS.items()}
BRIGHT, POOR, UNMEASURED = (_BITS[name] for name in ("bright", "poor", "unmeasured"))
BESIDE_BRIGHT, INCOMPLETE = _BITS["beside_bright"], _BITS["incomplete"]
UNRESOLVED, SKY, UNLIKE = _BITS["unresolved"], _BITS["sky"], _BITS["unlike"]

_NO_WCS = "ICRS; NaN without a WCS"
_HALF = "half the posterior's central 68 % interval"
_SEEN = "of the light as seen, PSF included"
_PLACE = "1 sigma, of noise, neighbours and network"
_APERTURE = "within fwhm of (x, y) on the image less its neighbours' light"
_STAR = "stat.probability;src.class.starGalaxy"
_THERE = "stat.probability"
_NORTH = "major axis on the sky, from north to east; 0 to 180"
_DISTORTION = "(a^2 - b^2) / (a^2 + b^2) times the double position_angle's"

Measurements = Mapping[str, np.ndarray]
"""Measured columns of all sources, their positions (y, x), and what `merge` knows of them."""


class Column(NamedTuple):
    """A column of the catalogue."""

    name: str
    dtype: type
    unit: str | Callable[[Mosaic], u.UnitBase | u.Quantity | None] | None
    """Unit, or a function of the image where it is the image's."""
    ucd: str
    """Kind of quantity, in the Virtual Observatory's words (UCD1+); empty where it has none."""
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


def microjansky(mosaic: Mosaic) -> float:
    """Microjanskys of one image unit; NaN without a zero point."""
    return np.nan if mosaic.zero_point is None else float(magnitude_to_flux(mosaic.zero_point))


def _fwhm(sources: Measurements, _: Mosaic) -> Float[np.ndarray, " n"]:
    return FWHM * sources["semi_major_axis"] * np.sqrt(sources["axis_ratio"])


def _sky_angle(sources: Measurements, _: Mosaic) -> Float[np.ndarray, " n"]:
    return sky_angles(sources["axis_ratio"], sources["position_angle"], sources["sky_axes"])


def _component(i: int):
    return lambda s, _: ellipticities(s["axis_ratio"], s["position_angle"])[i]


def _sky_error(i: int):
    return lambda s, _: sky_errors(s["position_variance"], s["sky_axes"])[i]


CATALOGUE_COLUMNS = (
    Column(
        "id",
        int,
        None,
        "meta.id;meta.main",
        "from 1: rows of a list in its order, then by y, x",
        lambda s, _: 1 + np.arange(len(s["flux"])),
    ),
    Column("x", float, "pix", "pos.cartesian.x", "0-based", lambda s, _: s["position"][:, 1]),
    Column("y", float, "pix", "pos.cartesian.y", "0-based", lambda s, _: s["position"][:, 0]),
    Column("ra", float, "deg", "pos.eq.ra;meta.main", _NO_WCS, lambda s, _: s["sky"][0]),
    Column("dec", float, "deg", "pos.eq.dec;meta.main", _NO_WCS, lambda s, _: s["sky"][1]),
    Column("flux", float, _image_unit, "phot.flux", "total, the posterior's median, corrected"),
    Column("flux_err", float, _image_unit, "stat.error;phot.flux", _HALF),
    Column("mag", float, "mag", "phot.mag", "AB; NaN without a zero point", _magnitude),
    Column(
        "mag_err",
        float,
        "mag",
        "stat.error;phot.mag",
        "2.5 / ln(10) times flux_err / flux; NaN below 0",
        lambda s, _: magnitude_error(s["flux"], s["flux_err"]),
    ),
    Column("half_light_radius", float, _pixel, "phys.angSize", f"{_SEEN}; of a circle"),
    Column("purity", float, None, "", "share of the light under the profile that is its own"),
    Column("n_neighbours", int, None, "meta.number", "sources with which it overlaps"),
    Column("axis_ratio", float, None, "phys.size.axisRatio", f"{_SEEN}; minor over major"),
    Column("chi2", float, None, "stat.fit.chi2", "of the network's profile, mean over its segment"),
    Column("captured", float, None, "", "share of the flux that the stamp holds"),
    Column("hidden", bool, None, "meta.code", "found behind others, not by the first detection"),
    Column("flags", int, None, "meta.code.qual", "sum of the bits that FLAG1, FLAG2, ... name"),
    Column("x_stamp", int, None, "", "first pixel of the stamp", lambda s, _: s["corner"][:, 1]),
    Column("y_stamp", int, None, "", "first pixel of the stamp", lambda s, _: s["corner"][:, 0]),
    Column("binning", int, None, "", "side of the stamp over that of a page of stamps.fits"),
    Column(
        "group_id",
        np.int32,
        None,
        "meta.id.parent",
        "sources that overlap share it",
        lambda s, _: s["group_id"],
    ),
    Column("input_row", int, None, "meta.record", "row of the list, from 0; -1 beside it"),
    Column("stamp", int, None, "", "first page in stamps.fits, from 0", lambda s, _: s["stamp"]),
    Column(
        "x_err",
        float,
        "pix",
        "stat.error;pos.cartesian.x",
        _PLACE,
        lambda s, _: np.sqrt(s["position_variance"][:, 1]),
    ),
    Column(
        "y_err",
        float,
        "pix",
        "stat.error;pos.cartesian.y",
        _PLACE,
        lambda s, _: np.sqrt(s["position_variance"][:, 0]),
    ),
    Column(
        "ra_err",
        float,
        "arcsec",
        "stat.error;pos.eq.ra",
        f"{_PLACE}; along a parallel",
        _sky_error(0),
    ),
    Column("dec_err", float, "arcsec", "stat.error;pos.eq.dec", _PLACE, _sky_error(1)),
    Column(
        "flux_ujy",
        float,
        "uJy",
        "phot.flux.density;meta.main",
        "flux, whatever the image's unit; NaN without a zero point",
        lambda s, m: microjansky(m) * s["flux"],
    ),
    Column(
        "flux_ujy_err",
        float,
        "uJy",
        "stat.error;phot.flux.density",
        "flux_err, whatever the image's unit",
        lambda s, m: microjansky(m) * s["flux_err"],
    ),
    Column(
        "snr", float, None, "stat.snr", "flux / flux_err", lambda s, _: s["flux"] / s["flux_err"]
    ),
    Column("flux_aperture", float, _image_unit, "phot.flux", _APERTURE),
    Column("flux_aperture_err", float, _image_unit, "stat.error;phot.flux", "background, photons"),
    Column("fwhm", float, _pixel, "phys.angSize", f"{_SEEN}; of a Gaussian of its area", _fwhm),
    Column("semi_major_axis", float, _pixel, "phys.angSize.smajAxis", f"{_SEEN}; rms along it"),
    Column(
        "ellipticity",
        float,
        None,
        "src.ellipticity",
        f"{_SEEN}; 1 - axis_ratio",
        lambda s, _: 1 - s["axis_ratio"],
    ),
    Column("position_angle", float, "deg", "pos.posAng", "major axis, from +x to +y; -90 to 90"),
    Column("position_angle_sky", float, "deg", "pos.posAng;pos.eq", _NORTH, _sky_angle),
    Column("e1", float, None, "src.ellipticity", f"{_SEEN}; {_DISTORTION} cos", _component(0)),
    Column("e2", float, None, "src.ellipticity", f"{_SEEN}; {_DISTORTION} sin", _component(1)),
    Column("point_source_prob", float, None, _STAR, "NaN of weights that give none"),
    Column("p_companion", float, None, _THERE, "another source than a brighter one beside it"),
    Column("blend_prob", float, None, _THERE, "hides another one within 5 pixels; NaN: not tested"),
    Column("flux_correction", float, _image_unit, "phot.flux", "in flux: of light the model left"),
    Column("unlike_prob", float, None, _THERE, "unlike the galaxies trained on"),
    Column("flux_err_95", float, _image_unit, "stat.error;phot.flux", _HALF.replace("68", "95")),
)
"""Columns of the table CATALOG of catalog.fits, in their order."""

_ERRORS = "flux_err", "flux_err_95", "flux_aperture_err"
FLUXES = "flux", "flux_correction", "flux_aperture", "apparent", "flux_err_alone", *_ERRORS
"""Measured columns in the image's unit."""

MEASURED = (
    "position",
    "position_variance",
    "apparent",
    "flux_err_alone",
    *(column.name for column in CATALOGUE_COLUMNS if column.value is None),
)
"""Columns that `measure` gives for a piece of an image, lengths in pixels."""

BANDS = "flux_bands", "flux_err_bands"
"""Measured beside them: (n, band) of the bands beside the first one, of which there may be none."""
_BAND_COLUMNS = (
    ("flux", "phot.flux.density", "total, the posterior's median"),
    ("flux_err", "stat.error;phot.flux.density", _HALF),
)


def catalogue_table(sources: Measurements, mosaic: Mosaic, bands: Sequence[str] = ()) -> Table:
    """The table CATALOG, a row a source.

    Args:
        sources: Columns MEASURED and BANDS, these in uJy, with positions on the whole image, and
            corner, group_id and stamp.
        mosaic: The image; ra and dec, or magnitudes, are NaN where its WCS or zero point is not
            known, and radii are in pixels where its pixel scale is not.
        bands: Names of the bands beside the first one.
    """
    position, table = sources["position"], Table()
    places = {"sky": _sky(position, mosaic), "sky_axes": sky_axes(mosaic.wcs, position)}
    sources = {**sources, **places}
    for name, dtype, unit, ucd, description, value in CATALOGUE_COLUMNS:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = sources[name] if value is None else value(sources, mosaic)
        scale = u.Unit(unit) if isinstance(unit, str) else unit and unit(mosaic)
        values = np.asarray(values, dtype)
        table[name] = values if scale is None else values * scale
        table[name].info.description, table[name].info.meta = description, {"ucd": ucd}
    for i, band in enumerate(bands):
        for what, ucd, meaning in _BAND_COLUMNS:
            name = f"{what}_{column_name(band)}"
            table[name] = sources[f"{what}_bands"][:, i] * u.uJy
            table[name].info.description = f"{meaning}, in {band}"
            table[name].info.meta = {"ucd": ucd}
    table.meta |= {f"FLAG{bit}": name for bit, (name, _) in FLAGS.items()}
    return table


def column_name(band: str) -> str:
    """A band's name as names of columns end in it."""
    return band.lower().replace("-", "_")


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
