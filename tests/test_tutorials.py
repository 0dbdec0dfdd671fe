"""The tutorials, run as a reader would: every block of each, in order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(text: str) -> str:
    """A tutorial's blocks as one program in Python; those of the shell run in the same folder."""
    shell = "__import__('subprocess').run(['bash', '-euo', 'pipefail', '-c', {!r}], check=True)\n"
    return "\n".join(
        code if language == "python" else shell.format(code)
        for language, code in BLOCK.findall(text)
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, tmp_path):
    (tmp_path / "run.py").write_text(script(path.read_text()))
    before = [str(Path(sys.executable).parent), os.environ["PATH"]]
    given = {"PATH": os.pathsep.join(before), "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=tmp_path,
        env=os.environ | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
