"""The queue of a survey's tiles: dask.distributed's, on this machine or on a cluster.

Workers have one thread each: a tile's measurement is one core's or one GPU's. They share the
programs that XLA compiles, and each keeps the weights that it has loaded.
"""

import contextlib
import importlib
import logging
import os
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vaedeblend.exceptions import FileError, FolderError, ProcessError, SurveyError, VaedeblendError
from vaedeblend.image.surveys.shards import EXTRA
from vaedeblend.io.parallel import available_cores

Report = Callable[..., None]
"""Function of what is going on, how much of it is done, how much there is, and a note."""

_TRANSIENT = FileError, FolderError, ProcessError, OSError, MemoryError
"""Errors that another attempt may not meet."""
_BACK_OFF = 4.0
"""Factor between waits before further attempts, the first of 1 s."""
_SHARED = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
"""Variables of the environment that workers share with the command."""


_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"
"""XLA's option by which a worker keeps to one core."""


class Workers(NamedTuple):
    """Where the tiles are measured."""

    number: int = 0
    """Workers on this machine; by default one for each core."""
    scheduler: str | None = None
    """Address of a scheduler that is there, in the place of them."""
    cluster: str | None = None
    """TOML file of a cluster: `class`, a class of dask_jobqueue or another one of the same
    interface; `jobs`, how many, or `minimum` and `maximum`; and [options], its keywords."""


class Outcome(NamedTuple):
    """What became of a task."""

    name: str
    result: Any
    """What its function returned; None where it failed."""
    sentence: str
    """Why it failed; empty where it did not."""
    attempts: int


@contextlib.contextmanager
def connected(workers: Workers) -> Iterator:
    """A client of dask.distributed with its workers, which end with it where they are its own.

    Raises:
        SurveyError: The extra is not installed, there is no such scheduler or cluster, or a worker
            did not start.
    """
    distributed = _distributed()
    with contextlib.ExitStack() as stack:
        address = workers.scheduler
        if workers.cluster is not None:
            address = stack.enter_context(_cluster(workers.cluster))
        elif address is None:
            address = stack.enter_context(_local(distributed, workers.number))
        try:
            client = stack.enter_context(distributed.Client(address))
        except OSError as error:
            raise SurveyError(f"{address}: no scheduler answers ({error})") from error
        client.register_worker_callbacks(partial(_settle_worker, _environment()))
        yield client


def run_tasks(
    client,
    function: Callable,
    tasks: Mapping[str, Any],
    *,
    attempts: int = 3,
    report: Report = lambda *_: None,
    what: str = "tasks",
) -> Iterator[Outcome]:
    """Yields what becomes of tasks, as they end; those that fail for a moment's reason come again.

    Args:
        client: Client of dask.distributed.
        function: What is called with a task.
        tasks: Tasks by name.
        attempts: How often a task is begun, at most.
        report: Function of the progress.
        what: What the tasks do, for the progress.
    """
    from distributed import as_completed

    names, waiting, n = {}, [], 0
    kind = what.replace(" ", "_")
    queue = as_completed()

    def submit(some: Sequence[tuple[str, int]]) -> None:
        keys = [f"{kind}-{name}-{attempt}-{os.getpid()}" for name, attempt in some]
        given = [tasks[name] for name, _ in some]
        futures = client.map(_guarded, [function] * len(given), given, key=keys, retries=0)
        names.update({future.key: each for future, each in zip(futures, some, strict=True)})
        for future in futures:
            queue.add(future)

    submit([(name, 1) for name in tasks])
    report(what, 0, len(tasks))
    while n < len(tasks):
        due = [each for at, each in waiting if at <= time.monotonic()]
        waiting = [(at, each) for at, each in waiting if at > time.monotonic()]
        submit(due)
        if not queue.count():
            time.sleep(0.1)
            continue
        future = next(queue)
        name, attempt = names.pop(future.key)
        outcome, again = _outcome(future, name, attempt)
        if again and attempt < attempts:
            waiting.append((time.monotonic() + _BACK_OFF ** (attempt - 1), (name, attempt + 1)))
            continue
        n += 1
        report(what, n, len(tasks))
        yield outcome


def _guarded(function: Callable, task) -> tuple[str, Any]:
    """What a function returns, or the sentence of an error, and of which kind that is."""
    try:
        return "done", function(task)
    except _TRANSIENT as error:
        return "again", _sentence(error)
    except VaedeblendError as error:
        return "failed", _sentence(error)
    except Exception as error:  # an error of ours ends a tile, and no survey
        return "failed", f"unexpected {type(error).__name__}: {_sentence(error)}"


def _outcome(future, name: str, attempt: int) -> tuple[Outcome, bool]:
    """What became of a task, and whether another attempt may do better."""
    try:
        kind, value = future.result()
    except Exception as error:  # of dask: a worker that was killed with the task
        kind, value = "again", f"{type(error).__name__}: {_sentence(error)}"
    future.release()
    if kind == "done":
        return Outcome(name, value, "", attempt), False
    return Outcome(name, None, value, attempt), kind == "again"


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _local(distributed, number: int):
    try:
        return distributed.LocalCluster(
            n_workers=number or available_cores(),
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs="ERROR",
            env=_environment(),
        )
    except RuntimeError as error:  # of one that was killed while it began
        raise SurveyError(f"a worker on this machine did not start ({error})") from error


def _environment() -> dict[str, str]:
    """What workers share with the command: programs that XLA has compiled, and one thread each."""
    shared = {name: os.environ[name] for name in _SHARED if name in os.environ}
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_THREAD}".strip()
    return shared | {"XLA_FLAGS": flags}


def _cluster(path: str):
    """A cluster as its file describes it, with its jobs."""
    try:
        with Path(path).open("rb") as file:
            given = tomllib.load(file)
        module, _, name = given["class"].rpartition(".")
        make = getattr(importlib.import_module(module or "dask_jobqueue"), name)
    except (OSError, KeyError, tomllib.TOMLDecodeError, ImportError, AttributeError) as error:
        raise SurveyError(f"{path}: no cluster ({error}); wanted class, jobs, [options]") from error
    cluster = make(**given.get("options", {}))
    if "maximum" in given:
        cluster.adapt(minimum=given.get("minimum", 0), maximum=given["maximum"])
    elif "jobs" in given:
        cluster.scale(jobs=given["jobs"])
    return cluster


def _settle_worker(environment: Mapping[str, str]) -> None:
    """What a worker of another's cluster does before its first task."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)


def _distributed():
    try:
        import dask
        import distributed
    except ImportError as error:
        raise SurveyError(EXTRA) from error
    dask.config.set({"distributed.scheduler.allowed-failures": 10})
    logging.getLogger("distributed").setLevel(logging.ERROR)  # whatever handles it
    return distributed
