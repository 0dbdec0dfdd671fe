"""What is left of bands: photometry.fits, images of model and residual, and a page."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Column, Table, vstack
from jaxtyping import Float, Int

from vaedeblend.image.bands.inputs import OpenBand, band_reader
from vaedeblend.image.bands.sources import VisSources
from vaedeblend.image.bands.tiles import piece_file, read_piece
from vaedeblend.image.catalogue.columns import column_name
from vaedeblend.image.tiles import Tile
from vaedeblend.io import write
from vaedeblend.io.fits.sky import to_sky
from vaedeblend.io.mosaic import image_header, open_mosaic
from vaedeblend.survey import flux_to_magnitude, magnitude_error

BAND_FLAGS = {
    1: ("edge", "a tenth or more of the light lies beyond the band's image"),
    2: ("masked", "a tenth or more of the light lies on pixels to be ignored"),
    4: ("core", "the brightest pixel is to be ignored: saturated, or masked"),
    8: ("blended", "beyond recovery: the error is 5 times what it were without neighbours"),
    16: ("poor", "chi2 above 3 times that of all pixels: the profile is another here"),
    32: ("unmeasured", "no profile in VIS, or less than a third of the light on valid pixels"),
    64: ("point", "measured as a point source"),
}
"""Bits of the columns flags of a band: name and meaning."""

_EDGE, _MASKED, _CORE, _BLENDED, _POOR, _UNMEASURED, _POINT = BAND_FLAGS
_CLEAR = 5.0
"""Least flux over its error of a source that VIS lacks."""
_LOST, _INFLATED, _FAR, _LEAST = 0.1, 5.0, 3.0, 1 / 3
_SHARED = 0.75
"""Correlation of a profile's errors of two bands' fluxes: part of what is wrong in a profile is its
extent, which moves all fluxes alike, part the way it falls. Measured on simulated tiles."""
_MEASURED = (
    *("flux", "noise", "profile", "response", "size_error", "area", "inflation", "chi2"),
    *("inside", "valid", "core"),
)


_KINDS = "flux", "flux_err", "flux_noise", "mag", "mag_err", "chi2", "blending", "flags"
"""Columns of each band, before its name."""


class NoiseFactors(NamedTuple):
    """Scatter of fluxes on the sky over their errors."""

    area: Float[np.ndarray, " form"]
    """Noise-equivalent areas of what was fitted [pixel], ascending."""
    factor: Float[np.ndarray, " form"]

    def of(self, area: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Factors of sources whose templates have an area [pixel]."""
        safe = np.log(np.where(area > 0, area, self.area[0]))
        return np.interp(safe, np.log(self.area), self.factor)


class BandResult(NamedTuple):
    """A band's measurements of all n sources, and what they are made of."""

    band: OpenBand
    columns: dict[str, Float[np.ndarray, " n"]]
    """Measured columns of the pieces, in the band's unit; NaN of sources off its image."""
    pairs: Table
    """Covariances of pairs of rows."""
    unseen: Table
    """Peaks of the residual, in the band's pixels and unit."""
    factors: NoiseFactors
    chi2: float
    """Per degree of freedom."""
    shift: Float[np.ndarray, " 2"]
    """Mean shift (y, x) [pixel]."""
    said: tuple[str, ...]

    @property
    def column(self) -> str:
        """The band's name in those of columns."""
        return band_column(self.band)

    @property
    def noise(self) -> Float[np.ndarray, " n"]:
        """Variances of the fluxes, the profiles known [band's unit squared]."""
        return self.factors.of(self.columns["area"]) ** 2 * self.columns["noise"]

    @property
    def variance(self) -> Float[np.ndarray, " n"]:
        """Variances of the fluxes [band's unit squared]."""
        return self.noise + self.columns["profile"]


def band_column(band: OpenBand) -> str:
    """A band's name as names of columns end in it."""
    return column_name(band.name)


def table_columns(bands: Sequence[str]) -> list[str]:
    """Columns of the table of bands, by the names of these in columns."""
    own = [f"{kind}_{name}" for name in bands for kind in _KINDS]
    pairs = itertools.combinations(["vis", *bands], 2)
    colours = [f"{kind}_{a}_{b}" for a, b in pairs for kind in ("colour", "colour_err")]
    return ["id", "ra", "dec", "flux_vis", "flux_err_vis", *own, *colours]


