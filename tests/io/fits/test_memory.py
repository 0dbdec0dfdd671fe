"""Images in memory as HDUs that can be written, with the unit that they have."""

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from vaedeblend.io.fits.header import rate_of, read_facts
from vaedeblend.io.fits.memory import as_hdus


def test_cards_that_cannot_be_mended_are_left_out(tmp_path):
    cards = fits.Header.fromstring("HISTORY a\tb".ljust(80) + "BUNIT   = 'uJy'".ljust(80))
    hdus = as_hdus(fits.ImageHDU(np.ones((9, 9)), cards), "image")
    hdus.writeto(tmp_path / "image.fits")
    header = fits.getheader(tmp_path / "image.fits", 1)
    assert header["BUNIT"] == "uJy" and "HISTORY" not in header


@pytest.mark.parametrize("kind", [CCDData, u.Quantity])
def test_units_of_a_pixel_are_read_again(kind):
    pixels = np.ones((9, 9))
    facts = read_facts(as_hdus(kind(pixels, unit=u.nJy / u.pix), "image")[0].header)
    assert (facts.zero_point, facts.unit) == (31.4, u.nJy)
    unit = u.electron / u.s / u.pix
    assert rate_of(as_hdus(kind(pixels, unit=unit), "image")[0].header) == "electrons"
