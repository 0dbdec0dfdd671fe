"""Images in memory as HDUs that can be written, with the unit that they have."""

import numpy as np
from astropy.io import fits

from vaedeblend.io.fits.memory import as_hdus


def test_cards_that_cannot_be_mended_are_left_out(tmp_path):
    cards = fits.Header.fromstring("HISTORY a\tb".ljust(80) + "BUNIT   = 'uJy'".ljust(80))
    hdus = as_hdus(fits.ImageHDU(np.ones((9, 9)), cards), "image")
    hdus.writeto(tmp_path / "image.fits")
    header = fits.getheader(tmp_path / "image.fits", 1)
    assert header["BUNIT"] == "uJy" and "HISTORY" not in header
