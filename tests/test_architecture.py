"""The house rules: layers, rooms, sizes, names, and which room knows which outside world."""

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
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
TESTS = sorted((ROOT / "tests").rglob("*.py"))
ROOMS = sorted({path.parent for path in PACKAGE.values()} - {ROOT / "vaedeblend"})
WORLDS = {
    "galsim": {"simulate", "simulate.galaxies"},
    "orbax": {"io.checkpoint"},
    "optax": {"training.loop"},
    "sep": {"deblend.detect", "pixels.apertures", "pixels.extract", "evaluate.sextractor"},
    "matplotlib": {"image.page", "image.result.figure", "report.figures"},
    "sklearn": {"evaluate.latents", "evaluate.realism"},
    "statmorph": {"evaluate.realism"},
    "tensorflow_datasets": {"io.dataset"},
    "tensorboardX": {"training.loop"},
    "concurrent": {"evaluate.sextractor", "io.parallel"},
    "tensorflow": set(),
    "absl": {"cli.reading.configuration", "cli.train"},
    "rich": {"cli", "evaluate.results", "io.progress"},
}
"""The only rooms, or modules of one, that may import each of these."""
OFFENDERS = {
    "layers": set(),
    "modules": set(),
    "lines": (),
    "bodies": (),
    "parameters": (),
    "imports": (),
    "names": set(),
    "arguments": (),
}
"""What breaks each limit until it is mended: names, or beginnings of paths."""


def tree(path):
    return ast.parse(path.read_text())


def runs(node):
    """Nodes below one, without imports that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from runs(child)


def imported(path):
    """Full names of everything a file imports, at its top or inside its functions."""
    for node in runs(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(path):
    """Modules of the package that a file imports."""
    names = {name if name in PACKAGE else name.rpartition(".")[0] for name in imported(path)}
    return names & PACKAGE.keys() - {"vaedeblend"}


def functions(path):
    nodes = ast.walk(tree(path))
    return [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_length(function):
    body = function.body[ast.get_docstring(function) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def n_parameters(function):
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def members(body):
    """Public functions, classes and their methods, but not functions within functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from members(node.body)


def public_names(path):
    """Functions, classes and constants that a module defines at its top."""
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (each for target in targets for each in ast.walk(target))
            yield from (each.id for each in names if isinstance(each, ast.Name))


def room(path):
    """The folder below the package's own, or the module where it stands in none."""
    return path.relative_to(ROOT / "vaedeblend").parts[0]


def within(paths, measure, limit, rule):
    """Asserts that no file holds more than the limit, but for those known."""
    over = {str(path.relative_to(ROOT)): measure(path) for path in paths if measure(path) > limit}
    assert not {name: n for name, n in over.items() if not name.startswith(OFFENDERS[rule])}


def test_each_layer_imports_only_those_below_it():
    code = (
        "from importlinter.cli import lint_imports as lint; raise SystemExit(lint(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    broken = {line[2:].split(" (l.")[0] for line in lines if line.startswith("- ")}
    assert broken <= OFFENDERS["layers"], done.stdout
    assert bool(done.returncode) == bool(broken), done.stdout + done.stderr


def test_imports_within_the_package_are_acyclic():
    graph = {module: ours(path) - {module} for module, path in PACKAGE.items()}
    assert any(graph.values())
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("world", WORLDS)
def test_each_outside_world_has_one_room(world):
    users = {
        module.removeprefix("vaedeblend.")
        for module, path in PACKAGE.items()
        if world in {name.split(".")[0] for name in imported(path)}
    }
    allowed = WORLDS[world]
    assert not {each for each in users if not {each, each.rpartition(".")[0]} & allowed}


def test_package_does_not_import_what_lies_above_it():
    """The commands alone know the builders, which are installed beside the package."""
    above = {"data_builders", "train", "eval"}
    users = {
        path: above & {name.split(".")[0] for name in imported(path)} for path in PACKAGE.values()
    }
    assert {path.parent.name for path, names in users.items() if names} == {"cli"}
    assert {name for names in users.values() for name in names} == {"data_builders"}


def test_the_package_has_at_most_15_doors():
    top = [path for path in (ROOT / "vaedeblend").iterdir() if not path.name.startswith("__pyc")]
    beside = {"configs", "weights", "py.typed", "__main__.py"}  # the last opens the door of cli
    assert len([path for path in top if path.name not in beside]) <= 15


def test_a_room_has_at_most_10_modules():
    modules = {folder.name: len(set(folder.glob("*.py"))) - 1 for folder in ROOMS}
    over = {name: n for name, n in modules.items() if n > 10}
    assert over.keys() <= OFFENDERS["modules"]


def test_rooms_say_what_they_answer_and_what_they_import():
    for folder in ROOMS:
        assert ast.get_docstring(tree(folder / "__init__.py")), folder.name


def test_files_have_at_most_400_lines():
    within([*SOURCES, *TESTS], lambda path: len(path.read_text().splitlines()), 400, "lines")


def test_function_bodies_have_at_most_60_lines():
    longest = lambda path: max(map(body_length, functions(path)), default=0)  # noqa: E731
    within(SOURCES, longest, 60, "bodies")


def test_functions_have_at_most_10_parameters():
    most = lambda path: max(map(n_parameters, functions(path)), default=0)  # noqa: E731
    within(SOURCES, most, 10, "parameters")


def test_modules_import_at_most_9_of_ours():
    within(PACKAGE.values(), lambda path: len(ours(path)), 9, "imports")


def test_no_public_name_has_two_homes():
    homes = defaultdict(set)
    for path in PACKAGE.values():
        for name in public_names(path):
            if not name.startswith("_"):
                homes[name].add(room(path))
    twice = {name: rooms for name, rooms in homes.items() if len(rooms) > 1}
    assert not {name: rooms for name, rooms in twice.items() if name not in OFFENDERS["names"]}


def test_arguments_are_described_by_nouns():
    entry = re.compile(r"^ +\**\w+: (?:Of|See|The same|That)\b.*", re.MULTILINE)
    texts = lambda path: [  # noqa: E731
        ast.get_docstring(node) or ""
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    found = lambda path: sum(len(entry.findall(text)) for text in texts(path))  # noqa: E731
    within(SOURCES, found, 0, "arguments")


@pytest.mark.parametrize("path", PACKAGE.values(), ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_public_has_a_docstring(path):
    module = tree(path)
    assert ast.get_docstring(module)
    assert not [node.name for node in members(module.body) if not ast.get_docstring(node)]
