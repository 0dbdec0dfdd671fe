"""What a stage of a training is made of, and where its parameters start."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vaedeblend.exceptions import CheckpointError, VaedeblendError
from vaedeblend.io import checkpoint
from vaedeblend.io.workdir import CHECKPOINTS, find_trained
from vaedeblend.training.objectives import Objective

_NAMED = 3
"""Parameters that are named where more of them have another shape."""


class Task(NamedTuple):
    """A stage of a training: its parameters, its data and its objective."""

    params: dict
    """Parameters of the whole model before the first step."""
    objective: Objective
    library: tuple
    """Arrays on the devices, from which batches are composed."""
    make_batch: Callable
    """`(key, library) -> batch`."""
    validation: Sequence
    """Batches of validation scenes."""
    finish: Callable[[dict], None]
    """Called with the trained parameters, on the host."""


def choose_objective(makers: Mapping[str, Callable[..., Objective]], stage) -> Objective:
    """The loss of a stage, of the name and with the weights that its configuration gives.

    Raises:
        VaedeblendError: There is no objective of that name.
    """
    if stage.objective not in makers:
        raise VaedeblendError(f"objective is {stage.objective!r}; wanted one of {sorted(makers)}")
    return makers[stage.objective](**stage.loss)


def on_every_device(arrays, mesh: Mesh):
    """A tree of arrays, a copy on every device."""
    return jax.device_put(arrays, NamedSharding(mesh, PartitionSpec()))


def initial_params(
    fresh: Callable[[], dict],
    source: str,
    stages: Collection[str],
    workdir: Path,
    renewed: Sequence[str] = (),
) -> dict:
    """Random parameters, or those that a stage has been trained to.

    A layer that is given more than it was in that stage, at the end of its input, starts with
    weights of zero for it: the network is the same function until it learns to use them.

    Args:
        fresh: Function that makes random parameters.
        source: Stage of this training, or of another (WORKDIR/STAGE, or shipped: NAME/STAGE);
            empty for random parameters.
        stages: Names of this training's stages.
        workdir: Folder of this training.
        renewed: Parts, or layers of them (encoder/Dense_9), that start at random nevertheless:
            those that are to have another shape than they had.

    Raises:
        CheckpointError: There are none, or not of this model.
        VaedeblendError: The model has no such part or layer.
    """
    if not source:
        return fresh()
    inside = source in stages
    trained_in = workdir / source / CHECKPOINTS if inside else find_trained(source)
    return _trained_params(fresh() if renewed else jax.eval_shape(fresh), trained_in, renewed)


def check_start(fresh: Callable[[], dict], stage, stages: Collection[str]) -> None:
    """Refuses a stage that cannot start from what another training has learned.

    Args:
        fresh: Function that makes random parameters.
        stage: Settings of the stage.
        stages: Names of this training's stages.

    Raises:
        CheckpointError: It is damaged, or not of this model.
        VaedeblendError: The model has no such part or layer.
    """
    for source, renewed in ((stage.init_from, stage.renewed), (stage.get("teacher"), ())):
        if source and source not in stages:
            _trained_params(jax.eval_shape(fresh), find_trained(source), renewed)


def _trained_params(like: dict, trained_in: Path, renewed: Sequence[str]) -> dict:
    """Parameters that a stage has been trained to, but for those renewed, which are the model's."""
    trained = flatten_dict(checkpoint.load_params(trained_in), sep="/")
    model = flatten_dict(like, sep="/")
    for name in renewed:
        if not any(_within(path, (name,)) for path in model):
            raise VaedeblendError(
                f"renewed: no {name!r}; wanted parts or layers of {sorted(model)}"
            )
    kept = {path: p for path, p in trained.items() if not _within(path, renewed)}
    kept |= {path: p for path, p in model.items() if _within(path, renewed)}
    kept = {path: _widened(p, model[path]) if path in model else p for path, p in kept.items()}
    _check_shapes(trained_in.parent, kept, model)
    return unflatten_dict(kept, sep="/")


def _check_shapes(trained_in: Path, kept: dict, model: dict) -> None:
    """Refuses parameters of other shapes than the model's, of which the first are named."""
    found, wanted = ({path: p.shape for path, p in tree.items()} for tree in (kept, model))
    other = [p for p in sorted(found | wanted) if found.get(p) != wanted.get(p)]
    if other:
        named = other[:_NAMED]
        raise CheckpointError(
            f"{trained_in}: {len(other)} parameters have other shapes, as "
            f"{', '.join(f'{path} {found.get(path)}' for path in named)}; wanted this model's, "
            f"{', '.join(str(wanted.get(path)) for path in named)}"
        )


def _widened(kernel, like):
    """Weights with zeros for the last inputs of a layer that has more of them."""
    *batch, inputs, outputs = like.shape if len(like.shape) > 1 else (0, *like.shape)
    if kernel.ndim < 2 or (*kernel.shape[:-2], kernel.shape[-1]) != (*batch, outputs):
        return kernel
    more = max(inputs - kernel.shape[-2], 0)
    return np.pad(kernel, [(0, 0)] * len(batch) + [(0, more), (0, 0)]) if more else kernel


def _within(path: str, names: Sequence[str]) -> bool:
    """Whether a parameter is one of those parts or layers."""
    return any(f"{path}/".startswith(f"{name}/") for name in names)
