"""The command line: what a user types, and what is said there of the outcome.

Imports every room, inside the functions that need it: `--help` answers at once.
"""

from vaedeblend.cli.commands import main

__all__ = ["main"]
