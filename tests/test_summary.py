import numpy as np
import pytest
from astropy.table import Table
from scipy import stats

from vaedeblend import metrics
from vaedeblend.summary import against, summarise_examples
from vaedeblend.survey import magnitude_to_flux


def make_table(n=4000, stated=1.0, seed=0):
    """Fluxes that are log-normal about the truth, with a tenth as their stated error.

    Args:
        n: Stamps.
        stated: The stated error over the one that is made.
        seed: Of all of it.
    """
    rng = np.random.default_rng(seed)
    magnitude = rng.uniform(23, 25, (n, 1))
    true = magnitude_to_flux(magnitude)
    flux = true * np.exp(0.1 * rng.normal(size=(n, 1)))
    purity = rng.uniform(0.2, 1.0, (n, 1))
    theirs = rng.normal(0.1, 0.3, n)
    found = rng.random(n) < 0.9
    theirs[~found] = -1.0
    return Table(
        {
            "id": np.arange(n) // 2,
            "magnitude": magnitude,
            "flux": true,
            "purity": purity,
            "n_companions": rng.integers(0, 4, n),
            "vae_flux": flux,
            "vae_flux_err": flux * np.sinh(0.1 * stated),
            "vae_purity": np.clip(purity + 0.05 * rng.normal(size=(n, 1)), 0, 1),
            "bound_free": np.full(n, 0.09),
            "bound_prior": np.where(np.arange(n) % 2, 0.04, 0.08),
            "vae_pit": stats.norm.cdf(np.log(true / flux) / (0.1 * stated)),
            "vae_error": (flux / true - 1)[:, 0],
            "sextractor_error": theirs,
            "sextractor_corrected_error": theirs - 0.1,
            "found": found,
            "failure": np.where(found, "none", "missed"),
            "cosine_distance": np.full(n, 0.01),
        }
    )


def summarise(table):
    return summarise_examples(table, np.random.default_rng(1))


@pytest.fixture(scope="module")
def table():
    return make_table()


@pytest.fixture(scope="module")
def summary(table):
    return summarise(table)


def test_overall_numbers_are_those_of_metrics(summary, table):
    errors = np.asarray(table["vae_error"])
    assert summary["vae"] == metrics.summarise(errors)
    assert summary["n"] == 4000 and summary["unique_galaxies"] == 2000
    assert summary["failure_classes"]["missed"] == np.sum(~table["found"])
    assert summary["sextractor_clean"]["n"] == np.sum(table["found"])
    assert summary["median_cosine_distance"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("by_magnitude", "magnitude"),
        ("by_purity", "purity"),
        ("by_estimated_purity", "vae_purity"),
        ("by_companions", "n_companions"),
    ],
)
def test_each_bin_holds_the_stamps_between_its_edges(name, column, summary, table):
    values = np.asarray(table[column]).reshape(len(table), -1)[:, 0]
    for row in summary[name]:
        inside = (values >= row["low"]) & (values < row["high"])
        assert row["vae"] == metrics.summarise(np.asarray(table["vae_error"])[inside])
        assert row["vae"]["n"] > 0
        expected = np.sqrt(np.mean(np.asarray(table["bound_prior"])[inside] ** 2))
        assert row["bound"]["rms_prior"] == pytest.approx(expected)
    assert sum(row["vae"]["n"] for row in summary[name]) == len(table)


def test_estimated_magnitudes_are_those_of_the_measured_flux():
    table = make_table(40)
    table["magnitude"] = np.full((40, 1), 24.9)
    table["vae_flux"] = magnitude_to_flux(np.full((40, 1), 23.2))
    found = summarise(table)
    assert [row["vae"]["n"] for row in found["by_magnitude"]] == [0, 0, 0, 40]
    assert [row["vae"]["n"] for row in found["by_estimated_magnitude"]] == [40, 0, 0, 0]


def test_bins_of_purity_hold_the_isolated_ones():
    table = make_table(40)
    table["purity"] = np.ones((40, 1))
    assert summarise(table)["by_purity"][-1]["vae"]["n"] == 40


def test_bound_is_summarised_by_rms_and_median(summary):
    bound = summary["bound"]
    assert bound["rms_free"] == pytest.approx(0.09) and bound["median_free"] == pytest.approx(0.09)
    assert bound["rms_prior"] == pytest.approx(np.sqrt((0.04**2 + 0.08**2) / 2))
    assert bound["median_prior"] == pytest.approx(0.06)


def test_right_errors_cover_68_and_95_per_cent_with_a_uniform_transform(summary):
    assert summary["coverage68"] == pytest.approx(0.68, abs=0.025)
    assert summary["coverage95"] == pytest.approx(0.95, abs=0.015)
    assert summary["mean_relative_err"] == pytest.approx(np.sinh(0.1), rel=1e-5)
    assert summary["err_over_nmad"] == pytest.approx(1, abs=0.05)
    assert sum(summary["pit"]["counts"]) == 4000
    np.testing.assert_allclose(summary["pit"]["counts"], 400, atol=5 * 20)
    assert summary["pit"]["ks_distance"] < 0.025


@pytest.mark.parametrize(("stated", "shape"), [(0.5, 1), (2.0, -1)])
def test_wrong_errors_bend_the_transform(stated, shape):
    found = summarise(make_table(stated=stated))
    counts = found["pit"]["counts"]
    ends, middle = counts[0] + counts[-1], counts[4] + counts[5]
    assert shape * (ends - middle) > 200
    assert found["pit"]["ks_distance"] > 0.06
    assert shape * (0.68 - found["coverage68"]) > 0.1


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_stamps_leave_what_they_do_not_define_empty(n):
    found = summarise(make_table(n))
    rows = found["by_purity"]
    assert sum(row["vae"]["n"] for row in rows) == n
    for row in rows:
        if row["vae"]["n"] < 2:
            assert row["err_over_nmad"] is None
        if not row["vae"]["n"]:
            assert row["coverage68"] is row["mean_relative_err"] is row["bound"]["rms_free"] is None


def test_another_methods_fluxes_are_set_against_ours(table):
    true, error = np.asarray(table["flux"])[:, 0], np.asarray(table["vae_error"])
    worse, better = (true * (1 + factor * error) for factor in (2.0, 0.5))
    found = against(table, worse, "sextractor_default")
    assert found["sextractor_default"]["sigma"] == pytest.approx(2 * error.std(), rel=1e-5)
    assert found["vae_closer_default"] == 1
    assert against(table, better, "vae_i")["vae_closer_vae_i"] == 0


def test_missing_fluxes_are_counted_as_lost(table):
    flux = np.array(table["flux"])[:, 0]
    flux[:10] = np.nan
    found = against(table, flux, "other")["other"]
    assert found["n"] - found["found"] == 10
    assert found["mean_abs"] == pytest.approx(10 / 4000)
