"""Signals that wait until what they would break is done."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def deferred(number: signal.Signals) -> Iterator[list[int]]:
    """A signal is noted in the list that this gives, and does at the end what it did before.

    A second one does so at once. Outside the main thread, where none arrives, and where the handler
    is not Python's own, as where another program embeds it, nothing changes.

    Args:
        number: Signal, as `signal.SIGINT`.
    """
    before, noted = signal.getsignal(number), []

    def note(number, frame):
        noted.append(number)
        signal.signal(number, before)

    if before is None or threading.current_thread() is not threading.main_thread():
        yield noted
        return
    signal.signal(number, note)
    try:
        yield noted
    finally:
        signal.signal(number, before)
        if noted:
            signal.raise_signal(number)
