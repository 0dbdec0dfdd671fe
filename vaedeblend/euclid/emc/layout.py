"""The Euclid Morphology Challenge's fields: their files, checked and read.

Known of the challenge's layout, from what its participants published: fields 0 to 4 of 0.1 arcsec
a pixel, zero point 23.9, background 0; an image `{dataset}_{f}_vis.fits` with its absolute rms
beside it in `{dataset}_{f}_vis.rms.fits` (theirs appears to hold the sources' Poisson noise as
well); `input_positions_vis_{f}_all.list`, three columns without names, ID X Y; `vis_0_gals_subset`
and `vis_0_stars_subset`, lists with a line of names of which the first word is `#`; the PSF's
file; catalogues `challenge_5sig_overlap_{dataset}[_{band}].fits` with `True{parameter}` columns.

Assumed: X and Y are FITS's, 1-based; the lists of every field are named as those of field 0, and
theirs have a column ID; the truth catalogue has columns ID and Field, and radii in arcsec where
no unit is given. Files may lie in any folders below the one that is named. Two more are this
project's own (`simulate` writes them) and may be missing: `{dataset}_{f}_vis.light.fits`, the image
without noise, and `{dataset}_{f}_vis.alone.fits`, a table of stamps of single galaxies without it.

Third dataset: the challenge's are galaxies of a generator trained on real ones; those that this
project writes under that name are structured (synthetic).

Positions are (y, x), 0-based, here as everywhere.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float, Int

from vaedeblend.exceptions import EmcError, MosaicError, PsfError
from vaedeblend.io.folders.walk import files_below
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.pixels.psf import Psf, read_psf
from vaedeblend.survey import MICROJANSKY_ZERO_POINT

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
    """Parameters that its truth has: mag, re (half-light radius), q (axis ratio), n (Sersic index),
    bt (light of the bulge over all), and of bulge and disk reb, red, qb, qd."""


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "ssersic": Dataset("single_sersic", ("mag", "re", "q", "n")),
        "dsersic": Dataset("double_sersic", ("mag", "bt", "reb", "red", "qb", "qd")),
        "realm": Dataset("realistic", ("mag", "re", "q", "n")),
    }
)
"""Datasets by the names of their images."""
PIXEL_SCALE = 0.1
"""Pixel of the images and of the PSF [arcsec]."""
STAMP_SIZE = 64
"""Side of a galaxy's stamp [pixel]."""
PSF_FILE = "psf_visSC3ovs6_centered_realpixscale.norm.fits"


class EmcField(NamedTuple):
    """A field's files, and its n sources in the order of the list of all."""

    dataset: str
    number: int
    files: Mapping[str, Path]
    """Paths of image and rms, and of light and alone where they are."""
    shape: tuple[int, int]
    id: Int[np.ndarray, " n"]
    position: Float[np.ndarray, "n 2"]
    """(y, x) [0-based pixels]."""
    star: Bool[np.ndarray, " n"]
    galaxy: Bool[np.ndarray, " n"]
    """Listed as a galaxy; a source may be listed as neither."""
    truth: Mapping[str, Float[np.ndarray, " n"]]
    """Parameters of the dataset [mag, arcsec]; NaN for sources without them."""

    @property
    def radius(self) -> Float[np.ndarray, " n"]:
        """Largest half-light radius that the truth gives [arcsec]; 0 where it gives none."""
        radii = [np.nan_to_num(self.truth[name]) for name in RADII if name in self.truth]
        return np.max([np.zeros(len(self.id)), *radii], axis=0)


def find(folder, name: str, *, needed: bool = True) -> Path | None:
    """The one file of a name, in a folder or below; None where none is needed and none is there.

    Raises:
        EmcError: There are several, or none.
    """
    found = files_below(folder, name)
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


def field_numbers(folder: str | Path, dataset: str) -> list[int]:
    """Numbers of the fields of a dataset that a folder holds.

    Raises:
        EmcError: None, or no such dataset.
    """
    if dataset not in DATASETS:
        raise EmcError(f"{folder}: dataset {dataset!r}; wanted one of {list(DATASETS)}")
    pattern = re.compile(rf"{dataset}_(\d+)_vis\.fits")
    found = (pattern.fullmatch(path.name) for path in files_below(folder, f"{dataset}_*_vis.fits"))
    numbers = sorted({int(match[1]) for match in found if match})
    if not numbers:
        raise EmcError(f"{folder}: no field; wanted files {dataset}_0_vis.fits and so on")
    return numbers


