import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable.ucd import check_ucd
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
    ("x_err", "float64", "pix"),
    ("y_err", "float64", "pix"),
    ("ra_err", "float64", "arcsec"),
    ("dec_err", "float64", "arcsec"),
    ("flux_ujy", "float64", "uJy"),
    ("flux_ujy_err", "float64", "uJy"),
    ("snr", "float64", None),
    ("flux_aperture", "float64", "uJy"),
    ("flux_aperture_err", "float64", "uJy"),
    ("fwhm", "float64", "arcsec"),
    ("semi_major_axis", "float64", "arcsec"),
    ("ellipticity", "float64", None),
    ("position_angle", "float64", "deg"),
    ("position_angle_sky", "float64", "deg"),
    ("e1", "float64", None),
    ("e2", "float64", None),
    ("point_source_prob", "float64", None),
    ("p_companion", "float64", None),
    ("blend_prob", "float64", None),
    ("flux_correction", "float64", "uJy"),
    ("unlike_prob", "float64", None),
    ("flux_err_95", "float64", "uJy"),
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
    inner = {"position", "position_variance", "apparent", "flux_err_alone"}
    assert set(MEASURED) - set(names) == inner


def test_every_column_is_described_and_its_kind_is_one_of_the_vocabulary():
    for column in CATALOGUE_COLUMNS:
        assert column.description, column.name
        assert not column.ucd or check_ucd(column.ucd, check_controlled_vocabulary=True), column


def test_descriptions_are_found_by_astropy_and_by_topcat(folder):
    table = run(folder, passes=0)
    header = fits.getheader(folder / "out" / "catalog.fits", "CATALOG")
    for number, column in enumerate(CATALOGUE_COLUMNS, 1):
        assert header[f"TTYPE{number}"] == column.name
        assert header[f"TCOMM{number}"] == table[column.name].description == column.description
        assert header.get(f"TUCD{number}", "") == table[column.name].meta["ucd"] == column.ucd


def test_fluxes_are_in_microjansky_whatever_the_image_is_in(folder):
    with fits.open(folder / "image.fits", mode="update") as hdus:
        del hdus[0].header["BUNIT"]
    table = run(folder, zero_point=21.4, passes=0)  # 10 uJy
    assert table["flux"].unit is None and table["flux_ujy"].unit == "uJy"
    np.testing.assert_allclose(table["flux_ujy"], 10 * table["flux"])
    np.testing.assert_allclose(table["flux_ujy_err"], 10 * table["flux_err"])
    np.testing.assert_allclose(table["snr"], table["flux"] / table["flux_err"])
