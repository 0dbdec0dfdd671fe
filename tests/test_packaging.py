"""What is installed: a wheel in an environment of its own, versions, and what pins them."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from astropy.table import Table
from packaging.requirements import Requirement

import vaedeblend

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*words, **options):
    options = {"env": CLEAN | {"JAX_PLATFORMS": "cpu"}} | options
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_one_version():
    assert PROJECT["dynamic"] == ["version"]  # the package's own
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {vaedeblend.__version__}\n" in citation


@pytest.mark.parametrize(("name", "extra"), [("cpu", []), ("gpu", ["gpu"])])
def test_environments_pin_what_is_needed(name, extra):
    lines = (ROOT / "docs" / "environments" / f"{name}.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines)
    wanted = PROJECT["dependencies"]
    wanted = wanted + [w for each in extra for w in PROJECT["optional-dependencies"][each]]
    for each in map(Requirement, wanted):
        assert each.specifier.contains(pinned[each.name.lower().replace("_", "-")]), each


@pytest.fixture
def installed(tmp_path):
    """Programs of an environment that has the wheel, and this one's packages but for ours."""
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT)
    run(sys.executable, *build)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert f"-{vaedeblend.__version__}-" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    paths = [*(ROOT / "vaedeblend").rglob("templates/*"), *ROOT.glob("data_builders/*/README.md")]
    assert paths and {path.relative_to(ROOT).as_posix() for path in paths} <= names
    venv.create(tmp_path / "venv", symlinks=True)
    pip = ("-m", "pip", "--python", tmp_path / "venv" / "bin" / "python", "install", "-q")
    run(sys.executable, *pip, "--no-deps", wheel)
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    (Path(site) / "others.pth").write_text(sysconfig.get_path("purelib"))  # and no editable ones
    return tmp_path / "venv" / "bin"


@pytest.mark.slow
def test_a_wheel_deblends_outside_the_repository(tmp_path, installed):
    given = {"cwd": tmp_path}
    code = "import vaedeblend, data_builders as d; print(vaedeblend.__file__, d.__file__)"
    for path in run(installed / "python", "-c", code, **given).split():
        assert Path(path).is_relative_to(tmp_path / "venv")
    command = installed / "vaedeblend"
    run(command, "simulate", "--out", "field", "--size", 200, "--processes", 1, **given)
    files = ("--rms", "field/rms.fits", "--psf", "field/psf.fits")
    said = run(command, "deblend", "field/image.fits", *files, "--out", "result", **given)
    assert "sources" in said and (tmp_path / "result" / "index.html").exists()
    table = Table.read(tmp_path / "result" / "catalog.fits", hdu="CATALOG")
    assert len(table) > 3 and table.meta["VERSION"] == vaedeblend.__version__
    assert "euclid_vis" in run(command, "weights", "list", **given)
    assert "shipped weights" in run(command, "train", "--help", **given)
    code = "from data_builders import build_datasets as b; print(b.__module__)"
    assert run(installed / "python", "-c", code, **given) == "data_builders\n"
