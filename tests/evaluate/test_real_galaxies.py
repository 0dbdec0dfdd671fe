"""The benchmark of real galaxies: its sheets, and what it counts as found."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from vaedeblend.survey import Survey


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend("tests/benchmarks")
    import real

    return real


OPTIONS = SimpleNamespace(magnitude=(21.0, 24.5), seed=3)


def test_sheets_hold_single_galaxies_or_pairs_off_the_edges(benchmark):
    for pairs in (0, 1):
        sources, side = benchmark.sheet(8, pairs, OPTIONS, Survey())
        assert len(sources.id) == 8 and abs(sources.phase).max() <= 0.5
        assert sources.position.min() > 30 and sources.position.max() < side - 30
        apart = np.linalg.norm(sources.position[:, None] - sources.position, axis=-1)
        nearest = np.sort(apart, axis=1)[:, 1] * 0.1
        if pairs:
            assert (nearest > 0.4).all() and (nearest < 1.6).all()
        else:
            assert nearest.min() > 8


def test_misses_false_detections_errors_and_coverage_are_counted(benchmark):
    sources, _ = benchmark.sheet(4, 0, OPTIONS, Survey())
    flux, place = sources.galaxies.flux[:, 0], sources.position
    y, x = np.concatenate([place[:3] + 0.2, [[2, 2], [70, 9]]]).T
    found = np.append(flux[:3] * [1.1, 0.9, 2.0], [5.0, 6.0])
    errors = np.append(flux[:3] * [0.2, 0.05, 0.1], [1, 1])
    catalog = Table({"x": x, "y": y, "flux": found, "flux_err": errors})
    error, covered, false = benchmark.judged(sources, catalog)
    np.testing.assert_allclose(error, [0.1, -0.1, 1.0, np.nan])
    np.testing.assert_array_equal(covered[:3], [1, 0, 0])
    assert false.sum() == 2
    each = np.arange(4)
    judged, rng = (error, covered, false), np.random.default_rng(0)
    values = benchmark.with_errors(judged, each, each, rng)
    assert values["found"][0] == 75 and values["false"][0] == 200
    assert values["outliers"][0] == pytest.approx(100 / 3)


def test_errors_are_those_of_the_real_galaxies_that_draw_many(benchmark):
    """A tenth of the galaxies, and as many as their drawers are drawn: 1000 tell as 10 would."""
    drawer = np.repeat(np.arange(10), 100)
    error = np.where(drawer == 3, np.nan, 0.0)
    judged = error, np.zeros(1000), np.zeros(1000)
    of_drawers = benchmark.with_errors(judged, np.arange(1000), drawer, np.random.default_rng(1))
    alone = benchmark.with_errors(
        judged, np.arange(1000), np.arange(1000), np.random.default_rng(1)
    )
    assert of_drawers["found"] == pytest.approx([90, 100 * (0.1 * 0.9 / 10) ** 0.5], rel=0.2)
    assert alone["found"] == pytest.approx([90, 100 * (0.1 * 0.9 / 1000) ** 0.5], rel=0.2)


def test_a_pair_counts_as_often_as_both_of_its_drawers(benchmark):
    rng, drawer = np.random.default_rng(2), np.array([0, 1, 2, 2, 0, 2])
    cell = np.arange(6) // 2
    for _ in range(20):
        rows = benchmark.resampled(cell, drawer, rng)
        n = np.bincount(rows, minlength=6)
        assert (n[::2] == n[1::2]).all()
    both = [np.bincount(benchmark.resampled(cell, drawer, rng), minlength=6) for _ in range(4000)]
    assert np.mean(both, axis=0)[2:4] == pytest.approx([1, 1], abs=0.1)


def test_who_draws_a_galaxy_is_known(benchmark, tmp_path):
    from hubble import sample, write

    write(tmp_path, galaxies=sample(5))
    sources, _ = benchmark.sheet(30, 0, OPTIONS, Survey())
    cell = np.arange(30)
    found = benchmark.drawn_by(sources, cell, f"cosmos:{tmp_path}", 3)
    assert 1 < len(set(found)) <= 5 and found.min() == 0
    for style in ("analytic", "structured"):
        np.testing.assert_array_equal(benchmark.drawn_by(sources, cell, style, 3), cell)


def test_the_worst_drawer_is_the_one_that_makes_most_of_the_scatter(benchmark):
    drawer = np.arange(300) % 3
    error = np.random.default_rng(3).normal(0, 0.05, 300)
    error[drawer == 1] *= 5
    error[::7] = np.nan
    assert benchmark.worst(error, drawer) == 1
