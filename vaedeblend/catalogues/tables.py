r"""A user's table, in whatever format it comes, and as FITS can hold it.

FITS tables are in ASCII, in names and in texts: letters lose their accents, what is no letter of
ASCII's becomes its number (Greek alpha: \u03b1).
"""

import contextlib
import itertools
import re
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.registry import IORegistryError
from astropy.table import Column, MaskedColumn, Table

from vaedeblend.exceptions import MosaicError

_BEFORE = "\ufeff\"'# "
"""What spreadsheets and comments put about a name."""
_PACKED = b"\x1f\x8b", b"BZ", b"\xfd7z"
"""Beginnings of packed files."""
_LDAC = "LDAC_OBJECTS"
"""Extension that holds the sources of SExtractor's FITS_LDAC, behind one of the image's header."""
_WIDEST = 56
"""Letters of a column's name that FITS holds, less those of `input_` and of more of them."""
_LONGEST = 10_000
"""Characters of a line of names."""
_RULE = re.compile(r"-+([;\t|]-+)*")
"""Line of dashes below the names and units of VizieR's lists."""


def as_table(source) -> Table:
    """The table of a file, its first one, or of anything that astropy makes one of.

    Files are FITS (also FITS_LDAC), ECSV, VOTable, SExtractor's ASCII_HEAD, VizieR's lists, or text
    in columns with their names above, which commas, semicolons, tabs or blanks part.

    Raises:
        MosaicError: There is none.
    """
    if isinstance(source, Table):
        return source
    is_file = isinstance(source, str | Path)
    name = source if is_file else f"catalog of {type(source).__name__}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of several tables, and of units
            return _of_file(Path(source)) if is_file else _of_memory(source)
    except Exception as error:  # of readers of many formats
        raise MosaicError(f"{name}: no table could be read ({_why(error)})") from error


def bare_name(name: str) -> str:
    """A column's name without what spreadsheets and comments put about it."""
    return name.strip(_BEFORE) or name


def as_ascii(text: str) -> str:
    """A text in ASCII: letters without accents, others as their numbers."""
    parts = unicodedata.normalize("NFKD", text)
    letters = "".join(part for part in parts if not unicodedata.combining(part))
    return letters.encode("ascii", "backslashreplace").decode()


def for_fits(table: Table) -> tuple[Table, list[str], list[str]]:
    """The columns that a FITS table can hold, without units that it cannot, all in ASCII.

    Whole numbers have one for no value, which none of them is; FITS has none of truth values, and
    none of less than 16 bits with a sign.

    Returns:
        The table, and the names of the columns that are brought into ASCII, and of those left out.
    """
    kept, changed, left_out = Table(), [], []
    for name in table.colnames:
        column, own = table[name], bare_name(name)
        if not _is_held(column):
            left_out.append(own)
            continue
        values = getattr(column, "value", column)
        found = _texts_in_ascii(values) if column.dtype.kind == "U" else _numbers_of_fits(values)
        free = as_ascii(own)[:_WIDEST]
        if free != own or (column.dtype.kind == "U" and found is not values):
            changed.append(own)
        while free in kept.colnames:
            free += "_"
        none = _free_number(found) if found.dtype.kind in "iu" else None
        kept[free] = MaskedColumn(found, unit=_fits_unit(column.unit), fill_value=none)
    return kept, changed, left_out


def _is_held(column) -> bool:
    """Whether FITS has a form of a column: of numbers or texts, and some of them in each row."""
    plain = isinstance(column, Column | u.Quantity) and column.dtype.kind in "biufSU"
    return plain and 0 not in column.shape[1:]


