"""The PSF of a deblended image: what its deblending was given, by the record in its catalogue."""

import re
from pathlib import Path

from astropy.io import fits
from astropy.wcs import WCS

from vaedeblend.io.fits.planes import split_plane
from vaedeblend.io.mosaic import PSF_CARDS, of_card
from vaedeblend.io.workdir import WORKDIR_PSF, find_workdir
from vaedeblend.pixels.psf import Psf, read_native_psfs
from vaedeblend.pixels.psfs.read import PsfGrid, read_psfs


def read_vis_psfs(
    catalogue: Path, psf: str | Path | None, shape: tuple[int, int], wcs: WCS, pixel_scale: float
) -> tuple[PsfGrid, Path | None]:
    """The PSFs of the parts of a deblended image, and the file or folder that they are of.

    Args:
        catalogue: Its catalogue.
        psf: PSF that is given in the place of the deblending's.
        shape: Height and width of the image.
        wcs: Its celestial coordinates.
        pixel_scale: Side of its pixels [arcsec].

    Raises:
        PsfError: A PSF cannot be read.
    """
    recorded, step = (_long_card(catalogue, name) for name in PSF_CARDS)
    given = psf or (recorded and catalogue.parent / recorded)
    if not given:
        weights = _long_card(catalogue, "WEIGHTS") or "euclid_vis"
        image = read_native_psfs(find_workdir(weights) / WORKDIR_PSF, pixel_scale)[..., 0]
        return [[Psf(image.astype(float), pixel_scale)]], None
    sampling = {"given": float(step) if step and not psf else None, "default": pixel_scale}
    return read_psfs(given, shape, wcs, **sampling).grid, split_plane(given)[0]


def _long_card(path: Path, key: str) -> str:
    """A text that may fill several cards; astropy loses parts of one with quotes in it."""
    with fits.open(path) as hdus:
        header = hdus["CATALOG"].header
        image = header.cards[key].image if key in header else ""
    cards = [image[low : low + 80] for low in range(0, len(image), 80)]
    texts = [re.search(r"'((?:[^']|'')*)'", card) for card in cards]
    parts = [text[1].replace("''", "'").rstrip() for text in texts if text]
    return of_card("".join(part.removesuffix("&") for part in parts))
