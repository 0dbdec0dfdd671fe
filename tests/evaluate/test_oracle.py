import json

import numpy as np
import pytest
from oracles import KINDS, make_scenes, oracle

from vaedeblend.evaluate import evaluation, metrics, results
from vaedeblend.evaluate.table import read_table
from vaedeblend.survey import Survey


@pytest.fixture(scope="module")
def scenes():
    return make_scenes()


@pytest.fixture(scope="module")
def found(scenes):
    return evaluation.evaluate(
        oracle(scenes), scenes["test"], scenes["train"], Survey(), seed=0, program="sep"
    )


def test_an_oracle_makes_no_error_and_is_always_closer(found):
    for kind in KINDS:
        summary = found.metrics[kind]
        assert summary["vae"]["sigma"] == 0 and summary["vae"]["bias"] == 0
        assert summary["vae_closer"] == 1 and summary["vae_closer_corrected"] == 1
        assert summary["coverage68"] == 1
        assert summary["mean_relative_err"] == pytest.approx(0.05, rel=1e-5)
        assert summary["err_over_nmad"] is None
        assert summary["median_cosine_distance"] == pytest.approx(0, abs=1e-6)


def test_bound_is_between_nothing_and_the_flux_and_smaller_with_a_prior(found):
    for table in found.examples.values():
        free, prior = np.asarray(table["bound_free"]), np.asarray(table["bound_prior"])
        assert (prior > 0.003).all() and (prior <= free).all() and (prior < 0.5).all()
    medians = [found.metrics[kind]["bound"]["median_prior"] for kind in KINDS]
    assert medians[0] < medians[1]


def test_estimates_are_columns_of_the_table(found, scenes):
    table = found.examples["blended"]
    np.testing.assert_array_equal(table["vae_purity"], scenes["test"]["blended"]["purity"])
    assert table["vae_flux"].unit == table["vae_flux_err"].unit == "uJy"


def test_sextractor_finds_isolated_galaxies(found):
    isolated = found.metrics["isolated"]["sextractor"]
    assert isolated["found"] >= 22 and abs(isolated["bias"]) < 0.3


def test_noise_does_not_depend_on_the_call(found, scenes):
    again = evaluation.evaluate(
        oracle(scenes), scenes["test"], scenes["train"], Survey(), seed=0, program="sep"
    )
    for kind in KINDS:
        np.testing.assert_array_equal(again.images[kind]["input"], found.images[kind]["input"])
        np.testing.assert_array_equal(
            again.examples[kind]["sextractor_error"], found.examples[kind]["sextractor_error"]
        )


def test_correction_removes_the_bias_of_training_stamps(found):
    table = found.examples["isolated"]
    ratio = (1 + table["sextractor_corrected_error"]) / (1 + table["sextractor_error"])
    ratio = ratio[table["found"]]
    assert np.ptp(ratio) < 1e-6 and ratio[0] > 1


def test_metrics_are_written_whole_and_strict(found, tmp_path):
    evaluation.write(found, tmp_path)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["blended"]["n"] == 24 and len(numbers["blended"]["by_purity"]) == 4
    assert not list(tmp_path.glob("*.partial"))
    table = read_table(tmp_path / "examples.fits")
    assert table["set"].tolist() == 24 * ["isolated"] + 24 * ["blended"]


def test_table_names_methods_and_program(found):
    table = results.results_table(found.metrics)
    assert table.row_count == 10 and "sep" in table.title


def test_truth_is_recovered_by_an_oracle_in_shape_and_profile(found):
    for table in found.examples.values():
        for name in ("half_light_radius", "axis_ratio", "position_angle", "profile"):
            np.testing.assert_array_equal(table[f"vae_{name}"], table[f"truth_{name}"])
        np.testing.assert_allclose(table["similarity"], 1)
        np.testing.assert_allclose(table["cosine_distance"], 0, atol=1e-6)


def test_shapes_and_light_are_the_catalogues(found, scenes):
    table, scene = found.examples["isolated"], scenes["test"]["isolated"]
    disk = scene["sources/flux_bulge"][:, 0, 0] < 0.1 * scene["flux"][:, 0]
    turn = np.asarray(table["truth_position_angle"]) - scene["sources/disk_position_angle"][:, 0]
    long = disk & (scene["sources/disk_axis_ratio"][:, 0] < 0.7)
    assert long.sum() > 3
    np.testing.assert_allclose((turn[long] + 90) % 180 - 90, 0, atol=8)
    assert (
        np.asarray(table["truth_half_light_radius"]) > table["disk_half_light_radius"] / 2
    ).all()
    assert np.isnan(table["separation"]).all()
    apart = np.asarray(found.examples["blended"]["separation"])
    assert (apart >= 0.3 - 1e-6).all() and (apart <= 3.0).all()


def test_classes_of_failure_follow_from_objects_and_errors(found):
    for table in found.examples.values():
        columns = ("sextractor_default_error", "default_n_objects", "default_failure")
        error, n_objects, failure = (np.asarray(table[name]) for name in columns)
        np.testing.assert_array_equal(failure, metrics.failure_class(error, n_objects))


def test_objects_are_those_of_the_segmentation(found):
    """Labels on a stamp are the objects whose centre lies on it, and perhaps those of its rim."""
    for kind, table in found.examples.items():
        labels = found.images[kind]["segmentation"]
        seen = np.array([len(np.unique(each[each > 0])) for each in labels])
        assert np.mean(seen == table["default_n_objects"]) > 0.9


def test_time_is_told_by_what_it_was_spent_on(found):
    for kind, numbers in found.metrics.items():
        spent = numbers["seconds_of"]
        assert {"sextractor", "network", "bound", "table"} <= set(spent)
        assert any("t-SNE" in name for name in spent) == (kind == "blended")
