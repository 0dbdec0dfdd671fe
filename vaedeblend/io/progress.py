"""What a command shows on a terminal: its progress, warnings, and how it ended."""

import contextlib
import logging
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_INTERRUPTED, _TERMINATED = 130, 143
"""Exit statuses of a command that Ctrl-C, or SIGTERM, has ended: 128 and the signal."""


@contextlib.contextmanager
def progress(console: Console, *, timed: bool = False) -> Iterator[Callable[..., None]]:
    """Gives `report(what, done, total, note="")`, which shows one bar for each kind of work.

    A bar moves, and its seconds go on, while a piece of work takes its time; beside it stands what
    the package logs of it meanwhile, in this process. Where output is no terminal, each note is a
    line of its own, for a log.

    Args:
        console: Terminal.
        timed: Whether a line says how long each kind of work has taken.
    """
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    ends = TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")
    tasks, begun = {}, {}
    with Progress(*columns, *ends, console=console) as bars:

        def report(what: str, done: int, total: int, note: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, note=note)
                begun[what] = time.monotonic()
            bars.update(tasks[what], completed=done, note=note)
            if timed and done == total and what in begun:
                console.print(Text(f"{what}: {time.monotonic() - begun.pop(what):.1f} s"))
            if note and done and not console.is_terminal:
                console.print(Text(f"{what}: step {done}: {note}"))

        def show(said: str) -> None:
            if tasks:
                bars.update(list(tasks.values())[-1], note=said)

        with _logged(show):
            yield report


@contextlib.contextmanager
def _logged(show: Callable[[str], None]) -> Iterator[None]:
    """Shows what the package logs of its work, and no line of it elsewhere.

    Libraries call logging's own functions, which give the root a handler that writes lines.
    """
    logger, handler = logging.getLogger("vaedeblend"), logging.Handler(logging.INFO)
    handler.emit = lambda record: show(record.getMessage())
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def run_command(work: Callable[[], int | None], *, verbose: bool = False) -> int:
    """Runs a command's work, and gives its exit status.

    Errors that the user can mend, warnings, and the end by Ctrl-C or by SIGTERM are one line each,
    on stderr.

    Args:
        work: Gives the status; None for 0.
        verbose: Whether an error shows where it was raised, too.
    """
    console = Console(stderr=True)
    try:
        with warnings.catch_warnings(), _terminable():
            _show_warnings(console)
            return work() or 0
    except (ValueError, OSError) as error:
        if verbose:
            traceback.print_exc()
        complain(console, error)
        return 1
    except _Terminated:
        console.print("terminated: the same command goes on")
        return _TERMINATED
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on")
        return _INTERRUPTED


def complain(console: Console, error: Exception | str) -> None:
    """Shows an error as one line."""
    said = Text.assemble(("error:", "red"), " ", " ".join(str(error).split()))
    console.print(said, soft_wrap=True)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends work as Ctrl-C does."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    def end(number, frame):
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread, where signals are not ours to answer
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_warnings(console: Console) -> None:
    """Warnings of folders appear as a line, and each one time; others as ever.

    Those of astropy about cards, dates and units that break a standard do not: what matters of them
    is said of the image.
    """
    from astropy.io.fits.verify import VerifyWarning
    from astropy.units import UnitsWarning
    from astropy.wcs import FITSFixedWarning

    from vaedeblend.io.folders.jobs import FolderWarning

    others = warnings.showwarning

    def show(message, category, *place):
        if issubclass(category, FolderWarning):
            said = Text.assemble(("warning:", "yellow"), " ", " ".join(str(message).split()))
            console.print(said, soft_wrap=True)
        else:
            others(message, category, *place)

    warnings.showwarning = show
    warnings.simplefilter("default", FolderWarning)
    for harmless in (VerifyWarning, FITSFixedWarning, UnitsWarning):
        warnings.simplefilter("ignore", harmless)
