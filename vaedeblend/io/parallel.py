"""Work spread over processes, its results in order.

Processes start anew (spawn): a forked one would inherit locks that JAX's threads hold.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from multiprocessing import current_process, get_context
from typing import Any

from threadpoolctl import threadpool_limits

from vaedeblend.exceptions import ProcessError

_AHEAD = 2
"""Tasks for each process that are under way or waiting to be consumed."""


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
    _function = cache(partial(_make, make_function, arguments))


def _make(make_function: Callable, arguments: tuple) -> Callable:
    function = make_function(*arguments)
    threadpool_limits(1)  # The processes are the threads: BLAS's own would fight them for cores.
    return function


def _run(task):
    return _function()(task)
