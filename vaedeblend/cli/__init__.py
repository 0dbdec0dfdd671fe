"""The command line: what a user types, and what is said there of the outcome.

Imports every room, inside the functions that need it: `--help` answers at once.
"""

import gc
import sys
from collections.abc import Sequence

_GARBAGE = 50_000, 20, 50
"""Thresholds of Python's garbage collection. What JAX traces are objects by the million, hardly
any of them garbage: at Python's own thresholds, looking for it is a tenth of a short command."""


def main(argv: Sequence[str] | None = None) -> int:
    """See `commands.main`, whose imports, too, Ctrl-C ends in a line."""
    gc.set_threshold(*_GARBAGE)
    try:
        from vaedeblend.cli import commands

        return commands.main(argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing had begun\n")
        return 130  # 128 and the signal
