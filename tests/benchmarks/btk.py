"""vaedeblend on BlendingToolKit's own ground, beside sep, photutils and scarlet2.

    uv venv --python 3.12 runs/btk_venv
    echo 'astropy>=7.2' > runs/override.txt
    VIRTUAL_ENV=runs/btk_venv uv pip install --override runs/override.txt -e . \
        blending-toolkit photutils==3.1.0 scarlet2 'numpy<2.4'
    runs/btk_venv/bin/python tests/benchmarks/btk.py --catsim FILE --cosmos FOLDER [--weights W]

BlendingToolKit 1.0.9 asks for an astropy below 7, without need. It draws blends of one to five
galaxies of 20 to 25.5 mag within 2 arcsec of the middle of a stamp of 16, in its survey Euclid_VIS,
of CatSim's galaxies and of real ones (GalSim's format; `FOLDER#test` is a part of them). Of each
galaxy it has the blendedness, the share of the light under its profile that is not its own. It
matches (PixelHungarianMatcher, 5 pixels), counts (precision, recall, F1), and has the image RMSE of
the sources found (its `mse`, over the whole stamp). sep is its SepSingleBand with the flux in
Kron's ellipse; scarlet2 takes the place of its Scarlet, which is in no registry, and starts from
sep's positions. vaedeblend sees all blends in one mosaic, with gaps between them.

e = flux / true - 1, of sources found, where the true flux is the sum of a galaxy's own image. Bias
is the median of e, rms the root of the mean of its square; outliers have |e| > 30 %; coverage is
the share within the error stated.

Pairs: 900 electrons 1.7 pixels from 100 000, vaedeblend with the positions given as well. "said"
counts fainter ones that are within 30 %, or three errors, of the truth, and "flagged" those with a
flag, of all. Errors in the tables are the bootstrap's, of galaxies, blends and pairs.

What other programs find is kept in the workdir and not done again; vaedeblend runs each time.
"""

import argparse
import itertools
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from rich.console import Console
from rich.table import Table as Shown

from vaedeblend.evaluate.metrics import nmad, relative_error
from vaedeblend.io.write import replacing

PIECE = 50
"""Blends that are drawn, taken apart and kept together."""
OUTLIER = 0.3
BLENDEDNESS, UNBLENDED = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0), 0.01
MAGNITUDES = (20.0, 23.5, 24.5, 25.5)
"""Edges of bins; and what counts as alone in the table by magnitude."""
FLUXES, DISTANCE = (1e5, 900.0), 1.7
"""Of the pairs [electron, pixel]."""
DRAWS = 100
"""Of the bootstrap."""
DETECTION = {
    "precision": "precision %",
    "recall": "recall %",
    "f1": "F1 %",
    "false": "false of 100 blends",
    "seconds": "s of 100 blends",
}
COLUMNS = {
    "n": "n",
    "found": "found %",
    "rmse": "image RMSE [e]",
    "bias": "bias %",
    "nmad": "NMAD %",
    "rms": "rms %",
    "outliers": "outliers %",
    "coverage": "coverage %",
}
PAIR_COLUMNS = {
    "n": "pairs",
    "found": "found %",
    "bright": "bright: bias %",
    "bright_nmad": "NMAD %",
    "flux": "faint: flux [e]",
    "error": "its error [e]",
    "said": "said %",
    "flagged": "flagged %",
}
OURS = "vaedeblend"


def statistics(table) -> dict:
    """Of some galaxies, in per cent but for their number and the image RMSE [electron].

    Args:
        table: flux, measured and error [electron], rmse and found, one row a galaxy.
    """
    found = table[table["found"]]
    if not len(found):
        return dict.fromkeys(COLUMNS, np.nan) | {"n": len(table), "found": 0.0}
    error = relative_error(np.asarray(found["measured"]), np.asarray(found["flux"]))
    off = abs(found["measured"] - found["flux"])
    stated = np.isfinite(found["error"])
    parts = {
        "found": len(found) / len(table),
        "bias": np.median(error),
        "nmad": nmad(error),
        "rms": np.sqrt(np.mean(error**2)),
        "outliers": np.mean(abs(error) > OUTLIER),
        "coverage": np.mean((off < found["error"])[stated]) if stated.any() else np.nan,
    }
    numbers = {"n": len(table), "rmse": float(np.mean(found["rmse"]))}
    return numbers | {name: 100 * float(value) for name, value in parts.items()}


