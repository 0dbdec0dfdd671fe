"""Simulated tiles of MER: products, names and headers as its pipeline writes them, and the truth.

Galaxies and stars are drawn on dithered exposures, each under its own noise and with its own
defects, which are co-added by SWarp where it is installed. The rms map holds the sources' own
photon noise, as MER's does, and PSF stamps hold less than all light.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.euclid.mer.exposures import Coadd, background_variance, coadd, expose, psf_at
from vaedeblend.euclid.mer.layout import FATAL_BITS, product_name
from vaedeblend.exceptions import MerError
from vaedeblend.io import write
from vaedeblend.pixels.psf import Psf
from vaedeblend.simulate.fields import field_header, make_truth, place_field
from vaedeblend.simulate.library import field_psfs, render_sources
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Band, Survey

ZERO_POINT = 24.6
"""AB magnitude of 1 ADU/s in MER's VIS mosaics."""
DEAD_RMS = 1e16
"""Rms of a pixel without an exposure."""

_FIRST_TILE = 102_000_000
"""Number of the tile of seed 0."""
_TIME = "20261101T000000.000000"
_GRID, _STAMP = 120, 33
"""Distance of the PSFs of a grid, and side of their stamps [pixel]."""
_UNIT = 10 ** (0.4 * (ZERO_POINT - MICROJANSKY_ZERO_POINT))
"""ADU/s per uJy."""


class TileRecipe(NamedTuple):
    """How a tile is exposed and co-added."""

    exposures: int = 4
    """At most six."""
    interpolation: str = "bilinear"
    """Name of one of `coadds.INTERPOLATIONS`."""
    combine: str = "weighted"
    """weighted (mean) or median."""
    swarp: bool | None = None
    """Whether SWarp makes the co-add; by default where it is installed."""


def simulate_tile(
    folder: str | Path,
    *,
    size: int = 2048,
    seed: int = 0,
    style: str = "analytic",
    processes: int = 1,
    recipe: TileRecipe | None = None,
    **sky,
) -> Table:
    """Writes the products of a tile, and truth.fits; returns the truth.

    Args:
        folder: Folder that takes the tile's own folder, named by its number.
        size: Side of the tile [pixel].
        seed: Root of everything random.
        style: How galaxies are drawn (`galaxies.styles`).
        processes: Processes that render side by side.
        recipe: Exposures and co-addition; by default four, and bilinear.
        **sky: Fields of `fields.SkyRecipe` that say what lies on the sky.

    Raises:
        FileError: A file cannot be written.
        MerError: There is no such way to combine, SWarp failed, or is wanted and not installed.
        SkyError: An argument out of its range.
    """
    recipe = recipe or TileRecipe()
    program, survey = _program(recipe), Survey((Band(n_exposures=1),))
    shape, drawing = (size, size), {"style": style, "seed": seed, "processes": processes}
    (psf,), tile = field_psfs(survey), WCS(field_header(survey, shape))
    sources = place_field(shape, seed, survey, **sky)
    exposures = [
        expose(sources, tile, shape, psf, survey, k, **drawing) for k in range(recipe.exposures)
    ]
    made = coadd(
        exposures,
        tile,
        shape,
        interpolation=recipe.interpolation,
        combine=recipe.combine,
        program=program,
    )
    _, purities = render_sources(sources, shape, (psf,), survey.pixel_scale.value, **drawing)
    truth = make_truth(sources, purities, shape, survey)
    number = _FIRST_TILE + seed
    folder = write.prepare_folder(Path(folder) / f"{number:09d}")
    _write_mosaic(folder, number, tile, made, recipe, survey)
    _write_psfs(folder, number, tile, shape, [each.wcs for each in exposures], psf, recipe)
    truth.meta["tile"] = folder.name
    _write_truth(folder, tile, truth)
    return truth


def _program(recipe: TileRecipe) -> str | None:
    """SWarp, or None where its work is to be done here."""
    found = shutil.which("SWarp") or shutil.which("swarp")
    if recipe.swarp and found is None:
        raise MerError("SWarp is not installed; wanted it, or swarp=False")
    return None if recipe.swarp is False else found


def _write_mosaic(folder, number: int, tile: WCS, made: Coadd, recipe, survey: Survey) -> None:
    """Image, rms and flags in the primary HDUs of files of their own."""
    variance = background_variance(made.exposures, survey, recipe.combine)
    gain = survey.gain[0] * np.maximum(made.exposures, 1)
    rms = _UNIT * np.sqrt(variance + made.image.clip(0) / gain)  # total, as MER's: of the data
    flags = made.flags | np.where(made.exposures == 0, 1 << FATAL_BITS["INVALID"], 0)
    planes = {
        "image": _UNIT * made.image,
        "rms": np.where(made.exposures > 0, rms, DEAD_RMS),
        "flags": flags.astype(np.int32),
    }
    for name, plane in planes.items():
        header = tile.to_header()
        header["FILTER"] = "VIS"
        if name != "flags":
            header["MAGZERO"] = ZERO_POINT
        dtype = np.int32 if name == "flags" else np.float32
        path = folder / product_name(name, number, _TIME)
        with write.write_image(path, plane.shape, header, dtype) as put:
            put(plane)


def _write_psfs(folder, number: int, tile: WCS, shape, pointings, psf: Psf, recipe) -> None:
    """GRID-PSF: the co-add's PSF every 120 pixels, with the dithers of that place."""
    image, rows = np.zeros(shape, np.float32), []
    half = _STAMP // 2
    places = [range(min(_GRID // 2, n // 2), n - half, _GRID) for n in shape]
    for y in places[0]:
        for x in places[1]:
            stamp = psf_at(tile, pointings, psf, (y, x), recipe.interpolation, _STAMP)
            image[y - half : y + half + 1, x - half : x + half + 1] = stamp
            rows.append((x + 1.0, y + 1.0))
    header = tile.to_header()
    header["STMPSIZE"] = _STAMP
    stamps = fits.ImageHDU(image, header, name="PSF image")
    table = fits.BinTableHDU(Table(rows=rows, names=("x", "y")), name="Stamps information")
    with write.replacing(folder / product_name("grid_psf", number, _TIME)) as partial:
        fits.HDUList([fits.PrimaryHDU(), stamps, table]).writeto(partial)


def _write_truth(folder: Path, tile: WCS, truth) -> None:
    """Table of the truth, beside what users of `simulate` know the places on the sky."""
    truth = truth.copy()
    truth["ra"], truth["dec"] = tile.all_pix2world(truth["x"].value, truth["y"].value, 0)
    truth.meta["bands"] = ",".join(truth.meta["bands"])
    write.write_tables(folder / "truth.fits", {"TRUTH": truth})
