"""Benchmarks run by hand: what they import of the package is there, under that name."""

import ast
import importlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

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
    if path.stem == "realism":
        pytest.importorskip("statmorph")
    found = {alias: member(module, name) for module, name, alias in imports(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = found.get(node.value.id)
            if type(module) is type(ast):
                assert hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


@pytest.fixture(scope="module")
def btk():
    """`btk.py`, which imports BlendingToolKit when it is run."""
    path = next(path for path in FILES if path.stem == "btk")
    spec = importlib.util.spec_from_file_location("benchmark_btk", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def galaxies(flux, measured, error, **columns):
    """A judged table: galaxies whose measured flux is NaN are not found, unless said otherwise."""
    columns = {"found": np.isfinite(measured), "flags": np.zeros(len(flux), int)} | columns
    measured, error = np.array(measured, float), np.array(error, float)
    return Table({"flux": flux, "measured": measured, "error": error, "rmse": error, **columns})


def test_btk_counts_what_is_found_and_measures_its_errors(btk):
    table = galaxies([100.0] * 5, [100, 110, 90, 160, np.nan], [5, 20, 5, 70, np.nan])
    found = btk.statistics(table)
    assert found["n"] == 5 and found["found"] == 80
    assert found["rmse"] == 25 and found["bias"] == pytest.approx(5)
    assert found["nmad"] == pytest.approx(1.4826 * 10)
    assert found["rms"] == pytest.approx(100 * np.sqrt((0.01 + 0.01 + 0.36) / 4))
    assert found["outliers"] == 25 and found["coverage"] == 75
    lost = galaxies([100.0], [np.nan], [np.nan], found=[True])
    assert btk.statistics(lost)["bias"] == -100 and np.isnan(btk.statistics(lost)["coverage"])
    none = btk.statistics(table[4:])
    assert none["n"] == 1 and none["found"] == 0 and np.isnan(none["nmad"])


def test_btk_asks_of_pairs_whether_the_error_says_so(btk):
    bright = galaxies([1e5] * 4, [1e5, 1.1e5, 0.9e5, 1e5], [1e3] * 4)
    flags = [256, 0, 0, 0]
    faint = galaxies([900.0] * 4, [2000, 2000, 1000, np.nan], [400, 300, 10, np.nan], flags=flags)
    pairs = btk.pair_statistics(bright, faint)
    assert pairs["found"] == 75 and pairs["said"] == 50 and pairs["flagged"] == 25
    assert pairs["flux"] == 2000 and pairs["error"] == 300 and pairs["bright"] == 0


def test_btk_puts_each_galaxy_in_one_bin(btk):
    table = Table({"blendedness": [0.0, 0.005, 0.01, 0.3, 0.99]})
    bins = btk.binned(table, "blendedness", btk.BLENDEDNESS)
    assert {name: len(part) for name, part in bins.items()} == {
        **{"0 - 0.01": 2, "0.01 - 0.05": 1, "0.05 - 0.2": 0, "0.2 - 0.5": 1, "0.5 - 1": 1},
        "all": 5,
    }


def test_btk_gives_each_number_the_digits_of_its_error(btk):
    values = np.random.default_rng(1).normal(5, 1, 400)
    found = btk.with_errors(
        lambda v: {"n": len(v), "mean": v.mean()}, values, np.random.default_rng(2)
    )
    assert found["n"] == (400, 0) and found["mean"][1] == pytest.approx(0.05, rel=0.3)
    assert [btk.cell(3.14159, 0.0213), btk.cell(314.159, 21.3)] == ["3.142 ± 0.021", "314 ± 21"]
    assert [btk.cell(np.nan, 1.0), btk.cell(80), btk.cell(7.1, 9e-16)] == ["-", "80", "7.1"]