def pair_statistics(bright, faint) -> dict:
    """Of pairs, in per cent but for their number, and the fainter one's flux and error."""
    there = faint["found"]
    off = abs(faint["measured"] - faint["flux"])
    said = there & ((off < 3 * faint["error"]) | (off < OUTLIER * faint["flux"]))
    found = statistics(bright)
    return {
        "n": len(faint),
        "found": 100 * float(np.mean(there)),
        "bright": found["bias"],
        "bright_nmad": found["nmad"],
        "flux": float(np.median(faint["measured"][there])) if there.any() else np.nan,
        "error": float(np.median(faint["error"][there])) if there.any() else np.nan,
        "said": 100 * float(np.mean(said)),
        "flagged": 100 * float(np.mean(there & (faint["flags"] != 0))),
    }


def binned(table, column: str, edges) -> dict:
    """The galaxies of each bin of a column, and all of them; a bin has its lower edge."""
    bins = {
        f"{low:g} - {high:g}": table[(table[column] >= low) & (table[column] < high)]
        for low, high in itertools.pairwise(edges)
    }
    return bins | {"all": table}


def with_errors(statistic, items, rng) -> dict:
    """What a function gives of some items: each number with its error, the bootstrap's."""
    draws = [rng.integers(len(items), size=len(items)) for _ in range(DRAWS * (len(items) > 0))]
    samples, values = [statistic(items[draw]) for draw in draws], statistic(items)
    return {name: (value, _spread([s[name] for s in samples])) for name, value in values.items()}


def _spread(values) -> float:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(np.std(known)) if len(known) else np.nan


def cell(value, error=0.0) -> str:
    """A number with two digits of its error; one without an error, or none, as it is."""
    if np.isnan(value):
        return "-"
    if not error > 1e-9 * abs(value):
        return f"{value:.4g}"
    digits = max(1 - int(np.floor(np.log10(error))), 0)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def show(title: str, first: tuple, columns: dict, rows: dict, console) -> None:
    """Prints numbers of rows, by their names."""
    table = Shown(*first, *columns.values(), title=title)
    for names, numbers in rows.items():
        table.add_row(*names, *(cell(*numbers[name]) for name in columns))
    console.print(table)


def by_bin(tables: dict, column: str, edges, seed: int) -> dict:
    """Statistics of all programs in bins of a column: rows of `show`."""
    parts = {name: binned(table, column, edges) for name, table in tables.items()}
    return {
        (label, name): with_errors(statistics, part[label], np.random.default_rng(seed))
        for label in next(iter(parts.values()))
        for name, part in parts.items()
    }


def measured(folder: Path, key: str, draw, programs: dict, judge) -> dict:
    """Judged tables of the programs, of blends that are drawn if one of them is to run."""
    batch, tables = None, {}
    for name, make in programs.items():
        path = folder / f"{key}_{name.replace(', ', '_').replace(' ', '_')}.ecsv"
        if name.startswith(OURS) or not path.exists():
            batch = batch or draw()
            start = time.monotonic()
            table = judge(batch, make()(batch))
            table.meta["seconds"] = time.monotonic() - start
            with replacing(path) as partial_path:
                table.write(partial_path, format="ascii.ecsv")
        tables[name] = Table.read(path, format="ascii.ecsv")
    return tables


def together(tables: list):
    """The tables of all pieces as one, with all their blends' counts and their time."""
    joined = vstack(tables, metadata_conflicts="silent")
    joined.meta["counts"] = np.concatenate([each.meta["counts"] for each in tables])
    joined.meta["seconds"] = sum(each.meta["seconds"] for each in tables)
    return joined


