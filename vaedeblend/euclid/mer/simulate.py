"""Simulated tiles of MER: products, names and headers as its pipeline writes them, and the truth.

Galaxies and stars are drawn on dithered exposures, each under its own noise and with its own
defects, which are co-added by SWarp where it is installed. The rms map holds the sources' own
photon noise, as MER's does, and PSF stamps hold less than all light.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.euclid.mer.bands import TELESCOPES, BandMosaic, expose_band, of_band
from vaedeblend.euclid.mer.exposures import Coadd, background_variance, coadd, expose, psf_at
from vaedeblend.euclid.mer.layout import FATAL_BITS
from vaedeblend.euclid.mer.products import DEAD_RMS, write_planes, write_psf_grid
from vaedeblend.exceptions import MerError
from vaedeblend.io import write
from vaedeblend.simulate.fields import (
    field_header,
    field_shape,
    make_truth,
    place_field,
    write_truth,
)
from vaedeblend.simulate.library import field_psfs, render_sources
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Band, Survey

ZERO_POINT = 24.6
"""AB magnitude of 1 ADU/s in MER's VIS mosaics."""
_FIRST_TILE = 102_000_000
"""Number of the tile of seed 0."""
_STAMP = 33
"""Side of the stamps of VIS's PSFs [pixel]."""
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
    size: int | tuple[int, int] = 2048,
    seed: int = 0,
    style: str = "analytic",
    processes: int = 1,
    recipe: TileRecipe | None = None,
    bands: Sequence[str] = (),
    **sky,
) -> Table:
    """Writes the products of a tile, and truth.fits; returns the truth.

    Args:
        folder: Folder that takes the tile's own folder, named by its number.
        size: Side of the tile, or its height and width [pixel].
        seed: Root of everything random.
        style: How galaxies are drawn (`galaxies.styles`).
        processes: Processes that render side by side.
        recipe: Exposures and co-addition; by default four, and bilinear.
        bands: Bands beside VIS, as `bands.TELESCOPES` names them, with mosaics of their own.
        **sky: Fields of `fields.SkyRecipe` that say what lies on the sky.

    Raises:
        FileError: A file cannot be written.
        MerError: There is no such way to combine, SWarp failed, or is wanted and not installed.
        SkyError: An argument out of its range.
    """
    recipe = recipe or TileRecipe()
    _check_bands(bands)
    program, survey = _program(recipe), Survey((Band(n_exposures=1),))
    shape = field_shape(size)
    drawing = {"style": style, "seed": seed, "processes": processes}
    (psf,), tile = field_psfs(survey), WCS(field_header(survey, shape))
    several = Survey((*survey.bands, *map(Band, bands)))
    everything = place_field(shape, seed, several, **sky)
    sources = of_band(everything, 0)
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
    truth = make_truth(everything, purities, shape, several)
    number = _FIRST_TILE + seed
    folder = write.prepare_folder(Path(folder) / f"{number:09d}")
    _write_mosaic(folder, number, tile, made, recipe, survey)
    pointings = [each.wcs for each in exposures]

    def stamp_at(place):
        return psf_at(tile, pointings, psf, place, recipe.interpolation, _STAMP)

    write_psf_grid(folder, number, tile, shape, stamp_at)
    scale = survey.pixel_scale.value
    for k, name in enumerate(bands, 1):
        seen = expose_band(everything, shape, TELESCOPES[name], k, pixel_scale=scale, **drawing)
        _write_band(folder, number, tile, seen, name)
    truth.meta["tile"] = folder.name
    write_truth(folder / "truth.fits", truth, tile)
    return truth


def _check_bands(bands: Sequence[str]) -> None:
    if unknown := [name for name in bands if name not in TELESCOPES]:
        raise MerError(f"band {unknown[0]!r}; wanted some of VIS, {', '.join(TELESCOPES)}")


def _program(recipe: TileRecipe) -> str | None:
    """SWarp, or None where its work is to be done here."""
    found = shutil.which("SWarp") or shutil.which("swarp")
    if recipe.swarp and found is None:
        raise MerError("SWarp is not installed; wanted it, or swarp=False")
    return None if recipe.swarp is False else found


def _write_mosaic(folder, number: int, tile: WCS, made: Coadd, recipe, survey: Survey) -> None:
    """VIS's image, rms and flags."""
    variance = background_variance(made.exposures, survey, recipe.combine)
    gain = survey.gain[0] * np.maximum(made.exposures, 1)
    rms = _UNIT * np.sqrt(variance + made.image.clip(0) / gain)  # total, as MER's: of the data
    flags = made.flags | np.where(made.exposures == 0, 1 << FATAL_BITS["INVALID"], 0)
    planes = {
        "image": _UNIT * made.image,
        "rms": np.where(made.exposures > 0, rms, DEAD_RMS),
        "flags": flags.astype(np.int32),
    }
    write_planes(folder, number, tile, planes, ZERO_POINT)


def _write_band(folder, number: int, tile: WCS, made: BandMosaic, name: str) -> None:
    """Another band's image, rms, flags and PSFs."""
    zero_point = TELESCOPES[name].zero_point
    unit = 10 ** (0.4 * (zero_point - MICROJANSKY_ZERO_POINT))
    planes = {"image": unit * made.image, "rms": unit * made.rms}
    planes["flags"] = np.zeros(made.image.shape, np.int32)
    write_planes(folder, number, tile, planes, zero_point, name)
    write_psf_grid(folder, number, tile, made.image.shape, lambda place: made.psf, name)
