"""A user's list of positions: read in its own order, with its units, and its columns kept.

    table --columns, units--> (y, x) on the image --> which rows can be measured --> catalogue

The names that are understood are those of this package, of SExtractor, of photutils, of Euclid's
MER, of T-PHOT and of VizieR, in any letters, and coordinates of astropy (a SkyCoord of an ECSV
file).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord
from astropy.table import MaskedColumn, Table
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from vaedeblend.catalogues.tables import as_ascii, as_table, bare_name, for_fits
from vaedeblend.exceptions import MosaicError
from vaedeblend.io.fits.sky import to_pixels
from vaedeblend.io.mosaic import Mosaic
from vaedeblend.survey import inside

_PIXELS = {
    ("x", "y"): 0,
    ("xwin_image", "ywin_image"): 1,
    ("x_image", "y_image"): 1,
    ("xcentroid", "ycentroid"): 0,
    ("x_centroid", "y_centroid"): 0,
    ("x_center", "y_center"): 1,
}
"""Names of pixel columns, and the number of the first pixel in them."""
_SKY = (
    ("ra", "dec"),
    ("right_ascension", "declination"),
    ("alphawin_j2000", "deltawin_j2000"),
    ("alpha_j2000", "delta_j2000"),
    ("raj2000", "dej2000"),
    ("_raj2000", "_dej2000"),
    ("ra_icrs", "de_icrs"),
    ("_ra.icrs", "_de.icrs"),
    ("_ra", "_de"),
    ("radeg", "dedeg"),
    ("ra_deg", "dec_deg"),
    ("raicrs", "deicrs"),
    ("x_world", "y_world"),
)
"""Names of columns of right ascension and declination, degrees where no unit is stated."""
_TPHOT = {"xmin", "ymin", "xmax", "ymax"}
"""Columns beside x and y in T-PHOT's lists, whose first pixel is 1."""
_COORDINATES = {name for pair in (*_PIXELS, *_SKY) for name in pair}
_PIXEL_UNITS = {"pix", "pixel", "pixels", "px", ""}
_HOURS = {"h", "hr", "hour", "hourangle"}
"""Units of a right ascension that are hours of angle, whatever else they may be."""

_DECIMAL = re.compile(r"[+-]?\d+([,.]\d+)?([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})?")
"""Numbers with a comma: of decimals, and such as may be of thousands as well."""
_NONE = "nan"
"""Text of a cell without one."""
SAME = 1.0
"""Distance within which two rows of a list are one source [pixel]."""
_DIFFERENT = 2.0
"""Distance beyond which pixels and places on the sky are not of one image [pixel]."""


class Listed(NamedTuple):
    """A list of n positions as it lies on an image."""

    position: Float[np.ndarray, "n 2"]
    """(y, x), 0-based; NaN where a row has no place on the image's plane."""
    same_row: Int[np.ndarray, " n"]
    """Row that is measured for each one: itself, an earlier one within a pixel, or -1 for none."""
    table: Table
    """The user's columns that a FITS table can hold."""
    meaning: str
    """What was taken to be the positions."""
    in_ascii: tuple[str, ...]
    """Columns whose names or texts had to be brought into ASCII."""
    shift: tuple[float, float] = (0.0, 0.0)
    """(y, x) from the list's positions to those that are measured [pixel]."""
    left_out: tuple[str, ...] = ()
    """Columns that no FITS table can hold."""

    @property
    def measured(self) -> Float[np.ndarray, "n 2"]:
        """Positions at which rows are measured, NaN of those that are not themselves."""
        own = self.same_row == np.arange(len(self.same_row))
        return np.where(own[:, None], self.position + self.shift, np.nan)

    def moved(self, shift: Float[np.ndarray, " 2"]) -> "Listed":
        """The same list, measured at positions (y, x) beside its own [pixel]."""
        return self._replace(shift=tuple(shift.tolist()))

    @property
    def said(self) -> str:
        """What was taken from the list, and how many of its rows are measured."""
        row, same = np.arange(len(self.same_row)), self.same_row
        counts = {
            "off the image": same < 0,
            f"within {SAME:g} pixel of an earlier row, with which they are one": (same >= 0)
            & (same < row),
        }
        left = [f"{n} {what}" for what, rows in counts.items() if (n := int(rows.sum()))]
        of = f"{int((same == row).sum())} of {len(row)} rows are measured"
        if self.in_ascii:
            left.append(f"columns {', '.join(self.in_ascii)} are written in ASCII")
        if self.left_out:
            left.append(f"columns {', '.join(self.left_out)} are left out: FITS cannot hold them")
        return f"positions are {self.meaning}: " + "; ".join([of, *left])


