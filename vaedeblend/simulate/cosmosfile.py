"""Catalogues of real galaxies in GalSim's format: found, checked and read.

A main table (`RealGalaxyCatalog`) names files and HDUs of stamps, PSFs and noise; beside it lie,
if at all, parametric fits (`_fits`) and what GalSim selects usable stamps by (`_selection`).
"""

from pathlib import Path
from typing import NamedTuple

import galsim
import numpy as np
from astropy.io import fits
from jaxtyping import Float, Int

from vaedeblend.exceptions import CatalogueError

_COLUMNS = (
    *("ident", "mag", "gal_filename", "gal_hdu", "PSF_filename", "PSF_hdu"),
    *("pixel_scale", "noise_variance"),
)
_FIT_COLUMNS = ("sersicfit", "bulgefit", "fit_status", "hlr", "flux")
_FILES = ("gal_filename", "PSF_filename", "noise_filename")
_FIT_PIXEL = 0.03
"""Unit of the fits' radii [arcsec]."""


class Sample(NamedTuple):
    """The n usable galaxies of a catalogue."""

    row: Int[np.ndarray, " n"]
    """Of the catalogue."""
    magnitude: Float[np.ndarray, " n"]
    """AB."""
    radius: Float[np.ndarray, " n"]
    """Half-light radius along the major axis [arcsec]; NaN where there are no fits."""
    axis_ratio: Float[np.ndarray, " n"]
    """NaN where there are no fits."""


class Stamp(NamedTuple):
    """A galaxy as Hubble saw it."""

    image: galsim.Image
    psf: galsim.Image
    """With the response of the pixel."""
    noise: galsim.BaseCorrelatedNoise


def open_catalog(path: str | Path) -> galsim.RealGalaxyCatalog:
    """The catalogue of a folder, or of its main file, all of whose files are there.

    Raises:
        CatalogueError: There is none, or not one; it is empty, or lacks a column or a file.
    """
    path = _main_file(Path(path))
    columns = _check_columns(path, _COLUMNS)
    catalog = galsim.RealGalaxyCatalog(str(path))
    for column in _FILES:
        if column.lower() in columns:
            for name in sorted({name.strip() for name in catalog.cat[column]}):
                if not (path.parent / name).is_file():
                    wanted = f"wanted that file, which its column {column} names"
                    raise CatalogueError(f"{path}: found no {path.parent / name}; {wanted}")
    return catalog


def read_sample(catalog: galsim.RealGalaxyCatalog) -> Sample:
    """The galaxies that may be drawn.

    Without parametric fits beside the catalogue, all of them; without the table for selection,
    those that could be fitted; else those that GalSim itself would choose.

    Raises:
        CatalogueError: The fits lack a column, are not of this catalogue, or no galaxy is left.
    """
    magnitude = np.asarray(catalog.mag, float)
    path = Path(catalog.file_name)
    beside = {kind: path.with_name(f"{path.stem}_{kind}.fits") for kind in ("fits", "selection")}
    if not beside["fits"].is_file():
        unknown = np.full(len(magnitude), np.nan)
        return Sample(np.arange(len(magnitude)), magnitude, unknown, unknown)
    _check_columns(beside["fits"], _FIT_COLUMNS)
    level = "marginal" if beside["selection"].is_file() else "bad_fits"
    chosen = galsim.GalaxySample(str(path), exclusion_level=level)
    if chosen.getNTot() != len(magnitude):
        wanted = f"wanted {len(magnitude)}, as in {path.name}"
        raise CatalogueError(f"{beside['fits']}: found {chosen.getNTot()} rows; {wanted}")
    if not len(chosen):
        raise CatalogueError(f"{path}: found no galaxy that passes GalSim's cuts ({level})")
    row = np.asarray(chosen.orig_index)
    fit = np.asarray(chosen.param_cat["sersicfit"], float)[row]
    return Sample(row, magnitude[row], fit[:, 1] * _FIT_PIXEL, fit[:, 3])


def read_stamp(catalog: galsim.RealGalaxyCatalog, row: int) -> Stamp:
    """What there is of a galaxy of the catalogue.

    Raises:
        CatalogueError: An HDU is missing or holds no image.
    """
    try:
        image, psf = catalog.getGalImage(row), catalog.getPSFImage(row)
        return Stamp(image, psf, catalog.getNoise(row, rng=galsim.BaseDeviate(1)))
    except (OSError, LookupError, TypeError, AttributeError) as error:
        stamp = f"{catalog.gal_file_name[row]}, HDU {catalog.gal_hdu[row]}"
        psf = f"{catalog.psf_file_name[row]}, HDU {catalog.psf_hdu[row]}"
        found = f"found no image of galaxy {catalog.ident[row]} ({error})"
        raise CatalogueError(f"{catalog.file_name}: {found}; wanted {stamp}, and {psf}") from error


def _main_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise CatalogueError(f"{path}: found no such folder; wanted that of a catalogue for GalSim")
    found = [
        each
        for each in sorted(path.glob("real_galaxy_catalog*.fits"))
        if not each.stem.endswith(("_fits", "_selection"))
    ]
    if len(found) != 1:
        names = [each.name for each in found] or "none"
        wanted = "wanted one real_galaxy_catalog*.fits, or the path of the catalogue itself"
        raise CatalogueError(f"{path}: found catalogues {names}; {wanted}")
    return found[0]


def _check_columns(path: Path, wanted: tuple[str, ...]) -> set[str]:
    """Names of a table's columns in lower case, all that are wanted among them; never empty."""
    try:
        with fits.open(path) as hdus:
            names, n = {each.lower() for each in hdus[1].columns.names}, len(hdus[1].data)
    except (OSError, LookupError, AttributeError) as error:
        raise CatalogueError(f"{path}: found no table in its first extension ({error})") from error
    missing = [each for each in wanted if each.lower() not in names]
    if missing:
        raise CatalogueError(f"{path}: found columns {sorted(names)}; wanted {missing} as well")
    if not n:
        raise CatalogueError(f"{path}: found no rows; wanted one a galaxy")
    return names
