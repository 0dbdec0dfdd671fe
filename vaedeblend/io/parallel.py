"""Work spread over processes, its results in order.

Processes start anew (spawn): a forked one would inherit locks that JAX's threads hold. They end
with their parent, however that ends.
"""

import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from multiprocessing import connection, current_process, get_context, parent_process
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from vaedeblend.exceptions import ProcessError

_AHEAD = 2
"""Tasks for each process that are under way or waiting to be consumed."""


def available_cores() -> int:
    """Cores that this process may use: those of its affinity, within its control group's quota."""
    if not hasattr(os, "sched_getaffinity"):  # Linux's own
        return os.cpu_count() or 1
    return max(1, min(len(os.sched_getaffinity(0)), _quota(Path("/sys/fs/cgroup"))))


def parallel_map(
    make_function: Callable, tasks: Sequence, processes: int, *arguments: Any
) -> Iterator:
    """Yields what a function returns for each task, in order; few results are held at a time.

    Args:
        make_function: Called with `arguments` once in each process; returns the function of a
            task. `functools.partial` makes one of a function and its first arguments.
        tasks: Values that can be pickled, as the arguments are.
        processes: Number of processes; with one the work is done in the caller's own.
        arguments: Arguments of `make_function`.

    Raises:
        ProcessError: A process was killed, or none could start.
    """
    processes = min(processes, len(tasks))
    if processes <= 1:
        yield from map(make_function(*arguments), tasks)
        return
    if getattr(current_process(), "_inheriting", False):
        raise SystemExit(1)  # A worker runs its parent's script: the parent says what is wrong.
    context = get_context("spawn")
    started = context.Event()
    pool = ProcessPoolExecutor(processes, context, _start, (started, make_function, arguments))
    try:
        yield from _in_order(pool, iter(tasks), _AHEAD * processes)
    except BrokenProcessPool as error:
        said = "was killed; wanted fewer, or more memory"
        if not started.is_set():
            said = 'could not start; wanted a script with its work under if __name__ == "__main__":'
        raise ProcessError(f"a process of {processes} {said}") from error
    except BaseException:  # Ctrl-C and closing among them: nobody waits for what is under way
        for process in list(pool._processes.values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, tasks: Iterator, ahead: int) -> Iterator:
    running = deque(pool.submit(_run, task) for task in itertools.islice(tasks, ahead))
    while running:
        result = running.popleft().result()
        running.extend(pool.submit(_run, task) for task in itertools.islice(tasks, 1))
        yield result


def _start(started, make_function: Callable, arguments: tuple) -> None:
    """Begins a process's life: keeps what makes its function."""
    global _function
    started.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _function = cache(partial(_make, make_function, arguments))


def _end_with_parent() -> None:
    """An orphan would wait for tasks, or write results, for ever."""
    connection.wait([parent_process().sentinel])
    os._exit(1)


def _make(make_function: Callable, arguments: tuple) -> Callable:
    function = make_function(*arguments)
    threadpool_limits(1)  # The processes are the threads: BLAS's own would fight them for cores.
    return function


def _run(task):
    return _function()(task)


def _quota(root: Path) -> int:
    """Cores' worth of time that control groups (version 2) allow, rounded up."""
    limits = [os.cpu_count() or 1]
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        folders = [root / own, *(root / own).parents]
    except OSError:
        folders = [root]
    for folder in folders:
        if folder.is_relative_to(root) and (path := folder / "cpu.max").is_file():
            quota, period = path.read_text().split()
            limits += [] if quota == "max" else [-(-int(quota) // int(period))]
    return min(limits)
