"""Trains the stages of a generator: the VAE of stamps in the rest frame, then the latent's flow."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from vaedeblend.io import dataset
from vaedeblend.models.generator import GENERATOR_STAGES as STAGES
from vaedeblend.models.generator import Examples, Generator, init_generator, random_examples
from vaedeblend.training.objectives import density, light
from vaedeblend.training.stages import (
    Task,
    check_start,
    choose_objective,
    initial_params,
    on_every_device,
)

__all__ = ["STAGES", "check", "prepare"]


def check(config) -> None:
    """Makes of a configuration what needs no data, to refuse what cannot be used.

    Raises:
        TypeError: A key is misspelt, or missing.
        ValueError: A value is none of those that there are.
    """
    model = Generator(**config.model)
    fresh = functools.partial(init_generator, model, jax.random.key(config.seed))
    for stage in config.stages.values():
        check_start(fresh, stage, config.stages)
        choose_objective(_makers(model), stage)


def prepare(config, name: str, workdir: Path, directories: dict[str, Path], mesh) -> Task:
    """A stage of a configuration: rest-frame stamps of the training set, mirrored by chance."""
    stage, model = config.stages[name], Generator(**config.model)
    fresh = functools.partial(init_generator, model, jax.random.key(config.seed))
    return Task(
        initial_params(fresh, stage.init_from, config.stages, workdir, stage.renewed),
        choose_objective(_makers(model), stage),
        on_every_device(_examples(directories["canonical"], "train"), mesh),
        functools.partial(random_examples, batch_size=stage.batch_size),
        _batches(_examples(directories["canonical"], "validation"), stage.batch_size),
        lambda params: None,
    )


def _makers(model: Generator) -> dict:
    return {make.__name__: functools.partial(make, model) for make in (light, density)}


def _examples(directory: Path, split: str) -> Examples:
    loaded = dataset.load(directory, split)
    return Examples(loaded["stamp"], loaded["condition"])


def _batches(examples: Examples, size: int) -> list[Examples]:
    """All examples, the last batch smaller, in single precision."""
    stamp, condition = (jnp.asarray(each, jnp.float32) for each in examples)
    starts = range(0, len(stamp), size)
    return [Examples(stamp[i : i + size], condition[i : i + size]) for i in starts]
