"""Parts of an image on disk, and the catalogue of all of them."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vaedeblend.catalogues.positions import Listed
from vaedeblend.image.catalogue.columns import BANDS, CATALOGUE_COLUMNS, MEASURED
from vaedeblend.image.catalogue.merge import Part, merge, read_part, write_part
from vaedeblend.io.fits.header import read_facts
from vaedeblend.io.mosaic import Mosaic
from vaedeblend.pixels.profiles import Profiles

SIZE = 4
POSITION = np.array([[30.5, 3.25], [8.0, 9.0], [8.0, 2.0], [11.0, 4.0]])
PAIR = POSITION[[[2, 3]]]


@pytest.fixture
def part(rng):
    """Four sources of a tile, one of them on binned pixels, in no order."""
    n = len(POSITION)
    types = {column.name: column.dtype for column in CATALOGUE_COLUMNS}
    columns = {name: rng.uniform(1, 9, n).astype(types[name]) for name in MEASURED if name in types}
    columns |= {"position": POSITION, "binning": np.array([1, 2, 1, 1])}
    columns |= {"apparent": np.ones(n), "flux_err_alone": np.ones(n)}
    columns |= dict.fromkeys(BANDS, np.zeros((n, 0)))  # of further bands, which there are not
    columns |= {
        "input_row": np.full(n, -1),
        "position_variance": np.tile([0.04, 0.09, 0.0], (n, 1)),
    }
    stamps = [rng.normal(size=(side, side)).astype(np.float32) for side in 4 * columns["binning"]]
    profiles = Profiles.pack(stamps, np.rint(POSITION).astype(int) - SIZE // 2, SIZE)
    return Part(columns, PAIR, np.array([-0.25]), profiles)


def only(part, rows, pairs=slice(None)):
    """A part with some of its sources and pairs."""
    columns = {name: values[rows] for name, values in part.columns.items()}
    found = part.pair[pairs], part.correlation[pairs]
    return Part(columns, *found, part.profiles.select(rows))


@pytest.fixture
def mosaic():
    none = dict.fromkeys(Mosaic._fields)
    given = {"path": Path("image.fits"), "shape": (40, 20), "header": fits.Header()}
    given |= {"facts": read_facts(given["header"]), "planes": {}, "mask_bits": -1, "scale": 1.0}
    return Mosaic(**none | given)


@pytest.mark.parametrize("rows", [np.arange(4), np.array([1]), np.zeros(0, int)])
def test_a_part_is_read_as_it_was_written(part, tmp_path, rows):
    part = only(part, rows, slice(len(rows) // 4))
    write_part(tmp_path / "tile.fits", part)
    read = read_part(tmp_path / "tile.fits")
    assert list(read.columns) == list(part.columns)
    for name, values in part.columns.items():
        assert read.columns[name].dtype.newbyteorder("=") == values.dtype
        np.testing.assert_array_equal(read.columns[name], values)
    np.testing.assert_array_equal(read.pair.reshape(-1, 2, 2), part.pair)
    np.testing.assert_array_equal(read.correlation, part.correlation)
    np.testing.assert_array_equal(read.profiles.corner, part.profiles.corner)
    for one, other in zip(read.profiles, part.profiles, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["tile.fits"]


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_catalogue_is_the_same_whatever_the_parts_were(part, mosaic, tmp_path, cut):
    """Both parts know of the pair, of which one holds a source each."""
    for i, rows in enumerate((np.arange(cut), np.arange(cut, 4))):
        write_part(tmp_path / f"{i}.fits", only(part, rows))
    parts = [read_part(tmp_path / f"{i}.fits") for i in range(2)]
    found = merge(parts, mosaic, tmp_path / "stamps.fits")
    order = [2, 1, 3, 0]
    np.testing.assert_array_equal(found.table["y"], POSITION[order, 0])
    np.testing.assert_array_equal(found.table["x"], POSITION[order, 1])
    np.testing.assert_array_equal(found.table["flux"], part.columns["flux"][order])
    np.testing.assert_array_equal(found.table["stamp"], [0, 1, 5, 6])
    assert np.isnan(found.table["mag"]).all() and found.table["half_light_radius"].unit == "pix"
    assert [tuple(row)[:2] for row in found.pairs] == [(1, 3)]
    error = part.columns["flux_err"]
    assert found.pairs["covariance"][0] == pytest.approx(-0.25 * error[2] * error[3])
    np.testing.assert_array_equal(found.table["group_id"], [1, 2, 1, 3])
    for row, stamp in zip(order, found.profiles, strict=True):
        np.testing.assert_array_equal(stamp, part.profiles[row])


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_rows_of_a_list_keep_its_order_and_all_of_them_are_there(part, mosaic, tmp_path, cut):
    """Rows 1 and 4 of five lie off the image, and the third source is beside the list."""
    part.columns["input_row"][:] = [2, 0, -1, 3]
    for i, rows in enumerate((np.arange(cut), np.arange(cut, 4))):
        write_part(tmp_path / f"{i}.fits", only(part, rows))
    parts = [read_part(tmp_path / f"{i}.fits") for i in range(2)]
    place = np.array([[8.0, 9.0], [-9.0, 2.0], [30.5, 3.25], [11.0, 4.0], [99.0, 4.0]])
    mine = Table({"mine": [7, 5, 6, 9, 8]}, masked=True)
    listed = Listed(place, np.array([0, -1, 2, 3, -1]), mine, "x and y of a list", ())
    table, pairs, profiles, *_ = merge(parts, mosaic, tmp_path / "stamps.fits", listed)
    np.testing.assert_array_equal(table["mine"][:5], mine["mine"])
    np.testing.assert_array_equal(table["input_row"], [0, 1, 2, 3, 4, -1])
    np.testing.assert_array_equal(table["id"], np.arange(1, 7))
    source = [1, None, 0, 3, None, 2]
    for i, row in enumerate(source):
        if row is None:
            assert np.isnan([table[name][i] for name in ("x", "y", "flux", "chi2")]).all()
            assert table["flags"][i] == 32 and profiles[i].size == 0
        else:
            assert table["flux"][i] == part.columns["flux"][row]
            np.testing.assert_array_equal(profiles[i], part.profiles[row])
    assert [tuple(row)[:2] for row in pairs] == [(4, 6)]
    assert not len(profiles.select(np.array([1, 4])).reaching((0, 0), (99, 99)))


def test_a_bright_source_flags_the_faint_ones_of_all_tiles(part, mosaic, tmp_path):
    part.columns["flags"] = np.array([8, 0, 0, 0])
    part.columns["flux"] = np.array([1.0, 1.0, 1e9, 1.0])
    part.columns["apparent"] = np.array([1e6, 1.0, 1.0, 1.0])
    one, other = only(part, np.array([0, 1])), only(part, np.array([2, 3]))
    table = merge([one, other], mosaic, tmp_path / "stamps.fits").table
    order = np.argsort(table["flux"])[::-1]
    flags = np.asarray(table["flags"])
    assert flags[order[0]] == 0 and sorted(flags) == [0, 8, 64, 64]