def gathered(n: int, folder: str, tiles: Sequence[Tile]):
    """Columns of all n sources, pairs, unseen ones, values on the sky, chi2 a degree of freedom."""
    columns = {name: np.full(n, np.nan) for name in _MEASURED}
    pairs, unseen, skies, chi2, pixels = [], [], [], 0.0, 0
    for tile in tiles:
        piece = read_piece(piece_file(folder, tile))
        for name in _MEASURED:
            columns[name][piece.table["row"]] = piece.table[name]
        pairs.append(np.array([piece.pairs[c] for c in ("row_1", "row_2", "noise", "profile")]))
        unseen.append(piece.unseen)
        skies.append(piece.skies)
        chi2, pixels = chi2 + piece.chi2, pixels + piece.pixels
    first, second, noise, profile = np.concatenate(pairs, axis=1)
    table = Table({"row_1": first.astype(int), "row_2": second.astype(int)})
    table["noise"], table["profile"] = noise, profile
    chi2 = chi2 / pixels if pixels else np.nan
    return columns, table, vstack(unseen), np.concatenate(skies), chi2


def photometry_table(vis: VisSources, results: Sequence[BandResult]) -> Table:
    """A row a source of VIS, in its order: fluxes of all bands, and colours; scalars alone."""
    table = Table({name: vis.table[name] for name in ("id", "ra", "dec")})
    table["flux_vis"] = _described(vis.microjansky * vis.flux, "uJy", "total, of the deblending")
    error = vis.microjansky * np.asarray(vis.table["flux_err"], float)
    table["flux_err_vis"] = _described(error, "uJy", "1 sigma, of noise and profile")
    for result in results:
        _add_band(table, result, vis)
    order = [None, *results]
    for k, blue in enumerate(order):
        for red in order[k + 1 :]:
            _add_colour(table, vis, blue, red)
    table.meta["BANDS"] = ",".join(result.column for result in results)
    table.meta |= {f"FLAG{bit}": name for bit, (name, _) in BAND_FLAGS.items()}
    return table


def covariance_table(vis: VisSources, result: BandResult) -> Table:
    """Pairs of sources whose fluxes in a band depend on each other: ids and covariance."""
    ids, pairs, unit = np.asarray(vis.table["id"]), result.pairs, result.band.microjansky
    first, second = pairs["row_1"], pairs["row_2"]
    factor = result.factors.of(result.columns["area"])
    covariance = factor[first] * factor[second] * pairs["noise"] + pairs["profile"]
    error = np.sqrt(result.variance)
    table = Table({"id_1": ids[first], "id_2": ids[second]})
    table["covariance"] = _described(unit**2 * covariance, "uJy2", "of the fluxes")
    table["correlation"] = covariance / (error[first] * error[second])
    return table


def unseen_table(result: BandResult) -> Table:
    """Points in the residual that VIS has no source for, of 5 sigma or more: place and flux."""
    found, unit = result.unseen, result.band.microjansky
    error = result.factors.factor[0] * found["flux_err"]
    found, error = (each[found["flux"] > _CLEAR * error] for each in (found, error))
    with open_mosaic(result.band.given.image, **result.band.given.options) as mosaic:
        none = np.zeros((2, 0))
        sky = to_sky(mosaic.wcs, found["x"], found["y"]) if len(found) else none
    table = Table(
        {"ra": _described(sky[0], "deg", "ICRS"), "dec": _described(sky[1], "deg", "ICRS")}
    )
    table["flux"] = _described(unit * found["flux"], "uJy", "of a point, without the PSF's wings")
    table["flux_err"] = _described(unit * error, "uJy", "1 sigma, of noise")
    return table


def write_images(result: BandResult, folder: Path, pieces: str, tiles: Sequence[Tile]) -> None:
    """Writes a band's model, background included, and residual, on its own pixels."""
    band = result.band
    with open_mosaic(band.given.image, **band.given.options) as mosaic:
        header = image_header(mosaic)
    rows = {tile.core[0].start: [] for tile in tiles}
    for tile in tiles:
        rows[tile.core[0].start].append(tile)
    paths = band_images(folder, result.column)
    with (
        write.write_image(paths[0], band.shape, header) as put_model,
        write.write_image(paths[1], band.shape, header) as put_residual,
        band_reader(band) as read,
    ):
        for row in rows.values():
            light = np.hstack([read_piece(piece_file(pieces, tile)).light for tile in row])
            pixels = read((row[0].core[0], slice(0, band.shape[1])))
            put_model(light)
            put_residual(np.where(pixels.valid, pixels.image - light, np.nan))


def band_images(folder: Path, column: str) -> tuple[Path, Path]:
    """Files of model and residual of a band, by its name in columns."""
    return tuple(folder / f"{column}_{name}.fits" for name in ("model", "residual"))


