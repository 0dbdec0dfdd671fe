import evaluated
import numpy as np
import pytest
from scipy import stats

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.summary import MAPS, against, summarise_examples
from vaedeblend.survey import magnitude_to_flux


def make_table(n=4000, stated=1.0, seed=0):
    """Fluxes that are log-normal about the truth, with a tenth as their stated error.

    Args:
        n: Stamps.
        stated: The stated error over the one that is made.
        seed: Of all of it.
    """
    table = evaluated.example_table("blended", n, seed)
    rng = np.random.default_rng((1, seed))
    true, flux = table["flux"], table["vae_flux"]
    table["vae_flux_err"] = flux * np.sinh(0.1 * stated)
    table["vae_pit"] = stats.norm.cdf(np.log(true / flux) / (0.1 * stated))
    table["purity"] = rng.uniform(0.2, 1.0, (n, 1))
    table["vae_purity"] = np.clip(table["purity"] + 0.05 * rng.normal(size=(n, 1)), 0, 1)
    table["n_companions"] = rng.integers(0, 4, n)
    table["bound_free"] = 0.09
    table["bound_prior"] = np.where(np.arange(n) % 2, 0.04, 0.08)
    table["cosine_distance"] = 0.01
    return table


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
    classes, theirs = summary["failure_classes"], np.abs(table["sextractor_error"])
    assert classes["missed"] == classes["undetected"] == np.sum(~table["found"])
    assert classes["failed"] == np.sum(theirs > 0.5)
    assert classes["failed"] == sum(classes[name] for name in metrics.FAILURES)
    assert summary["sextractor_clean"]["n"] == np.sum(theirs <= 0.5)
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


def test_closer_and_lost_add_up(summary, table):
    ours, theirs = (np.abs(np.asarray(table[f"{m}_error"])) for m in ("vae", "sextractor"))
    assert summary["lost"] == np.sum(ours >= theirs)
    assert summary["vae_closer"] == pytest.approx(1 - summary["lost"] / 4000)
    assert summary["lost_vae_mean_abs"] == pytest.approx(ours[ours >= theirs].mean())
    assert summary["within"]["10"] == np.mean(ours < 0.1)


@pytest.mark.parametrize("name", MAPS)
def test_maps_hold_the_scatter_of_their_cells(summary, table, name):
    (x, y), _ = MAPS[name]
    values = [np.asarray(table[each]).reshape(len(table), -1)[:, 0] for each in (x, y)]
    found = summary["maps"][name]
    for cell in found["cells"]:
        inside = (values[0] >= cell["x_low"]) & (values[0] < cell["x_high"])
        inside &= (values[1] >= cell["y_low"]) & (values[1] < cell["y_high"])
        assert cell["n"] == inside.sum()
        if cell["vae"] is not None:
            assert cell["vae"] == pytest.approx(np.std(np.asarray(table["vae_error"])[inside]))
            assert cell["ratio"] == pytest.approx(cell["sextractor"] / cell["vae"])
    ratios = [cell["ratio"] for cell in found["cells"] if cell["ratio"] is not None]
    assert found["most"]["ratio"] == max(ratios) and found["least"]["ratio"] == min(ratios)


def test_coverage_of_either_method(summary, table):
    nominal = list(summary["coverage"]["nominal"])
    np.testing.assert_allclose(summary["coverage"]["vae"], nominal, atol=0.03)
    ratio = np.abs(table["flux"][:, 0] - table["sextractor_flux"]) / table["sextractor_flux_err"]
    expected = np.mean(np.nan_to_num(np.asarray(ratio), nan=np.inf) < 1)
    assert summary["coverage"]["sextractor"][nominal.index(0.683)] == pytest.approx(
        expected, abs=2e-3
    )


def test_shapes_are_summarised_as_differences_from_the_truth():
    table = make_table(2000)
    rng = np.random.default_rng(4)
    table["vae_half_light_radius"] = 1.1 * table["truth_half_light_radius"]
    table["vae_axis_ratio"] = table["truth_axis_ratio"] - 0.05
    turn = 5 * rng.normal(size=2000)
    table["vae_position_angle"] = (table["truth_position_angle"] + turn + 90) % 180 - 90
    shape = summarise(table)["shape"]
    assert shape["half_light_radius"]["bias"] == pytest.approx(0.1)
    assert shape["half_light_radius"]["nmad"] == pytest.approx(0, abs=1e-9)
    assert shape["axis_ratio"]["bias"] == pytest.approx(-0.05)
    assert shape["position_angle"]["nmad"] == pytest.approx(5, rel=0.1)
    assert shape["position_angle"]["n"] == np.sum(table["truth_axis_ratio"] < 0.8)


def test_ellipticity_answers_with_the_slope_that_it_was_given():
    table = make_table(500)
    length = 0.9 * (1 - table["truth_axis_ratio"]) / (1 + table["truth_axis_ratio"])
    table["vae_axis_ratio"] = (1 - length) / (1 + length)
    table["vae_position_angle"] = table["truth_position_angle"]
    shear = summarise(table)["shape"]["ellipticity"]
    assert shear["m"] == pytest.approx(-0.1) and shear["c"] == pytest.approx(0, abs=1e-9)


def test_profile_is_the_mean_and_its_error():
    table = make_table(50)
    table["vae_profile"] = 1.2 * table["truth_profile"]
    found = summarise(table)["profile"]
    np.testing.assert_allclose(found["truth"], np.mean(table["truth_profile"], axis=0))
    np.testing.assert_allclose(found["error"], 0.2, rtol=1e-6)


def test_magnitudes_beyond_the_talks_have_bins_of_their_own():
    table = make_table(200)
    table["magnitude"] = np.linspace(22.1, 25.7, 200)[:, None]
    rows = summarise(table)["by_magnitude"]
    assert (rows[0]["low"], rows[-1]["high"]) == (22.0, 26.0)
    assert sum(row["vae"]["n"] for row in rows) == 200


def test_what_was_not_measured_has_no_statistics():
    table = make_table(100)
    for name in ("sextractor_error", "sextractor_corrected_error", "sextractor_flux"):
        table[name] = np.nan
    table["failure"] = "unmeasured"
    found = summarise(table)
    assert found["sextractor"]["n"] == found["sextractor_clean"]["n"] == found["lost"] == 0
    assert found["vae_closer"] is None and found["failure_classes"]["failed_share"] is None
    assert found["coverage"]["sextractor"][0] is None
    assert "most" not in found["maps"]["bm_1_flux_ratio"]
