"""How time and memory of `vaedeblend deblend` grow with the image, beside source-extractor's.

    python tests/benchmarks/scaling.py --workdir runs/scaling [--sizes 4096 8192] [--against FOLDER]

From files to files, all programs held to the same core. Times are the processor's, which other work
on the machine disturbs least. The slope between two sizes leaves out what every run costs: its
start, which is given beside, and the compilation that only the very first run has to wait for.
With --against, the command of the checkout in FOLDER runs by turns with this one's.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from astropy.table import Table as Columns
from checkouts import COMMAND, HERE, environment
from rich.console import Console
from rich.table import Table

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
ALONE, JOINT, OTHER = "network alone", "joint measurement", ", other checkout"
"""Names of programs, and what is added to those of another checkout."""
OLD_NAMES = {"--iterations": "--looks"}
"""Options whose old name every checkout understands."""
FILTER = "CONV NORM\n1 2 1\n2 4 2\n1 2 1\n"


class Program(NamedTuple):
    """A command that measures image.fits of a field's folder."""

    words: list[str]
    catalogue: str
    """Path of the catalogue that it writes, in the folder."""
    root: Path = HERE
    """Checkout whose package it imports."""


class Run(NamedTuple):
    """Cost of one run of a program."""

    seconds: float
    """Time of the processor [s]."""
    wall: float
    """Elapsed time [s]."""
    memory: float
    """Largest resident memory [GB]."""
    sources: int


def timed(program, folder, cache):
    """Runs a program in a field's folder; XLA's programs are kept in a folder of their own."""
    start, variables = time.monotonic(), environment(program.root, XDG_CACHE_HOME=str(cache))
    process = subprocess.Popen(program.words, cwd=folder, env=variables, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{program.words} ended with status {status}")
    wall, n = time.monotonic() - start, len(Columns.read(folder / program.catalogue, hdu=1))
    return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1e6, n)


def simulate(folder, size, console):
    """A field, unless it is there; in another process, whose memory is not to count for ours."""
    if not (folder / "truth.fits").exists():
        with console.status(f"simulating {size} x {size}"):
            words = ["simulate", "--out", str(folder), "--size", str(size), "--seed", str(size)]
            subprocess.run(
                COMMAND + words, check=True, stdout=subprocess.DEVNULL, env=environment(HERE)
            )


def prepare(folder):
    """Settings of source-extractor, as files."""
    files = {"default.sex": SEXTRACTOR, "columns.param": COLUMNS, "filter.conv": FILTER}
    for name, content in files.items():
        (folder / name).write_text(content)


def make_programs(against):
    """Programs by name; with another checkout, its command after this one's."""
    ours = [*COMMAND, "deblend", "image.fits", "--rms", "rms.fits", "--psf", "psf.fits"]
    programs = {
        "source-extractor": Program(
            ["source-extractor", "image.fits", "-c", "default.sex"], "objects.fits"
        ),
        ALONE: Program([*ours, "--iterations", "1", "--out", "one"], "one/catalog.fits"),
        JOINT: Program([*ours, "--out", "all"], "all/catalog.fits"),
    }
    if against is not None:
        for name in (ALONE, JOINT):
            words, catalogue, _ = programs[name]
            words = [*words[:-1], f"other_{words[-1]}"]
            words = [OLD_NAMES.get(word, word) for word in words]
            programs[name + OTHER] = Program(words, f"other_{catalogue}", against)
    return programs


def measure(programs, folders, repeats, console):
    """First run of each program, on the small field, and its fastest runs on both.

    Programs run by turns, so that what else the machine does disturbs all of them alike.
    """
    with tempfile.TemporaryDirectory() as caches:
        cache = {name: Path(caches) / name for name in programs}
        found = {
            name: [timed(program, folders[0], cache[name])] for name, program in programs.items()
        }
        for folder in folders:
            runs = {name: [] for name in programs}
            for _ in range(repeats):
                for name, program in programs.items():
                    runs[name].append(timed(program, folder, cache[name]))
            for name, each in runs.items():
                found[name].append(min(each))
                console.print(f"{folder.name}: {name}: {found[name][-1]}")
    return found


def slope(small, large):
    """Processor time of one more source [s]."""
    return (large.seconds - small.seconds) / (large.sources - small.sources)


def report(found, sizes, console):
    """Prints slopes, the cost of every run and of the first one beside them, and memory."""
    head = (
        "program",
        "sources",
        "ms a source",
        "over source-extractor's",
        "start [s]",
        "compiling [s]",
    )
    table = Table(*head, *(f"GB at {size}" for size in sizes), "ratio")
    slopes = {name: slope(small, large) for name, (_, small, large) in found.items()}
    for name, (first, small, large) in found.items():
        start = small.seconds - slopes[name] * small.sources
        cells = (1e3 * slopes[name], slopes[name] / slopes["source-extractor"], start)
        cells += first.seconds - small.seconds, small.memory, large.memory
        cells += (large.memory / small.memory,)
        table.add_row(name, str(large.sources), *(f"{cell:.2f}" for cell in cells))
    console.print(table)
    for name in (ALONE, JOINT):
        if name + OTHER in found:
            each = {
                s: f"{a.seconds / b.seconds:.3f}"
                for s, a, b in zip(sizes, found[name][1:], found[name + OTHER][1:], strict=True)
            }
            console.print(
                f"{name}: time a source {slopes[name] / slopes[name + OTHER]:.3f} times the "
                f"other checkout's; whole runs by size: {each}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs=2, default=[4096, 8192])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--against", type=Path, help="root of another checkout")
    options = parser.parse_args()
    console = Console(width=130)
    folders = [options.workdir / f"field_{size}" for size in options.sizes]
    for folder, size in zip(folders, options.sizes, strict=True):
        simulate(folder, size, console)
        prepare(folder)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # and so those of all that it starts
    programs = make_programs(options.against)
    report(measure(programs, folders, options.repeats, console), options.sizes, console)


if __name__ == "__main__":
    main()
