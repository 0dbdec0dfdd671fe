"""Reference pages as Markdown, of what the code itself knows: nothing is typed twice."""

import argparse
import ast
import importlib
import inspect
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ml_collections import ConfigDict


def commands() -> str:
    """All commands of `vaedeblend`, with their options and defaults."""
    from vaedeblend.cli.commands import COMMANDS
    from vaedeblend.cli.reading.line import make_parsers

    return "\n".join(_command(make_parsers(COMMANDS)[0], 2))


def columns() -> str:
    """The columns of the table CATALOG."""
    from vaedeblend.image.catalogue.columns import CATALOGUE_COLUMNS

    head = "column", "type", "unit", "UCD", "meaning"
    rows = (
        (code(c.name), c.dtype.__name__, _unit(c.unit), code(c.ucd), c.description)
        for c in CATALOGUE_COLUMNS
    )
    return table(head, rows)


def flags() -> str:
    """The bits of the column flags."""
    from vaedeblend.image.catalogue.columns import FLAGS

    rows = ((str(bit), code(name), meaning) for bit, (name, meaning) in FLAGS.items())
    return table(("bit", "name", "meaning"), rows)


def configs() -> str:
    """Keys and defaults of quick.py, and what every other configuration has of its own."""
    from vaedeblend import configs

    room = Path(configs.__path__[0])
    files = sorted([*room.glob("[!_]*.py"), *room.glob("shipped/[!_]*.py")])
    names = [path.relative_to(room).with_suffix("").as_posix() for path in files]
    modules = {
        name: importlib.import_module(f"vaedeblend.configs.{name.replace('/', '.')}")
        for name in names
    }
    found = {name: flat(module.get_config().to_dict()) for name, module in modules.items()}
    quick, said = found.pop("quick"), comments(modules["quick"])
    lines = ["## `quick.py`", "", *_described(modules["quick"]), ""]
    rows = ((code(key), code(repr(value)), said(key)) for key, value in quick.items())
    lines.append(table(("key", "default", ""), rows))
    for name, values in found.items():
        own = {k: v for k, v in values.items() if k not in quick or quick[k] != v}
        lines += ["", f"## `{name}.py`", "", *_described(modules[name]), ""]
        lines.append(table(("key", "value"), ((code(k), code(repr(v))) for k, v in own.items())))
    return "\n".join(lines)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    cells = [list(head), *map(list, rows)]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in cells)


def code(text: str) -> str:
    """A text as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def flat(config: Mapping | ConfigDict, above: str = "") -> dict:
    """Values of a nested dictionary by their keys, joined by dots."""
    found = {}
    for key, value in config.items():
        inner = isinstance(value, Mapping | ConfigDict) and len(value)
        found |= flat(value, f"{above}{key}.") if inner else {f"{above}{key}": value}
    return found


def comments(module):
    """Function of a key that gives the comment behind it in the source of a module.

    A dictionary that a function returns is a part of the configuration; a key of the whole ends as
    one of these.
    """
    source = inspect.getsource(module)
    behind = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.line.strip() != token.string
    }
    found = {}
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef):
            found |= {key: behind.get(line, "") for key, line in _keys(function)}

    def said(key: str) -> str:
        parts = key.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts)))
        return next((found[end] for end in ends if end in found), "")

    return said


def _keys(node: ast.AST, above: str = "") -> Iterator[tuple[str, int]]:
    """Keys of the dictionaries below a node, joined by dots, and their lines."""
    if not isinstance(node, ast.Dict):
        for child in ast.iter_child_nodes(node):
            yield from _keys(child, above)
        return
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant):
            yield f"{above}{key.value}", key.lineno
            yield from _keys(value, f"{above}{key.value}.")


def _command(parser: argparse.ArgumentParser, rank: int) -> Iterator[str]:
    """A command's part of the page, and those of its own commands."""
    usage = parser.format_usage().removeprefix("usage: ").strip()
    yield from (f"{'#' * rank} `{parser.prog}`", "", parser.description or "", "")
    yield from ("```text", usage, "```", "")
    own = [each for each in parser._actions if not _is_nested(each)]
    rows = [_option(each) for each in own if each.help != argparse.SUPPRESS]
    yield from (table(("option", "default", "meaning"), rows), "")
    if parser.epilog:  # an example
        yield from ("```text", parser.epilog, "```", "")
    for nested in filter(_is_nested, parser._actions):
        for each in nested.choices.values():
            yield from _command(each, rank + 1)


def _is_nested(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def _option(action: argparse.Action) -> tuple[str, str, str]:
    """Names, default and meaning of an option."""
    names = ", ".join(map(code, action.option_strings)) or code(action.metavar or action.dest)
    if action.choices:
        names += f" {', '.join(map(code, map(str, action.choices)))}"
    default = action.default
    shown = default not in (None, False, argparse.SUPPRESS, "") and action.nargs != 0
    if isinstance(default, list):
        default = " ".join(map(str, default))
    meaning = (action.help or "") % {**vars(action), "prog": "vaedeblend"}
    return names, code(str(default)) if shown else "", meaning


def _unit(unit) -> str:
    """A column's unit, or whose it is."""
    if unit is None or isinstance(unit, str):
        return unit or ""
    return {"_image_unit": "the image's", "_pixel": "arcsec"}[unit.__name__]


def _described(module) -> list[str]:
    """The module's docstring, whose commands are a block."""
    text, block = inspect.getdoc(module).splitlines(), []
    commands = [line for line in text if line.startswith("python ")]
    if commands:
        block = ["", "```bash", *commands, "```"]
    return [line for line in text if line not in commands] + block


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
