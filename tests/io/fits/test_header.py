"""What a header says of its image, and what of it cannot be used."""

import astropy.units as u
import pytest
from astropy.io import fits

from vaedeblend.io.fits.header import exposure_time, rate_of, read_facts, sampling


@pytest.mark.parametrize(
    ("cards", "scale", "origin"),
    [
        ({}, None, ""),
        ({"PIXSCALE": 0.03}, 0.03, "PIXSCALE"),
        ({"PIXELSCL": 0.02}, 0.02, "PIXELSCL"),
        ({"CDELT2": 1e-5}, 0.036, "CDELT2"),
        ({"CDELT2": 1.0}, None, "CDELT2"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -1e-5, "CD2_2": 1e-5}, 0.036, "WCS"),
        ({"PIXSCALE": 0.03, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, 0.03, "PIXSCALE"),
    ],
)
def test_sampling_is_a_cards_or_a_wcs(cards, scale, origin):
    found = sampling(fits.Header(cards))
    assert found == (scale and pytest.approx(scale), origin, "")


@pytest.mark.parametrize(
    ("unit", "counted"),
    [
        *(("electron/s", "electrons"), ("e-/s", "electrons"), ("ELECTRONS/S", "electrons")),
        *(("electron s-1", "electrons"), ("adu / s", "counts"), ("DN/s", "counts")),
        *(
            ("counts s**-1", "counts"),
            ("electron", None),
            ("adu", None),
            ("uJy", None),
            ("s", None),
        ),
    ],
)
def test_rates_are_known_by_their_unit(unit, counted):
    assert rate_of(fits.Header({"BUNIT": unit})) == counted


def test_exposure_time_is_a_positive_number():
    assert exposure_time(fits.Header({"EXPTIME": 0.0, "TEXPTIME": 20.0})) == (20.0, "TEXPTIME")
    assert exposure_time(fits.Header({"EXPTIME": "long"})) == (None, "")


def test_cards_that_break_the_standard_are_read_as_text():
    text = "GAIN    =             14276,3 / e-/uJy"
    header = fits.Header.fromstring(text.ljust(80) + "BUNIT   = uJy / unquoted".ljust(80))
    facts = read_facts(header)
    assert facts.gain is None and facts.notes == ("GAIN '14276,3' is no number",)
    assert facts.unit == u.uJy and facts.zero_point == 23.9


def test_surface_brightness_is_that_of_a_pixel():
    facts = read_facts(fits.Header({"BUNIT": "uJy/arcsec2", "PIXSCALE": 0.1}))
    assert facts.zero_point == pytest.approx(23.9 + 5) and facts.unit == u.uJy / u.arcsec**2 * u.pix
    assert read_facts(fits.Header({"BUNIT": "MJy/sr"})).zero_point is None
