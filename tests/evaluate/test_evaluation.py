import json

import numpy as np
import pytest
from oracles import KINDS, certain, make_scenes, oracle

from vaedeblend.evaluate import evaluation, metrics, results, sextractor
from vaedeblend.evaluate.table import read_examples
from vaedeblend.survey import Band, Survey


@pytest.fixture(scope="module")
def scenes():
    return make_scenes()


def run(scenes, deblend, survey=None, **networks):
    networks = evaluation.Networks(deblend, **networks)
    test, training = {kind: scenes["test"][kind] for kind in deblend}, scenes["train"]
    options = {"seed": 0, "program": "sep"}
    return evaluation.evaluate(networks, test, training, survey or Survey(), **options)


def isolated_only(deblend, scenes, survey=None):
    return run(scenes, {"isolated": deblend}, survey)


@pytest.fixture
def one_setting(monkeypatch):
    """Makes SExtractor's search return the given settings at once."""

    def use(**settings):
        best = sextractor.Settings(**settings)
        found = best, [best._asdict() | {"score": 1.0}]
        monkeypatch.setattr(sextractor, "search_settings", lambda *args, **options: found)

    return use


def test_other_deblenders_are_measured_on_every_kind(scenes, one_setting):
    one_setting()

    def blind(image, variance, gain):
        nothing = np.zeros((len(image), 1))
        return certain(nothing + 1e-9, image, nothing)

    found = run(scenes, oracle(scenes), others={"vae_i": blind}).metrics
    for kind in KINDS:
        assert (
            found[kind]["vae_i"]["bias"] == pytest.approx(-1)
            and found[kind]["vae_closer_vae_i"] == 1
        )
    assert results.results_table(found).row_count == 12


def test_profiles_are_ranked_among_samples_of_their_posterior(scenes, one_setting):
    """Samples narrower and wider than the truth by turns: no true size is at either end."""
    one_setting()
    light = scenes["test"]["isolated"]["isolated"]
    y, x = np.indices(light.shape[1:3]) - 31.5
    tilt = (y**2 + x**2)[..., None] / 1e4

    def sample(key, n, image, variance, gain):
        return np.stack([light * (1 + tilt * (-1) ** i) for i in range(n)])

    found = run(scenes, {"isolated": oracle(scenes)["isolated"]}, sample=sample).metrics
    counts = found["isolated"]["size_ranks"]["counts"]
    assert sum(counts) == 24 and sum(counts[4:6]) == 24


def test_batches_are_put_together_in_order(scenes, one_setting, monkeypatch):
    one_setting()
    monkeypatch.setattr(evaluation, "_BATCH", 7)

    def deblend(image, variance, gain):
        assert len(image) == len(variance) == 7
        flux = 100 + image.sum(axis=(1, 2))
        return certain(flux, image, np.ones_like(flux))

    found = isolated_only(deblend, scenes)
    image = found.images["isolated"]
    np.testing.assert_array_equal(image["reconstruction"], image["input"])
    sums = 100 + image["input"].sum(axis=(1, 2))
    np.testing.assert_allclose(found.examples["isolated"]["vae_flux"], sums, rtol=1e-5)


def test_two_bands_keep_their_axis(scenes, one_setting):
    one_setting()
    survey = Survey((Band(), Band("euclid-nir", exposure_time=100.0)))
    labels = ("flux", "magnitude", "purity", "bm_1", "flux_ratio", "blend", "isolated")
    two = {
        split: {
            kind: each | {name: np.repeat(each[name], 2, axis=-1) for name in labels}
            for kind, each in kinds.items()
        }
        for split, kinds in scenes.items()
    }
    found = isolated_only(oracle(two)["isolated"], two, survey)
    table = found.examples["isolated"]
    assert table["flux"].shape == table["vae_flux"].shape == (24, 2)
    assert table["vae_error"].shape == (24,)
    assert found.metrics["isolated"]["vae"]["sigma"] == 0


