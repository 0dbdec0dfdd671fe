"""The recipes of the shipped weights: each goes on where the one before has ended."""

from functools import partial

import jax
from flax.traverse_util import flatten_dict

from vaedeblend.configs import euclid_vis, harder, mixture, smooth
from vaedeblend.models.vae import VAE, init_params


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
