"""Signals that wait until what they would break is done."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def deferred(number: signal.Signals) -> Iterator[list[int]]:
    """A signal is noted in the list that this gives, and does at the end what it did before.

    A second one does so at once. Outside the main thread, where none arrives, nothing changes.

    Args:
        number: Signal, as `signal.SIGINT`.
    """
    before, noted = signal.getsignal(number), []

    def note(number, frame):
        noted.append(number)
        signal.signal(number, before)

    try:
        signal.signal(number, note)
    except ValueError:  # not in the main thread
        yield noted
        return
    try:
        yield noted
    finally:
        signal.signal(number, before)
        if noted:
            signal.raise_signal(number)