def compare(kind: str, path: str, options, console) -> None:
    """Prints the tables of one catalogue."""
    import btk_blends
    import btk_programs

    catalogue, name = btk_blends.READERS[kind](path), Path(path).name
    programs = {OURS: partial(btk_programs.Vaedeblend, options.weights)}
    programs |= {each: btk_programs.OTHERS[each] for each in options.programs}
    judge, pieces = btk_blends.judged, []
    for low in range(0, options.blends, PIECE):
        n, seed = min(PIECE, options.blends - low), 1000 * options.seed + low // PIECE
        draw = partial(btk_blends.draw_blends, catalogue, n, seed)
        with console.status(f"{kind}: {low} of {options.blends} blends"):
            pieces.append(measured(options.workdir, f"{name}_{n}_{seed}", draw, programs, judge))
    tables = {name: together([piece[name] for piece in pieces]) for name in programs}
    show_blends(kind, tables, btk_blends.detection, options.seed, console)

    programs[f"{OURS}, positions given"] = partial(programs[OURS], is_listed=True)
    draw = partial(btk_blends.draw_pairs, catalogue, FLUXES, DISTANCE, options.pairs, options.seed)
    key = f"{name}_pairs_{options.pairs}_{options.seed}"
    with console.status(f"{kind}: pairs"):
        show_pairs(kind, measured(options.workdir, key, draw, programs, judge), console)


def show_blends(kind: str, tables: dict, detection, seed: int, console) -> None:
    """Prints what is found, and how well it is measured by blendedness and magnitude."""
    rows = {}
    for name, table in tables.items():
        counts, seconds = table.meta["counts"], table.meta["seconds"]
        rows[name,] = with_errors(detection, counts, np.random.default_rng(seed))
        rows[name,]["seconds"] = (100 * seconds / len(counts),)
    title = f"{kind}: {len(counts)} blends"
    show(title, ("program",), DETECTION, rows, console)
    rows = by_bin(tables, "blendedness", BLENDEDNESS, seed)
    show(title, ("blendedness", "program"), COLUMNS, rows, console)
    alone = {name: table[table["blendedness"] < UNBLENDED] for name, table in tables.items()}
    rows = by_bin(alone, "mag", MAGNITUDES, seed)
    show(f"{kind}: unblended (< {UNBLENDED:g})", ("mag", "program"), COLUMNS, rows, console)


def show_pairs(kind: str, tables: dict, console) -> None:
    """Prints how pairs are measured, in whose tables a bright galaxy comes before its faint one."""
    rows = {}
    for name, table in tables.items():
        bright, faint, rng = table[0::2], table[1::2], np.random.default_rng(0)
        statistic = partial(_of_pairs, bright, faint)
        rows[name,] = with_errors(statistic, np.arange(len(faint)), rng)
    title = f"{kind}: {FLUXES[1]:g} electrons {DISTANCE:g} pixels from {FLUXES[0]:g}"
    show(title, ("program",), PAIR_COLUMNS, rows, console)


def _of_pairs(bright, faint, index):
    return pair_statistics(bright[index], faint[index])


def main():
    sys.path.append(sys.path.pop(0))  # or `import btk` would find this file
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--catsim", help="CatSim's galaxies, a FITS table")
    parser.add_argument("--cosmos", help="folder of real galaxies in GalSim's format")
    parser.add_argument("--blends", type=int, default=300, help="of each catalogue")
    parser.add_argument("--pairs", type=int, default=40, help="of each catalogue")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="euclid_vis")
    others = ["sep", "photutils", "scarlet2"]
    parser.add_argument("--programs", nargs="*", choices=others, default=others)
    parser.add_argument("--workdir", type=Path, default=Path("runs/btk"))
    options = parser.parse_args()
    given = {"CatSim": options.catsim, "COSMOS": options.cosmos}
    if not any(given.values()):
        parser.error("wanted --catsim FILE or --cosmos FOLDER")
    options.workdir.mkdir(parents=True, exist_ok=True)
    for kind, path in given.items():
        if path:
            compare(kind, path, options, Console(width=160))


if __name__ == "__main__":
    main()
