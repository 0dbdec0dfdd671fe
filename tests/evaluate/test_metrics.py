import evaluated
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.summary import with_estimates


def test_relative_error_counts_a_miss_as_minus_one():
    error = metrics.relative_error(np.array([1.1, np.nan, 0.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(error, [0.1, -1.0, -1.0])


def test_statistics_of_hand_made_errors():
    error = np.array([-1.0, -0.1, 0.0, 0.1, 0.6])
    found = metrics.summarise(error, np.array([False, True, True, True, True]))
    assert found["n"] == 5 and found["found"] == 4
    assert found["bias"] == 0.0
    assert found["sigma"] == pytest.approx(np.sqrt(np.mean((error + 0.08) ** 2)))
    assert found["nmad"] == pytest.approx(1.4826 * 0.1)
    assert found["outliers"] == pytest.approx(0.4)
    assert found["mean_abs"] == pytest.approx(0.36)
    assert found["dispersion68"] == pytest.approx(np.quantile([0, 0.1, 0.1, 0.6, 1.0], 0.68))


def test_nmad_of_gaussian_errors_is_their_sigma(rng):
    assert metrics.nmad(rng.normal(3.0, 0.2, 100_000)) == pytest.approx(0.2, rel=0.02)


def test_no_stamps_have_no_statistics():
    found = metrics.summarise(np.zeros(0))
    assert found["n"] == 0 and found["sigma"] is None


def test_bootstrap_agrees_with_the_standard_error_of_the_mean(rng):
    error = rng.normal(0, 1, 2000)
    found = metrics.bootstrap(np.mean, error, np.arange(2000), rng, 400)
    assert found == pytest.approx(1 / np.sqrt(2000), rel=0.15)


def test_bootstrap_draws_galaxies_not_stamps(rng):
    error = np.repeat(rng.normal(0, 1, 500), 4)
    found = metrics.bootstrap(np.mean, error, np.repeat(np.arange(500), 4), rng, 400)
    assert found == pytest.approx(1 / np.sqrt(500), rel=0.15)


def test_failure_classes_are_the_talks():
    error = np.array([0.1, -1.0, 0.6, 0.8, -1.0, -0.6, 0.4])
    n_objects = np.array([1, 0, 1, 1, 3, 4, 0])
    classes = metrics.failure_class(error, n_objects).tolist()
    assert classes == ["none", "missed", "one", "one_beyond", "several", "several", "none"]


def test_similarity_is_one_for_what_agrees_and_less_for_what_does_not(rng):
    truth = np.stack([gaussian_filter(rng.random((32, 32)), 2) for _ in range(3)])
    noisy = truth + 0.1 * rng.normal(size=truth.shape)
    np.testing.assert_allclose(metrics.similarity(truth, truth), 1)
    np.testing.assert_allclose(
        metrics.similarity(7 * noisy, 7 * truth), metrics.similarity(noisy, truth), rtol=1e-6
    )
    assert (metrics.similarity(noisy, truth) < 0.9).all()
    assert np.isnan(metrics.similarity(0 * truth, 0 * truth)).all()


def test_similarity_is_that_of_its_formula():
    """One stamp in constant levels: means 0.5 and 1, no variance, so luminance alone."""
    found = metrics.similarity(np.full((1, 16, 16), 0.5), np.ones((1, 16, 16)))
    np.testing.assert_allclose(found, (2 * 0.5 + 1e-4) / (0.25 + 1 + 1e-4))


def test_cosine_distance_knows_shape_not_scale(rng):
    stamps = rng.random((3, 8, 8, 1))
    np.testing.assert_allclose(metrics.cosine_distance(5 * stamps, stamps), 0, atol=1e-12)
    left, right = np.zeros((2, 1, 2, 2, 1))
    left[0, 0, 0], right[0, 1, 1] = 1, 1
    np.testing.assert_allclose(metrics.cosine_distance(left, right), 1)


def test_mean_squared_error_is_not_its_root():
    image, truth = np.full((2, 4, 4, 1), 3.0), np.ones((2, 4, 4, 1))
    np.testing.assert_allclose(metrics.mean_squared_error(image, truth), 4.0)


def test_coverage_of_gaussian_errors(rng):
    true = rng.normal(10, 1, 50_000)
    flux = true + rng.normal(0, 0.3, 50_000)
    assert metrics.coverage(flux, np.full(50_000, 0.3), true) == pytest.approx(0.683, abs=0.01)


def round_gaussians(sigmas, size=41):
    y, x = np.indices((size, size)) - size // 2
    return np.stack([np.exp(-(y**2 + x**2) / (2 * s**2)) for s in sigmas])[..., None]


def test_weighted_size_is_that_of_the_product_with_its_window():
    sigmas = np.array([1.0, 2.0, 3.0])
    found = metrics.weighted_size(round_gaussians(sigmas), sigma=4.0)
    np.testing.assert_allclose(found, np.sqrt(2 / (1 / sigmas**2 + 1 / 16)), rtol=1e-3)


def test_weighted_size_takes_samples_of_stamps_at_once():
    stamps = round_gaussians([1.0, 2.0])
    np.testing.assert_array_equal(
        metrics.weighted_size(np.stack([stamps, 3 * stamps]))[1],
        metrics.weighted_size(3 * stamps),
    )


def test_ranks_are_uniform_where_truth_and_samples_are_alike(rng):
    ranks = metrics.ranks(rng.normal(size=(99, 5000)), rng.normal(size=5000))
    counts, _ = np.histogram(ranks, 10, (0, 1))
    assert (np.abs(counts - 500) < 5 * np.sqrt(500)).all()
    shifted = metrics.ranks(rng.normal(size=(99, 5000)), rng.normal(1.0, 1.0, 5000))
    assert shifted.mean() > 0.7


def test_equal_bins_hold_every_finite_value_once_in_order(rng):
    values = rng.random(103)
    values[:3] = np.nan
    parts = metrics.equal_bins(values, 8)
    assert sorted(np.concatenate(parts)) == list(range(3, 103))
    assert {len(part) for part in parts} == {12, 13}
    tops = [values[part].max() for part in parts[:-1]]
    assert all(top <= values[part].min() for top, part in zip(tops, parts[1:], strict=True))
    assert (
        metrics.equal_bins(np.full(4, np.nan), 8) == []
        and len(metrics.equal_bins(values[3:6], 8)) == 3
    )


def test_edges_grow_until_they_hold_all():
    edges = (23.0, 23.5, 24.0)
    assert metrics.extended_edges(edges, np.array([23.2, np.nan]), 0.5) == list(edges)
    assert metrics.extended_edges(edges, np.array([22.4, 24.0]), 0.5) == [
        22.0,
        22.5,
        23.0,
        23.5,
        24.0,
        24.5,
    ]
    assert metrics.extended_edges(edges, np.array([]), 0.5) == list(edges)


def test_cells_with_few_stamps_have_a_count_only():
    column = with_estimates(evaluated.example_table(n=40))
    edges = (np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.5, 3.0]))
    cells = metrics.cells(column, ("purity", "separation"), edges)
    assert sum(cell["n"] for cell in cells) == 40
    for cell in cells:
        assert (cell["vae"] is None) == (cell["n"] < metrics.FEWEST)


def test_empty_bins_have_no_statistics():
    column = with_estimates(evaluated.example_table(n=40))
    row = metrics.binned(column, "magnitude", (20, 21))[0]
    assert row["vae"]["n"] == row["lost"] == 0
    for key in ("vae_closer", "coverage68", "err_over_nmad", "lost_vae_mean_abs"):
        assert row[key] is None
    assert row["bound"]["rms_prior"] is row["likeness"]["mse"] is None


@pytest.mark.parametrize(("width", "shift"), [(1, 0), (2, 0), (1, 1)])
def test_random_points_tell_whether_a_joint_posterior_is_calibrated(rng, width, shift):
    """Of a Gaussian prior and likelihood, whose posterior is known."""
    n, dim = 3000, 3
    true = rng.normal(size=(n, dim))
    seen = true + rng.normal(size=(n, dim))
    mean, sigma = seen / 2 + shift, width * np.sqrt(0.5)
    samples = mean[:, None] + sigma * rng.normal(size=(n, 200, dim))
    credibility = metrics.tarp(samples, true, rng)
    assert (kstest(credibility, "uniform").statistic < 0.03) == (width == 1 and shift == 0)