def read_positions(source, mosaic: Mosaic) -> Listed:
    """The positions of a list on an image, row by row.

    Args:
        source: Table, data frame, or a file of a table.
        mosaic: Image, whose WCS places on the sky need.

    Raises:
        MosaicError: The list cannot be read, has no positions or unknown units, the image has no
            WCS for them, or no row lies on the image.
    """
    name = str(source) if isinstance(source, str | Path) else "catalog"
    table = as_table(source)
    names = _names(name, table)
    places = _places(name, table, names, mosaic)
    meaning, position = _chosen(places, mosaic.shape)
    here = inside(position, mosaic.shape)
    if len(position) and not here.any():
        raise MosaicError(f"{name}: {_none_inside(meaning, position, table, names, mosaic)}")
    same_row = _same_rows(position, here)
    kept, changed, left_out = for_fits(table)
    listed = Listed(position, same_row, kept, f"{meaning} of {Path(name).name}", tuple(changed))
    return listed._replace(left_out=tuple(left_out))


def with_list(catalogue: Table, listed: Listed) -> Table:
    """A catalogue, whose column input_row refers to a list, with the list's columns.

    Added are same_row, x_list, y_list, and the user's columns under their names; those whose
    name is taken, in whatever letters, are called input_NAME. Sources beside the list have none.
    """
    table, row = catalogue.copy(), np.asarray(catalogue["input_row"])
    own = {
        "same_row": np.append(listed.same_row, -1),
        "x_list": np.append(listed.position[:, 1], np.nan) * u.pix,
        "y_list": np.append(listed.position[:, 0], np.nan) * u.pix,
    }
    for name, values in own.items():
        table[name] = values[row]
    taken = {name.lower() for name in table.colnames}
    for name in listed.table.colnames:
        free = name
        while free.lower() in taken:
            free = f"input_{free}"
        taken.add(free.lower())
        table[free] = _taken(listed.table[name], row)
    table.meta["LIST"] = as_ascii(listed.meaning)
    return table


def _names(name: str, table: Table) -> dict[str, str]:
    """Columns by their names in small letters, without what spreadsheets put about them."""
    names: dict[str, str] = {}
    for column in table.colnames:
        plain = bare_name(column).lower()
        if plain in _COORDINATES and plain in names:
            raise MosaicError(
                f"{name}: columns {names[plain]!r} and {column!r}; wanted one of them"
            )
        names[plain] = column
    return names


def _places(name: str, table: Table, names: Mapping, mosaic: Mosaic) -> list[tuple]:
    """What may be the positions, and where they then are: pixels, and places on the sky."""
    found = []
    pixels = next((pair for pair in _PIXELS if names.keys() >= {*pair}), None)
    if pixels is not None:
        x, y = (_pixel_numbers(name, table[names[each]]) for each in pixels)
        first = 1 if names.keys() >= _TPHOT else _PIXELS[pixels]
        meaning = f"{_both(pixels, names)} ({first}-based pixels)"
        found.append((meaning, np.stack([y, x], axis=1) - first))
    sky = _sky_columns(name, table, names)
    if sky is None and not found:
        wanted = "wanted x and y, or ra and dec, or their names in SExtractor's or MER's catalogues"
        raise MosaicError(f"{name}: columns {table.colnames}; {wanted}")
    if sky is None or (found and mosaic.wcs is None):
        return found
    if mosaic.wcs is None:
        said = f"has {sky[0]}, but {mosaic.path} has no WCS; wanted x, y"
        raise MosaicError(f"{name}: {said}")
    meaning, ra, dec = sky
    position = to_pixels(mosaic.wcs, ra, dec, mosaic.shape)
    behind = np.isfinite(ra + dec) & np.isnan(position).any(axis=1)
    position[behind] = np.inf  # is somewhere, but not on the image
    return [*found, (meaning, position)]