def test_dark_reconstruction_is_written(scenes, one_setting, tmp_path):
    one_setting()

    def dark(image, variance, gain):
        flux = np.full((len(image), 1), 1e-9)
        return certain(flux, np.zeros_like(image), np.ones_like(flux))

    results.write_evaluation(isolated_only(dark, scenes), tmp_path)
    summary = json.loads((tmp_path / "metrics.json").read_text())["isolated"]
    assert summary["median_cosine_distance"] is None
    assert summary["vae"]["bias"] == pytest.approx(-1)


def test_baseline_that_finds_nothing_has_no_bias_to_remove(scenes, one_setting):
    one_setting(detect_thresh=1e6)
    summary = isolated_only(oracle(scenes)["isolated"], scenes).metrics["isolated"]
    assert summary["sextractor_training_bias"] == 0
    assert summary["sextractor"]["found"] == summary["sextractor_clean"]["n"] == 0
    assert summary["sextractor"]["bias"] == summary["sextractor_corrected"]["bias"] == -1
    classes = summary["failure_classes"]
    assert classes["missed"] == classes["failed"] == classes["undetected"] == 24
    assert summary["sextractor_clean"]["sigma"] is None


def test_latents_are_studied_on_the_set_of_their_network(scenes, one_setting):
    one_setting()
    decode = lambda z: np.ones((len(z), 64, 64, 1)) / 4096  # noqa: E731
    others = {"vae_i": oracle(scenes)["isolated"]}
    found = run(scenes, oracle(scenes), others=others, decode=decode)
    assert evaluation.latent_sets(found.examples) == {"vae_i": "isolated", "vae_ii": "blended"}
    for label, kind in (("vae_i", "isolated"), ("vae_ii", "blended")):
        numbers = found.metrics[kind][f"{label}_latent"]
        assert numbers["n_dimensions"] == 3 and numbers["embedded"] == 24
        assert np.isfinite(found.examples[kind][f"{label}_tsne"]).all()
        assert found.images[kind][f"{label}_traversals"].shape == (3, 5, 64, 64)
        assert found.images[kind]["sample"].shape == (len(evaluation.QUANTILES), 64, 64, 1)
    np.testing.assert_array_equal(
        found.examples["isolated"]["vae_i_error"], found.examples["isolated"]["vae_error"]
    )


def test_a_baseline_that_gives_up_is_said_and_the_rest_measured(scenes, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise RuntimeError("source-extractor ended with status 1")

    monkeypatch.setattr(sextractor, "search_settings", fails)
    found = isolated_only(oracle(scenes)["isolated"], scenes)
    summary = found.metrics["isolated"]
    assert summary["program"] == "none" and "status 1" in summary["sextractor_failure"]
    assert summary["sextractor"]["n"] == 0 and summary["vae"]["sigma"] == 0
    assert set(found.examples["isolated"]["failure"]) == {"unmeasured"}
    assert "segmentation" not in found.images["isolated"]
    results.write_evaluation(found, tmp_path)
    assert np.isnan(read_examples(tmp_path / "examples.fits")["sextractor_error"]).all()


def test_a_set_without_training_stamps_has_the_defaults(scenes):
    found = run(scenes | {"train": {}}, {"blended": oracle(scenes)["blended"]})
    summary = found.metrics["blended"]
    assert summary["sextractor_settings"] == sextractor.DEFAULT._asdict()
    assert summary["sextractor_training_bias"] == 0 and found.grids["blended"] == []


@pytest.fixture(scope="module")
def found(scenes):
    return run(scenes, oracle(scenes))


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
    again = run(scenes, oracle(scenes))
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
    results.write_evaluation(found, tmp_path)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["blended"]["n"] == 24 and len(numbers["blended"]["by_purity"]) == 4
    assert not list(tmp_path.glob("*.partial"))
    table = read_examples(tmp_path / "examples.fits")
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


def test_time_is_recorded_by_what_it_was_spent_on(found):
    for kind, numbers in found.metrics.items():
        spent = numbers["seconds_of"]
        assert {"sextractor", "network", "bound", "table"} <= set(spent)
        assert any("t-SNE" in name for name in spent) == (kind == "blended")
