"""Pixels and ICRS, whatever the axes and the frame of the header."""

import numpy as np
import pytest
from astropy.coordinates import FK4, SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from vaedeblend.io.fits.sky import to_pixels, to_sky

SHAPE = 60, 80
X, Y = np.array([39.0, 10.25, 40.5]), np.array([29.0, 20.0, 5.75])
"""The first is the reference pixel."""
ORIGIN = SkyCoord(150.0, 2.0, unit="deg")


def header(names="RA---TAN DEC--TAN", at=(150.0, 2.0), **cards):
    names = names.split()
    cards |= {"CTYPE1": names[0], "CTYPE2": names[1], "CRVAL1": at[0], "CRVAL2": at[1]}
    return fits.Header(
        cards | {"CRPIX1": 40.0, "CRPIX2": 30.0, "CDELT1": -0.1 / 3600, "CDELT2": 0.1 / 3600}
    )


def of_frame(names, frame, **cards):
    sky = ORIGIN.transform_to(frame).spherical
    return header(names, (sky.lon.deg, sky.lat.deg), **cards)


B1950 = FK4(equinox=Time("B1950"))


@pytest.mark.parametrize(
    "cards",
    [
        header("DEC--TAN RA---TAN", (2.0, 150.0)),
        of_frame("GLON-TAN GLAT-TAN", "galactic"),
        of_frame("ELON-TAN ELAT-TAN", "barycentricmeanecliptic"),
        of_frame("RA---TAN DEC--TAN", B1950, RADESYS="FK4", EQUINOX=1950.0),
        of_frame("RA---TAN DEC--TAN", B1950, EQUINOX=1950.0),
        header(RADESYS="GAPPT"),
    ],
    ids=["dec-first", "galactic", "ecliptic", "fk4", "b1950", "unknown"],
)
def test_places_are_right_ascension_and_declination(cards):
    wcs = WCS(cards)
    sky = SkyCoord(*to_sky(wcs, X, Y), unit="deg")
    assert (sky.separation(ORIGIN).arcsec < 5).all()
    assert sky[0].separation(ORIGIN).arcsec < 1e-4
    back = to_pixels(wcs, sky.ra.deg, sky.dec.deg, SHAPE)
    np.testing.assert_allclose(back, np.stack([Y, X], axis=1), atol=1e-4)


@pytest.mark.parametrize("cards", [{}, {"RADESYS": "FK5", "EQUINOX": 2000.0}, {"EQUINOX": 2000.0}])
def test_numbers_of_icrs_and_j2000_are_the_headers(cards):
    wcs = WCS(header(**cards))
    np.testing.assert_array_equal(to_sky(wcs, X, Y), wcs.all_pix2world(X, Y, 0))
