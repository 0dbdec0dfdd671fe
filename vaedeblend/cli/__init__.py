"""The command line: what a user types, and what is said there of the outcome.

Imports every room, inside the functions that need it: `--help` answers at once.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """See `commands.main`, whose imports, too, Ctrl-C ends in a line."""
    try:
        from vaedeblend.cli import commands

        return commands.main(argv)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing had begun\n")
        return 130  # 128 and the signal
