"""Writing a tile's products: planes in files of their own, and stamps of PSFs on a grid."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from jaxtyping import Float

from vaedeblend.euclid.mer.layout import product_name
from vaedeblend.io import write

DEAD_RMS = 1e16
"""Rms of a pixel without an exposure."""

_TIME = "20261101T000000.000000"
_GRID = 120
"""Distance of the PSFs of a grid [pixel]."""


def write_planes(
    folder: Path,
    number: int,
    tile: WCS,
    planes: Mapping[str, np.ndarray],
    zero_point: float,
    band: str = "VIS",
) -> None:
    """Writes image, rms and flags in the primary HDUs of files of their own.

    Args:
        folder: Folder of the tile.
        number: TILE_INDEX.
        tile: WCS of the tile.
        planes: Pixels by the names of `layout.MerTile`.
        zero_point: AB magnitude of one image unit.
        band: The products' name of the band.
    """
    for name, plane in planes.items():
        header = tile.to_header()
        header["FILTER"] = band.replace("-", "_")
        if name != "flags":
            header["MAGZERO"] = zero_point
        dtype = np.int32 if name == "flags" else np.float32
        path = folder / product_name(name, number, _TIME, band=band)
        with write.write_image(path, plane.shape, header, dtype) as put:
            put(plane)


def write_psf_grid(
    folder: Path,
    number: int,
    tile: WCS,
    shape: tuple[int, int],
    stamp_at: Callable[[tuple[int, int]], Float[np.ndarray, "side side"]],
    band: str = "VIS",
) -> None:
    """Writes GRID-PSF: a PSF every 120 pixels.

    Args:
        folder: Folder of the tile.
        number: TILE_INDEX.
        tile: WCS of the tile.
        shape: Its height and width.
        stamp_at: Function from the (y, x) of a pixel to the PSF there, of an odd size.
        band: The products' name of the band.
    """
    image, rows = np.zeros(shape, np.float32), []
    size = len(stamp_at((0, 0)))
    half = size // 2
    places = [range(max(min(_GRID // 2, n // 2), half), n - half, _GRID) for n in shape]
    for y in places[0]:
        for x in places[1]:
            image[y - half : y + half + 1, x - half : x + half + 1] = stamp_at((y, x))
            rows.append((x + 1.0, y + 1.0))
    header = tile.to_header()
    header["STMPSIZE"] = size
    stamps = fits.ImageHDU(image, header, name="PSF image")
    table = fits.BinTableHDU(Table(rows=rows, names=("x", "y")), name="Stamps information")
    with write.replacing(folder / product_name("grid_psf", number, _TIME, band=band)) as partial:
        fits.HDUList([fits.PrimaryHDU(), stamps, table]).writeto(partial)
