import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = """
import importlib, pkgutil, sys
import vaedeblend.deblend
for module in pkgutil.iter_modules(vaedeblend.deblend.__path__):
    importlib.import_module(f"vaedeblend.deblend.{module.name}")
print(*sorted({name.split(".")[0] for name in sys.modules}))
ours = {name: each for name, each in sys.modules.items() if name.startswith("vaedeblend.")}
print(*sorted(name for name, each in ours.items() if each.__spec__))  # former names have none
import vaedeblend.image.pipeline
print("matplotlib" in sys.modules)
"""


def test_inference_needs_neither_simulator_nor_figures_nor_training():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    packages, modules, (figures,) = (line.split() for line in done.stdout.splitlines())
    assert figures == "False"  # nor does an image's measurement, until its page is drawn
    assert "jax" in packages and "vaedeblend.deblend.joint" in modules
    assert not {"galsim", "matplotlib", "sklearn", "optax", "tensorflow_datasets"} & set(packages)
    rooms = {name.split(".")[1] for name in modules}
    assert rooms <= {"deblend", "models", "pixels", "io", "survey", "exceptions"}