def read_field(
    folder: str | Path, dataset: str, number: int, *, missing_truth: bool = False
) -> EmcField:
    """A field with all that is known of its sources; its pixels stay in their files.

    Args:
        folder: Folder that holds the challenge's files, in it or below.
        dataset: ssersic, dsersic or realm.
        number: Number of the field.
        missing_truth: Whether galaxies of the list may lack a row of the truth catalogue, as the
            challenge's, which holds only what all participants have detected, will.

    Raises:
        EmcError: A file is missing or damaged, or contradicts another or itself.
    """
    if number not in (there := field_numbers(folder, dataset)):
        raise EmcError(f"{folder}: no field {number} of {dataset}; there are {there}")
    files = _field_files(folder, dataset, number)
    shape = _image_shape(files, number)
    path = find(folder, LISTS["all"].format(number))
    ids, position = read_list(path)
    _check_on_field(path, number, ids, position, shape)
    rows = read_truth(folder, dataset, number)
    listed = {key: _members(folder, key, number, ids, path) for key in ("gals", "stars")}
    known = np.isin(ids, rows["ID"])
    galaxy = known if listed["gals"] is None else listed["gals"]
    star = np.zeros(len(ids), bool) if listed["stars"] is None else listed["stars"]
    if (both := ids[star & galaxy]).size:
        raise EmcError(f"{path}: field {number}, ID {both[0]} is a star and a galaxy; wanted one")
    if (lacking := ids[galaxy & ~known]).size and not missing_truth:
        raise EmcError(
            f"{rows['path']}: field {number}, no rows for {lacking.size} galaxies of the list, "
            f"ID {lacking[0]} the first; wanted one for each (or missing_truth=True)"
        )
    columns = {name: np.full(len(ids), np.nan) for name in rows["columns"]}
    row = np.searchsorted(rows["ID"], ids[known])
    for name, values in columns.items():
        values[known] = rows["columns"][name][row]
    return EmcField(dataset, number, files, shape, ids, position, star, galaxy, columns)


def read_field_psf(folder: str | Path) -> Psf:
    """The PSF of the fields, at their pixels.

    Raises:
        EmcError: It is missing, no PSF, or not sampled at the fields' pixels.
    """
    path = find(folder, PSF_FILE)
    try:
        with open_mosaic(path) as mosaic:
            scale = PIXEL_SCALE if mosaic.pixel_scale is None else mosaic.pixel_scale
        psf = read_psf(path, default_pixel_scale=PIXEL_SCALE, pixel_scale=scale)
    except (MosaicError, PsfError) as error:
        raise EmcError(str(error)) from error
    _check_scale(path, scale)
    return psf


def read_alone(field: EmcField) -> dict[int, Float[np.ndarray, "size size"]]:
    """Noise-free stamps [uJy per pixel] of single galaxies by ID; none where the field has none.

    Raises:
        EmcError: The file is damaged.
    """
    if "alone" not in field.files:
        return {}
    table = read_table(field.files["alone"], ["ID", "light"])
    return dict(zip(table["ID"].tolist(), np.asarray(table["light"], np.float32), strict=True))


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
    """Values of a column, radii in arcsec; NaN where it is masked."""
    values = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    return values * u.Unit(column.unit).to("arcsec") if name in RADII and column.unit else values


def _field_files(folder, dataset: str, number: int) -> dict[str, Path]:
    stem = f"{dataset}_{number}_vis"
    files = {"image": find(folder, f"{stem}.fits"), "rms": find(folder, f"{stem}.rms.fits")}
    extra = {key: find(folder, f"{stem}.{key}.fits", needed=False) for key in ("light", "alone")}
    return files | {key: path for key, path in extra.items() if path}


def _image_shape(files: Mapping[str, Path], number: int) -> tuple[int, int]:
    """Shape of image, rms and light; units and scale must be the challenge's."""
    image, rms, light = (files.get(key) for key in ("image", "rms", "light"))
    try:
        with open_mosaic(image, rms=rms, mask=light) as mosaic:  # no mask: its shape is compared
            shape, scale, zero_point = mosaic.shape, mosaic.pixel_scale, mosaic.zero_point
    except MosaicError as error:
        raise EmcError(f"field {number}: {error}") from error
    if scale is not None:
        _check_scale(image, scale)
    if zero_point is not None and abs(zero_point - MICROJANSKY_ZERO_POINT) > 1e-3:
        raise EmcError(f"{image}: zero point {zero_point:g}; wanted {MICROJANSKY_ZERO_POINT}")
    return shape


def _check_scale(path: Path, scale: float) -> None:
    if abs(scale / PIXEL_SCALE - 1) > 1e-3:
        raise EmcError(f"{path}: pixel scale {scale:g} arcsec; wanted {PIXEL_SCALE} arcsec")


def _check_on_field(path: Path, number: int, ids, position, shape) -> None:
    if not len(ids):
        raise EmcError(f"{path}: field {number}, no source; wanted at least one")
    off = ((position < -0.5) | (position >= np.subtract(shape, 0.5))).any(axis=1)
    if off.any():
        y, x = position[off][0] + 1
        raise EmcError(
            f"{path}: field {number}, ID {ids[off][0]} at X = {x:g}, Y = {y:g}; wanted it on the "
            f"image of {shape[1]} x {shape[0]} pixels ({off.sum()} sources are off it)"
        )


def _members(folder, key: str, number: int, ids, all_path: Path) -> Bool[np.ndarray, " n"] | None:
    """Mask of the sources that a list of some of them names; None without a list."""
    path = find(folder, LISTS[key].format(number), needed=False)
    if path is None:
        return None
    some, _ = read_list(path)
    if (strange := some[~np.isin(some, ids)]).size:
        raise EmcError(f"{path}: field {number}, ID {strange[0]}; wanted those of {all_path}")
    return np.isin(ids, some)
