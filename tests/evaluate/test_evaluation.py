import json

import numpy as np
import pytest
from oracles import KINDS, certain, make_scenes, oracle

from vaedeblend.evaluate import evaluation, results, sextractor, stamps
from vaedeblend.evaluate.table import read_table
from vaedeblend.survey import Band, Survey


@pytest.fixture(scope="module")
def scenes():
    return make_scenes()


def isolated_only(deblend, scenes, survey=None):
    test, training = scenes["test"], scenes["train"]
    options = {"seed": 0, "program": "sep"}
    return evaluation.evaluate({"isolated": deblend}, test, training, survey or Survey(), **options)


@pytest.fixture
def one_setting(monkeypatch):
    """Makes SExtractor's search return the given settings at once."""

    def use(**settings):
        best = sextractor.Settings(**settings)
        found = best, [best._asdict() | {"score": 1.0}]
        monkeypatch.setattr(sextractor, "search", lambda *args, **options: found)

    return use


def test_other_deblenders_are_measured_on_every_kind(scenes, one_setting):
    one_setting()

    def blind(image, variance, gain):
        nothing = np.zeros((len(image), 1))
        return certain(nothing + 1e-9, image, nothing)

    found = evaluation.evaluate(
        oracle(scenes),
        scenes["test"],
        scenes["train"],
        Survey(),
        seed=0,
        others={"vae_i": blind},
        program="sep",
    ).metrics
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

    found = evaluation.evaluate(
        {"isolated": oracle(scenes)["isolated"]},
        scenes["test"],
        scenes["train"],
        Survey(),
        seed=0,
        sample=sample,
        program="sep",
    ).metrics
    counts = found["isolated"]["size_ranks"]["counts"]
    assert sum(counts) == 24 and sum(counts[4:6]) == 24


def test_batches_are_put_together_in_order(scenes, one_setting, monkeypatch):
    one_setting()
    monkeypatch.setattr(stamps, "_BATCH", 7)

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


def test_numbers_that_json_has_not_become_null(tmp_path):
    numbers = {"a": np.nan, "b": [np.inf, 1.5], "c": np.int64(2), "d": None, "e": "text"}
    evaluation.write(evaluation.Evaluation({"isolated": numbers}, {}, {}, {}), tmp_path)
    expected = {"a": None, "b": [None, 1.5], "c": 2, "d": None, "e": "text"}
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"isolated": expected}


def test_dark_reconstruction_is_written(scenes, one_setting, tmp_path):
    one_setting()

    def dark(image, variance, gain):
        flux = np.full((len(image), 1), 1e-9)
        return certain(flux, np.zeros_like(image), np.ones_like(flux))

    evaluation.write(isolated_only(dark, scenes), tmp_path)
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
    found = evaluation.evaluate(
        oracle(scenes),
        scenes["test"],
        scenes["train"],
        Survey(),
        seed=0,
        others={"vae_i": oracle(scenes)["isolated"]},
        decode=decode,
        program="sep",
    )
    assert evaluation.latent_sets(found.examples) == {"vae_i": "isolated", "vae_ii": "blended"}
    for label, kind in (("vae_i", "isolated"), ("vae_ii", "blended")):
        numbers = found.metrics[kind][f"{label}_latent"]
        assert numbers["n_dimensions"] == 3 and numbers["embedded"] == 24
        assert np.isfinite(found.examples[kind][f"{label}_tsne"]).all()
        assert found.images[kind][f"{label}_traversals"].shape == (3, 5, 64, 64)
        assert found.images[kind]["sample"].shape == (len(stamps.QUANTILES), 64, 64, 1)
    np.testing.assert_array_equal(
        found.examples["isolated"]["vae_i_error"], found.examples["isolated"]["vae_error"]
    )


def test_a_baseline_that_gives_up_is_said_and_the_rest_measured(scenes, monkeypatch, tmp_path):
    def fails(*_, **__):
        raise RuntimeError("source-extractor ended with status 1")

    monkeypatch.setattr(sextractor, "search", fails)
    found = isolated_only(oracle(scenes)["isolated"], scenes)
    summary = found.metrics["isolated"]
    assert summary["program"] == "none" and "status 1" in summary["sextractor_failure"]
    assert summary["sextractor"]["n"] == 0 and summary["vae"]["sigma"] == 0
    assert set(found.examples["isolated"]["failure"]) == {"unmeasured"}
    assert "segmentation" not in found.images["isolated"]
    evaluation.write(found, tmp_path)
    assert np.isnan(read_table(tmp_path / "examples.fits")["sextractor_error"]).all()


def test_a_set_without_training_stamps_has_the_defaults(scenes):
    found = evaluation.evaluate(
        {"blended": oracle(scenes)["blended"]},
        scenes["test"],
        {},
        Survey(),
        seed=0,
        program="sep",
    )
    summary = found.metrics["blended"]
    assert summary["sextractor_settings"] == sextractor.DEFAULT._asdict()
    assert summary["sextractor_training_bias"] == 0 and found.grids["blended"] == []