def _both(pair: tuple[str, str], names: Mapping) -> str:
    return " and ".join(bare_name(names[each]) for each in pair)


def _chosen(places: list[tuple], shape: tuple[int, int]) -> tuple[str, Float[np.ndarray, "n 2"]]:
    """Pixels, unless places on the sky say that they are another image's."""
    (meaning, position), *others = places
    for other, there in others:
        apart = np.hypot(*(there - position)[inside(there, shape)].T)
        apart = apart[np.isfinite(apart)]
        if not np.isnan(there).any(axis=1).all() and not (
            len(apart) and np.median(apart) <= _DIFFERENT
        ):
            return f"{other} (not {meaning}: of another image)", there
    return meaning, position


def _sky_columns(name: str, table: Table, names: Mapping):
    """What the coordinates are, right ascension and declination [deg]; None without any."""
    pair = next((pair for pair in _SKY if names.keys() >= {*pair}), None)
    if pair is not None:
        ra, dec = (_degrees(name, table[names[each]], i == 0) for i, each in enumerate(pair))
        return _both(pair, names), ra, dec
    for each in table.colnames:
        if isinstance(table[each], SkyCoord):
            sky = table[each].icrs
            return each, np.ma.filled(sky.ra.deg, np.nan), np.ma.filled(sky.dec.deg, np.nan)
    return None


def _numbers(name: str, column) -> Float[np.ndarray, " n"]:
    """Values of a column, NaN where it is masked."""
    plain = _with_points(getattr(column, "value", column))
    try:
        values = np.ma.filled(np.ma.asarray(plain).astype(float), np.nan)
    except (ValueError, TypeError) as error:
        raise MosaicError(f"{name}: column {column.name} ({error}); {_wanted(plain)}") from error
    if values.ndim > 1:
        raise MosaicError(
            f"{name}: column {column.info.name} of {values.ndim} axes; wanted one number"
        )
    return values


def _pixel_numbers(name: str, column) -> Float[np.ndarray, " n"]:
    unit = column.unit
    if unit is not None and str(unit).lower() not in _PIXEL_UNITS:
        raise MosaicError(f"{name}: column {column.info.name} in {unit}; wanted pixels")
    return _numbers(name, column)


def _degrees(name: str, column, is_ra: bool) -> Float[np.ndarray, " n"]:
    if _is_sexagesimal(column):
        return _sexagesimal(name, column, is_ra)
    values, unit = _numbers(name, column), column.unit
    if unit is None:
        return values
    if is_ra and str(unit) in _HOURS:
        unit = u.hourangle
    try:
        return values * u.Unit(unit).to(u.deg)
    except (u.UnitConversionError, ValueError, TypeError) as error:
        wanted = "wanted an angle, as deg, rad or hourangle"
        raise MosaicError(f"{name}: column {column.info.name} in {unit}; {wanted}") from error


def _texts(column):
    """Texts of a column, `_NONE` where a cell is masked or empty; all else as it is."""
    if column.dtype.kind not in "US":
        return column
    texts = np.ma.filled(np.ma.asarray(column), column.dtype.type())
    if column.dtype.kind == "S":
        texts = np.char.decode(texts, "utf-8", "replace")
    texts = np.char.strip(texts)
    return np.where(texts == "", _NONE, texts)


