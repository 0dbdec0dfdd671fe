"""The command `vaedeblend` of this checkout and of another one, to run them side by side."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]
"""Root of the checkout that this file belongs to."""
COMMAND = [sys.executable, "-c", "from vaedeblend.cli import main; raise SystemExit(main())"]


def environment(root, **variables):
    """Environment of a process that imports the package of the checkout at `root`."""
    return os.environ | {"PYTHONPATH": str(Path(root).resolve())} | variables
