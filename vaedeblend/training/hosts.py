"""Processes that train together, each with devices of its own: all of them compute, one writes.

Every process is given the same command and sees the same folders. Batches are split over all
devices; what is simulated, logged and calibrated is the first one's work.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

from vaedeblend.exceptions import SettingsError
from vaedeblend.io.signals import deferred

_AUTO = "auto"


def connect(where: str) -> None:
    """Joins the processes of a training, before JAX is used for anything else.

    Args:
        where: 'auto' where JAX knows the cluster (Slurm, Kubernetes, TPU pods), or
            'HOST:PORT,INDEX,COUNT': a port of the first process's host, the index of this process
            (0 for the first one), and how many there are.

    Raises:
        SettingsError: It is neither.
    """
    jax.distributed.initialize(*(() if where == _AUTO else _parsed(where)))
    wait("connected")  # first of all: links that are asked for later must answer within seconds


def _parsed(where: str) -> tuple[str, int, int]:
    """Address of the first process, number of processes, index of this one."""
    try:
        address, index, count = where.split(",")
        if ":" in address and 0 <= int(index) < int(count):
            return address, int(count), int(index)
    except ValueError:
        pass
    raise SettingsError(f"--distributed: {where!r}; wanted auto, or HOST:PORT,INDEX,COUNT")


def is_first() -> bool:
    """Whether this process is the one that writes; so is the only one of a training."""
    return jax.process_index() == 0


def first_of_all(make: Callable[[], Any], what: str) -> Any:
    """What a function returns, called by the first process, and by the others when it is done.

    Args:
        make: Function that makes files, or finds them where they are.
        what: Name of what is made.
    """
    try:
        made = make() if is_first() else None
    finally:  # where it fails, the others fail by themselves
        wait(what)
    return made if is_first() else make()


@contextlib.contextmanager
def preemption() -> Iterator[Callable[[int], bool]]:
    """Gives `asked(step)`, called at each step: whether SIGTERM wants the training to end.

    From the same step on it answers yes in all processes, whichever of them a cluster has sent the
    signal. What SIGTERM did before, it does at the end; and at once, if it comes a second time.
    """
    if jax.process_count() == 1:
        with deferred(signal.SIGTERM) as noted:
            yield lambda step: bool(noted)
        return
    before, reached = signal.getsignal(signal.SIGTERM), False

    def asked(step: int) -> bool:  # JAX takes the signal
        nonlocal reached
        reached = reached or multihost_utils.reached_preemption_sync_point(step)
        return reached

    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
        if reached:
            signal.raise_signal(signal.SIGTERM)


def wait(what: str) -> None:
    """Returns when all processes have come here.

    Args:
        what: Name of the place, the same in each.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
