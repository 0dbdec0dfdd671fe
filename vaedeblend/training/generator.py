"""Trains the stages of a generator: the VAE of canonical stamps, then the flow on its latent."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.io import dataset
from vaedeblend.models.generator import GENERATOR_STAGES as STAGES
from vaedeblend.models.generator import Examples, Generator, init_generator, random_examples
from vaedeblend.training.objectives import density, light
from vaedeblend.training.stages import Task, initial_params

__all__ = ["STAGES", "prepare"]


def prepare(config, name: str, workdir: Path, directories: dict[str, Path], mesh) -> Task:
    """A stage of a configuration: canonical stamps of the training set, mirrored by chance."""
    stage, model = config.stages[name], Generator(**config.model)
    objective = _objective(stage, model)
    fresh = functools.partial(init_generator, model, jax.random.key(config.seed))
    whole = NamedSharding(mesh, PartitionSpec())
    return Task(
        initial_params(fresh, stage.init_from, config, workdir, stage.renewed),
        objective,
        jax.device_put(_examples(directories["canonical"], "train"), whole),
        functools.partial(random_examples, batch_size=stage.batch_size),
        _batches(_examples(directories["canonical"], "validation"), stage.batch_size),
        lambda params: None,
    )


def _objective(stage, model: Generator):
    """The stage's loss, of the name and the weights that its configuration gives."""
    makers = {"light": light, "density": density}
    if stage.objective not in makers:
        raise VaedeblendError(f"objective is {stage.objective!r}; wanted one of {sorted(makers)}")
    return makers[stage.objective](model, **stage.loss)


def _examples(directory: Path, split: str) -> Examples:
    loaded = dataset.load(directory, split)
    return Examples(loaded["stamp"], loaded["condition"])


def _batches(examples: Examples, size: int) -> list[Examples]:
    """All examples, the last batch smaller, in single precision."""
    stamp, condition = (jnp.asarray(each, jnp.float32) for each in examples)
    starts = range(0, len(stamp), size)
    return [Examples(stamp[i : i + size], condition[i : i + size]) for i in starts]
