"""What a header says of its image, and what of it cannot be used."""

import astropy.units as u
import pytest
from astropy.io import fits

from vaedeblend.io.fits.header import (
    PSF_SECTION,
    as_section,
    counts_electrons,
    exposure_time,
    mended,
    rate_of,
    read_facts,
    sampling,
    with_inherited,
)


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
        *(("electron/s/pix", "electrons"), ("electron / (pix s)", "electrons")),
        *(("ct pix-1 s-1", "counts"), ("e-/s/PIXEL", "electrons"), ("electron/pix", None)),
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


@pytest.mark.parametrize(
    "unit", ["uJy/pix", "uJy / pixel", "uJy per pixel", "uJy pix-1", "uJy.pix**-1"]
)
def test_a_flux_of_a_pixel_is_a_flux(unit):
    facts = read_facts(fits.Header({"BUNIT": unit}))
    assert (facts.zero_point, facts.unit) == (23.9, u.uJy)
    assert counts_electrons(fits.Header({"BUNIT": unit.replace("uJy", "electron")})) == "electron"


def test_exposure_time_is_a_positive_number():
    assert exposure_time(fits.Header({"EXPTIME": 0.0, "TEXPTIME": 20.0})) == (20.0, "TEXPTIME")
    assert exposure_time(fits.Header({"EXPTIME": "long"})) == (None, "")


def test_cards_that_break_the_standard_are_read_as_text():
    text = "GAIN    =             14276,3 / e-/uJy"
    header = fits.Header.fromstring(text.ljust(80) + "BUNIT   = uJy / unquoted".ljust(80))
    facts = read_facts(header)
    assert facts.gain is None and facts.notes == ("GAIN '14276,3' is no number",)
    assert facts.unit == u.uJy and facts.zero_point == 23.9


@pytest.mark.parametrize(
    "card",
    ["HISTORY a\tb", "FOO     = 1 / a\tb", "FOO     = 'a\tb' / x", "A.B     = 1", "FOO*    = 1"],
)
def test_cards_that_cannot_be_mended_are_left_out(card):
    header = fits.Header.fromstring("BUNIT   = 'uJy'".ljust(80) + card.ljust(80))
    assert [*mended(header)] == [*with_inherited(header, header)[0]] == ["BUNIT"]
    facts = read_facts(header)
    assert facts.unit == u.uJy and not facts.notes
    scale = fits.Header.fromstring("PIXSCALE= 'a\tb'".ljust(80) + "CDELT2  = 1e-5".ljust(80))
    assert sampling(scale) == (pytest.approx(0.036), "CDELT2", "")


def test_surface_brightness_is_that_of_a_pixel():
    facts = read_facts(fits.Header({"BUNIT": "uJy/arcsec2", "PIXSCALE": 0.1}))
    assert facts.zero_point == pytest.approx(23.9 + 5) and facts.unit == u.uJy / u.arcsec**2 * u.pix
    assert read_facts(fits.Header({"BUNIT": "MJy/sr"})).zero_point is None


TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0}
STEPS = {"CD1_1": -1e-5, "CD2_2": 1e-5}


@pytest.mark.parametrize(
    ("cards", "scale", "why"),
    [
        ({"CRVAL1": None}, 0.036, "CRVAL1 is missing"),
        ({"CRVAL2": "nan"}, 0.036, "CRVAL2 is 'nan', no number"),
        ({"CD1_1": 0.0, "CD2_2": 0.0}, None, "CD, or CDELT, is all 0"),
        ({"CD1_1": None, "CD2_2": None}, None, "CD, or CDELT, is missing"),
        ({"CTYPE3": "FREQ-LSR"}, 0.036, None),
    ],
)
def test_what_wcslib_takes_to_be_0_is_no_place_on_the_sky(cards, scale, why):
    """A card that is missing is None here."""
    known = {name: value for name, value in (TAN | STEPS | cards).items() if value is not None}
    facts = read_facts(fits.Header(known))
    assert facts.pixel_scale == (scale and pytest.approx(scale))
    assert (facts.wcs is None) == (why is not None) == bool(facts.notes)
    assert all(why in note and "WCS cannot be used" in note for note in facts.notes)


PRIMARY = fits.Header({"NAXIS": 0, "MAGZERO": 25.0, "GAIN": 3.0, "EXPTIME": 60.0, "BUNIT": "uJy"})


def test_what_an_image_lacks_is_of_the_primary_header():
    header, inherited = with_inherited(fits.Header({"ZP": 24.0, "CTYPE1": "LINEAR"}), PRIMARY)
    facts = read_facts(header, inherited)
    assert (facts.zero_point, facts.gain, facts.unit) == (24.0, 3.0, u.uJy)
    assert facts.origins["zero_point"] == "ZP"
    assert facts.origins["gain"] == "GAIN of the primary header"
    assert exposure_time(header) == (60.0, "EXPTIME")
    unit = fits.Header({"NAXIS": 0, "BUNIT": "uJy"})
    facts = read_facts(*with_inherited(fits.Header(), unit))
    assert facts.origins["zero_point"] == "unit uJy of the primary header"


def test_the_part_of_an_image_that_its_psfs_are_of_is_a_card():
    section = slice(10, 30), slice(0, 25)
    assert as_section(*section) == "[1:25,11:30]"
    assert read_facts(fits.Header({PSF_SECTION: as_section(*section)})).psf_section == section
    assert read_facts(fits.Header({PSF_SECTION: "[all]"})).psf_section is None


@pytest.mark.parametrize("primary", [None, fits.Header({**PRIMARY, "NAXIS": 2})])
def test_the_header_of_another_image_is_not_inherited(primary):
    header = fits.Header({"ZP": 24.0})
    assert with_inherited(header, primary) == (header, frozenset())


@pytest.mark.parametrize(("value", "number"), [("23.9", 23.9), (" 2.5e1 ", 25.0), ("none", None)])
def test_numbers_in_quotes_are_numbers(value, number):
    facts = read_facts(fits.Header({"MAGZERO": value, "PIXSCALE": "0.1"}))
    assert facts.zero_point == number and facts.pixel_scale == 0.1
    (note,) = facts.notes
    assert ("is text; taken as the number" in note) == (number is not None)
    assert sampling(fits.Header({"PIXSCALE": "0.1"})) == (0.1, "PIXSCALE", "")
