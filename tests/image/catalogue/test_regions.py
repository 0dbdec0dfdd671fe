import re

import numpy as np
from astropy.table import Table
from fitsfolder import folder, network, run, sky  # noqa: F401

from vaedeblend.image.catalogue.regions import is_regions, write_regions


def regions(path):
    pattern = r"ellipse\((.*)\) # color=(\w+) text=\{(\d+)\}"
    found = re.findall(pattern, path.read_text())
    return np.array([[float(x) for x in each[0].split(",")] for each in found]), [
        (colour, int(number)) for _, colour, number in found
    ]


def test_each_source_has_an_ellipse_where_ds9_counts_its_pixels(folder):
    table = run(folder, passes=0)
    path = folder / "out" / "sources.reg"
    ellipse, names = regions(path)
    assert is_regions(path) and path.read_text().splitlines()[2] == "image"
    np.testing.assert_allclose(ellipse[:, :2], np.stack([table["x"], table["y"]], 1) + 1, atol=2e-3)
    np.testing.assert_allclose(ellipse[:, 2], 30 * table["semi_major_axis"], atol=2e-3)
    np.testing.assert_allclose(ellipse[:, 3] / ellipse[:, 2], table["axis_ratio"], atol=2e-3)
    assert [number for _, number in names] == table["id"].tolist()


def test_colours_are_of_flags_and_what_has_no_place_is_left_out(tmp_path):
    rows = {"id": [1, 2, 3, 4], "x": [1.0, 2, 3, np.nan], "y": [5.0, 6, 7, np.nan]}
    rows |= {"flags": [0, 4, 16, 32], "semi_major_axis": [2.0, 2, np.nan, np.nan]}
    rows |= {"axis_ratio": [0.5] * 4, "position_angle": [30.0] * 4}
    write_regions(tmp_path / "a.reg", Table(rows), None)
    ellipse, names = regions(tmp_path / "a.reg")
    assert names == [("green", 1), ("yellow", 2), ("red", 3)]
    np.testing.assert_array_equal(ellipse[0], [2, 6, 6, 3, 30])
    np.testing.assert_array_equal(ellipse[2], [4, 8, 5, 5, 0])