def band_flags(result: BandResult, vis: VisSources) -> Int[np.ndarray, " n"]:
    """Flags of all sources in a band."""
    c = result.columns
    with np.errstate(invalid="ignore"):
        unmeasured = ~(c["valid"] >= _LEAST) | ~np.isfinite(c["flux"]) | ~(c["noise"] > 0)
        lost = {
            _EDGE: c["inside"] < 1 - _LOST,
            _MASKED: c["inside"] - c["valid"] > _LOST,
            _CORE: c["core"] == 0,
            _BLENDED: c["inflation"] > _INFLATED,
            _POOR: c["chi2"] > _FAR * result.chi2,
            _POINT: vis.point,
        }
    flags = sum(bit * (where & ~unmeasured) for bit, where in lost.items())
    return flags + _UNMEASURED * unmeasured


def unmeasured(table: Table) -> str:
    """Why no flux of a table of bands can be used; empty where one can."""
    bands = table.meta["BANDS"].split(",")
    if any(np.any(table[f"flags_{band}"] & _UNMEASURED == 0) for band in bands):
        return ""
    return (
        f"no flux is measured: each of {len(table)} sources is flagged unmeasured in "
        f"{', '.join(bands)}; check rms, mask and gain"
    )


def _add_band(table: Table, result: BandResult, vis: VisSources) -> None:
    name, unit, flags = result.column, result.band.microjansky, band_flags(result, vis)
    good = flags & _UNMEASURED == 0
    flux = np.where(good, unit * result.columns["flux"], np.nan)
    error = np.where(good, unit * np.sqrt(result.variance), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = flux_to_magnitude(np.where(flux > 0, flux, np.nan))
    noise = np.where(good, unit * np.sqrt(result.noise), np.nan)
    columns = {
        "flux": (flux, "uJy", "total, of VIS's profile under the band's PSF"),
        "flux_err": (error, "uJy", "1 sigma, of noise, neighbours and profile"),
        "flux_noise": (noise, "uJy", "the part of flux_err that is not the profile's"),
        "mag": (magnitude, "mag", "AB; NaN of fluxes below 0"),
        "mag_err": (
            magnitude_error(flux, error),
            "mag",
            "2.5 / ln(10) times flux_err / flux",
        ),
        "chi2": (np.where(good, result.columns["chi2"], np.nan), None, "mean under the template"),
        "blending": (
            np.where(good, result.columns["inflation"], np.nan),
            None,
            "error over that without neighbours",
        ),
    }
    for kind, (values, of, text) in columns.items():
        table[f"{kind}_{name}"] = _described(values, of, text)
    table[f"flags_{name}"] = _described(
        flags.astype(np.int32), None, "sum of the bits that FLAG1, ... name"
    )


def _add_colour(table: Table, vis: VisSources, blue: BandResult | None, red: BandResult) -> None:
    """A colour and its error: what the profile has done to both fluxes cancels in part."""
    names = ["vis" if each is None else each.column for each in (blue, red)]
    fluxes = [np.asarray(table[f"flux_{name}"]) for name in names]
    response = [1.0 if each is None else each.columns["response"].clip(1) for each in (blue, red)]
    size = red.columns["size_error"]
    with np.errstate(invalid="ignore", divide="ignore"):
        positive = [np.where(flux > 0, flux, np.nan) for flux in fluxes]
        colour = -2.5 * np.log10(positive[0] / positive[1])
        own = sum(np.square(r) for r in response) - 2 * _SHARED * response[0] * response[1]
        variance = own * np.square(size)
        variance = variance + _apart(red) + (_apart(blue) if blue else _of_vis(vis, size))
        error = magnitude_error(1.0, np.sqrt(variance))
    name = "_".join(names)
    table[f"colour_{name}"] = _described(colour, "mag", f"AB, {names[0]} - {names[1]}")
    table[f"colour_err_{name}"] = _described(
        error, "mag", "1 sigma; the profile's share cancels in part"
    )


def _apart(result: BandResult) -> Float[np.ndarray, " n"]:
    """Relative variances of fluxes that are not of the source's own profile."""
    c = result.columns
    own = np.square(c["size_error"] * c["response"].clip(1))
    others = np.maximum(c["profile"] / c["flux"] ** 2 - own, 0)
    return result.noise / c["flux"] ** 2 + others


def _of_vis(vis: VisSources, size) -> Float[np.ndarray, " n"]:
    """Relative variances of VIS fluxes that are not of the profile's size."""
    error = np.asarray(vis.table["flux_err"], float) / vis.flux
    return np.maximum(error**2 - size**2, 0)


def _described(values, unit: str | None, text: str):
    return Column(values, unit=unit, description=text)
