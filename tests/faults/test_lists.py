"""Lists of a user's own: each row comes back in its place, with its columns."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import SHAPE, folder, network, run, sky  # noqa: F401
from inspected import inspected

from vaedeblend.cli import main
from vaedeblend.exceptions import MosaicError


@pytest.fixture
def mine(sky):  # noqa: F811
    """Ids and places in no order; rows 3 and 7 off the image, 9 without a place, 11 twice."""
    place, flux = sky
    order = np.random.default_rng(3).permutation(len(place))[:14]
    y, x = place[order].T.copy()
    y[3], x[7], y[9], (y[11], x[11]) = -30.0, SHAPE[1] + 10, np.nan, (y[0] + 0.2, x[0])
    return Table({"OBJECT_ID": 5_000_000 + np.arange(14), "x": x, "y": y, "true": flux[order]})


GONE = [3, 7, 9, 11]


def test_rows_come_back_in_their_order_with_their_columns(folder, mine):  # noqa: F811
    mine.write(folder / "list.ecsv")
    table = run(folder, catalog=folder / "list.ecsv")
    rows, beside = table[: len(mine)], table[len(mine) :]
    np.testing.assert_array_equal(rows["input_row"], np.arange(len(mine)))
    np.testing.assert_array_equal(rows["OBJECT_ID"], mine["OBJECT_ID"])
    np.testing.assert_array_equal(rows["x_list"], mine["x"])
    there = ~np.isin(np.arange(len(mine)), GONE)
    np.testing.assert_allclose(rows["flux"][there], mine["true"][there], rtol=0.15)
    np.testing.assert_array_equal(rows["flags"] == 32, ~there)
    assert np.isnan(np.ma.filled(rows["flux"][~there], np.nan)).all()
    np.testing.assert_array_equal(rows["same_row"][GONE], [-1, -1, -1, 0])
    assert len(beside) > 0 and (beside["input_row"] == -1).all()
    assert np.ma.getmaskarray(beside["OBJECT_ID"]).all()


def test_one_iteration_adds_what_is_detected_beside_a_list(folder, mine):  # noqa: F811
    table = run(folder, catalog=mine, iterations=1)
    assert (table["input_row"] == -1).sum() > 5


def test_none_are_added_where_that_is_not_wanted(folder, mine, capsys):  # noqa: F811
    mine.write(folder / "list.fits")
    words = ["deblend", folder / "image.fits", "--rms", folder / "rms.fits", "--no-add"]
    words += ["--catalog", folder / "list.fits", "--out", folder / "out", "--tphot"]
    assert main([*map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "10 sources, " in said
    assert "list.fits: 10 of 14 rows are measured; 3 off the image; 1 within 1 pixel" in said
    table = Table.read(folder / "out" / "catalog.fits", hdu="CATALOG")
    np.testing.assert_array_equal(table["input_row"], np.arange(len(mine)))
    off = np.hypot(table["x"] - table["x_list"], table["y"] - table["y_list"])
    assert np.ma.compressed(off).max() < 0.6  # where the light is, and where the list has it
    assert json.loads((folder / "out" / "summary.json").read_text())["sources"] == 10
    priors = Table.read(folder / "out" / "tphot" / "priors.fits")
    np.testing.assert_array_equal(priors["SOURCE_ID"], np.delete(table["id"], GONE))


def test_whole_numbers_and_rows_at_edges_do_not_depend_on_tiles(folder, sky):  # noqa: F811
    """A stamp of even side has its centre between pixels: halves must not be rounded to even."""
    place = np.concatenate([np.floor(sky[0][::6]), [[96.5, 50], [97, 96.49], [194, 97]]])
    listed = Table({"y": place[:, 0], "x": place[:, 1]})
    whole, tiled = (
        run(folder, f"of_{tile}", catalog=listed, tile=tile, passes=0) for tile in (4096, 97)
    )
    np.testing.assert_array_equal(tiled["input_row"], np.arange(len(listed)))
    for name in ("x_stamp", "y_stamp", "stamp"):
        np.testing.assert_array_equal(tiled[name], whole[name])
    np.testing.assert_allclose(tiled["flux"], whole["flux"], rtol=2e-3)


def test_a_list_wholly_off_the_image_is_refused(folder, mine, capsys):  # noqa: F811
    mine["x"] += 5000
    with pytest.raises(MosaicError, match="none of 14 positions .*260 x 200 pixels"):
        run(folder, catalog=mine)


def test_a_tile_without_rows_has_what_is_detected_beside_the_list(folder, sky):  # noqa: F811
    place = sky[0][sky[0][:, 0] < 60][:3]
    listed = Table({"y": place[:, 0], "x": place[:, 1]})
    whole, tiled = (run(folder, f"of_{tile}", catalog=listed, tile=tile) for tile in (4096, 64))
    assert len(tiled) == len(whole) > 20


def test_degrees_in_texts_off_the_image_are_refused_by_their_place(folder, mine):  # noqa: F811
    with fits.open(folder / "image.fits", mode="update") as hdus:
        cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0}
        cards |= {"CRPIX1": 130.5, "CRPIX2": 100.5, "CDELT1": -1 / 36000, "CDELT2": 1 / 36000}
        hdus[0].header.update(cards)
    texts = Table({"ra": ["10:00:00.1", "10:00:00.3"], "dec": ["+03:00:01", "+03:00:02"]})
    with pytest.raises(MosaicError, match="none of 2 positions .ra and dec. is on .*image.fits"):
        run(folder, catalog=texts)


def test_an_empty_list_gives_an_empty_catalogue_and_says_so(folder, mine, capsys):  # noqa: F811
    mine[:0].write(folder / "list.fits")
    words = ["deblend", folder / "image.fits", "--rms", folder / "rms.fits"]
    words += ["--catalog", folder / "list.fits", "--out", folder / "out"]
    assert main([*map(str, words)]) == 3
    assert "no sources: the list is empty" in capsys.readouterr().err


def test_a_catalogue_of_any_frame_lies_on_its_image(folder, mine):  # noqa: F811
    """The header has declination first, of B1950."""
    cards = {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.0, "CRVAL2": 150.0}
    with fits.open(folder / "image.fits", mode="update") as hdus:
        hdus[0].header.update(cards | {"RADESYS": "FK4", "EQUINOX": 1950.0})
    table = run(folder, catalog=mine, passes=0)
    table = table[np.isfinite(np.ma.filled(table["flux"], np.nan))]
    assert np.abs(table["ra"] - 150.6).max() < 0.1 and np.abs(table["dec"] - 1.76).max() < 0.1
    again = run(folder, "again", catalog=table["ra", "dec"], passes=0)
    np.testing.assert_allclose(again["x_list"], table["x"], atol=1e-4)
    np.testing.assert_allclose(again["y_list"], table["y"], atol=1e-4)
    header = fits.getheader(folder / "out" / "catalog.fits", "CATALOG")
    assert "assumed: coordinates of the header are fk4: ra and dec are ICRS" in header.values()


@pytest.mark.parametrize("off", [(0, 0), (1, 1), (0, -1), (0.7, 0.3)])
def test_a_list_beside_the_light_is_moved_there(folder, sky, off):  # noqa: F811
    """As one whose first pixel is 1, or of another astrometry."""
    y, x = sky[0].T + np.array([off]).T
    found, said = inspected(folder, catalog=Table({"x": x, "y": y}))
    lines = [line for line in said if "bright sources lies" in line]
    assert len(lines) == (off != (0, 0))
    assert any("is its first pixel 1?" in line for line in lines) == (off == (1, 1))
    np.testing.assert_allclose(found.listed.measured, sky[0], atol=0.1)


def test_a_list_that_was_moved_keeps_its_own_positions(folder, sky):  # noqa: F811
    y, x = sky[0].T + 1
    table = run(folder, catalog=Table({"x": x, "y": y}), passes=0)
    np.testing.assert_allclose(table["x_list"], x)
    np.testing.assert_allclose(table["flux"], sky[1], rtol=0.15)
    assert np.abs(table["x"] - sky[0][:, 1]).max() < 0.6
