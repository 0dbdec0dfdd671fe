import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = """
from pathlib import Path
import vaedeblend
from vaedeblend.simulate import examples
from vaedeblend.survey import Survey
assert Path(vaedeblend.__file__).is_relative_to({target!r}), vaedeblend.__file__
scenes = list(examples.examples("blended", "test", 2, survey=Survey(), seed=0, area=0.1))
assert Path(vaedeblend.__file__).with_name("py.typed").exists()
deblend = vaedeblend.load_deblender("euclid_vis")
image = scenes[0]["blend"][None]
print(deblend(image, image * 0 + 1e-6).flux.shape)
"""


@pytest.mark.slow
def test_wheel_works_outside_the_repository(tmp_path):
    target = tmp_path / "site"
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", ROOT]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    templates = (ROOT / "vaedeblend").rglob("templates/*")
    templates = {path.relative_to(ROOT).as_posix() for path in templates}
    assert templates and templates <= set(zipfile.ZipFile(wheel).namelist())
    install = ["-m", "pip", "install", "--no-deps", "--target", target, wheel]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", USE.format(target=str(target))],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(target), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 1)"
