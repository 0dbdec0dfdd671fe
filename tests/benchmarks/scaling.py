"""How time and memory of `vaedeblend deblend` grow with the image, beside source-extractor's.

    python tests/benchmarks/scaling.py --workdir runs/scaling [--sizes 4096 8192]

From files to files, all programs held to the same core. The slope between two sizes leaves out
what every run costs: start-up, and compilation, which the second of two runs finds done.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from astropy.table import Table as Columns
from rich.console import Console
from rich.table import Table

from vaedeblend.sky import simulate_field
from vaedeblend.skyfile import write_field
from vaedeblend.survey import Survey

SEXTRACTOR = """CATALOG_TYPE FITS_1.0
BACK_TYPE MANUAL
BACK_VALUE 0
WEIGHT_TYPE MAP_RMS
DETECT_MINAREA 5
DETECT_THRESH 1.5
ANALYSIS_THRESH 1.5
VERBOSE_TYPE QUIET
CHECKIMAGE_TYPE SEGMENTATION
CHECKIMAGE_NAME labels.fits
PARAMETERS_NAME columns.param
FILTER_NAME filter.conv
WEIGHT_IMAGE rms.fits
CATALOG_NAME objects.fits
MEMORY_PIXSTACK 3000000
"""
COLUMNS = "NUMBER\nX_IMAGE\nY_IMAGE\nFLUX_AUTO\nFLUXERR_AUTO\nFLAGS\n"
FILTER = "CONV NORM\n1 2 1\n2 4 2\n1 2 1\n"


def timed(command, folder):
    """Wall time [s] and peak memory [GB] of a command."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    return time.monotonic() - start, usage.ru_maxrss / 1e6


def simulate(folder, size, console):
    """A field, unless it is there."""
    if not (folder / "truth.fits").exists():
        with console.status(f"simulating {size} x {size}"):
            field = simulate_field(size=size, seed=size, survey=Survey(), density=1.0)
            write_field(field, Survey(), folder)


def run(folder, size, console):
    """Time, memory and number of sources of each way to measure a field."""
    (folder / "default.sex").write_text(SEXTRACTOR)
    (folder / "columns.param").write_text(COLUMNS)
    (folder / "filter.conv").write_text(FILTER)
    ours = [Path(sys.executable).parent / "vaedeblend", "deblend", "image.fits"]
    ours += ["--rms", "rms.fits", "--psf", "psf.fits"]
    sextractor = ["source-extractor", "image.fits", "-c", "default.sex"]
    commands = {
        "source-extractor": (sextractor, "objects.fits"),
        "network alone": ([*ours, "--looks", "1", "--out", "one"], "one/catalog.fits"),
        "deblended together": ([*ours, "--out", "all"], "all/catalog.fits"),
    }
    found = {}
    for name, (command, path) in commands.items():
        first, _ = timed(command, folder)
        seconds, memory = timed(command, folder)
        n = len(Columns.read(folder / path, hdu=1))
        found[name] = seconds, memory, n, first
        console.print(f"{size}: {name}: {seconds:.1f} s (first run {first:.1f}), {n} sources")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs=2, default=[4096, 8192])
    options = parser.parse_args()
    console = Console(width=120)
    folders = [options.workdir / f"field_{size}" for size in options.sizes]
    for folder, size in zip(folders, options.sizes, strict=True):
        simulate(folder, size, console)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # and so those of all that it starts
    found = [run(*each, console) for each in zip(folders, options.sizes, strict=True)]
    table = Table(
        "program",
        "ms a source",
        "over source-extractor's",
        *(f"{what} at {size}" for what in ("s", "GB") for size in options.sizes),
    )
    slopes = {}
    for name in found[0]:
        small, large = (each[name] for each in found)
        slopes[name] = (large[0] - small[0]) / (large[2] - small[2])
        ratio = slopes[name] / slopes["source-extractor"]
        cells = small[0], large[0], small[1], large[1]
        table.add_row(
            name, f"{1e3 * slopes[name]:.2f}", f"{ratio:.1f}", *(f"{c:.1f}" for c in cells)
        )
    console.print(table)


if __name__ == "__main__":
    main()
