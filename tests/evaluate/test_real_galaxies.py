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
    assert false == 2
    values = benchmark.with_errors(error, covered, false, np.random.default_rng(0))
    assert values["found"][0] == 75 and values["false"][0] == 200
    assert values["outliers"][0] == pytest.approx(100 / 3)
