"""MER's terms: the formula of OBJECT_ID, flags and parents, and tiles that are put together."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table, vstack
from fitsfolder import GAIN, folder, header, network, run, sky  # noqa: F401

from vaedeblend.cli import main
from vaedeblend.euclid.mer.layout import product_name
from vaedeblend.exceptions import MosaicError
from vaedeblend.image.catalogue.columns import FLAGS
from vaedeblend.image.catalogue.mer import mer_table, object_ids
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.io.mosaic import open_mosaic

BIT = {name: bit for bit, (name, _) in FLAGS.items()}
MER = {
    "OBJECT_ID": None,
    "RIGHT_ASCENSION": "deg",
    "DECLINATION": "deg",
    "SEGMENTATION_MAP_ID": None,
    "FLUX_DETECTION_TOTAL": "uJy",
    "FLUXERR_DETECTION_TOTAL": "uJy",
    "DEBLENDED_FLAG": None,
    "PARENT_ID": None,
    "DET_QUALITY_FLAG": None,
    "POINT_LIKE_PROB": None,
    "SEMIMAJOR_AXIS": "pix",
    "POSITION_ANGLE": "deg",
    "ELLIPTICITY": None,
    "FWHM": "arcsec",
    "VAEDEBLEND_FLAGS": None,
}
"""Users' programs read these: names and units."""


def read(folder, name="out"):  # noqa: F811
    return Table.read(folder / name / "catalog.fits", hdu="MER")


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        (51.65025771, -24.48945832, -516502577244894583),
        (269.9, 66.1, 2699000000661000000),
        (0.00000012, 0.5, 1005000000),
        (-0.5, -0.25, -3595000000002500000),
        (np.nan, 0.0, 0),
    ],
)
def test_object_ids_are_mers(ra, dec, expected):
    found = object_ids(np.array([ra]), np.array([dec]))
    assert found.dtype == np.int64 and abs(found[0] - expected) <= 1


def test_the_table_is_the_catalogue_in_mers_terms(folder):
    table = run(folder, mer_names=True)
    found = read(folder)
    assert [(name, found[name].unit) for name in found.colnames] == [*MER.items()]
    assert all(found[name].description and found[name].meta["ucd"] for name in MER)
    assert len(found) == len(table) and found.meta["TILE"] == found.meta["COREMARG"] == 0
    same = {"FLUX_DETECTION_TOTAL": "flux_ujy", "RIGHT_ASCENSION": "ra", "FWHM": "fwhm"}
    for name, ours in (same | {"POSITION_ANGLE": "position_angle"}).items():
        np.testing.assert_allclose(found[name], table[ours], rtol=1e-6)
    np.testing.assert_allclose(found["SEMIMAJOR_AXIS"], 10 * table["semi_major_axis"], rtol=1e-6)
    np.testing.assert_array_equal(found["SEGMENTATION_MAP_ID"], table["id"])
    assert np.isnan(np.ma.filled(found["POINT_LIKE_PROB"], np.nan)).all()


def test_parents_and_flags_speak_of_blends_alike(folder):
    table = run(folder, mer_names=True)
    found = read(folder)
    counts = np.bincount(table["group_id"])[table["group_id"]]
    blended = found["PARENT_ID"] != -1
    np.testing.assert_array_equal(blended, counts > 1)
    np.testing.assert_array_equal(blended, found["DEBLENDED_FLAG"])
    np.testing.assert_array_equal(blended, found["DET_QUALITY_FLAG"] & 2 > 0)
    first = {}
    for number, group in zip(table["id"], table["group_id"], strict=True):
        first.setdefault(group, number)
    parents = [first[group] for group in table["group_id"][blended]]
    np.testing.assert_array_equal(found["PARENT_ID"][blended], parents)


def test_flags_are_mapped(folder):
    bits = {"edge": 8, "masked": 1, "incomplete": 1024, "large": 0, "poor": 1, "unresolved": 1}
    maps = {"rms": folder / "rms.fits", "passes": 0}
    table = deblend_image(folder / "image.fits", folder / "out", **maps).table[: len(bits)]
    table["flags"], table["group_id"] = [BIT[name] for name in bits], np.arange(len(bits))
    table["point_source_prob"] = 0.25
    with open_mosaic(folder / "image.fits") as mosaic:
        found = mer_table(table, mosaic, tile=7)
    assert found["DET_QUALITY_FLAG"].tolist() == [*bits.values()]
    assert found["VAEDEBLEND_FLAGS"].tolist() == table["flags"].tolist()
    assert found["SEGMENTATION_MAP_ID"][0] == 7_000_001
    np.testing.assert_array_equal(found["POINT_LIKE_PROB"], 0.25)


