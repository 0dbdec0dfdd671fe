import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
from tasks import add, divide, make_end, make_threads

from vaedeblend.exceptions import ProcessError
from vaedeblend.io import parallel
from vaedeblend.io.parallel import parallel_map


def test_results_come_in_order_from_other_processes():
    tasks = list(range(9))
    alone = list(parallel_map(partial, tasks, 1, add, 10))
    spread = list(parallel_map(partial, tasks, 2, add, 10))
    assert [value for value, _ in alone] == [value for value, _ in spread] == list(range(10, 19))
    assert {pid for _, pid in alone} == {os.getpid()}
    assert os.getpid() not in {pid for _, pid in spread}


def test_a_single_task_needs_no_process():
    assert next(parallel_map(partial, [1], 4, add, 1)) == (2, os.getpid())
    assert list(parallel_map(partial, [], 4, add, 1)) == []


def test_blas_has_one_thread_in_each_process():
    """On a machine of many cores BLAS's threads, times the processes, would stand in line."""
    assert set().union(*parallel_map(make_threads, [0, 1], 2)) == {1}


def test_errors_come_back_as_they_are():
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(partial, [0, 0], 2, divide, 1))


def test_a_killed_process_is_an_error():
    with pytest.raises(ProcessError, match="a process of 2 was killed; wanted fewer"):
        list(parallel_map(make_end, [0, 1], 2))


def test_a_script_without_a_guard_is_told_so(tmp_path):
    """It does not hang, as it did with a pool that starts its dead workers again for ever."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        from functools import partial
        from vaedeblend.io.parallel import parallel_map

        print(list(parallel_map(partial, [1, 2, 3], 2, divmod, 7)))
        """)
    )
    run = partial(subprocess.run, capture_output=True, text=True, timeout=60)
    done = run([sys.executable, script])
    said = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert "ProcessError: a process of 2 could not start" in said[-1]
    assert 'if __name__ == "__main__"' in said[-1]
    guarded = script.read_text().replace("print(", 'if __name__ == "__main__": print(')
    script.write_text(guarded)
    done = run([sys.executable, script])
    assert done.stdout.strip() == "[(7, 0), (3, 1), (2, 1)]", done.stderr


WAIT = """
import sys
from tasks import make_wait
from vaedeblend.io.parallel import parallel_map
from vaedeblend.io.progress import run_command
if __name__ == "__main__":
    sys.exit(run_command(lambda: list(parallel_map(make_wait, [0, 1], 2, sys.argv[1]))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc who lives")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_processes_end_with_their_parent(tmp_path, number, status):
    script, at_work = tmp_path / "script.py", tmp_path / "at_work"
    script.write_text(WAIT)
    at_work.mkdir()
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, script, at_work], stderr=subprocess.PIPE, text=True, env=paths
    )
    wait_until(lambda: len(list(at_work.iterdir())) == 2)
    parent.send_signal(number)
    said = parent.communicate(timeout=20)[1]
    assert parent.returncode == status
    assert number == signal.SIGKILL or said.strip() == "terminated: the same command goes on"
    wait_until(lambda: not any(Path("/proc", each.name).exists() for each in at_work.iterdir()))


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_cores_are_those_that_may_be_used(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert parallel.available_cores() <= 3
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert parallel._quota(tmp_path) == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert parallel._quota(tmp_path) == 128
