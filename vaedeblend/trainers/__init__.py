"""From a configuration to what a stage of its training is made of: one module a kind of network.

Each has STAGES, the names of its stages in their order, and `prepare`, which makes a Task of one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from vaedeblend import checkpoint
from vaedeblend.objective import Objective


class Task(NamedTuple):
    """What a stage trains, on what, by what."""

    params: dict
    """Of the whole model, before the first step."""
    objective: Objective
    gallery: tuple
    """Arrays on the devices, from which batches are composed."""
    make_batch: Callable
    """`(key, gallery) -> batch`."""
    validation: Sequence
    """Batches."""
    finish: Callable[[dict], None]
    """Called with the trained parameters, on the host."""


def initial_params(fresh: Callable[[], dict], config, name: str, workdir: Path, first: str) -> dict:
    """Random parameters, or those of the stage or workdir that a stage's `init_from` names.

    Args:
        fresh: Makes random parameters.
        config: As train.py takes it.
        name: Of the stage.
        workdir: Of this training.
        first: Stage whose parameters are taken of another workdir.

    Raises:
        CheckpointError: There are none, or not of this model.
    """
    source = config.stages[name].init_from
    if not source:
        return fresh()
    directory = workdir / source if source in config.stages else Path(source) / first
    params = checkpoint.load_params(directory / "checkpoints")
    found, wanted = (
        jax.tree.map(lambda p: p.shape, tree) for tree in (params, jax.eval_shape(fresh))
    )
    if found != wanted:
        raise checkpoint.CheckpointError(
            f"{directory}: parameters have shapes {found}; wanted this model's, {wanted}"
        )
    return params
