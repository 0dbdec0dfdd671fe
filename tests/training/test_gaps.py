"""Where an observed stamp has no image, or one of another depth: lines, streaks and edges."""

import jax
import numpy as np
import pytest
from scipy import stats

from vaedeblend.training import observe as module

N, SIZE = 2000, 15


@pytest.fixture(scope="module")
def lines():
    return np.asarray(module._beyond_a_line(jax.random.key(3), 4000, SIZE, 1.0))[..., 0]


def test_centre_is_never_beyond_the_line(lines):
    assert (lines[:, SIZE // 2, SIZE // 2] == 1).all()
    even = np.asarray(module._beyond_a_line(jax.random.key(3), 4000, 16, 1.0))[..., 0]
    assert (np.sum(even[:, 7:9, 7:9] != 1, axis=(1, 2)) <= 2).all()


def test_beyond_a_line_is_one_side_of_the_centre(lines):
    beyond = lines != 1
    assert not (beyond & beyond[:, ::-1, ::-1]).any()
    for stamp, factors in zip(beyond[:200], lines[:200], strict=True):
        assert len(np.unique(factors[stamp])) <= 1


def test_depth_beyond_a_line_is_uniform_in_logarithm_within_a_factor_of_two(lines):
    factor = np.where(np.isinf(lines), 1, lines)
    at = np.abs(np.log(factor)).reshape(len(lines), -1).argmax(axis=1)
    log = np.log(factor.reshape(len(lines), -1)[np.arange(len(lines)), at])
    assert stats.kstest(log[log != 0], stats.uniform(np.log(0.25), np.log(16)).cdf).pvalue > 0.001


def test_a_fourth_of_the_lines_end_the_image_along_an_axis(lines):
    ended = np.isinf(lines)
    some = ended.any(axis=(1, 2))
    visible = (SIZE - 1) / SIZE  # of ends at up to half the stamp: the others miss every pixel
    assert some.mean() == pytest.approx(visible / 4, abs=0.03)
    rows, columns = ended.all(axis=2).any(axis=1), ended.all(axis=1).any(axis=1)
    np.testing.assert_array_equal(rows ^ columns, some)
    assert rows[some].mean() == pytest.approx(0.5, abs=0.08)


def test_share_of_uneven_stamps_is_as_asked(key):
    found = np.asarray(module._beyond_a_line(key, N, SIZE, 0.3)) != 1
    visible = 0.75 + 0.25 * (SIZE - 1) / SIZE
    assert found.any(axis=(1, 2, 3)).mean() == pytest.approx(0.3 * visible, abs=0.04)


@pytest.fixture(scope="module")
def streaks():
    """On stamps large enough to hold nearly all of them."""
    return np.asarray(module._streak(jax.random.key(4), 1000, 63, 1.0))[..., 0]


def test_half_of_the_streaks_are_whole_columns_or_rows(streaks):
    rows, columns = (streaks.all(axis=axis).any(axis=1) for axis in (2, 1))
    assert not (rows & columns).any()
    assert (rows | columns).mean() == pytest.approx(0.5, abs=0.06)
    assert rows.mean() == pytest.approx(0.25, abs=0.06)
    breadth = streaks.all(axis=1).sum(axis=1)[columns]
    assert set(breadth.tolist()) == {1, 2, 3}


def test_streaks_lie_about_the_centre(streaks):
    columns = streaks.all(axis=1)
    place = [np.mean(np.flatnonzero(row)) - 31 for row in columns if row.any()]
    assert stats.kstest(place, stats.norm(0, module._STREAK_SIGMA).cdf).pvalue > 0.001


def test_cosmic_rays_are_short_and_thin(streaks):
    whole = streaks.all(axis=2).any(axis=1) | streaks.all(axis=1).any(axis=1)
    area = streaks[~whole].sum(axis=(1, 2))
    assert area.max() <= 16 * 3 + 16
    assert 10 < area.mean() < 30


def test_share_of_masked_stamps_is_as_asked(key):
    found = module._streak(key, N, 31, 0.2).any(axis=(1, 2, 3))
    assert np.mean(found) == pytest.approx(0.2, abs=0.04)


@pytest.fixture(scope="module")
def cut():
    return np.asarray(module._outside(jax.random.key(4), 1000, 30, 1.0))[..., 0]


def test_stamps_are_cut_by_the_edges_of_a_square_image(cut):
    """What is inside is a rectangle at one of the stamp's corners, and holds the centre."""
    for outside in cut:
        rows, columns = (~outside.all(axis=axis) for axis in (1, 0))
        np.testing.assert_array_equal(~outside, rows[:, None] & columns)
        for line in (rows, columns):
            assert line[13:17].all() and (line[0] or line[-1]) and np.abs(np.diff(line)).sum() <= 1


def test_galaxies_lie_at_any_distance_from_the_middle_of_their_image(cut):
    shift = np.stack([cut.all(axis=axis).sum(axis=1) for axis in (2, 1)])
    assert np.hypot(*shift).max() == pytest.approx(13, abs=1)
    assert np.hypot(*shift).mean() == pytest.approx(6.5, abs=0.5)
    np.testing.assert_allclose(shift.mean(axis=1), 6.5 * 2 / np.pi, atol=0.5)


def test_share_of_cut_stamps_is_as_asked(key):
    found = module._outside(key, N, 31, 0.2).any(axis=(1, 2, 3))
    assert np.mean(found) == pytest.approx(0.2, abs=0.04)
