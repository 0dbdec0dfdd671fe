"""Who is who on the Euclid Morphology Challenge's fields: lists of positions, and true parameters.

See `emc` for the layout. Positions are (y, x), 0-based, here as everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float, Int

from vaedeblend.exceptions import EmcError

LISTS = MappingProxyType(
    {
        "all": "input_positions_vis_{}_all.list",
        "gals": "vis_{}_gals_subset.list",
        "stars": "vis_{}_stars_subset.list",
    }
)
"""Names of a field's lists of sources."""
RADII = "re", "reb", "red"
"""Parameters that are half-light radii."""


class Dataset(NamedTuple):
    """One of the challenge's three ways to make a galaxy."""

    catalogue: str
    """What truth catalogues call it."""
    parameters: tuple[str, ...]
    """That its truth has: mag, re (half-light radius), q (axis ratio), n (Sersic index), bt (light
    of the bulge over all), and of bulge and disk reb, red, qb, qd."""


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "ssersic": Dataset("single_sersic", ("mag", "re", "q", "n")),
        "dsersic": Dataset("double_sersic", ("mag", "bt", "reb", "red", "qb", "qd")),
        "realm": Dataset("realistic", ("mag", "re", "q", "n")),
    }
)
"""By the names of images."""


def find(folder, name: str, *, needed: bool = True) -> Path | None:
    """The one file of a name, in a folder or below; None where none is needed and none is there.

    Raises:
        EmcError: There are several, or none.
    """
    found = sorted(Path(folder).rglob(name))
    if len(found) > 1 or (needed and not found):
        there = ", ".join(map(str, found)) or "none there"
        raise EmcError(f"{folder}: {there}; wanted one file {name}")
    return found[0] if found else None


def read_list(path: Path) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """IDs and positions (y, x), 0-based, of a list.

    Raises:
        EmcError: A line has too few or too many columns, no numbers, or the ID of another.
    """
    rows = list(_rows(path))
    numbers = np.array([row for _, row in rows], float).reshape(-1, 3)
    ids = numbers[:, 0].astype(int)
    for column, (bad, wanted) in {
        "ID": (numbers[:, 0] != ids, "a whole number"),
        "ID ": (_repeated(ids), "an ID that no earlier line has"),
    }.items():
        if bad.any():
            line, row = rows[np.argmax(bad)]
            raise EmcError(f"{path}: line {line}: {column.strip()} {row[0]:.12g}; wanted {wanted}")
    return ids, numbers[:, :0:-1] - 1  # FITS counts pixels from 1, and names x first


def read_table(path: Path, wanted: Sequence[str]) -> Table:
    """The first table of a FITS file.

    Raises:
        EmcError: It cannot be read, or lacks a column.
    """
    try:
        table = Table.read(path, hdu=1)
    except Exception as error:  # of FITS tables astropy raises many kinds
        raise EmcError(f"{path}: no table could be read ({error})") from error
    if lacking := [each for each in wanted if each not in table.colnames]:
        raise EmcError(f"{path}: no column {lacking[0]}; wanted {wanted}, found {table.colnames}")
    return table


def read_truth(folder, dataset: str, number: int) -> dict:
    """Path of the truth catalogue, and a field's rows in the order of their IDs.

    Raises:
        EmcError: It is missing or damaged, lacks a column, or has two rows of an ID.
    """
    kind = DATASETS[dataset]
    name = f"challenge_5sig_overlap_{kind.catalogue}"
    path = find(folder, f"{name}.fits", needed=False) or find(folder, f"{name}_vis.fits")
    wanted = ["ID", "Field", *(f"True{each}" for each in kind.parameters)]
    table = read_table(path, wanted)
    table = table[np.asarray(table["Field"]) == number]
    table.sort("ID")
    ids = np.asarray(table["ID"]).astype(int)
    if (repeated := _repeated(ids)).any():
        found = f"field {number}, ID {ids[repeated][0]} in more than one row"
        raise EmcError(f"{path}: {found}; wanted one row each")
    columns = {each: _values(table[f"True{each}"], each) for each in kind.parameters}
    return {"path": path, "ID": ids, "columns": columns}


def _rows(path: Path) -> Iterator[tuple[int, list[float]]]:
    """Number of each line of a list, and its ID, X and Y."""
    names = ["ID", "X", "Y"]
    for line, text in enumerate(path.read_text().splitlines(), 1):
        words = text.lstrip("# ").split()
        if text.startswith("#"):
            names = words if {"ID", "X", "Y"} <= set(words) else names
        elif words:
            if len(words) != len(names):
                found = f"{len(words)} columns"
                raise EmcError(f"{path}: line {line}: {found}; wanted {len(names)}: {names}")
            values = [words[names.index(name)] for name in ("ID", "X", "Y")]
            yield line, [_number(path, line, each) for each in values]


def _number(path: Path, line: int, word: str) -> float:
    try:
        if np.isfinite(value := float(word)):
            return value
    except ValueError:
        pass
    raise EmcError(f"{path}: line {line}: {word!r}; wanted a number")


def _repeated(ids) -> Bool[np.ndarray, " n"]:
    first = np.unique(ids, return_index=True)[1]
    return ~np.isin(np.arange(len(ids)), first)


def _values(column, name: str) -> Float[np.ndarray, " n"]:
    """Of a column, radii in arcsec; NaN where it is masked."""
    values = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    return values * u.Unit(column.unit).to("arcsec") if name in RADII and column.unit else values
