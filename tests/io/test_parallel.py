import os
import subprocess
import sys
import textwrap
from functools import partial

import pytest
from tasks import add, divide, make_end, make_threads

from vaedeblend.exceptions import ProcessError
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
