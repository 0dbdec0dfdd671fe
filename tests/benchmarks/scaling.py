"""How time and memory of `vaedeblend deblend` grow with the image, beside source-extractor's.

    python tests/benchmarks/scaling.py --workdir runs/scaling [--sizes 4096 8192]

From files to files, all programs held to the same core. Times are the processor's, which other work
on the machine disturbs least. The slope between two sizes leaves out what every run costs: its
start, which is given beside, and the compilation that only the very first run has to wait for.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from astropy.table import Table as Columns
from rich.console import Console
from rich.table import Table

PROGRAM = Path(sys.executable).parent / "vaedeblend"
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


class Run(NamedTuple):
    """What a command took."""

    seconds: float
    """Of the processor."""
    wall: float
    """[s]."""
    memory: float
    """At most resident [GB]."""
    sources: int


def timed(command, folder, catalogue, cache):
    """Runs a command in a field's folder; XLA's programs are kept in a folder of their own."""
    start, environment = time.monotonic(), os.environ | {"XDG_CACHE_HOME": str(cache)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    wall, n = time.monotonic() - start, len(Columns.read(folder / catalogue, hdu=1))
    return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1e6, n)


def simulate(folder, size, console):
    """A field, unless it is there; in another process, whose memory is not to count for ours."""
    if not (folder / "truth.fits").exists():
        with console.status(f"simulating {size} x {size}"):
            options = ["--out", folder, "--size", str(size), "--seed", str(size)]
            subprocess.run([PROGRAM, "simulate", *options], check=True, stdout=subprocess.DEVNULL)


def prepare(folder):
    """Settings of source-extractor, as files."""
    files = {"default.sex": SEXTRACTOR, "columns.param": COLUMNS, "filter.conv": FILTER}
    for name, content in files.items():
        (folder / name).write_text(content)


def measure(folders, repeats, console):
    """Of each program: its first run, on the small field, and its fastest runs on both."""
    ours = [PROGRAM, "deblend", "image.fits"]
    ours += ["--rms", "rms.fits", "--psf", "psf.fits"]
    commands = {
        "source-extractor": (
            ["source-extractor", "image.fits", "-c", "default.sex"],
            "objects.fits",
        ),
        "network alone": ([*ours, "--looks", "1", "--out", "one"], "one/catalog.fits"),
        "deblended together": ([*ours, "--out", "all"], "all/catalog.fits"),
    }
    found = {}
    with tempfile.TemporaryDirectory() as caches:
        for name, command in commands.items():
            cache = Path(caches) / name
            first = timed(command[0], folders[0], command[1], cache)
            fastest = []
            for folder in folders:
                runs = [timed(command[0], folder, command[1], cache) for _ in range(repeats)]
                fastest.append(min(runs))
                console.print(f"{folder.name}: {name}: {fastest[-1]}")
            found[name] = first, *fastest
    return found


def report(found, sizes, console):
    """Slopes, what every run and the first one costs beside them, memory."""
    head = (
        "program",
        "sources",
        "ms a source",
        "over source-extractor's",
        "start [s]",
        "compiling [s]",
    )
    table = Table(*head, *(f"GB at {size}" for size in sizes), "ratio")
    slope = {
        name: (large.seconds - small.seconds) / (large.sources - small.sources)
        for name, (_, small, large) in found.items()
    }
    for name, (first, small, large) in found.items():
        start = small.seconds - slope[name] * small.sources
        cells = (1e3 * slope[name], slope[name] / slope["source-extractor"], start)
        cells += first.seconds - small.seconds, small.memory, large.memory
        cells += (large.memory / small.memory,)
        table.add_row(name, str(large.sources), *(f"{cell:.2f}" for cell in cells))
    console.print(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs=2, default=[4096, 8192])
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    console = Console(width=120)
    folders = [options.workdir / f"field_{size}" for size in options.sizes]
    for folder, size in zip(folders, options.sizes, strict=True):
        simulate(folder, size, console)
        prepare(folder)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # and so those of all that it starts
    report(measure(folders, options.repeats, console), options.sizes, console)


if __name__ == "__main__":
    main()
