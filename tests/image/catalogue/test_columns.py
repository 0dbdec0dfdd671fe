import pytest
from astropy.table import Table
from fitsfolder import folder, network, run, sky  # noqa: F401

from vaedeblend.image.catalogue.columns import CATALOGUE_COLUMNS, FLAGS, MEASURED

WRITTEN = [
    ("id", "int64", None),
    ("x", "float64", "pix"),
    ("y", "float64", "pix"),
    ("ra", "float64", "deg"),
    ("dec", "float64", "deg"),
    ("flux", "float64", "uJy"),
    ("flux_err", "float64", "uJy"),
    ("mag", "float64", "mag"),
    ("mag_err", "float64", "mag"),
    ("half_light_radius", "float64", "arcsec"),
    ("purity", "float64", None),
    ("n_neighbours", "int64", None),
    ("axis_ratio", "float64", None),
    ("chi2", "float64", None),
    ("captured", "float64", None),
    ("hidden", "bool", None),
    ("flags", "int64", None),
    ("x_stamp", "int64", None),
    ("y_stamp", "int64", None),
    ("binning", "int64", None),
    ("group_id", "int32", None),
    ("input_row", "int64", None),
    ("stamp", "int64", None),
]
"""Users' programs read these: name, type and unit of each column of catalog.fits."""
LISTED = [("same_row", "int64", None), ("x_list", "float64", "pix"), ("y_list", "float64", "pix")]
LISTED += [("input_y", "float64", None), ("input_x", "float64", None)]
"""Those that a list adds: its own come last."""


@pytest.mark.parametrize("n", [0, 3])
def test_the_written_catalogue_has_its_columns_whatever_was_found(folder, sky, n):  # noqa: F811
    Table(sky[0][:n], names=["y", "x"]).write(folder / "list.ecsv")
    table = run(folder, catalog=folder / "list.ecsv", passes=0)
    found = [
        (name, table[name].dtype.newbyteorder("=").name, table[name].unit)
        for name in table.colnames
    ]
    assert found == WRITTEN + LISTED and len(table) == n
    assert [table.meta[f"FLAG{bit}"] for bit in FLAGS] == [name for name, _ in FLAGS.values()]


def test_a_column_is_measured_or_computed_and_has_a_name_of_its_own():
    names = [column.name for column in CATALOGUE_COLUMNS]
    assert len(names) == len(set(names))
    assert set(MEASURED) - set(names) == {"position", "apparent"}
    assert all(column.description or column.name == "mag_err" for column in CATALOGUE_COLUMNS)
