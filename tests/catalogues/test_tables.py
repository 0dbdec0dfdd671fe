"""Tables of any format, and what of them FITS can hold."""

import gzip

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from vaedeblend.catalogues.tables import as_ascii, as_table, bare_name, for_fits
from vaedeblend.exceptions import MosaicError

ASCII_HEAD = """#   1 NUMBER                 Running object number
#   2 X_IMAGE                Object position along x                 [pixel]
#   3 Y_IMAGE                Object position along y                 [pixel]
         1    70.0000    50.0000
         2    10.2500    20.0000
"""
ROWS = [["X_IMAGE", "Y_IMAGE"], ["70.0", "50.0"], ["10.25", "20.0"]]


def parted(by, before=""):
    return before + "\n".join(by.join(row) for row in ROWS) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((f"head.{end}", ASCII_HEAD) for end in ("cat", "txt", "csv")),
        *((f"list.{end}", parted("\t")) for end in ("tsv", "csv", "txt")),
        *((f"list.{end}", parted(";")) for end in ("csv", "txt")),
        ("list.csv", parted(" ")),
        ("list.csv", parted(";", before="# ")),
        ("list.csv", parted(",", before="#")),
        ("list.txt", parted("  ")),
        ("list.dat", parted(" ", before="# ")),
        ("list", parted(",")),
        ("bom.csv", parted(";", before="\ufeff")),
    ],
)
def test_texts_are_read_whatever_parts_their_columns(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = as_table(tmp_path / name)
    names = [bare_name(column) for column in table.colnames]
    assert names[-2:] == ROWS[0]
    np.testing.assert_array_equal(table.columns[-2], [70.0, 10.25])
    np.testing.assert_array_equal(table.columns[-1], [50.0, 20.0])


@pytest.mark.parametrize("by", [",", ";", " "])
def test_spreadsheets_need_not_write_utf8(tmp_path, by):
    text = by.join(["größe", "y"]) + "\n" + by.join(["é", "2"]) + "\n"
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    table = as_table(tmp_path / "list.csv")
    assert table.colnames == ["größe", "y"] and table["größe"][0] == "é"


def test_packed_texts_are_read(tmp_path):
    with gzip.open(tmp_path / "list.csv.gz", "wt") as file:
        file.write(parted(","))
    np.testing.assert_array_equal(as_table(tmp_path / "list.csv.gz")["Y_IMAGE"], [50.0, 20.0])


def test_sources_of_fits_ldac_stand_behind_their_header(tmp_path):
    header, sources = (fits.table_to_hdu(Table({"x": [n, n]})) for n in (1.0, 2.0))
    header.name, sources.name = "LDAC_IMHEAD", "LDAC_OBJECTS"
    fits.HDUList([fits.PrimaryHDU(), header, sources]).writeto(tmp_path / "ldac.cat")
    np.testing.assert_array_equal(as_table(tmp_path / "ldac.cat")["x"], [2.0, 2.0])


@pytest.mark.parametrize(
    "content", [b"\x89PNG\0\1\2\n\0\xff", b"", b"one two\nthree\n\nfour five six"]
)
def test_what_is_no_table_is_refused_without_talk_of_astropys_options(tmp_path, content):
    (tmp_path / "list.xyz").write_bytes(content)
    with pytest.raises(MosaicError, match=r"list.xyz: no table could be read \(.+\)") as found:
        as_table(tmp_path / "list.xyz")
    assert "format'" not in str(found.value) and "guess" not in str(found.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(MosaicError, match="No such file"):
        as_table(tmp_path / "list.cat")


def test_texts_are_brought_into_ascii():
    assert as_ascii("Ångström é") == "Angstrom e" and as_ascii("α Cen") == "\\u03b1 Cen"


def test_columns_are_brought_into_what_fits_holds(tmp_path):
    table = Table({"e": [1, 2], "é": [3, 4], "plain": ["a", "b"]})
    table["name"] = MaskedColumn(["Þór", "β"], mask=[False, True])
    kept, changed, left_out = for_fits(table)
    assert kept.colnames == ["e", "e_", "plain", "name"] and changed == ["é", "name"]
    assert not left_out
    assert kept["name"][0] == "\\xdeor" and kept["name"].mask[1]
    np.testing.assert_array_equal(kept["e_"], table["é"])
    kept.write(tmp_path / "kept.fits")


@pytest.mark.parametrize(
    "values",
    [
        MaskedColumn([True, False, True], mask=[False, False, True]),
        MaskedColumn([1, -5, 0], dtype=np.int8, mask=[False, False, True]),
        MaskedColumn([999999, -(2**63), 5], mask=[False, False, True]),
        MaskedColumn([63, 0, 1], dtype=np.uint8, mask=[False, False, True]),
        MaskedColumn([2**15, 0, 1], dtype=np.uint16, mask=[False, False, True]),
        MaskedColumn([1.5, -2.5, 1], dtype=np.longdouble, mask=[False, False, True]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_numbers_and_what_has_none_are_the_same_in_a_file(tmp_path, values):
    for_fits(Table({"values": values}))[0].write(tmp_path / "kept.fits")
    found = Table.read(tmp_path / "kept.fits")["values"]
    np.testing.assert_array_equal(found[:2], values[:2])
    np.testing.assert_array_equal(found.mask, values.mask)
    with fits.open(tmp_path / "kept.fits") as hdus:
        assert "TZERO1" not in hdus[1].header  # what is none is counted without it


def test_all_small_numbers_leave_one_for_no_value():
    numbers = np.arange(-(2**15), 2**15, dtype=np.int16)
    assert for_fits(Table({"values": numbers}))[0]["values"].fill_value not in numbers


def test_columns_that_fits_cannot_hold_are_named():
    table = Table({"x": [1, 2], "none": np.ones((2, 0)), "any": np.array(["a", None], object)})
    kept, _, left_out = for_fits(table)
    assert kept.colnames == ["x"] and left_out == ["none", "any"]


def test_a_name_is_never_bare_of_all():
    assert bare_name("#") == "#" and bare_name("# x") == "x"


VIZIER = """#
#   VizieR Astronomical Server vizier.cds.unistra.fr
#Column\t_RAJ2000\t(F10.6)\tRight ascension (computed by VizieR)\t[ucd=pos.eq.ra]

_RAJ2000;RAJ2000;recno;Bmag
deg;"h:m:s"; ;mag
---------;-----------;-----;-----
150.100000;10 00 24.0;    1;20.1
150.200000;10 00 48.0;    2;

#Table of another catalogue

A;B
;
---;---
1;2
"""


@pytest.mark.parametrize("by", [";", "\t", "|"])
def test_lists_of_vizier_are_read(tmp_path, by):
    (tmp_path / "list.tsv").write_text(VIZIER.replace(";", by))
    table = as_table(tmp_path / "list.tsv")
    assert table.colnames == ["_RAJ2000", "RAJ2000", "recno", "Bmag"] and len(table) == 2
    np.testing.assert_array_equal(table["_RAJ2000"], [150.1, 150.2])
    assert table["_RAJ2000"].unit == "deg" and table["Bmag"].unit == "mag"
    assert table["RAJ2000"][1] == "10 00 48.0" and np.ma.is_masked(table["Bmag"][1])


def test_columns_with_names_are_tables_wherever_they_are():
    x, y = np.array([1.5, 2.5]), np.array([3.0, 4.0])
    for source in ({"x": x, "y": y}, np.rec.fromarrays([x, y], names="x,y")):
        table = as_table(source)
        assert table.colnames == ["x", "y"] and list(table["y"]) == [3.0, 4.0]
    assert as_table(SkyCoord(x, y, unit="deg")).colnames == ["coordinates"]
