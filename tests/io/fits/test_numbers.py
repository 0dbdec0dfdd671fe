import astropy.units as u
import numpy as np
import pytest

from vaedeblend.exceptions import MosaicError
from vaedeblend.io.fits.numbers import as_count, as_gain, as_number


@pytest.mark.parametrize("value", [23.9, "23.9", 23.9 * u.ABmag, 23.9 * u.mag, np.array([23.9])])
def test_a_number_is_one_whatever_holds_it(value):
    assert as_number(value, "zero point") == 23.9


@pytest.mark.parametrize("value", [100, 100.0, "100", np.int16(100)])
def test_a_whole_number_is_one_whatever_holds_it(value):
    assert as_count(value, "tile") == 100 and isinstance(as_count(value, "tile"), int)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("ten", "tile: 'ten'; wanted a number"),
        (1.5, "tile is 1.5; wanted a whole number"),
        (np.nan, "tile is nan; wanted a whole"),
        (17, "tile is 17; wanted at least 64"),
        ([1, 2], "tile: 2 numbers; wanted one"),
        ({}, "tile: dict; wanted a number"),
        (64 * u.m, "tile: in m; wanted a plain number"),
    ],
)
def test_what_is_no_such_number_is_said(value, said):
    with pytest.raises(MosaicError, match=said):
        as_count(value, "tile", 64)


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (2.0 * u.electron / u.adu, None),
        (2e6 * u.electron / u.Jy, u.uJy),
        ("2", u.uJy),
        (u.Quantity(2.0), u.uJy),
    ],
)
def test_a_gain_is_of_the_images_unit(value, unit):
    assert as_gain(value, unit) == pytest.approx(2.0)


def test_a_gain_of_another_unit_is_refused():
    with pytest.raises(MosaicError, match="gain: in m; wanted electron / uJy"):
        as_gain(2 * u.m, u.uJy)