def _numbers_of_fits(values):
    """Numbers of a type that FITS has, with a number to spare; texts as they are."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "biu" and size < 8:
        return values.astype(np.promote_types(values.dtype, np.int32))
    return values.astype(float) if kind == "f" and size > 8 else values


def _free_number(values) -> int:
    """The lowest number of a type that is none of the values."""
    lowest = np.iinfo(values.dtype).min + np.arange(values.size + 1, dtype=values.dtype)
    return int(np.setdiff1d(lowest, np.ma.getdata(values))[0])


def _texts_in_ascii(values):
    """Texts, the same object where nothing has to change."""
    plain = np.ma.asarray(values)
    if all(text.isascii() for text in np.ravel(plain.data).tolist()):
        return values
    texts = [as_ascii(text) for text in np.ravel(plain.data).tolist()]
    return np.ma.array(np.reshape(texts, plain.shape), mask=np.ma.getmaskarray(plain))


def _fits_unit(unit):
    try:
        return u.Unit(unit.to_string("fits")) if isinstance(unit, u.UnitBase) else None
    except ValueError:
        return None


def _of_memory(source) -> Table:
    """The table of a data frame, a SkyCoord, a dictionary or an array of columns with names."""
    if hasattr(source, "iloc"):
        return Table.from_pandas(source)
    if isinstance(source, SkyCoord):
        return Table([source.reshape(-1)], names=["coordinates"])
    if isinstance(source, Mapping) or getattr(source, "dtype", np.dtype(float)).names:
        return Table(source)
    raise TypeError("wanted a table, a data frame, or columns with names, as {'x': x, 'y': y}")


def _of_file(path: Path) -> Table:
    with path.open("rb") as file:
        first = file.readline(_LONGEST)
    if first.startswith(b"SIMPLE"):
        with fits.open(path) as hdus:
            ldac = [i for i, hdu in enumerate(hdus) if hdu.name == _LDAC]
        return Table.read(path, hdu=ldac[0]) if ldac else Table.read(path)
    if b"\0" not in first and (listed := _of_vizier(path)) is not None:
        return listed
    known = _text_format(first, path.suffix.lower())
    if known:
        return Table.read(path, **known, **_encoding(path))
    try:
        return Table.read(path)
    except IORegistryError:  # no format is known by this name
        return Table.read(path, format="ascii")


def _text_format(line: bytes, ending: str) -> dict[str, str]:
    """Keywords that read a text whose first line says how; empty for all else."""
    if b"\0" in line or line.startswith(_PACKED) or b"%ECSV" in line:
        return {}
    first = line.decode("utf-8-sig", "replace")
    if first.startswith("#") and first.lstrip("# ").startswith("1 "):
        return {"format": "ascii.sextractor"}
    parted = [each for each in ";\t" if each in first and "," not in first]
    if parted:
        return {"format": "ascii.csv", "delimiter": parted[0]}
    named = ending == ".csv"
    return {"format": "ascii.csv" if "," in first else "ascii"} if named else {}


def _of_vizier(path: Path) -> Table | None:
    """The first list of a file of VizieR's: names, units, dashes, rows; None of other files."""
    text = path.read_text(errors="replace", encoding="utf-8-sig").replace("\r", "")
    lines = [line for line in text.split("\n") if not line.startswith("#")]
    rule = next((i for i, line in enumerate(lines) if _RULE.fullmatch(line.strip())), 0)
    if rule < 2 or not all(line.strip() for line in lines[rule - 2 : rule]):
        return None
    names, units = lines[rule - 2 : rule]
    parted = max(";\t|", key=names.count)
    rows = list(itertools.takewhile(str.strip, lines[rule + 1 :]))
    table = Table.read([names, *rows], format="ascii.csv", delimiter=parted)
    for name, unit in zip(table.colnames, units.split(parted), strict=False):
        with contextlib.suppress(ValueError):  # "h:m:s", and all that is no unit
            table[name].unit = u.Unit(unit.strip()) if unit.strip() else None
    return table


def _encoding(path: Path) -> dict[str, str]:
    """Keywords for texts of spreadsheets that do not write UTF-8."""
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return {"encoding": "cp1252"}
    return {}


def _why(error: Exception) -> str:
    """The first line of an error, but for those that list all that astropy has tried."""
    why = str(error).strip().partition("\n")[0]
    if "nable to guess" in str(error) or "'format'" in why:
        return "its format is not known; wanted FITS, ECSV, VOTable, or text in columns with names"
    return why
