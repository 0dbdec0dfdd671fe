"""kill -9 at random moments: does the same command, given again, end as an unbroken run does?

    python tests/benchmarks/kills.py FOLDER [--kills 30] [--seed 0] [--work deblend train ...]

Tiny pieces of work, each run once unbroken and timed; then killed at a random moment of that time,
run again to its end, and compared: files bit by bit, of checkpoints the parameters. Prints a line a
kill; the exit status is 1 if any result differs.
"""

import argparse
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from tiny import command, write_config  # noqa: E402

from vaedeblend.cli.reading.settings import SETTINGS  # noqa: E402
from vaedeblend.io import checkpoint, dataset  # noqa: E402
from vaedeblend.io.folders.digest import digest_file  # noqa: E402

PROVENANCE = "DATE", "COMMAND"
"""Cards that no two runs have in common."""
DEBLEND = "import sys; from vaedeblend.cli import main; sys.exit(main(sys.argv[1:]))"
DATA = """
import sys
from data_builders.galaxy_scenes.galaxy_scenes_dataset_builder import build
from vaedeblend.survey import Survey
sizes = {"train": 400, "validation": 100}
build("isolated", sizes=sizes, survey=Survey(), data_dir=sys.argv[1], seed=0, area=0.1, processes=2)
"""


class Work(NamedTuple):
    """What is killed: its command for a folder, and what of the folder has to be the same."""

    command: Callable[[Path], dict]
    result: Callable[[Path], dict]


def works(folder: Path, names: list[str]) -> dict[str, Work]:
    """Kinds of work by name, and what they need besides."""
    config = write_config(folder / "tiny.py", 24)
    field, trained = folder / "field", folder / "trained"
    if "deblend" in names:
        run(python(DEBLEND, "simulate", "--out", field, "--size", 300))
    if {"train", "export"} & {*names}:
        run(command("train.py", "--workdir", trained, "--config", config))
    image = (field / "image.fits", "--rms", field / "rms.fits", "--tile", 100, "--processes", 2)
    data = f"--config.data_dir={trained / 'data'}"

    def train(out: Path) -> dict:
        return command("train.py", "--workdir", out, "--config", config, data)

    def export(out: Path) -> dict:
        words = "--workdir", trained, "--config", config, "--export", out
        return command("train.py", *words)

    kinds = {
        "deblend": Work(lambda out: python(DEBLEND, "deblend", *image, "--out", out), files),
        "train": Work(train, parameters),
        "data": Work(lambda out: python(DATA, out), examples),
        "export": Work(export, parameters),
    }
    return {name: kinds[name] for name in names}


def python(code: str, *arguments) -> dict:
    """Keywords of Popen for a piece of Python."""
    given = command("train.py")
    return given | {"args": [sys.executable, "-c", code, *map(str, arguments)]}


def run(given: dict) -> float:
    """Runs a command to its end: seconds that it took."""
    start = time.monotonic()
    done = subprocess.run(**given, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{given['args']}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return time.monotonic() - start


def killed(given: dict, seconds: float) -> bool:
    """Starts a command and kills it; whether it was still at work."""
    process = subprocess.Popen(**given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def files(folder: Path) -> dict:
    """Contents of all files, the hidden ones of an unfinished job among them."""
    found = (each for each in sorted(folder.rglob("*")) if each.is_file())
    return {str(each.relative_to(folder)): contents(each) for each in found}


def contents(path: Path) -> list | str:
    """Digest of a file; of a FITS file headers and data, but for when and by whom it was made.

    Settings that can be run again name the folder of the results.
    """
    if path.name == SETTINGS:
        return [line for line in path.read_text().splitlines() if not line.startswith("out")]
    if path.suffix != ".fits":
        return digest_file(path)
    raw, parts = path.read_bytes(), []
    with fits.open(path) as hdus:
        for hdu in hdus:
            header, place = hdu.header.copy(), hdu.fileinfo()
            for name in PROVENANCE:
                header.remove(name, ignore_missing=True)
            data = raw[place["datLoc"] : place["datLoc"] + place["datSpan"]]
            parts += [header.tostring(), hashlib.sha256(data).hexdigest()]
    return parts


def parameters(folder: Path) -> dict:
    """Parameters and calibrations of the stages that are there."""
    found = {}
    for stage in sorted(each.parent for each in folder.glob("*/checkpoints")):
        found[f"{stage.name}/calibration"] = (stage / "calibration.json").read_text()
        params = checkpoint.load_params(stage / "checkpoints")
        found[f"{stage.name}/parameters"] = [leaf.tobytes() for leaf in leaves(params)]
    return found | {"config": (folder / "config.json").read_text()}


def leaves(tree) -> list[np.ndarray]:
    """Arrays of a tree of dictionaries."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    return [np.asarray(tree)]


def examples(folder: Path) -> dict:
    """All examples of the one dataset that is there."""
    (info,) = folder.rglob("dataset_info.json")
    found = dataset.load(info.parent, "train")
    return {name: values.tobytes() for name, values in found.items()}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="takes all files; made anew")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", nargs="+", default=["deblend", "train", "data", "export"])
    options = parser.parse_args()
    folder, rng = options.folder.absolute(), np.random.default_rng(options.seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kinds = works(folder, options.work)
    wanted, seconds, bad = {}, {}, 0
    for name, work in kinds.items():
        run(work.command(folder / f"{name}-warm"))  # programs are compiled
        seconds[name] = run(work.command(folder / name))
        wanted[name] = work.result(folder / name)
    for i in range(options.kills):
        name = list(kinds)[i % len(kinds)]
        at, out = rng.uniform(0.1, 1.0) * seconds[name], folder / f"{name}-{i}"
        was = killed(kinds[name].command(out), at)
        left = sorted(str(each.relative_to(out)) for each in out.glob("*")) if out.exists() else []
        run(kinds[name].command(out))
        same = kinds[name].result(out) == wanted[name]
        bad += not same
        said = "killed" if was else "ended before"
        print(f"{name} {said} at {at:.2f} s, {len(left)} there: {'same' if same else 'OTHER'}")
        shutil.rmtree(out)
    print(f"{options.kills} kills, {bad} results that differ")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
