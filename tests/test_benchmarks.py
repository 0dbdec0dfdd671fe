"""Benchmarks run by hand: what they import of the package is there, under that name."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent / "benchmarks").glob("*.py"))


def imports(path):
    """Module, name and alias of all that a file imports of the package, at its top or inside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "vaedeblend":
            yield from ((node.module, each.name, each.asname or each.name) for each in node.names)


def member(module, name):
    """A name of a module, or a module of a package."""
    if importlib.util.find_spec(module).submodule_search_locations:
        return importlib.import_module(f"{module}.{name}")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_benchmark_uses_of_the_package_is_there(path):
    found = {alias: member(module, name) for module, name, alias in imports(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = found.get(node.value.id)
            if type(module) is type(ast):
                assert hasattr(module, node.attr), f"{node.value.id}.{node.attr}"
