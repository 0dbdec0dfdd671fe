"""The terminal to which the commands speak, and how much they say there."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from rich.console import Console
from rich.text import Text

from vaedeblend.io import progress


class Terminal(Console):
    """Standard output, which says nothing where `quiet`, and more where `verbose`."""

    verbose = False


console = Terminal()
errors = Console(stderr=True)


def set_verbosity(level: int) -> None:
    """Says how much the commands show.

    Args:
        level: -1 for warnings and errors alone, 0 as ever, 1 for seconds and tracebacks, too.
    """
    console.quiet, console.verbose = level < 0, level > 0


def say(findings: Iterable[str]) -> None:
    """Shows what was found of the inputs, a line each; warnings on stderr, quiet or not."""
    for line in findings:
        where = errors if line.startswith("warned:") else console
        where.print(Text(line), soft_wrap=True)


def progress_bars() -> AbstractContextManager[Callable[..., None]]:
    """See `progress.progress`: bars, and the seconds of each where the terminal is verbose."""
    return progress.progress(console, timed=console.verbose)


def result_status(unusable: str) -> int:
    """Status of a command whose result is there: 3 where nothing in it can be used, and says why.

    Args:
        unusable: Why nothing can be used; empty where something can.
    """
    if unusable:
        errors.print(Text(unusable), soft_wrap=True)
    return 3 if unusable else 0


def run(work: Callable[[], int | None]) -> int:
    """See `progress.run_command`: the status of a command's work, whose errors are one line."""
    return progress.run_command(work, verbose=console.verbose)


def show_error(error: Exception | str) -> None:
    """Shows an error as one line on stderr."""
    progress.complain(errors, error)
