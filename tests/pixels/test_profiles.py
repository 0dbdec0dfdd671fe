"""The packed form of profiles, in memory and in files."""

import re

import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.pixels.profiles import Profiles, write_profiles
from vaedeblend.pixels.stamps import box_sums

SIZE = 8
BINNING = np.array([1, 4, 1, 2, 1])
CORNER = np.array([[3, 5], [-20, 11], [30, 30], [12, -3], [400, 400]])


@pytest.fixture
def profiles(rng):
    sides = SIZE * BINNING
    stamps = [rng.normal(size=(side, side)).astype(np.float32) for side in sides]
    return Profiles.pack(stamps, CORNER, SIZE)


def same(one, other):
    assert len(one) == len(other)
    np.testing.assert_array_equal(one.corner, other.corner)
    np.testing.assert_array_equal(one.binning, other.binning)
    for first, second in zip(one, other, strict=True):
        assert first.dtype == second.dtype == np.float32
        np.testing.assert_array_equal(first, second)


def test_a_stamp_fills_consecutive_pages_row_by_row(profiles):
    np.testing.assert_array_equal(profiles.first, [0, 1, 17, 18, 22])
    assert profiles.pages.shape == (23, SIZE, SIZE)
    np.testing.assert_array_equal(profiles.pages[1:17].reshape(4 * SIZE, -1), profiles[1])
    np.testing.assert_array_equal(profiles.pages[18].ravel(), profiles[3].ravel()[: SIZE**2])
    assert [len(stamp) for stamp in profiles] == profiles.sides.tolist()


def test_items_of_an_array_are_views_and_those_of_a_copy_are_its_own(profiles):
    copy = profiles.copy()
    copy[3][:] = 7
    assert (copy.pages[18:22] == 7).all() and not (profiles.pages == 7).any()
    with pytest.raises(IndexError):
        profiles[5]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_spread_stamps_keep_the_light_of_every_binned_pixel_about_one_centre(rng, n):
    stamps = rng.uniform(1, 2, (3, SIZE, SIZE)).astype(np.float32)
    corner = np.array([[0, 0], [5, -3], [10, 20]])
    spread = Profiles.from_stamps(stamps, np.full(3, n), corner)
    held = box_sums(np.stack(list(spread)), n)
    np.testing.assert_allclose(held, stamps, rtol=1e-5)
    np.testing.assert_array_equal(2 * spread.corner + spread.sides[:, None], 2 * corner + SIZE)


def test_light_is_laid_where_the_stamps_lie(profiles):
    shape = (40, 50)
    canvas = np.zeros((900, 900), np.float32)
    for stamp, (y, x) in zip(profiles, CORNER + 100, strict=True):
        canvas[y : y + len(stamp), x : x + len(stamp)] += stamp
    np.testing.assert_array_equal(profiles.lay(shape), canvas[100:140, 100:150])
    part = profiles.moved([4, 7]).lay((20, 20))
    np.testing.assert_array_equal(part, canvas[104:124, 107:127])


def test_sources_that_reach_into_a_box(profiles):
    np.testing.assert_array_equal(profiles.reaching([0, 0], [11, 12]), [0, 1])
    np.testing.assert_array_equal(profiles.reaching([11, 12], [31, 31]), [1, 2, 3])
    assert not len(profiles.reaching([500, 0], [600, 600]))


def test_parts_are_written_in_an_order_and_read_again(profiles, tmp_path):
    """A part may come from a file itself, or be empty."""
    first, rest = profiles.select(np.arange(2)), profiles.select(np.arange(2, 5))
    written = write_profiles(tmp_path / "part.fits", [rest], np.array([2, 0, 1]))
    none = profiles.select(np.zeros(0, int))
    order = np.array([3, 0, 2, 4, 1])
    read = write_profiles(tmp_path / "all.fits", [none, first, none, written], order)
    same(written, rest.select(np.array([2, 0, 1])))
    same(read, profiles.select(np.array([2, 0, 4, 3, 1])))
    np.testing.assert_array_equal(read.first, np.cumsum(read.binning**2) - read.binning**2)
    cube = fits.getdata(tmp_path / "all.fits")
    np.testing.assert_array_equal(cube, read.copy().pages)
    same(read.select(np.array([True, False, True, True, False])), read.select(np.array([0, 2, 3])))


def test_the_header_of_the_pages_says_how_they_are_read(profiles, tmp_path):
    read = write_profiles(tmp_path / "all.fits", [profiles], np.arange(5), "uJy")
    cube, header = fits.getdata(tmp_path / "all.fits", header=True)
    assert header["BUNIT"] == "uJy"
    (said,) = re.findall(r"cube\[.*\)", str(header["COMMENT"]).replace("\n", " "))
    for row, (i, b) in enumerate(zip(read.first, read.binning, strict=True)):
        np.testing.assert_array_equal(eval(said, {"cube": cube, "i": i, "b": b}), read[row])


def test_no_sources_are_a_file_of_no_pages(profiles, tmp_path):
    none = profiles.select(np.zeros(0, int))
    read = write_profiles(tmp_path / "none.fits", [none], np.zeros(0, int))
    assert len(read) == 0 and list(read) == [] and read.size == SIZE
    assert not read.lay((5, 6)).any() and read.copy().pages.shape == (0, SIZE, SIZE)
