"""Settings of a training that cannot be: each is refused by its keys, before anything is drawn."""

import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.configs import fine_tuned, flowvae, quick
from vaedeblend.configs.shipped import coadds, companions
from vaedeblend.exceptions import CheckpointError, PsfError, VaedeblendError
from vaedeblend.training.settings import (
    assumed,
    check_data,
    check_settings,
    check_stage,
    find_trainers,
)


def test_every_recipe_has_a_trainer_of_each_stage():
    for recipe, names in (
        (quick, ["deblender", "deblender"]),
        (fine_tuned, ["deblender", "deblender", "companions"]),
        (flowvae, ["generator", "generator"]),
        (coadds, ["deblender", "deblender", "companions"]),
        (companions, ["deblender", "companions"]),
    ):
        found = find_trainers(recipe.get_config().stages).values()
        assert [each.__name__.rpartition(".")[2] for each in found] == names
    with pytest.raises(VaedeblendError, match="stages are .*first.*; wanted some of"):
        find_trainers(["first"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 200}, "isolated.steps is 200 and stages.isolated.optimizer.warmup_steps 200"),
        ({"log_every": 0}, "stages.isolated.log_every is 0; wanted at least 1"),
        ({"checkpoint_every": 300}, "checkpoint_every is 300; wanted a multiple of log_every, 250"),
        ({"batch_size": 127}, "batch_size is 127; wanted a multiple of the 2 devices"),
        ({"compute_dtype": "float8"}, "compute_dtype is 'float8'; wanted one of .*'bfloat16'"),
        ({"micro_batches": 0}, "micro_batches is 0; wanted at least 1"),
        ({"optimizer.learning_rate": -1.0}, "learning_rate is -1.0; wanted 0 or above"),
        ({"optimizer.learning_rate": float("nan")}, "learning_rate is nan; wanted 0 or above"),
        ({"average_decay": 2.0}, "average_decay is 2.0; wanted 0 to below 1"),
        ({"scenes.candidates": 0}, "blended.scenes.candidates is 0; wanted at least 1"),
        ({"scenes.hard_share": -1.0}, "scenes.hard_share is -1; wanted a share from 0 to 1"),
        ({"loss.cleaned_share": 3.0}, "loss.cleaned_share is 3; wanted a share from 0 to 1"),
        ({"micro_batches": 3}, "128; wanted a multiple of the 3 micro_batches of 2 devices"),
    ],
)
def test_steps_and_batches_that_do_not_go_together_are_refused(change, said):
    name = "blended" if "scenes" in said or "cleaned" in said else "isolated"
    stage = quick.get_config().stages[name]
    stage.update_from_flattened_dict(change)
    with pytest.raises(VaedeblendError, match=said):
        check_stage(name, stage, devices=2)


def test_a_stage_may_have_no_steps():
    check_stage("blended", companions.get_config().stages.blended, devices=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"stages.isolated.batch_size": 14001},
            r"stages.isolated.batch_size is 14001 and sizes.galaxies.train 14000; wanted at least",
        ),
        ({"data.n_psfs": 14001}, "data.n_psfs is 14001 and sizes.galaxies.train 14000"),
        ({"data.n_psfs": 0}, "data.n_psfs is 0; wanted at least 1"),
        ({"model.latent_dim": 1}, "model.latent_dim is 1; wanted at least 2"),
        ({"seed": -1}, "seed is -1; wanted at least 0"),
        (
            {"calibration_field.size": 512, "survey.bands.nir-h": {"psf": ""}},
            "calibration_field.size is 512 with 2 bands; wanted 0, or weights of one band",
        ),
        ({"observation.masked_share": -1.0}, "observation.masked_share is -1; wanted a share"),
        ({"data.stamp_size": 48}, "data.stamp_size is 48 and model.stamp_size 64; wanted one size"),
        ({"data.separation": (3.0, 0.3)}, r"data.separation is \(3, 0.3\); wanted the lower end"),
        ({"survey.pixel_scale": 0.0}, "pixel_scale is 0.0 arcsec; wanted a number above 0"),
        (
            {"survey.pixel_scale": 0.06},
            r"data.separation is up to 3 arcsec, 50 pixels of survey.pixel_scale 0.06; wanted at "
            r"most 30 pixels, 1.8 arcsec",
        ),
        (
            {"stages.blended.scenes.separation": (0.3, 3.1)},
            r"stages.blended.scenes.separation is up to 3.1 arcsec, 31 pixels",
        ),
        (
            {"data.selection.magnitude": (25.0, 23.0)},
            r"data.selection.magnitude is \(25, 23\); wanted the lower end first",
        ),
    ],
)
def test_data_that_cannot_be_are_refused_by_both_keys(change, said):
    config = quick.get_config()
    check_data(config)
    config.update_from_flattened_dict(change)
    with pytest.raises(VaedeblendError, match=said):
        check_data(config)


