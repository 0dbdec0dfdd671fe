import numpy as np
import pytest

from vaedeblend.frames import Frames

SIZE = 8
CORNER = np.array([[0, 0], [3, 5], [-6, 2], [10, 15], [-8, -8]])
INDEX = np.array([0, 1, 0, 1, 0])


@pytest.fixture
def frames(rng):
    image = rng.normal(size=(2, 12, 20, 3))
    return Frames(image, 1.0, size=SIZE, gain=2.0)


def test_stamps_are_the_images_pixels_and_nothing_beyond(frames):
    image = frames.inner(frames.image)
    stamps = frames.cut(frames.image, INDEX, CORNER)
    assert stamps.shape == (5, SIZE, SIZE, 3)
    np.testing.assert_array_equal(stamps[1], image[1, 3:11, 5:13])
    np.testing.assert_array_equal(stamps[2, 6:], image[0, :2, 2:10])
    assert not stamps[2, :6].any() and not stamps[4].any()
    assert np.isinf(frames.cut(frames.variance, INDEX, CORNER)[2, :6]).all()


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
    frames = Frames(image, variance, size=SIZE)
    assert not frames.inner(frames.image)[0, 4].any()
    laid = frames.paste(np.ones((1, SIZE, SIZE, 1)), np.zeros(1, int), np.array([[2, 2]]))
    assert not frames.inner(laid)[0, 4].any() and laid.sum() == SIZE * (SIZE - 1)
    assert frames.gain is None


def test_gain_may_be_one_for_all_or_one_for_each(rng):
    image = np.zeros((2, 12, 20, 1))
    for gain, expected in ((3.0, [3, 3]), (np.array([[3.0], [4.0]]), [3, 4])):
        frames = Frames(image, 1.0, size=SIZE, gain=gain)
        np.testing.assert_array_equal(frames.gain[:, 0], expected)
