import numpy as np

from vaedeblend.pixels.matching import match


def test_sources_are_matched_to_the_nearest_within_the_radius():
    true, found = np.array([[0.0, 0], [10, 0], [50, 50]]), np.array([[9.0, 0], [1, 1], [54, 50]])
    np.testing.assert_array_equal(match(true, np.ones(3), found), [1, 0, -1])
    np.testing.assert_array_equal(match(true, np.ones(3), found, radius=5.0), [1, 0, 2])


def test_brighter_ones_choose_first_and_none_is_taken_twice():
    true, found = np.array([[0.0, 0], [1.5, 0]]), np.array([[1.0, 0]])
    np.testing.assert_array_equal(match(true, np.array([1.0, 2.0]), found), [-1, 0])
    np.testing.assert_array_equal(match(true, np.array([2.0, 1.0]), found), [0, -1])


def test_second_choice_is_what_is_left():
    true, found = np.array([[0.0, 0], [1.5, 0]]), np.array([[1.0, 0], [3.0, 0]])
    np.testing.assert_array_equal(match(true, np.array([2.0, 1.0]), found), [0, 1])


def test_nothing_found_matches_nothing():
    np.testing.assert_array_equal(match(np.zeros((2, 2)), np.ones(2), np.zeros((0, 2))), [-1, -1])
    assert match(np.zeros((0, 2)), np.ones(0), np.ones((3, 2))).shape == (0,)
