"""Places of PSFs on an image, whatever the axes and the frame of its coordinates."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from vaedeblend.exceptions import PsfError
from vaedeblend.io.fits.sky import to_sky
from vaedeblend.pixels.psfs.cells import places_of

SHAPE = 400, 400
SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-5, "B_0_2": 2e-5, "A_0_2": 1e-5, "B_1_1": 1e-5}


def coordinates(names, **cards):
    cards |= dict(zip(("CTYPE1", "CTYPE2"), names.split(), strict=True))
    cards |= {"CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 200.0, "CRPIX2": 200.0}
    return WCS(fits.Header(cards | {"CDELT1": -0.1 / 3600, "CDELT2": 0.1 / 3600}))


@pytest.mark.parametrize(
    "wcs",
    [
        coordinates("DEC--TAN RA---TAN"),
        coordinates("GLON-TAN GLAT-TAN"),
        coordinates("ELON-TAN ELAT-TAN"),
        coordinates("SLON-TAN SLAT-TAN"),
        coordinates("RA---TAN-SIP DEC--TAN-SIP", **SIP),
    ],
    ids=["dec-first", "galactic", "ecliptic", "supergalactic", "sip"],
)
def test_places_on_the_sky_are_those_of_the_image(wcs):
    """Also beside others that are far from it, where SIP does not converge, or on no sky."""
    (ra,), (dec,) = to_sky(wcs, np.array([70.0]), np.array([20.0]))
    columns = {"RA": [ra, ra + 5.0, ra + 180, np.nan], "Dec": [dec, dec, -dec, dec]}
    places = places_of("psfs", columns, SHAPE, wcs)
    np.testing.assert_allclose(places[0], (20.0, 70.0), atol=1e-3)
    assert (np.abs(places[1]) > 1e4).any() and np.isnan(places[2:]).all()


def test_pixels_count_from_1_and_the_sky_wants_coordinates():
    np.testing.assert_array_equal(places_of("psf", {"X": 3, "Y": 5}, SHAPE, None), [(4, 2)])
    with pytest.raises(PsfError, match="psf: has ra and dec, but the image has no WCS"):
        places_of("psf", {"RA": 3.0, "DEC": 5.0}, SHAPE, None)
