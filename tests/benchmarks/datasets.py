"""Datasets by Apache Beam: the same examples, bit for bit, with any number of workers?

    python tests/benchmarks/datasets.py FOLDER [--n 20000] [--workers 0 1 2] [--kind isolated]

Stamps of 16 pixels, of one split, made with so many workers of Beam's on this machine (0: without
Beam). Prints seconds and a digest of all arrays each; the exit status is 1 if digests differ.
"""

import argparse
import hashlib
import shutil
import sys
import time
from pathlib import Path

from data_builders.galaxy_scenes.galaxy_scenes_dataset_builder import build
from vaedeblend.io import dataset
from vaedeblend.survey import Survey

RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
MODE = "--direct_running_mode=multi_processing"
RECIPE = {"seed": 0, "area": 0.1, "stamp_size": 16, "processes": 1}


def digest(arrays: dict) -> str:
    """Digest of arrays and their names."""
    found = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        found.update(name.encode() + str(values.dtype).encode() + values.tobytes())
    return found.hexdigest()[:16]


def made(folder: Path, kind: str, n: int, workers: int) -> str:
    """Makes a split, and gives the digest of its examples."""
    shutil.rmtree(folder, ignore_errors=True)
    beam = [RUNNER, MODE, f"--direct_num_workers={workers}"] if workers else []
    clock = time.monotonic()
    given = {"sizes": {"train": n}, "survey": Survey(), "data_dir": folder, "beam": beam}
    directory = build(kind, **given, **RECIPE)
    seconds = time.monotonic() - clock
    arrays = dataset.load(directory, "train")
    found = digest(arrays)
    print(
        f"{workers} workers: {len(arrays['id'])} examples in {seconds:.0f} s, {found}", flush=True
    )
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kind", default="isolated")
    given = parser.parse_args()
    each = {w: made(given.folder / str(w), given.kind, given.n, w) for w in given.workers}
    same = len(set(each.values())) == 1
    print("the same examples" if same else "OTHER EXAMPLES")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
