"""Stamps of PSFs on one image with a table of their places, as MER's products hold them.

GRID-PSF and CATALOG-PSF hold one image, of stamps of STMPSIZE pixels, and a table of their places:
on that image (`x_center`, `y_center`; the mosaic's own for a grid) and on the mosaic (`x`, `y`, or
the sky alone), all 1-based. Neither need be complete: rows may be NaN, and places without a stamp
exist. SourceXtractor++ reads files of the same kind, whose stamps may be sampled otherwise.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from jaxtyping import Float

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psfs.cells import PsfStamps, places_of

_CENTRES = ("x_center", "y_center"), ("gridx", "gridy"), ("x", "y")
"""Columns of the stamps' centres on their image, those before others that are taken first."""
_LEAST, _MOST = 0.5, 1.5
"""Sums of a stamp that holds a PSF."""


def is_psf_product(path: str | Path) -> bool:
    """Whether a FITS file holds stamps of PSFs and a table of their places."""
    try:
        hdus = fits.open(path)
    except (OSError, ValueError):  # also of one plane of a file
        return False
    with hdus:
        return len(hdus) > 2 and "STMPSIZE" in hdus[1].header and not hdus[2].is_image


def product_step(path: str | Path) -> float:
    """Distance of a product's samples [pixel of the mosaic]: 1, or what its SAMPLING says.

    Raises:
        PsfError: It is no number above 0.
    """
    with fits.open(path) as hdus:
        step = hdus[1].header.get("SAMPLING", 1.0)
    if not isinstance(step, int | float) or not step > 0:
        raise PsfError(f"{path}: SAMPLING is {step}; wanted a number of pixels above 0")
    return float(step)


def read_psf_product(path: str | Path, shape: tuple[int, int], wcs: WCS | None = None) -> PsfStamps:
    """The PSFs of a GRID-PSF or CATALOG-PSF product.

    Rows without a usable stamp, or without a place on the mosaic's sky, are left out.

    Args:
        path: FITS file.
        shape: Height and width of the mosaic [pixel].
        wcs: Its celestial coordinates, for tables that have the sky alone.

    Raises:
        PsfError: The file is damaged or of another kind, or holds no PSF.
    """
    try:
        with fits.open(path, memmap=True) as hdus:
            size = int(hdus[1].header["STMPSIZE"])
            table = Table(hdus[2].data)
            columns = {name: np.asarray(table[name]) for name in table.colnames}
            position = places_of(path, _of_sky(columns, wcs), shape, wcs)
            centre = _on_stamps(columns, position)
            image = hdus[1].data
            stamps = [_cut(image, at, size) for at in centre]
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, PsfError):
            raise
        raise PsfError(
            f"{path}: no PSF product could be read ({error}); wanted an image of stamps with "
            "STMPSIZE, and a table of their places"
        ) from error
    if size < 3 or size % 2 == 0:
        raise PsfError(f"{path}: STMPSIZE is {size}; wanted an odd number from 3")
    hold = [stamp is not None and _is_psf(stamp) for stamp in stamps]
    usable = np.isfinite(position).all(axis=1) & np.array(hold, bool)
    if not usable.any():
        raise PsfError(f"{path}: none of {len(stamps)} stamps holds a PSF; wanted at least one")
    kept = np.stack([stamp for stamp, use in zip(stamps, usable, strict=True) if use])
    return PsfStamps(position[usable], kept)


def _of_sky(columns, wcs: WCS | None):
    """Columns of which those of the sky are used, where there are any: an image may be a part."""
    names = {name.lower(): name for name in columns}
    if wcs is None or not names.keys() >= {"ra", "dec"}:
        return columns
    return {name: columns[names[name]] for name in ("ra", "dec")}


def _on_stamps(columns, position) -> Float[np.ndarray, "n 2"]:
    """(y, x) of each stamp's centre on their image [0-based]: its own, or that on the mosaic."""
    named = {name.lower(): values for name, values in columns.items()}
    pair = next((pair for pair in _CENTRES if named.keys() >= {*pair}), None)
    if pair is None:
        return position
    return np.stack([np.asarray(named[name], float) - 1 for name in pair[::-1]], axis=1)


def _cut(image, centre, size: int) -> Float[np.ndarray, "size size"] | None:
    """The stamp about a place; None where that is NaN, or the stamp reaches out of the image."""
    if not np.isfinite(centre).all():
        return None
    y, x = np.rint(centre).astype(int) - size // 2
    inside = 0 <= y <= image.shape[0] - size and 0 <= x <= image.shape[1] - size
    return np.array(image[y : y + size, x : x + size], float) if inside else None


def _is_psf(stamp) -> bool:
    """Whether a stamp is finite, of about unit sum, and brightest in its middle."""
    y, x = np.unravel_index(np.argmax(np.nan_to_num(stamp)), stamp.shape)
    middle = len(stamp) // 2
    sum_ = stamp.sum()
    return bool(_LEAST < sum_ < _MOST and max(abs(y - middle), abs(x - middle)) < 2)
