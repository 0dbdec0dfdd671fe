import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "vaedeblend").rglob("*.py"))
}
BUILDERS = sorted((ROOT / "data_builders").rglob("*.py"))
SCRIPTS = [ROOT / name for name in ("train.py", "eval.py")]
SOURCES = [*PACKAGE.values(), *BUILDERS, *SCRIPTS]
WORLDS = {
    "galsim": {
        "simulate.canonical",
        "simulate.hst",
        "simulate.profiles",
        "simulate.render",
        "simulate.structured",
        "simulate.styles",
    },
    "orbax": {"io.checkpoint"},
    "optax": {"training.loop"},
    "sep": {"deblend.detect", "evaluate.sextractor"},
    "matplotlib": {
        "image.page",
        "report.builder",
        "report.figures.curves",
        "report.figures.flux_errors",
        "report.figures.maps",
        "report.figures.stamps",
        "report.figures.style",
    },
    "sklearn": {"evaluate.latents", "evaluate.realism"},
    "statmorph": {"evaluate.realism"},
    "tensorflow_datasets": {"io.dataset"},
    "tensorboardX": {"training.loop"},
    "tensorflow": set(),
    "absl": set(),
    "rich": {"cli", "evaluate.results"},
}
"""The only modules of the package that may import each of these."""


def tree(path):
    return ast.parse(path.read_text())


def imported(path):
    """Full names of everything a file imports, at its top or inside its functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(path):
    nodes = ast.walk(tree(path))
    return [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_length(function):
    body = function.body[ast.get_docstring(function) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def members(body):
    """Public functions, classes and their methods, but not functions within functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from members(node.body)


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def test_imports_within_the_package_are_acyclic():
    graph = {
        module: {
            other
            for name in imported(path)
            for other in (name, name.rpartition(".")[0])
            if other in PACKAGE and other not in (module, "vaedeblend")
        }
        for module, path in PACKAGE.items()
    }
    assert any(graph.values())
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("world", WORLDS)
def test_each_outside_world_has_one_module(world):
    users = {
        module.removeprefix("vaedeblend.")
        for module, path in PACKAGE.items()
        if world in {name.split(".")[0] for name in imported(path)}
    }
    assert users <= WORLDS[world]


def test_package_does_not_import_what_lies_above_it():
    names = {name.split(".")[0] for path in PACKAGE.values() for name in imported(path)}
    assert not names & {"data_builders", "train", "eval"}


@each(SOURCES)
def test_file_has_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400


@each(SOURCES)
def test_no_function_body_is_over_60_lines(path):
    long = {each.name: body_length(each) for each in functions(path) if body_length(each) > 60}
    assert not long


@each(PACKAGE.values())
def test_everything_public_has_a_docstring(path):
    module = tree(path)
    assert ast.get_docstring(module)
    assert not [node.name for node in members(module.body) if not ast.get_docstring(node)]
