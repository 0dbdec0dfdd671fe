"""The words of a command line: a command and its options, and how it is run with them."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from vaedeblend import __version__
from vaedeblend.cli.reading.inputs import refuse_missing
from vaedeblend.cli.reading.settings import (
    refuse_other_settings,
    set_defaults,
    without_outdone,
    write_settings,
)

_NEAR = 0.75
"""Least likeness of words of which one may be the other, misspelt: 0.8 of --rsm and --rms."""
Parsers = Mapping[str, argparse.ArgumentParser]


class Command(NamedTuple):
    """What follows `vaedeblend` on a command line."""

    said: str
    add: Callable[[argparse.ArgumentParser], None]
    """Adds its arguments to a parser."""
    run: Callable[..., int | None]
    """Does its work, its options as keywords, and gives its status."""
    example: str
    inputs: tuple[str, ...] = ()
    """Options that are paths of files, or folders, that have to be there."""
    has_settings: bool = False
    """Whether it takes --config, and writes what ran beside its results."""
    has_overrides: bool = False
    """Whether it takes words that its parser does not know, as `overrides`."""


def make_parsers(
    commands: Mapping[str, Command],
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the whole command line, and those of the commands by name."""
    parser = argparse.ArgumentParser(
        "vaedeblend", description="Fluxes, light profiles and errors of blended galaxies."
    )
    parser.add_argument("--version", action="version", version=f"vaedeblend {__version__}")
    _add_verbosity(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    parsers = {}
    for name, command in commands.items():
        parsers[name] = subparsers.add_parser(
            name,
            help=command.said,
            description=f"{command.said[0].upper()}{command.said[1:]}.",
            epilog=f"example:\n  {command.example}",
            formatter_class=_Help,
            allow_abbrev=False,  # --config is read before all else, by its whole name
        )
        command.add(parsers[name])
        _add_verbosity(parsers[name])
        if command.has_settings:
            parsers[name].add_argument(
                "--config",
                dest="settings",
                metavar="FILE",
                default=argparse.SUPPRESS,
                help="options in TOML: its keys are these options' names; what ran is written to "
                "settings.toml beside the results",
            )
    return parser, parsers


def read_line(
    words: Sequence[str],
    commands: Mapping[str, Command],
    parser: argparse.ArgumentParser,
    parsers: Parsers,
) -> tuple[str, dict[str, Any]]:
    """Name of a command, and its options."""
    name = next((word for word in words if not word.startswith("-")), None)
    given = {}
    if name in commands and commands[name].has_settings and (path := _config(words)):
        given = set_defaults(parsers[name], path)
    options, rest = parser.parse_known_args(words)
    options = vars(options)
    name = options.pop("command")
    if commands[name].has_overrides:
        options["overrides"] = rest
    elif rest:
        _refuse(parsers[name], rest)
    options.pop("settings", None)
    options = without_outdone(parsers[name], options, given)
    refuse_missing(options, commands[name].inputs)
    return name, options


def perform(
    command: Command, name: str, parser: argparse.ArgumentParser, options: Mapping[str, Any]
) -> int:
    """Runs a command, writes what ran, and gives its status.

    Args:
        command: The command.
        name: Its name.
        parser: Its parser.
        options: Its options.
    """
    if not command.has_settings:
        return command.run(**options) or 0
    folder = Path(options["out"])
    refuse_other_settings(folder)
    status = command.run(**options) or 0
    paths = {*command.inputs, "out"} | _weights_path(options.get("weights"))
    write_settings(folder, name, parser, options, paths)
    return status


def _weights_path(weights: str | None) -> set[str]:
    """The option of weights where these are a workdir's path, and no name of shipped ones."""
    from vaedeblend.io.workdir import find_workdir

    return {"weights"} if weights and find_workdir(weights) == Path(weights) else set()


def _config(words: Sequence[str]) -> str | None:
    """The file of --config, which is read before all else."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--config")
    try:
        return reader.parse_known_args(words)[0].config
    except argparse.ArgumentError:  # without its file, which is for the command to say
        return None


def _refuse(parser: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    known = [each for action in parser._actions for each in action.option_strings]
    near = get_close_matches(rest[0].split("=")[0], known, 1, _NEAR)
    hint = f"; nearest is {near[0]}" if near else ""
    parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")


def _add_verbosity(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    keywords = {"dest": "verbosity", "action": "store_const", "default": argparse.SUPPRESS}
    group.add_argument("-q", "--quiet", const=-1, help="show warnings and errors alone", **keywords)
    group.add_argument(
        "-v", "--verbose", const=1, help="show seconds, and where errors come from", **keywords
    )


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        said, default = action.help or "", action.default
        if action.nargs == 0 or default in (None, "", argparse.SUPPRESS):
            return said
        shown = default if isinstance(default, str) else None
        if isinstance(default, list | tuple):
            shown = " ".join(map(str, default))
        return f"{said} (default: {shown or default})"
