"""The terminal to which the commands speak."""

from rich.console import Console

console = Console()
