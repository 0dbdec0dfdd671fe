import numpy as np
import pytest

from vaedeblend.pixels.profiles import Profiles
from vaedeblend.pixels.stamps import PaddedImages, overlap, spread, whole_corner

SIZE = 8
CORNER = np.array([[0, 0], [3, 5], [-6, 2], [10, 15], [-8, -8]])
INDEX = np.array([0, 1, 0, 1, 0])


@pytest.fixture
def frames(rng):
    image = rng.normal(size=(2, 12, 20, 3))
    return PaddedImages(image, 1.0, size=SIZE, gain=2.0)


def test_stamps_are_the_images_pixels_and_nothing_beyond(frames):
    image = frames.inner(frames.image)
    stamps = frames.cut(frames.image, INDEX, CORNER)
    assert stamps.shape == (5, SIZE, SIZE, 3)
    np.testing.assert_array_equal(stamps[1], image[1, 3:11, 5:13])
    np.testing.assert_array_equal(stamps[2, 6:], image[0, :2, 2:10])
    assert not stamps[2, :6].any() and not stamps[4].any()
    assert np.isinf(frames.noise(INDEX, CORNER)[2, :6]).all()


def test_laying_stamps_back_is_the_transpose_of_cutting_them(frames, rng):
    stamps, image = rng.normal(size=(5, SIZE, SIZE, 3)), frames.image
    there = np.vdot(frames.cut(image, INDEX, CORNER), stamps)
    back = np.vdot(image, frames.paste(stamps, INDEX, CORNER))
    assert there == pytest.approx(back, rel=1e-5)


def test_light_that_overlaps_adds_up(frames):
    ones, same = np.ones((2, SIZE, SIZE, 3)), np.array([[2, 2], [2, 2]])
    laid = frames.inner(frames.paste(ones, np.zeros(2, int), same))
    assert (laid[0, 2:10, 2:10] == 2).all() and laid.sum() == 2 * 3 * SIZE**2


def test_ignored_pixels_are_dark_and_take_no_light(rng):
    image, variance = rng.normal(size=(1, 12, 20, 1)), np.ones((1, 12, 20, 1))
    variance[0, 4], image[0, 4] = np.inf, np.nan
    frames = PaddedImages(image, variance, size=SIZE)
    assert not frames.inner(frames.image)[0, 4].any()
    laid = frames.paste(np.ones((1, SIZE, SIZE, 1)), np.zeros(1, int), np.array([[2, 2]]))
    assert not frames.inner(laid)[0, 4].any() and laid.sum() == SIZE * (SIZE - 1)
    assert frames.gain is None


def test_gain_may_be_one_for_all_or_one_for_each(rng):
    image = np.zeros((2, 12, 20, 1))
    for gain, expected in ((3.0, [3, 3]), (np.array([[3.0], [4.0]]), [3, 4])):
        frames = PaddedImages(image, 1.0, size=SIZE, gain=gain)
        np.testing.assert_array_equal(frames.gain[:, 0], expected)


@pytest.fixture
def wide(rng):
    return PaddedImages(rng.random((1, 60, 60, 1)), 1.0, size=SIZE, most=4)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_binned_stamps_are_sums_of_the_pixels_about_the_same_centre(wide, n):
    corner, where = np.array([[20, 24]]), np.zeros(1, int)
    (y, x), side = whole_corner(corner, n, SIZE)[0], n * SIZE
    assert y + side / 2 == 20 + SIZE / 2 and x + side / 2 == 24 + SIZE / 2
    window = wide.inner(wide.image)[0, y : y + side, x : x + side]
    stamp = wide.cut(wide.image, where, corner, n)[0]
    expected = window.reshape(SIZE, n, SIZE, n, 1).sum(axis=(1, 3))
    np.testing.assert_allclose(stamp, expected, rtol=1e-6)
    np.testing.assert_allclose(wide.noise(where, corner, n), n**2, rtol=1e-6)


def test_ignored_pixels_of_a_box_count_as_its_others_do():
    variance = np.ones((1, 60, 60, 1))
    variance[0, 30, 30], variance[0, 36:] = np.inf, np.inf
    frames = PaddedImages(np.ones((1, 60, 60, 1)), variance, size=SIZE, most=2)
    at = np.zeros(1, int), np.array([[28, 24]]), 2
    stamp, noise = frames.cut(frames.image, *at)[0, ..., 0], frames.noise(*at)[0, ..., 0]
    assert np.isinf(noise[6:]).all() and np.isfinite(noise[:6]).all()
    np.testing.assert_allclose(stamp[:6], 4)
    assert noise[3, 5] == pytest.approx(3 * (4 / 3) ** 2) and noise[3, 4] == 4


@pytest.mark.parametrize("n", [1, 2, 4])
def test_light_is_spread_smoothly_and_none_of_it_is_lost(rng, n):
    stamp = rng.random((SIZE, SIZE, 2)).astype(np.float32)
    whole = spread(stamp, n)
    boxes = whole.reshape(SIZE, n, SIZE, n, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(boxes, stamp, rtol=1e-5)
    assert (whole >= 0).all()
    even = spread(np.ones((SIZE, SIZE)), n)
    np.testing.assert_allclose(even, 1 / n**2, rtol=1e-6)


def test_what_is_laid_down_binned_is_cut_out_again(wide, rng):
    stamps, where = rng.random((2, SIZE, SIZE, 1)).astype(np.float32), np.zeros(2, int)
    corner, binning = np.array([[8, 10], [40, 40]]), np.array([2, 1])
    canvas = wide.paste(stamps, where, corner, binning)
    np.testing.assert_allclose(wide.cut(canvas, where, corner, binning), stamps, rtol=1e-5)
    sides = Profiles.from_stamps(stamps[..., 0], binning, corner).sides
    assert sides.tolist() == [2 * SIZE, SIZE] and canvas.sum() == pytest.approx(
        stamps.sum(), rel=1e-5
    )


@pytest.mark.parametrize("corner", [(0, 0), (-3, 5), (8, 17), (-9, 0), (30, 30)])
def test_overlap_is_the_same_piece_of_image_and_stamp(corner):
    image = np.arange(12 * 20).reshape(12, 20)
    on_image, on_stamp = overlap(corner, SIZE, image.shape)
    rows, columns = np.indices((SIZE, SIZE))
    y, x = rows + corner[0], columns + corner[1]
    inside = (y >= 0) & (y < 12) & (x >= 0) & (x < 20)
    assert image[on_image].size == inside.sum()
    np.testing.assert_array_equal(image[on_image].ravel(), (20 * y + x)[on_stamp].ravel())


def test_the_typical_rms_is_local_and_no_odd_pixel_moves_it():
    variance = np.full((1, 200, 300, 1), 4.0, np.float32)
    variance[0, :, 150:] = 9.0
    variance[0, 60:64, 40:44] = 1e-9
    variance[0, 50:60] = np.inf
    images = PaddedImages(np.zeros_like(variance), variance, size=64)
    corner = np.array([[30, 20], [100, 200], [-40, 0], [400, 0]])
    found = images.typical_rms(np.zeros(4, int), corner)
    np.testing.assert_array_equal(found, np.float32([2, 3, 2, np.inf]))
