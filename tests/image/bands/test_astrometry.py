import numpy as np
import pytest

from vaedeblend.image.bands.fitting.astrometry import Shifts, joined, no_shift, shift_field

SHAPE = 1000, 3000


def shifts(rng, n=200, outliers=10):
    position = rng.uniform(0, np.array(SHAPE), (n, 2))
    true = np.stack([np.full(n, 0.3), np.where(position[:, 1] > 1500, 0.5, -0.1)], axis=1)
    found = true + 0.05 * rng.standard_normal((n, 2))
    found[:outliers] += 1.5
    return Shifts(position, found, np.full((n, 2), 0.05**2))


def test_shifts_are_averaged_by_region():
    field, n = shift_field(shifts(np.random.default_rng(0)), SHAPE)
    assert 150 < n < 200
    found = field.at(np.array([[500.0, 100.0], [500.0, 2900.0]]))
    assert found[:, 0] == pytest.approx(0.3, abs=0.02)
    assert found[:, 1] == pytest.approx([-0.1, 0.5], abs=0.05)


def test_few_sources_tell_no_shift():
    known = shifts(np.random.default_rng(1), n=2, outliers=0)
    field, n = shift_field(known, SHAPE)
    assert n == 0 and not field.cells.any()
    field, n = shift_field(joined([known, known]), SHAPE)
    assert n == 4 and field.cells[..., 0] == pytest.approx(0.3, abs=0.2)


def test_a_region_without_sources_has_the_shift_of_the_image():
    known = shifts(np.random.default_rng(2), outliers=0)
    left = Shifts(*(each[known.position[:, 1] < 1000] for each in known))
    field, _ = shift_field(left, SHAPE)
    assert field.at(np.array([[500.0, 2800.0]]))[0] == pytest.approx([0.3, -0.1], abs=0.03)
    assert field.added(field).cells == pytest.approx(2 * field.cells)
    assert no_shift(SHAPE).cells.shape == (1, 3, 2)
