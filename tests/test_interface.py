"""What users rely on: public names, command lines, columns and files, each against a list."""

import argparse
import ast
import importlib
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import vaedeblend
from vaedeblend.cli import commands
from vaedeblend.cli.reading.line import make_parsers
from vaedeblend.exceptions import VaedeblendError

ROOT = Path(__file__).parents[1]
PUBLIC = {
    *("Band", "Deblended", "Survey", "VaedeblendError", "deblend_image", "deblend_stamps"),
    *("DeblendedImage", "inject", "photometry", "BandImage"),
    *("load_deblender", "make_deblend_stamps", "quantile", "read_catalogue", "simulate_field"),
    *("write_catalogue", "write_field"),
}
OLD = {
    ("vaedeblend.dataset", "load"),
    ("vaedeblend.image", "deblend_image"),
    ("vaedeblend.inject", "inject"),
    ("vaedeblend.refine", "make_refine"),
    ("vaedeblend.tails", "quantile"),
    ("vaedeblend.together", "make_deblend_stamps"),
}
"""Imports that the README of version 0.1.0 printed, besides `vaedeblend.load_deblender`."""
IMAGE = {
    *("image", "--out", "--rms", "--mask", "--mask-bits", "--psf", "--weights", "--zero-point"),
    *("--gain", "--psf-scale", "--hdu", "--iterations", "--tile", "--processes"),
    *("--variance", "--weight", "--force", "--tile-id", "--rms-kind"),
}
SHARED = {"--quiet", "--verbose"}
OPTIONS = {
    "deblend": IMAGE
    | {"--band", "--catalog", "--no-add", "--tphot", "--mer-names", "--core-margin"},
    "inject": IMAGE | {"--n", "--magnitude", "--seed", "--repeats", "--stars", "--beside-bright"},
    "photometry": {
        *("out", "--image", "--rms", "--psf", "--band", "--mask", "--zero-point", "--gain"),
        *("--vis-psf", "--non-negative", "--tile", "--processes"),
    },
    "simulate": {
        *("--out", "--size", "--density", "--seed", "--star-fraction", "--correlated"),
        *("--sky-offset", "--source", "--area", "--style", "--processes", "--interpolation"),
        *("--bands", "--tiles", "--reach"),
    },
    "survey": {
        *("tiles", "--out", "--workers", "--scheduler", "--cluster", "--status", "--retry"),
        *("--weights", "--iterations", "--tile", "--attempts"),
    },
    "train": {"--workdir", "--export", "--config", "--distributed"},
    "evaluate": {"--workdir", "--weights", "--style", "--compare", "--seed", "--limit"},
    "weights": {"what"},
}
SETTINGS = {"deblend", "inject", "simulate"}
"""Commands that take a file of options."""
SCRIPTS = {"train.py": "train", "eval.py": "evaluate"}


def test_public_names_are_found_and_loaded():
    assert {*vaedeblend.__all__} == PUBLIC <= {*dir(vaedeblend)}
    for name in PUBLIC:
        found = getattr(vaedeblend, name)
        assert callable(found) and found.__module__.startswith("vaedeblend."), name
        assert found.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'deblended'"):
        _ = vaedeblend.deblended


def test_editors_see_what_runs():
    tree = ast.parse(Path(vaedeblend.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for node in block.body:
        for alias in node.names:
            path = f"{node.module}.{alias.name}".removeprefix("vaedeblend.")
            assert vaedeblend._PUBLIC[alias.asname or alias.name] == path
    assert sum(len(node.names) for node in block.body) == len(PUBLIC)


def test_the_package_alone_loads_nothing_heavy():
    code = "import sys, vaedeblend; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "vaedeblend" in loaded, done.stderr
    assert not loaded & {"jax", "numpy", "galsim", "astropy", "matplotlib", "rich"}


@pytest.mark.parametrize(("module", "name"), sorted(OLD))
def test_names_of_the_last_version_warn_and_work(module, name):
    with pytest.warns(
        DeprecationWarning, match=rf"{module}.{name} is vaedeblend\.\w+\.\w+\.{name}"
    ):
        found = getattr(importlib.import_module(module), name)
    with pytest.warns(DeprecationWarning, match="the old name goes in 0.3"):
        exec(f"from {module} import {name}")
    assert found.__module__.startswith("vaedeblend.") and found.__module__ != module
    with warnings.catch_warnings(), pytest.raises(ImportError):
        exec(f"from {module} import not_{name}")


def test_every_error_is_the_packages():
    from vaedeblend import exceptions

    found = [each for each in vars(exceptions).values() if isinstance(each, type)]
    assert len(found) > 15
    for each in found:
        assert issubclass(each, VaedeblendError) and issubclass(each, ValueError)
        assert each.__doc__


def subcommands():
    return make_parsers(commands.COMMANDS)[1]


def shown(parser):
    """Options and arguments that `--help` shows."""
    return {
        (action.option_strings or [action.dest])[-1]
        for action in parser._actions
        if action.help != argparse.SUPPRESS
    } - {"--help"}


def test_options_of_the_command_are_as_before():
    found = subcommands()
    assert found.keys() == OPTIONS.keys()
    for name, parser in found.items():
        wanted = OPTIONS[name] | SHARED | ({"--config"} if name in SETTINGS else set())
        assert shown(parser) == wanted, name
        text = parser.format_help()
        assert all(option in text for option in wanted - {"what"}) and "--looks" not in text
    assert shown(make_parsers(commands.COMMANDS)[0]) == {"--version", "command"} | SHARED


@pytest.mark.parametrize("command", ["deblend", "inject"])
def test_looks_is_another_name_of_iterations(command):
    parse = make_parsers(commands.COMMANDS)[0].parse_args
    words = [command, "a.fits", "--out", "out"]
    assert vars(parse(words))["iterations"] == 4
    for option in ("--iterations", "--looks"):
        found = vars(parse([*words, option, "7"]))
        assert found["iterations"] == 7 and "looks" not in found


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_are_commands(script, monkeypatch):
    given = []
    monkeypatch.setattr("vaedeblend.cli.main", lambda words: given.append(words) or 7)
    monkeypatch.setattr("sys.argv", [script, "--workdir", "w", "--config.seed=3"])
    with pytest.raises(SystemExit, match="7"):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert given == [[SCRIPTS[script], "--workdir", "w", "--config.seed=3"]]
