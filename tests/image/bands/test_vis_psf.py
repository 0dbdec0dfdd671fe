"""The PSF of a deblended image is found by the record of its catalogue, wherever it lies."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from fitsfolder import SHAPE, folder, header, network, run, sky  # noqa: F401
from matched import gaussian

from vaedeblend.image.bands.vis_psf import read_vis_psfs


@pytest.mark.parametrize("name", ["pé", "50%41 it's 星", "of such a length, é, " * 6])
def test_a_folder_of_any_name_is_found_and_shown_as_it_is(folder, name):  # noqa: F811
    there = folder / name
    there.mkdir()
    for each in ("image.fits", "rms.fits"):
        (folder / each).rename(there / each)
    fits.writeto(there / "psf.fits", gaussian(15, 15, (31, 31), 1.0).astype(np.float32))
    meta = run(there, psf=there / "psf.fits", iterations=1).meta
    place = there / "out" / "catalog.fits", None, SHAPE, WCS(header()), 0.1
    grid, found = read_vis_psfs(*place)
    assert found == there / "psf.fits" and len(grid[0][0].image) == 31
    for card in ("PSF", "IMAGE"):
        assert meta[card].isascii() and ("%C3%A9" in meta[card]) == ("é" in name)
    assert str(there / "image.fits") in (there / "out" / "summary.json").read_text()
