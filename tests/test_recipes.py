"""The recipes of the shipped weights: each goes on where the one before has ended."""

from functools import partial

import jax
import pytest
from flax.traverse_util import flatten_dict

from vaedeblend.configs import multiband
from vaedeblend.configs.shipped import euclid_vis, harder, mixture, smooth
from vaedeblend.euclid.mer.bands import TELESCOPES
from vaedeblend.models.vae import VAE, init_params
from vaedeblend.pixels.psf import effective_fwhm
from vaedeblend.simulate.render import resampled_psfs, survey_psfs
from vaedeblend.survey import make_survey


def test_recipes_start_where_the_one_before_ends():
    first, then, third, last = (r.get_config() for r in (smooth, mixture, harder, euclid_vis))
    assert first.model.to_dict() == then.model.to_dict() == third.model.to_dict()
    assert {name: stage.init_from for name, stage in then.stages.items()} == {
        stage: f"runs/smooth/{stage}" for stage in first.stages
    }
    assert then.stages.blended.teacher == "isolated"
    assert list(third.stages) == ["blended"] and not third.stages.blended.teacher
    assert third.stages.blended.init_from == "runs/mixture/blended"
    assert last.stages.isolated.init_from == "" and last.stages.blended.teacher == "isolated"
    assert last.stages.blended.init_from == "runs/harder/blended"


def test_only_what_the_last_recipe_renews_has_another_shape_than_before():
    def shapes(config):
        fresh = partial(init_params, VAE(**config.model, bands=1), jax.random.key(0))
        return flatten_dict(jax.tree.map(lambda p: p.shape, jax.eval_shape(fresh)), sep="/")

    config = euclid_vis.get_config()
    before, now = shapes(harder.get_config()), shapes(config)
    renewed = config.stages.blended.renewed
    assert before.keys() == now.keys()
    differ = {path for path in now if now[path] != before[path]}
    assert all(any(path.startswith(f"{name}/") for name in renewed) for path in differ)
    assert all(any(path.startswith(f"{name}/") for path in differ) for name in renewed)


def test_bands_of_the_recipe_of_several_are_those_of_simulated_tiles():
    survey = make_survey(**multiband.get_config().survey.to_dict())
    assert survey.band_names == ("euclid-vis", "ext-g", "nir-h")
    for name, rms in zip(survey.band_names[1:], survey.rms[1:].tolist(), strict=True):
        assert rms == pytest.approx(TELESCOPES[name.upper()].rms, rel=0.05)
    psfs = resampled_psfs(survey_psfs(survey, 128), 0.1)
    widths = [0.1 * effective_fwhm(psfs[None, ..., k])[0] for k in range(3)]
    assert widths[1:] == pytest.approx([0.8, 0.5], rel=0.15) and widths[0] < 0.3
