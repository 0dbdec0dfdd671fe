"""From a configuration to what a stage of its training is made of: one module a kind of network.

Each has STAGES, the names of its stages in their order, and `prepare`, which makes a Task of one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from vaedeblend import checkpoint
from vaedeblend.objective import Objective
from vaedeblend.workdir import find_workdir


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


def initial_params(fresh: Callable[[], dict], source: str, config, workdir: Path) -> dict:
    """Random parameters, or those that a stage has been trained to.

    Args:
        fresh: Makes random parameters.
        source: A stage of this training, or of another (WORKDIR/STAGE, or shipped: NAME/STAGE);
            empty for random parameters.
        config: As train.py takes it.
        workdir: Of this training.

    Raises:
        CheckpointError: There are none, or not of this model.
    """
    if not source:
        return fresh()
    other = Path(source)
    inside = source in config.stages
    directory = workdir / source if inside else find_workdir(other.parent) / other.name
    params = checkpoint.load_params(directory / "checkpoints")
    found, wanted = (
        jax.tree.map(lambda p: p.shape, tree) for tree in (params, jax.eval_shape(fresh))
    )
    if found != wanted:
        raise checkpoint.CheckpointError(
            f"{directory}: parameters have shapes {found}; wanted this model's, {wanted}"
        )
    return params
