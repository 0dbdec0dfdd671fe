"""Settings in TOML: options that a file gives, and what ran, written beside its results.

A file has the long options of a command as its keys, and the image as `image`. What stands on the
command line comes before what stands in the file.
"""

import argparse
import json
import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vaedeblend import __version__
from vaedeblend.exceptions import FolderError, SettingsError

SETTINGS = "settings.toml"
"""File beside the results of a command: what ran."""
_MARK = "# vaedeblend "
"""Beginning of a file that this program has written."""
_KINDS = {int: "a whole number", float: "a number", None: "a text"}


def set_defaults(parser: argparse.ArgumentParser, path: str | Path) -> dict[str, Any]:
    """Makes what a file says the defaults of a command's options, and gives these.

    Raises:
        SettingsError: The file cannot be read, or an option is none, or not of its kind.
    """
    actions, given = _actions(parser), {}
    for key, value in _read(path).items():
        action = actions.get(key.replace("_", "-"))
        if action is None:
            near = get_close_matches(key, actions, 1, 0)[0]
            raise SettingsError(f"{path}: no option {key!r}; nearest is {near!r}")
        action.default = given[action.dest] = _value(action, value, f"{path}: {key}")
        action.required = False
        action.nargs = action.nargs if action.option_strings else "?"
    for group in _alternatives(parser):
        if len(both := sorted(group & given.keys())) > 1:
            raise SettingsError(f"{path}: {' and '.join(both)} are given; wanted one of them")
    return given


def without_outdone(
    parser: argparse.ArgumentParser, options: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Options without those of a file in whose place the command line has an alternative.

    Args:
        parser: Parser of the command.
        options: Its options, those of the file among them.
        given: The latter.
    """
    outdone = {
        name
        for group in _alternatives(parser)
        for name in group & given.keys()
        if any(options[other] is not None for other in group - {name})
    }
    return dict(options) | dict.fromkeys(outdone)


def refuse_other_settings(folder: Path) -> None:
    """What ran takes the place of what ran before, and of no other file.

    Raises:
        FolderError: There is another one.
    """
    path = folder / SETTINGS
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise FolderError(
            f"{path}: would be overwritten, and no run of this program has written it; wanted "
            f"another folder than {folder}"
        )


def write_settings(
    folder: Path,
    command: str,
    parser: argparse.ArgumentParser,
    options: Mapping[str, Any],
    paths: Collection[str],
) -> None:
    """Writes what ran into the folder of its results, to be run again from anywhere.

    Args:
        folder: Folder of the results.
        command: Name of the command.
        parser: Its parser.
        options: Its options.
        paths: Options that are paths, if they are not None.
    """
    from vaedeblend.io.write import write_text

    again = f"vaedeblend {command} --config {SETTINGS}"
    lines = [f"{_MARK}{__version__}: what ran here; to run it again: {again}"]
    for key, action in _actions(parser).items():
        value = options.get(action.dest)
        if action.dest in paths and value:
            value = _absolute(value)
        if value is not None:
            lines.append(f"{key} = {_toml(action, value)}")
    write_text(folder / SETTINGS, "\n".join(lines) + "\n")


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Options of a command by their long names, but for those that say how it is run."""
    named = (
        ((each.option_strings or [each.dest])[-1].removeprefix("--"), each)
        for each in parser._actions
        if each.help != argparse.SUPPRESS
    )
    return {name: each for name, each in named if each.default != argparse.SUPPRESS}


def _alternatives(parser: argparse.ArgumentParser) -> Iterable[set[str]]:
    """Options of which only one may be given."""
    groups = ({each.dest for each in g._group_actions} for g in parser._mutually_exclusive_groups)
    return (group for group in groups if "verbosity" not in group)


def _read(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: could not be read ({error.strerror})") from error
    except ValueError as error:  # of letters, or of TOML
        raise SettingsError(f"{path}: not TOML ({error})") from error


def _absolute(value):
    """A path that leads there from anywhere; lists are of a name and then of what may be paths."""
    from vaedeblend.io.fits.planes import split_plane

    if isinstance(value, list):
        return [[name, *map(_absolute, paths)] for name, *paths in value]
    return os.path.abspath(value) if split_plane(value)[0].exists() else value


def _value(action: argparse.Action, value, name: str):
    """A value of a file as the command line would give it."""
    if isinstance(action, argparse._AppendAction):
        if not isinstance(value, list):
            raise SettingsError(f"{name} is {value!r}; wanted a list of lists")
        return [_list(action, each, name) for each in value]
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise SettingsError(f"{name} is {value!r}; wanted true or false")
        return action.const if value else action.default
    if action.nargs is None:
        return _scalar(action, value, name)
    return _list(action, value, name)


def _list(action: argparse.Action, value, name: str) -> list:
    n = action.nargs if isinstance(action.nargs, int) else "some"
    if not (isinstance(value, list) and value and n in ("some", len(value))):
        kind = "texts" if action.type is None else "numbers"
        raise SettingsError(f"{name} is {value!r}; wanted a list of {n} {kind}")
    return [_scalar(action, each, name) for each in value]


def _scalar(action: argparse.Action, value, name: str):
    wanted = _KINDS.get(action.type, f"a text as {action.metavar}")
    if action.choices:
        wanted = f"one of {', '.join(action.choices)}"
    try:
        if isinstance(value, bool | list | dict):
            raise ValueError
        found = (action.type or str)(str(value))
    except ValueError:
        raise SettingsError(f"{name} is {value!r}; wanted {wanted}") from None
    if action.choices and found not in action.choices:
        raise SettingsError(f"{name} is {value!r}; wanted {wanted}")
    return found


def _toml(action: argparse.Action, value) -> str:
    if action.nargs == 0:
        return "true" if value == action.const else "false"
    if isinstance(value, list | tuple) and action.nargs is None:  # a pair, as 2x3
        value = "x".join(map(str, value))
    return json.dumps(value, ensure_ascii=False)
