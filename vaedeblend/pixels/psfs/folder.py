"""A folder of PSF images, whose places are in a table beside them or in their headers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from jaxtyping import Float

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psf import read_psf
from vaedeblend.pixels.psfs.cells import PsfStamps, places_of

_IMAGES = ".fits", ".fit", ".fits.gz", ".fits.fz"
_TABLES = ".csv", ".ecsv", ".txt", ".dat", ".cat", ".tbl", ".lis", ".list"
"""Ends of the names of images, and of tables."""
_FILES = "file", "filename", "file_name", "name", "image", "psf", "path"
"""Columns that hold the names of images, those before others that are taken first."""
_CARDS = "X", "Y", "X_IMAGE", "Y_IMAGE", "RA", "DEC"


def read_psf_folder(
    folder: str | Path,
    shape: tuple[int, int],
    wcs: WCS | None = None,
    *,
    default_pixel_scale: float,
    pixel_scale: float | None = None,
) -> tuple[PsfStamps, float]:
    """The PSFs of a folder's images, and their sampling [arcsec].

    A table beside them (text or CSV, or FITS) has a column `file` and x and y, which count from 1,
    or ra and dec in degrees; without one the images' headers have these. PSFs whose place is NaN,
    or not on the image's sky, are left out.

    Args:
        folder: Folder of FITS images of one size and sampling, a PSF each.
        shape: Height and width of the image that is measured [pixel].
        wcs: Its celestial coordinates.
        default_pixel_scale: Sampling of PSFs whose headers have none [arcsec].
        pixel_scale: Sampling, where the user gives it [arcsec].

    Raises:
        PsfError: There are no images, or not all of them have a place; sizes or samplings differ;
            or a file cannot be read.
    """
    folder = Path(folder)
    tables, paths = _parted(folder)
    if not paths:
        raise PsfError(f"{folder}: holds no FITS image; wanted those of PSFs, or one file")
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise PsfError(f"{folder}: holds tables {names}; wanted one, of the PSFs' places")
    places = _tabled(tables[0], shape, wcs) if tables else _in_headers(folder, paths, shape, wcs)
    if lacking := [path for path in paths if path.name not in places]:
        raise PsfError(
            f"{lacking[0]}: has no place; wanted x and y, or ra and dec, in table or header"
        )
    paths = [path for path in paths if np.isfinite(places[path.name]).all()]
    if not paths:
        raise PsfError(f"{folder}: no PSF has a place on the image's sky; wanted one at least")
    scales = {"default_pixel_scale": default_pixel_scale, "pixel_scale": pixel_scale}
    psfs = [read_psf(path, **scales) for path in paths]
    for path, psf in zip(paths, psfs, strict=True):
        kind, wanted = ((len(p.image), p.pixel_scale) for p in (psf, psfs[0]))
        if kind != wanted:
            raise PsfError(
                f"{path}: {kind[0]} pixels of {kind[1]:.4g} arcsec; wanted {wanted[0]} of "
                f"{wanted[1]:.4g}, as {paths[0].name} has"
            )
    position = np.stack([places[path.name] for path in paths])
    return PsfStamps(position, np.stack([p.image * p.total for p in psfs])), psfs[0].pixel_scale


def _parted(folder: Path) -> tuple[list[Path], list[Path]]:
    """Tables and images of a folder."""
    files = [each for each in sorted(folder.iterdir()) if not each.name.startswith(".")]
    images = [each for each in files if each.name.lower().endswith(_IMAGES)]
    tables = [each for each in images if _is_table(each)]
    texts = [each for each in files if each.name.lower().endswith(_TABLES)]
    return texts + tables, [each for each in images if each not in tables]


def _is_table(path: Path) -> bool:
    """Whether a FITS file holds a table and no image; a file that is damaged holds none."""
    try:
        with fits.open(path) as hdus:
            images = [hdu for hdu in hdus if hdu.is_image and hdu.header["NAXIS"]]
            return not images and any(isinstance(hdu, fits.BinTableHDU) for hdu in hdus)
    except (OSError, KeyError):
        return False


def _tabled(
    path: Path, shape: tuple[int, int], wcs: WCS | None
) -> dict[str, Float[np.ndarray, "2"]]:
    """Places by the rows of a table, by the images' names."""
    table = _read(path)
    named = {name.lower(): name for name in table.colnames}
    key = next((named[name] for name in _FILES if name in named), None)
    if key is None:
        found = ", ".join(table.colnames)
        raise PsfError(f"{path}: columns {found}; wanted one called file, with the images' names")
    columns: dict[str, Any] = {name: table[name] for name in table.colnames if name != key}
    places = places_of(path, columns, shape, wcs)
    names = (Path(str(name).strip()).name for name in table[key])
    return dict(zip(names, places, strict=True))


def _read(path: Path) -> Table:
    try:
        return (
            Table.read(path)
            if path.name.lower().endswith(_IMAGES)
            else Table.read(path, format="ascii")
        )
    except Exception as error:  # of readers of many formats
        raise PsfError(f"{path}: no table could be read ({error}); wanted file, x, y") from error


def _in_headers(
    folder: Path, images: Sequence[Path], shape: tuple[int, int], wcs: WCS | None
) -> dict[str, Float[np.ndarray, "2"]]:
    """Places by the cards of each image, by their names."""
    places = {}
    for path in images:
        cards = _cards(path)
        if not cards:
            raise PsfError(
                f"{path}: no cards X and Y, or RA and DEC, and no table in {folder}; wanted the "
                "PSF's place on the image"
            )
        places[path.name] = places_of(path, cards, shape, wcs)[0]
    return places


def _cards(path: Path) -> dict[str, Any]:
    """Cards of a place in any header of a file."""
    try:
        with fits.open(path) as hdus:
            return {key: hdu.header[key] for hdu in hdus for key in _CARDS if key in hdu.header}
    except OSError as error:
        raise PsfError(f"{path}: no FITS image could be read ({error})") from error
