"""Checkpoints of a training stage, written asynchronously and atomically by orbax."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import LatestN

from vaedeblend.exceptions import CheckpointError


def open_manager(directory: str | Path) -> ocp.CheckpointManager:
    """Manager of a stage's checkpoints, of which the latest two are kept."""
    options = ocp.CheckpointManagerOptions(preservation_policy=LatestN(2))
    return ocp.CheckpointManager(Path(directory).absolute(), options=options)


def save_state(manager: ocp.CheckpointManager, step: int, state) -> None:
    """Starts to write a state; `manager.wait_until_finished` waits for it."""
    manager.save(step, args=ocp.args.StandardSave(state))


def restore(manager: ocp.CheckpointManager, like):
    """The latest state, with the structure, types and shardings of `like`; None if none is there.

    Raises:
        CheckpointError: The latest checkpoint is damaged, or was written by another model.
    """
    step = manager.latest_step()
    if step is None:
        return None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        return manager.restore(step, args=ocp.args.StandardRestore(abstract))
    except Exception as error:  # orbax and tensorstore raise many kinds
        raise CheckpointError(_cannot(manager.directory, step, error)) from error


def load_params(directory: str | Path) -> dict:
    """Averaged parameters of the latest checkpoint in a directory.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    if not Path(directory).is_dir():
        raise CheckpointError(f"{directory}: no checkpoint there; wanted that of a trained stage")
    with open_manager(directory) as manager:
        step = manager.latest_step()
        if step is None:
            raise CheckpointError(f"{directory}: holds no finished checkpoint")
        try:
            return manager.restore(step, args=ocp.args.StandardRestore())["average"]
        except Exception as error:  # orbax and tensorstore raise many kinds
            raise CheckpointError(_cannot(directory, step, error)) from error


def save_params(directory: str | Path, step: int, params: dict) -> None:
    """Writes parameters alone, without what only a training needs, for `load_params`."""
    with open_manager(directory) as manager:
        save_state(manager, step, {"average": params})
        manager.wait_until_finished()


def latest_step(directory: str | Path) -> int | None:
    """Step of the latest checkpoint in a directory; None without any."""
    with open_manager(directory) as manager:
        return manager.latest_step()


def _cannot(directory, step, error) -> str:
    first_line = str(error).strip().split("\n")[0]
    return f"{directory}: checkpoint of step {step} cannot be restored ({first_line})"
