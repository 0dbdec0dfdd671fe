"""Progress of long work on a terminal."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Callable[..., None]]:
    """Gives `report(what, done, total, note="")`, which shows one bar for each kind of work.

    Where output is no terminal, each note is a line of its own, for a log.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    ends = TimeRemainingColumn(), TextColumn("{task.fields[note]}")
    tasks = {}
    with Progress(*columns, *ends, console=console) as bars:

        def report(what: str, done: int, total: int, note: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, note=note)
            bars.update(tasks[what], completed=done, note=note)
            if note and done and not console.is_terminal:
                console.print(f"{what}: step {done}: {note}")

        yield report
