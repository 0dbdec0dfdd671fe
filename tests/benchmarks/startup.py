"""Time from `vaedeblend deblend` to the first pixel read, of two checkouts side by side.

    python tests/benchmarks/startup.py --against FOLDER [--workdir runs/startup] [--repeats 10]

FOLDER is the root of another checkout. Each run is a process of its own that ends at the first
section that astropy reads of an image; the time is from the process's start to there, by the clock
and by the processor. Checkouts run by turns, after one run of each that fills the disk's cache.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from checkouts import COMMAND, HERE, environment
from rich.console import Console
from rich.table import Table

READER = """
import os, sys, time
from astropy.io.fits.hdu.image import Section

def stop(self, key):
    spent = os.times()
    print(time.monotonic(), spent.user + spent.system, file=sys.stderr, flush=True)
    os._exit(0)

Section.__getitem__ = stop
from vaedeblend.cli import main
main()
"""
"""Program of a run: the command, which ends where the first pixels would be read."""


def simulate(folder):
    """A field of 256 x 256 pixels, unless it is there."""
    if not (folder / "truth.fits").exists():
        words = ["simulate", "--out", str(folder), "--size", "256"]
        subprocess.run(
            COMMAND + words, check=True, stdout=subprocess.DEVNULL, env=environment(HERE)
        )


def start(root, folder):
    """Elapsed and processor time [s] of one run."""
    words = ["deblend", "image.fits", "--rms", "rms.fits", "--psf", "psf.fits", "--out", "started"]
    variables = environment(root, JAX_PLATFORMS="cpu")
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", READER, *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        end, processor = map(float, done.stderr.splitlines()[-1].split())
    except (ValueError, IndexError) as error:
        raise SystemExit(f"{root}: no pixel was read: {done.stdout}{done.stderr}") from error
    return end - begin, processor


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--against", type=Path, required=True, help="root of another checkout")
    parser.add_argument("--workdir", type=Path, default=Path("runs/startup"))
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    simulate(options.workdir)
    checkouts = {"this checkout": HERE, "the other one": options.against}
    for root in checkouts.values():
        start(root, options.workdir)
    runs = np.array(
        [
            [start(root, options.workdir) for root in checkouts.values()]
            for _ in range(options.repeats)
        ]
    )
    table = Table("to the first pixel read", "elapsed [s]", "least", "processor [s]", "least")
    for name, each in zip(checkouts, np.moveaxis(runs, 1, 0), strict=True):
        middle, least = np.median(each, axis=0), each.min(axis=0)
        table.add_row(name, *(f"{v:.2f}" for pair in zip(middle, least, strict=True) for v in pair))
    ratio = runs[:, 0] / runs[:, 1]
    middle, spread = np.median(ratio, axis=0), np.ptp(ratio, axis=0) / 2
    console = Console(width=100)
    console.print(table)
    console.print(
        f"ratio, median and half range of {options.repeats} pairs: elapsed {middle[0]:.3f} +- "
        f"{spread[0]:.3f}, processor {middle[1]:.3f} +- {spread[1]:.3f}"
    )


if __name__ == "__main__":
    main()
