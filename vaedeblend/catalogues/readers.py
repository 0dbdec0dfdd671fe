"""Layouts of galaxy catalogues on disk, read into one naming; `catalogue` judges what they hold."""

import warnings
from pathlib import Path
from types import MappingProxyType

import astropy.units as u
import numpy as np
from astropy.table import Table

from vaedeblend.exceptions import CatalogueError

EGG_NAMES = MappingProxyType(
    {
        "ID": "id",
        "RA": "ra",
        "DEC": "dec",
        "Z": "redshift",
        "FLUX_BULGE": "flux_bulge",
        "FLUX_DISK": "flux_disk",
        "BULGE_RADIUS": "bulge_half_light_radius",
        "DISK_RADIUS": "disk_half_light_radius",
        "BULGE_RATIO": "bulge_axis_ratio",
        "DISK_RATIO": "disk_axis_ratio",
        "BULGE_ANGLE": "bulge_position_angle",
        "DISK_ANGLE": "disk_position_angle",
    }
)
"""EGG's column names (v1.4) and ours."""


def read_columns(path: str | Path, bands: tuple[str, ...]) -> Table:
    """Columns of a file under our names, in the file's own units, with `bands` as the flux axis.

    Raises:
        CatalogueError: the file is missing, cut short or no table, or it lacks one of `bands`.
    """
    source = str(path)
    table = _open(source)
    if "BANDS" in table.colnames:
        table = _rows_of_native(table, source)
    from_egg = [name for name in EGG_NAMES if name in table.colnames]
    for name in from_egg:
        table.rename_column(name, EGG_NAMES[name])
    if from_egg and "id" not in table.colnames:
        table["id"] = np.arange(len(table))
    return _choose_bands(table, bands, source)


def _open(source: str) -> Table:
    with warnings.catch_warnings():
        # astropy only warns of a FITS file cut inside its padding or its last rows.
        warnings.filterwarnings("error", message=".*truncated")
        # Columns we do not use may have units that are none ('mag(AB)').
        warnings.simplefilter("ignore", u.UnitsWarning)
        try:
            return Table.read(source)
        except Exception as error:  # each of astropy's readers raises its own kinds
            reason = str(error).strip().split("\n")[0]
            raise CatalogueError(f"{source}: wanted a whole table, found: {reason}") from error


def _rows_of_native(native: Table, source: str) -> Table:
    """One row per galaxy from EGG's single row of vector cells."""
    if len(native) != 1:
        raise CatalogueError(f"{source}: column BANDS in {len(native)} rows, wanted one row in all")
    bands = [str(band).strip() for band in native["BANDS"].astype(str).ravel()]
    rows = Table(meta={"bands": bands})
    for name in EGG_NAMES:
        if name in native.colnames:
            cell = np.asarray(native[name][0])
            rows[name] = cell.reshape(-1, len(bands)) if name.startswith("FLUX") else cell
            rows[name].unit = native[name].unit
    return rows


def _choose_bands(table: Table, wanted: tuple[str, ...], source: str) -> Table:
    """The same table with flux columns of shape [galaxies, wanted bands]."""
    meta = {key.lower(): value for key, value in table.meta.items()}
    # A file that names no band and holds one is taken as the one band asked for.
    found = meta.get("bands", wanted if len(wanted) == 1 else ())
    found = found.split(",") if isinstance(found, str) else list(found)
    if missing := [band for band in wanted if band not in found]:
        raise CatalogueError(f"{source}: no band {missing}, found {found}, wanted {list(wanted)}")
    for name in ("flux_bulge", "flux_disk"):
        if name in table.colnames:
            flux = table[name].reshape(len(table), -1)
            if flux.shape[1] != len(found):
                message = f"column {name} with {flux.shape[1]} bands, wanted {found}"
                raise CatalogueError(f"{source}: {message}")
            table[name] = flux[:, [found.index(band) for band in wanted]]
    table.meta = {"bands": wanted}
    return table