def test_a_start_that_is_not_there_is_refused(tmp_path):
    config = quick.get_config()
    config.stages.isolated.init_from = "euclid_vis/blended"
    check_data(config)
    config.stages.isolated.init_from = str(tmp_path / "lost" / "isolated")
    with pytest.raises(CheckpointError, match="init_from is '.*lost/isolated', and there is no"):
        check_data(config)


@pytest.mark.parametrize(("stage", "source"), [("isolated", "blended"), ("blended", "blended")])
def test_a_stage_starts_from_one_before_it(stage, source):
    config = quick.get_config()
    config.stages[stage].init_from = source
    with pytest.raises(CheckpointError, match=f"stages.{stage}.init_from is 'blended', and there"):
        check_data(config)


def test_a_test_of_companions_wants_galaxies_for_its_validation():
    config = fine_tuned.get_config()
    check_settings(config)
    del config.sizes.galaxies.validation
    with pytest.raises(VaedeblendError, match="sizes.galaxies.validation is missing; wanted"):
        check_settings(config)


@pytest.mark.parametrize(
    ("recipe", "change", "said"),
    [
        (
            fine_tuned,
            {"model.latent_dim": 32},
            r"blended: 16 parameters have other shapes, as encoder/Dense_9/bias \(48,\), .*; "
            r"wanted this model's, \(64,\), .*",
        ),
        (
            fine_tuned,
            {"stages.isolated.init_from": "", "stages.blended.init_from": "isolated"}
            | {"stages.blended.teacher": "euclid_vis/blended", "model.flow_hidden": (8,)},
            r"blended: \d+ parameters have other shapes, as flow/.*",
        ),
        (fine_tuned, {"companions.hidden": (8,)}, r"companions: \d+ .* shapes, as companions/.*"),
        (
            flowvae,
            {"stages.flow.init_from": "euclid_vis/blended"},
            r"blended: \d+ .* shapes, as .*",
        ),
    ],
)
def test_networks_of_another_shape_than_those_they_start_from_are_refused(recipe, change, said):
    config = recipe.get_config()
    config.update_from_flattened_dict(change)
    with pytest.raises(CheckpointError, match=said) as refused:
        check_settings(config)
    assert len(str(refused.value)) < 400


def test_the_sampling_of_a_psf_that_does_not_say_it_is_said(tmp_path):
    config, path = quick.get_config(), tmp_path / "psf.fits"
    assert assumed(config) == []
    config.survey.bands["euclid-vis"].psf = str(path)
    with pytest.raises(PsfError, match="psf.fits: no FITS image could be read"):
        assumed(config)
    image = np.zeros((3, 3))
    fits.writeto(path, image)
    (said,) = assumed(config)
    assert said.startswith(f"{path}: no sampling") and said.endswith("pixels, 0.1 arcsec")
    fits.writeto(path, image, fits.Header({"PIXSCALE": 0.1}), overwrite=True)
    assert assumed(config) == []


def test_a_key_that_no_part_has_is_refused():
    config = quick.get_config()
    config.model.depth = 3
    with pytest.raises(VaedeblendError, match="configuration: .*depth"):
        check_settings(config)
