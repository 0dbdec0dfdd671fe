import signal
import threading

import pytest

from vaedeblend.io.signals import deferred


@pytest.fixture(autouse=True)
def handled(ctrl_c):
    """Ctrl-C raises KeyboardInterrupt."""


def test_ctrl_c_waits_for_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred(signal.SIGINT) as noted:
        signal.raise_signal(signal.SIGINT)
        done.append(list(noted))
    assert done == [[signal.SIGINT]]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_does_not():
    with pytest.raises(KeyboardInterrupt), deferred(signal.SIGINT):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_handler_that_is_not_python_s_stays(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    with pytest.raises(KeyboardInterrupt), deferred(signal.SIGINT):
        signal.raise_signal(signal.SIGINT)


def test_another_thread_receives_none():
    def work():
        with deferred(signal.SIGINT) as noted:
            seen.append(noted)

    seen = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[]]
