"""Checkpoints of a training stage, written asynchronously and atomically by orbax.

A finished checkpoint holds the digests of its files. Parameters are read as host arrays, whatever
the devices on which they were trained; a training's state onto the devices that are there.
"""

import contextlib
import logging
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import LatestN

from vaedeblend.exceptions import CheckpointError, FileError
from vaedeblend.io.folders.digest import SEAL, damaged_file, seal
from vaedeblend.io.signals import deferred

_ITEM = "default"
"""Orbax's name of what a checkpoint holds."""


@contextlib.contextmanager
def open_manager(directory: str | Path) -> Iterator[ocp.CheckpointManager]:
    """Manager that writes a stage's checkpoints, of which the latest two are kept.

    Raises:
        FileError: The directory cannot be made, or a checkpoint cannot be written.
    """
    options = ocp.CheckpointManagerOptions(preservation_policy=LatestN(2))
    with _writing(directory):
        manager = ocp.CheckpointManager(Path(directory).absolute(), options=options)
    try:
        yield manager
        finish(manager)
    finally:
        with _writing(directory):  # what has failed, fails once more
            manager.close()


def save_state(manager: ocp.CheckpointManager, step: int, state) -> None:
    """Starts to write a state; `finish` waits for it.

    Raises:
        FileError: It cannot be written, or the one before could not.
    """
    finish(manager)
    with _writing(manager.directory):
        manager.save(step, args=ocp.args.StandardSave(state))


def finish(manager: ocp.CheckpointManager) -> None:
    """Waits for what is being written, and seals it.

    Raises:
        FileError: It could not be written.
    """
    with _writing(manager.directory):
        manager.wait_until_finished()
    if (step := manager.latest_step()) is not None:
        folder = Path(str(manager.directory)) / str(step)  # orbax has paths of its own
        if jax.process_index() == 0 and not (folder / SEAL).exists():
            for mark in folder.rglob("commit_success.txt"):
                mark.write_text("Checkpoint commit was successful")  # orbax's names the folder
            seal(folder)


def restore(manager: ocp.CheckpointManager, like):
    """The latest state, with the structure, types and shardings of `like`; None if none is there.

    Raises:
        CheckpointError: The latest checkpoint is damaged, or was written by another model.
    """
    step = manager.latest_step()
    if step is None:
        return None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    with _named(manager.directory, step):
        return manager.restore(step, args=ocp.args.StandardRestore(abstract))


def load_params(directory: str | Path) -> dict:
    """Averaged parameters of the latest checkpoint in a directory, as host arrays.

    Nothing is written there.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    if not Path(directory).is_dir():
        raise CheckpointError(f"{directory}: no checkpoint there; wanted that of a trained stage")
    step = latest_step(directory)
    if step is None:
        raise CheckpointError(f"{directory}: holds no finished checkpoint")
    with _named(directory, step):
        return _read(Path(directory).absolute() / str(step) / _ITEM, "average")


def save_params(directory: str | Path, step: int, params: dict) -> None:
    """Writes parameters alone, without what only a training needs, for `load_params`.

    They take the place of whatever checkpoints the directory holds.

    Raises:
        FileError: They cannot be written.
    """
    shutil.rmtree(directory, ignore_errors=True)
    with open_manager(directory) as manager:
        save_state(manager, step, {"average": params})


def rounded(params: dict) -> dict:
    """Parameters of 16 significant bits, which a checkpoint holds in four fifths of the space.

    No flux of the shipped weights moves by a thousandth of its error.
    """
    return jax.tree.map(_rounded, params)


def _rounded(values) -> np.ndarray:
    """Single precision whose last byte is zero."""
    bits = np.array(values, np.float32, ndmin=1).view(np.uint32)
    return ((bits + 0x80) & 0xFFFFFF00).view(np.float32).reshape(np.shape(values))


def latest_step(directory: str | Path) -> int | None:
    """Step of the latest checkpoint in a directory; None without any."""
    if not Path(directory).is_dir():
        return None
    return max(ocp.utils.checkpoint_steps(Path(directory).absolute()), default=None)


def _read(item: Path, name: str):
    """One branch of a checkpoint's tree, its leaves NumPy's."""
    with _quiet():
        handler = ocp.PyTreeCheckpointHandler()
        wanted = {name: handler.metadata(item).tree[name]}
        host = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        options = {"item": wanted, "restore_args": host, "partial_restore": True}
        return handler.restore(item, args=ocp.args.PyTreeRestore(**options))[name]


@contextlib.contextmanager
def _writing(directory) -> Iterator[None]:
    """A checkpoint is written: what goes wrong says where, and what the system said of it.

    Ctrl-C, which would break orbax's event loops, waits for the end.
    """
    try:
        with deferred(signal.SIGINT):
            yield
    except Exception as error:  # orbax and tensorstore raise many kinds
        number = re.search(r"os_error_code='(\d+)'", str(error))
        why = os.strerror(int(number[1])) if number else str(error).strip().split("\n")[0]
        raise FileError(f"{directory}: a checkpoint could not be written ({why})") from error


@contextlib.contextmanager
def _named(directory, step: int) -> Iterator[None]:
    """A checkpoint is read: its files are whole, and what goes wrong says where."""
    folder = Path(str(directory)) / str(step)
    cannot = f"{directory}: checkpoint of step {step} cannot be restored"
    if name := damaged_file(folder):
        raise CheckpointError(f"{cannot} ({name} is damaged); without {folder} the one before is")
    try:
        with deferred(signal.SIGINT):
            yield
    except Exception as error:  # orbax and tensorstore raise many kinds
        why = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{cannot} ({why}); without {folder} the one before is") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax warns of every item that was written as one of several, as its manager writes them."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)
