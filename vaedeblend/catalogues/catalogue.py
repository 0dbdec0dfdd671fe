"""Galaxy catalogues: one table with units for every source of galaxies.

`read` and `validate` return an `astropy.table.QTable` with these columns:

| column | unit | shape | meaning |
|---|---|---|---|
| id | - | N | integer, unique; negative for a star |
| flux_bulge, flux_disk | uJy | N, n_band | light of each component (AB mag = 23.9 - 2.5 log10) |
| bulge_half_light_radius, disk_half_light_radius | arcsec | N | 0 in both: a point source |
| bulge_axis_ratio, disk_axis_ratio | - | N | b/a, in (0, 1] |
| bulge_position_angle, disk_position_angle | deg | N | of the major axis |
| ra, dec | deg | N | only where the source gives them |
| redshift | - | N | only where the source gives it; NaN where unknown |

Radii run along the major axis, as in EGG, SkyMaker and van der Wel+ 2014. `table.meta['bands']` is
a tuple that names the flux axis, `table.meta['source']` says where the rows come from.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import Column, QTable, Table
from jaxtyping import Float, Int64, UInt64

from vaedeblend.catalogues.readers import read_columns
from vaedeblend.exceptions import CatalogueError, FileError
from vaedeblend.io.write import write_table
from vaedeblend.survey import flux_to_magnitude, magnitude_to_flux

TALK_SELECTION = MappingProxyType(
    {
        "magnitude": (23.0, 25.0),
        "bulge_half_light_radius": (0.01, 0.03),
        "disk_half_light_radius": (0.05, 0.35),
    }
)
"""Cuts of the published selection [mag, arcsec], for `select`."""

FRACTIONS = MappingProxyType({"train": 0.7, "validation": 0.1, "test": 0.2})
"""Share of the galaxies in each split, for `split`."""


class _Column(NamedTuple):
    unit: u.UnitBase
    allowed: Callable[[np.ndarray], np.ndarray]
    wanted: str
    required: bool = True


def _not_negative(value: np.ndarray) -> np.ndarray:
    return np.isfinite(value) & (value >= 0)


_NUMBER = u.dimensionless_unscaled
_LIGHT = (u.uJy, _not_negative, "finite and not negative")
_RADIUS = (u.arcsec, _not_negative, "finite and not negative")
_AXIS_RATIO = (_NUMBER, lambda ratio: (ratio > 0) & (ratio <= 1), "b/a in (0, 1]")
_ANGLE = (u.deg, np.isfinite, "a finite angle")

COLUMNS = {
    "flux_bulge": _Column(*_LIGHT),
    "flux_disk": _Column(*_LIGHT),
    "bulge_half_light_radius": _Column(*_RADIUS),
    "disk_half_light_radius": _Column(*_RADIUS),
    "bulge_axis_ratio": _Column(*_AXIS_RATIO),
    "disk_axis_ratio": _Column(*_AXIS_RATIO),
    "bulge_position_angle": _Column(*_ANGLE),
    "disk_position_angle": _Column(*_ANGLE),
    "ra": _Column(*_ANGLE, required=False),
    "dec": _Column(*_ANGLE, required=False),
    "redshift": _Column(_NUMBER, lambda z: ~np.isinf(z), "a number or NaN", required=False),
}


def read(path: str | Path, bands: Sequence[str] = ("euclid-vis",)) -> QTable:
    """Galaxies of a file, with units, their fluxes in the order of `bands`.

    Three layouts are recognised: the native file of EGG (one row of vector cells and a BANDS
    column), a table of one row per galaxy under EGG's column names, and one under the names of
    this module; the last two in any format astropy recognises. Units in the file are honoured;
    without units numbers are uJy, arcsec and deg, as EGG writes them. EGG rows without ID are
    numbered from 0. Where nothing names the bands, a single flux column is taken as the one band
    requested.

    Raises:
        CatalogueError: the file is missing, cut short or no table, lacks one of `bands`, or holds
            rows that `validate` refuses.
    """
    return validate(read_columns(path, tuple(bands)), str(path))


def write(table: QTable, path: str | Path, overwrite: bool = False) -> None:
    """Write a table so that `read` returns it again: FITS, ECSV or Parquet, by extension.

    Raises:
        FileError: It cannot be written, or is there already and not to be overwritten.
    """
    if Path(path).exists() and not overwrite:
        raise FileError(f"{path}: is there already; wanted another path, or overwrite=True")
    plain = table.copy(copy_data=False)
    # FITS headers hold no sequences, so every format stores the names as one string.
    plain.meta = {"bands": ",".join(table.meta["bands"])}
    write_table(path, plain)


def validate(table: Table, source: str) -> QTable:
    """Return the table with exactly the columns and units of this module, or refuse it.

    Args:
        table: galaxies under the names of this module; `meta['bands']` names the flux axis.
        source: file or program the rows come from, for messages.

    Raises:
        CatalogueError: a column is missing or has an unusable unit or shape, a value is
            impossible, an id occurs twice, or there is no row at all.
    """
    if len(table) == 0:
        raise CatalogueError(f"{source}: no rows, wanted at least one galaxy")
    valid = QTable({"id": _integers(table, source)})
    bands = tuple(table.meta["bands"])
    for name, column in COLUMNS.items():
        if name in table.colnames or column.required:
            valid[name] = _quantity(table, name, len(bands), source)
    total = (valid["flux_bulge"] + valid["flux_disk"]).value
    _refuse(~(total > 0), total, "flux_bulge + flux_disk", source, "a flux above 0 uJy")
    valid.meta = {"bands": bands, "source": source}
    return valid


def magnitude(table: QTable, band: int = 0) -> Float[np.ndarray, " galaxies"]:
    """AB magnitude of bulge plus disk in one band."""
    total = (table["flux_bulge"] + table["flux_disk"])[:, band]
    return flux_to_magnitude(total.to_value(u.uJy))


def select(table: QTable, cuts: Mapping[str, tuple[float, float]], band: int = 0) -> QTable:
    """Galaxies strictly inside every cut, given in mag, arcsec or the column's own unit.

    A cut from 0 holds 0 as well: the radius of the bulge that a pure disk does not have.

    Args:
        table: galaxies, as `read` returns them.
        cuts: (lower, upper) of `magnitude` or of any column with one number per galaxy.
        band: index of the band whose magnitude is cut.

    Raises:
        CatalogueError: a cut names no such quantity, or no galaxy passes.
    """
    known = ["magnitude", *(name for name in table.colnames if table[name].ndim == 1)]
    if unknown := sorted(set(cuts) - set(known)):
        raise CatalogueError(f"no quantity to cut called {unknown}, wanted some of {known}")
    passes = {}
    for name, (lower, upper) in cuts.items():
        value = magnitude(table, band) if name == "magnitude" else table[name].value
        passes[name] = ((value > lower) | ((value == 0) & (lower == 0))) & (value < upper)
    selected = table[np.logical_and.reduce([np.full(len(table), True), *passes.values()])]
    if len(selected) == 0:
        each = ", ".join(f"{name} {cuts[name]}: {ok.sum()}" for name, ok in passes.items())
        source = table.meta.get("source", "catalogue")
        raise CatalogueError(f"{source}: none of {len(table)} rows passes every cut ({each})")
    return selected


def split(
    table: QTable,
    name: str,
    seed: int,
    fractions: Mapping[str, float] = FRACTIONS,
) -> QTable:
    """Galaxies of the split `name`, decided by a hash of (seed, id) and by nothing else.

    Adding, removing or reordering rows therefore never moves a galaxy to another split.

    Raises:
        CatalogueError: `name` is none of `fractions`, or these do not add up to 1.
    """
    if name not in fractions or not np.isclose(sum(fractions.values()), 1):
        wanted = f"one of {list(fractions)} and fractions that add up to 1"
        raise CatalogueError(f"split {name!r} of {dict(fractions)}, wanted {wanted}")
    edges = np.cumsum([0.0, *fractions.values()])
    edges[-1] = np.inf  # rounding of the sum must not lose a galaxy
    index = list(fractions).index(name)
    key = _splitmix64(np.array([seed % 2**64], np.uint64))
    uniform = _splitmix64(np.asarray(table["id"]).astype(np.uint64) ^ key) / 2.0**64
    return table[(uniform >= edges[index]) & (uniform < edges[index + 1])]


def stars(
    n: int,
    rng: np.random.Generator,
    bands: Sequence[str] = ("euclid-vis",),
    magnitude_range: tuple[float, float] = (18.0, 26.0),
) -> QTable:
    """Point sources with ids -1 to -n, uniform in magnitude [AB], equally bright in all bands."""
    flux = magnitude_to_flux(rng.uniform(*magnitude_range, n))
    table = QTable({"id": -np.arange(1, n + 1)}, meta={"bands": tuple(bands), "source": "stars"})
    table["flux_disk"] = np.tile(flux[:, None], len(bands)) * u.uJy
    table["flux_bulge"] = 0 * table["flux_disk"]
    for component in ("bulge", "disk"):
        table[f"{component}_half_light_radius"] = np.zeros(n) * u.arcsec
        table[f"{component}_axis_ratio"] = np.ones(n)
        table[f"{component}_position_angle"] = np.zeros(n) * u.deg
    return table


def _integers(table: Table, source: str) -> Int64[np.ndarray, " galaxies"]:
    """The ids, refused unless they are unique integers."""
    ids = _present(table, "id", source)
    if ids.dtype.kind not in "iu" or np.any(getattr(ids, "mask", False)):
        raise CatalogueError(f"{source}: column id of {ids.dtype}, wanted an integer in every row")
    repeated = np.full(len(ids), True)
    repeated[np.unique(ids, return_index=True)[1]] = False
    _refuse(repeated, ids, "id", source, "an id that no earlier row has")
    return np.asarray(ids, dtype=np.int64)


def _quantity(table: Table, name: str, n_band: int, source: str) -> u.Quantity | np.ndarray:
    """The values of a column in its unit, refused where shape, unit or a value is wrong."""
    unit, allowed, wanted, _ = COLUMNS[name]
    values = _present(table, name, source)
    shape = (len(table), n_band) if name.startswith("flux") else (len(table),)
    if values.shape != shape:
        raise CatalogueError(f"{source}: column {name} of shape {values.shape}, wanted {shape}")
    if np.any(getattr(values, "mask", False)):
        values = values.astype(float).filled(np.nan)
    try:
        values = u.Quantity(values, values.unit or unit, dtype=float).to(unit)
    except (TypeError, ValueError) as error:
        found = f"{values.dtype} in {values.unit}"
        raise CatalogueError(f"{source}: column {name} of {found}, wanted {unit!r}") from error
    _refuse(~allowed(values.value), values.value, name, source, wanted)
    return values.value if unit == _NUMBER else values


def _present(table: Table, name: str, source: str) -> Column | u.Quantity:
    if name not in table.colnames:
        raise CatalogueError(f"{source}: no column {name}, found {table.colnames}")
    return table[name]


def _refuse(bad: np.ndarray, values: np.ndarray, name: str, source: str, wanted: str) -> None:
    """Raise for the first row that is bad in any band."""
    rows = bad.reshape(len(bad), -1).any(axis=1)
    if rows.any():
        row = int(np.argmax(rows))
        raise CatalogueError(f"{source}: column {name}, row {row}: {values[row]}, wanted {wanted}")


def _splitmix64(x: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """SplitMix64 (Steele+ 2014): neighbouring integers to unrelated ones."""
    # Unsigned products wrap around: that is the method.
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