def test_a_tile_of_the_wide_survey_has_a_core_of_half_a_degree(folder):
    maps = {"rms": folder / "rms.fits", "passes": 0}
    table = deblend_image(folder / "image.fits", folder / "out", **maps).table[:6]
    table["x"], table["y"] = [599.4, 599.5, 18599.4, 18599.5, 9000, 9000], 9000.0
    table["y"][4:] = [599.5, 18599.5]
    with open_mosaic(folder / "image.fits") as mosaic:
        found = mer_table(table, mosaic._replace(shape=(19200, 19200)), tile=102018211)
        others = mer_table(table, mosaic._replace(shape=(19200, 19199)), tile=102018211)
    assert found["SEGMENTATION_MAP_ID"].tolist() == [102018211_000_000 + n for n in (2, 3, 5)]
    assert found.meta["COREMARG"] == 60 and len(others) == 6


@pytest.fixture
def tiles(folder):
    """Two tiles of the folder's image, which share 60 columns."""
    folders = {}
    for number, low in ((102000001, 0), (102000002, 100)):
        folders[number] = folder / str(number)
        folders[number].mkdir()
        for name in ("image", "rms"):
            data = fits.getdata(folder / f"{name}.fits")[:, low : low + 160]
            cut = header()
            cut["CRPIX1"], cut["MAGZERO"], cut["GAIN"] = cut["CRPIX1"] - low, 23.9, GAIN
            path = folders[number] / product_name(name, number, "20261101T000000.0")
            fits.writeto(path, data, cut)
    return folders


def test_catalogues_of_neighbouring_tiles_hold_no_source_twice(folder, tiles):
    for number, path in tiles.items():
        deblend_image(path, folder / f"out{number}", core_margin=3.0)
    parts = [read(folder, f"out{number}") for number in tiles]
    assert [part.meta["TILE"] for part in parts] == [*tiles]
    assert [set(part["SEGMENTATION_MAP_ID"] // 10**6) for part in parts] == [{n} for n in tiles]
    both, whole = vstack(parts, metadata_conflicts="silent"), run(folder)
    inside = (np.abs(whole["x"] - 129.5) < 100) & (np.abs(whole["y"] - 99.5) < 70)
    core = whole[inside]
    core.sort("ra")
    both.sort("RIGHT_ASCENSION")
    assert len(both) == len(core) == len(set(both["OBJECT_ID"])) > 30
    for name, ours in (("RIGHT_ASCENSION", "ra"), ("DECLINATION", "dec")):
        np.testing.assert_allclose(both[name], core[ours], atol=1e-5)


def test_what_mers_terms_need_is_asked_for(folder):
    with fits.open(folder / "image.fits", mode="update") as hdus:
        del hdus[0].header["BUNIT"]
    with pytest.raises(MosaicError, match="no zero point; wanted for --mer-names"):
        run(folder, mer_names=True)
    with pytest.raises(MosaicError, match=r"core_margin is 11 arcsec; wanted 0 to 10"):
        run(folder, mer_names=True, core_margin=11.0, zero_point=23.9)
    words = ["deblend", str(folder / "image.fits"), "--out", str(folder / "o")]
    with pytest.raises(MosaicError, match="wanted --mer-names, too"):
        run(folder, core_margin=3.0)
    assert main([*words, "--core-margin", "3"]) == 1


def test_rows_of_a_list_that_are_off_the_image_are_not_in_the_tile(folder, sky):
    rows = [*sky[0][:4].tolist(), [-500.0, 30.0], [np.nan, np.nan]]
    Table(rows=rows, names=["y", "x"]).write(folder / "list.ecsv")
    table = run(folder, catalog=folder / "list.ecsv", passes=0, mer_names=True)
    found = read(folder)
    assert len(table) == 6 and found["SEGMENTATION_MAP_ID"].tolist() == [1, 2, 3, 4]
    assert table["flux"].description and np.isfinite(found["FLUX_DETECTION_TOTAL"]).all()
    assert (folder / "out" / "sources.reg").read_text().count("ellipse") == 4