def _known(texts) -> list[str]:
    return texts[texts != _NONE].tolist()


def _with_points(column):
    """Texts with a decimal comma with a point; those that may have one of thousands as they are."""
    texts = _texts(column)
    if texts.dtype.kind != "U" or not all(map(_DECIMAL.fullmatch, _known(texts))):
        return texts
    return texts if _may_be_thousands(texts) else np.char.replace(texts, ",", ".")


def _may_be_thousands(texts) -> bool:
    return texts.dtype.kind == "U" and all(map(_THOUSANDS.fullmatch, _known(texts)))


def _wanted(texts) -> str:
    commas = _may_be_thousands(texts)
    return "wanted numbers" + " with a point: a comma may be one of thousands" * commas


def _is_sexagesimal(column) -> bool:
    """Whether a column is of texts that are no numbers."""
    texts = _with_points(column)
    if texts.dtype.kind != "U" or texts.ndim > 1:
        return False
    try:
        texts.astype(float)
    except ValueError:
        return True
    return False


def _sexagesimal(name: str, column, is_ra: bool) -> Float[np.ndarray, " n"]:
    """Degrees of texts as 10:00:12.3 and +02:12:00; right ascensions are hours, if none says d."""
    texts = _texts(column)
    degrees = np.full(len(texts), np.nan)
    try:
        degrees[texts != _NONE] = Angle(_known(texts), u.hourangle if is_ra else u.deg).deg
    except (ValueError, TypeError) as error:
        wanted = f"{_wanted(texts)}, or angles as 10:00:12.3"
        raise MosaicError(f"{name}: column {column.info.name} ({error}); {wanted}") from error
    return degrees


def _none_inside(meaning: str, position, table: Table, names: Mapping, mosaic: Mosaic) -> str:
    """That no position is on the image, and what they may be."""
    height, width = mosaic.shape
    said = f"none of {len(position)} positions ({meaning}) is on {mosaic.path}"
    seen = position[np.isfinite(position).all(axis=1)]
    if not len(seen):
        return f"{said}: all of them are NaN, masked, or have no pixel{_radians(table, names)}"
    (y, x), (y_end, x_end) = seen.min(axis=0), seen.max(axis=0)
    spans = f"x {x:.5g} to {x_end:.5g}, y {y:.5g} to {y_end:.5g}{_radians(table, names)}"
    return f"{said}, {width} x {height} pixels; they span {spans}"


def _radians(table: Table, names: Mapping) -> str:
    """A hint where numbers without a unit may be radians."""
    pair = next((pair for pair in _SKY if names.keys() >= {*pair}), ())
    columns = [table[names[each]] for each in pair]
    if any(map(_is_sexagesimal, columns)):
        return ""
    small = [np.nan_to_num(np.abs(_numbers("", each))).max() <= 2 * np.pi for each in columns]
    if not columns or not all(small) or any(each.unit for each in columns):
        return ""
    return "; if they are in radians, give the columns that unit"


def _same_rows(position, here) -> Int[np.ndarray, " n"]:
    """The row that is measured for each; see `Listed.same_row`."""
    same = np.where(here, np.arange(len(position)), -1)
    rows = np.flatnonzero(here)
    pairs = cKDTree(position[rows]).query_pairs(SAME, output_type="ndarray") if len(rows) else []
    for one, other in sorted(np.sort(rows[np.reshape(pairs, (-1, 2)).astype(int)]).tolist()):
        if same[one] == one and same[other] == other:
            same[other] = one
    return same


def _taken(column: MaskedColumn, row) -> MaskedColumn:
    """Values of some rows, masked for sources beside the list."""
    beside = row < 0
    if not len(column):
        values = np.ma.masked_all((len(row), *column.shape[1:]), column.dtype)
        return MaskedColumn(values, unit=column.unit)
    taken = column[np.where(beside, 0, row)]
    taken.mask[beside] = True
    return taken
