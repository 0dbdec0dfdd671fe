"""Work that is killed at a random moment, and started again: see `tests/benchmarks/kills.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).parents[1] / "benchmarks" / "kills.py"


@pytest.mark.slow
@pytest.mark.parametrize("work", ["deblend", "data", "export"])
def test_what_was_killed_ends_as_if_it_had_not_been(tmp_path, work):
    words = [KILLS, tmp_path, "--kills", "1", "--seed", "3", "--work", work]
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kills, 0 results that differ" in done.stdout
