"""Lists of positions: units, names, order, and which rows are measured."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS

from vaedeblend.catalogues.positions import read_positions, with_list
from vaedeblend.exceptions import MosaicError
from vaedeblend.io.mosaic import open_mosaic

SHAPE = 60, 80
X, Y = np.array([70.0, 10.25, 40.5]), np.array([50.0, 20.0, 5.75])


def header(*, distorted=False, frame="RA---TAN DEC--TAN", at=(150.0, 2.0)):
    names = [name + "-SIP" if distorted else name for name in frame.split()]
    cards = {"CTYPE1": names[0], "CTYPE2": names[1], "CRVAL1": at[0], "CRVAL2": at[1]}
    cards |= {"CRPIX1": 40.0, "CRPIX2": 30.0, "CDELT1": -0.1 / 3600, "CDELT2": 0.1 / 3600}
    if distorted:
        cards |= {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 4e-5, "A_1_1": -3e-5, "B_0_2": 5e-5}
    return fits.Header(cards)


@pytest.fixture
def mosaic(tmp_path):
    """Opens an image of a header; gives the mosaic."""
    opened = []

    def make(cards):
        fits.writeto(tmp_path / "image.fits", np.zeros(SHAPE, np.float32), cards, overwrite=True)
        opened.append(open_mosaic(tmp_path / "image.fits"))
        return opened[-1].__enter__()

    yield make
    for each in opened:
        each.__exit__(None, None, None)


@pytest.fixture
def plain(mosaic):
    return mosaic(header())


def sky(cards=None):
    return WCS(cards or header()).all_pix2world(X, Y, 0)


def assert_places(listed, atol=1e-4):
    np.testing.assert_allclose(listed.position, np.stack([Y, X], axis=1), atol=atol)
    np.testing.assert_array_equal(listed.same_row, [0, 1, 2])


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("x y", 0),
        ("X Y", 0),
        ("X_IMAGE Y_IMAGE", 1),
        ("XWIN_IMAGE YWIN_IMAGE", 1),
        ("xcentroid ycentroid", 0),
    ],
)
def test_pixels_count_as_their_program_does(plain, names, first):
    listed = read_positions(Table([X + first, Y + first], names=names.split()), plain)
    assert_places(listed)
    assert f"({first}-based pixels)" in listed.meaning


@pytest.mark.parametrize(
    "names",
    [
        "ra dec",
        "RA DEC",
        "ALPHA_J2000 DELTA_J2000",
        "RIGHT_ASCENSION DECLINATION",
        "RAJ2000 DEJ2000",
    ],
)
def test_the_sky_has_many_names(plain, names):
    assert_places(read_positions(Table([*sky()], names=names.split()), plain))


@pytest.mark.parametrize("unit", ["rad", "hourangle", "arcsec", "h", None])
def test_units_are_obeyed(plain, unit):
    ra, dec = sky()
    factor = {"rad": np.pi / 180, "arcsec": 3600}.get(unit, 1)
    table = Table({"ra": ra * factor, "dec": dec * factor})
    if unit in ("hourangle", "h"):
        table["ra"] /= 15
    table["ra"].unit, table["dec"].unit = unit, "deg" if unit in ("hourangle", "h") else unit
    assert_places(read_positions(table, plain))
    if unit != "h":
        assert_places(read_positions(QTable(table), plain))


def test_angles_may_be_texts(plain):
    texts = SkyCoord(*sky(), unit="deg").to_string("hmsdms", sep=":", precision=6)
    table = Table(rows=[text.split() for text in texts], names=["ra", "dec"])
    assert_places(read_positions(table, plain), atol=1e-3)
    numbers = Table([np.array(values).astype(str) for values in sky()], names=["ra", "dec"])
    assert_places(read_positions(numbers, plain))
    table["ra"][1] = "north"
    with pytest.raises(MosaicError, match="column ra .*wanted numbers, or angles as 10:00:12.3"):
        read_positions(table, plain)


@pytest.mark.parametrize("kind", ["sexagesimal", "numbers", "bytes"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_row_without_a_place_is_not_measured(plain, kind, masked):
    numbers = np.transpose(sky()).astype(str)
    texts = SkyCoord(*sky(), unit="deg").to_string("hmsdms", sep=":", precision=6)
    rows = numbers if kind == "numbers" else np.array([text.split() for text in texts])
    table = Table([*rows.T], names=["ra", "dec"], masked=masked)
    if masked:
        table["ra"].mask[1] = table["dec"].mask[1] = True
    else:
        table["ra"][1] = table["dec"][1] = ""
    if kind == "bytes":  # as tables of FITS have them
        table.convert_unicode_to_bytestring()
    listed = read_positions(table, plain)
    np.testing.assert_array_equal(listed.same_row, [0, -1, 2])
    np.testing.assert_allclose(listed.position[[0, 2]], np.stack([Y, X], 1)[[0, 2]], atol=1e-3)


def test_numbers_may_have_a_decimal_comma(plain, tmp_path):
    for name, values in (("x y", (X, Y)), ("ra dec", sky())):
        rows = [
            " ".join(f"{v:.10g}".replace(".", ",") for v in row) for row in np.transpose(values)
        ]
        text = "\n".join([f"id {name}", *(f"{i},5 {row}" for i, row in enumerate(rows))])
        for by in " ;":
            (tmp_path / "list.csv").write_text(text.replace(" ", by))
            listed = read_positions(tmp_path / "list.csv", plain)
            assert_places(listed, atol=1e-2)
            assert listed.table["id"][1] == "1,5"  # as the user has it


@pytest.mark.parametrize("names", ["x y", "ra dec"])
def test_a_comma_that_may_be_of_thousands_is_refused(plain, names):
    table = Table([["1,150", "1,200"], ["20,100", "30,100"]], names=names.split())
    with pytest.raises(MosaicError, match="with a point: a comma may be one of thousands"):
        read_positions(table, plain)


def test_files_of_several_tables_and_data_frames_are_read(plain, tmp_path):
    table = Table({"x": X, "y": Y, "id": [3, 1, 2]})
    hdus = [fits.PrimaryHDU(), fits.table_to_hdu(table), fits.table_to_hdu(Table({"a": [1]}))]
    fits.HDUList(hdus).writeto(tmp_path / "catalog.fits")
    assert_places(read_positions(tmp_path / "catalog.fits", plain))
    pytest.importorskip("pandas")
    listed = read_positions(table.to_pandas(), plain)
    assert_places(listed)
    np.testing.assert_array_equal(listed.table["id"], table["id"])


def test_coordinates_of_astropy_are_read(plain, tmp_path):
    table = QTable({"label": [1, 2, 3], "sky_centroid": SkyCoord(*sky(), unit="deg").galactic})
    table.write(tmp_path / "list.ecsv")
    assert_places(read_positions(tmp_path / "list.ecsv", plain))


def test_images_in_galactic_coordinates_take_ra_and_dec(mosaic):
    cards = header(frame="GLON-TAN GLAT-TAN", at=(236.8, 42.1))
    icrs = SkyCoord(*sky(cards), unit="deg", frame="galactic").icrs
    assert_places(read_positions(Table({"ra": icrs.ra.deg, "dec": icrs.dec.deg}), mosaic(cards)))


def test_a_sky_full_of_others_does_not_hurt_a_distorted_image(mosaic, rng):
    """Far away a distortion has no inverse, and a tangent plane the other side of the sky."""
    cards = header(distorted=True)
    ra, dec = sky(cards)
    far = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
    table = Table({"ra": [*ra, *far[0], 330.0], "dec": [*dec, *far[1], -2.0]})
    listed = read_positions(table, mosaic(cards))
    np.testing.assert_allclose(listed.position[:3], np.stack([Y, X], axis=1), atol=1e-3)
    assert (listed.same_row[3:] == -1).all()


def test_a_spreadsheet_marks_its_first_column(plain, tmp_path):
    (tmp_path / "list.csv").write_text("\ufeffx,y,name\n70,50,a\n10.25,20,b\n40.5,5.75,c\n")
    listed = read_positions(tmp_path / "list.csv", plain)
    assert_places(listed)
    assert listed.table.colnames == ["x", "y", "name"]


def test_pixels_of_another_image_give_way_to_the_sky(plain):
    ra, dec = sky()
    table = Table({"x": X + 3000, "y": Y, "ra": ra, "dec": dec})
    listed = read_positions(table, plain)
    assert_places(listed)
    assert "of another image" in listed.meaning
    assert "of another image" not in read_positions(Table({**table, "x": X}), plain).meaning


@pytest.mark.parametrize("turn", [1.0, 90.0, 180.0])
def test_a_list_of_another_place_is_refused_though_its_pixels_would_fit(plain, turn):
    ra, dec = sky()
    table = Table({"x": X, "y": Y, "ra": ra + turn, "dec": dec})
    with pytest.raises(MosaicError, match=r"none of 3 positions \(ra and dec \(not x and y"):
        read_positions(table, plain)
    table["ra"] = np.nan  # as of an image without a WCS
    assert_places(read_positions(table, plain))


def test_lists_of_tphot_count_from_one(plain):
    bounds = {name: np.ones(3, int) for name in ("xmin", "ymin", "xmax", "ymax")}
    listed = read_positions(Table({"id": [1, 2, 3], "x": X + 1, "y": Y + 1, **bounds}), plain)
    assert_places(listed)
    assert "1-based" in listed.meaning


def test_rows_within_a_pixel_are_one_and_rows_off_the_image_none(plain):
    x = [10.0, 10.5, 11.2, 30.0, -0.6, np.nan, 30.0]
    listed = read_positions(Table({"x": x, "y": np.full(7, 20.0)}), plain)
    np.testing.assert_array_equal(listed.same_row, [0, 0, 2, 3, -1, -1, 3])
    assert np.isnan(listed.measured[[1, 4, 5, 6]]).all()
    np.testing.assert_array_equal(listed.measured[2], [20.0, 11.2])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (Table({"x": X + 900, "y": Y}), "none of 3 positions.*80 x 60 pixels.*910.25 to 970"),
        (Table({"x": X * np.nan, "y": Y}), "all of them are NaN"),
        (Table({"ra": np.radians(sky()[0]), "dec": np.radians(sky()[1])}), "radians"),
        (Table({"ra": sky()[0], "dec": sky()[1]}, units=["mag", "deg"]), "ra in mag; wanted an"),
        (Table({"x": X, "y": Y}, units=["arcsec", "pix"]), "x in arcsec; wanted pixels"),
        (Table({"a": X, "b": Y}), "wanted x and y, or ra and dec"),
    ],
)
def test_a_list_that_cannot_be_placed_is_refused(plain, table, said):
    with pytest.raises(MosaicError, match=said):
        read_positions(table, plain)


def test_the_lists_columns_go_with_its_rows(plain, tmp_path):
    table = QTable({"x": X, "y": Y, "OBJECT_ID": [7, 5, 9], "name": ["a", "b", "c"]})
    table["Flux"], table["size"] = [1.0, 2.0, 3.0] * u.uJy, np.ones((3, 2))
    table["coord"] = SkyCoord(*sky(), unit="deg")
    table["good"] = [True, False, True]
    listed = read_positions(table, plain)
    assert listed.said.endswith("columns coord are left out: FITS cannot hold them")
    catalogue = Table({"x": [0.0] * 4, "y": [0.0] * 4, "flux": [0.0] * 4})
    catalogue["input_row"] = [0, 1, 2, -1]
    found = with_list(catalogue, listed)
    assert found.colnames[4:] == [
        *("same_row", "x_list", "y_list"),
        *("input_x", "input_y", "OBJECT_ID", "name", "input_Flux", "size", "good"),
    ]
    np.testing.assert_array_equal(found["OBJECT_ID"][:3], [7, 5, 9])
    np.testing.assert_array_equal(found["same_row"], [0, 1, 2, -1])
    assert found["input_Flux"].unit == u.uJy and found["OBJECT_ID"].mask[3]
    assert found.meta["LIST"] == f"x and y (0-based pixels) of {Path('catalog').name}"
    found.write(tmp_path / "catalog.fits")
    again = Table.read(tmp_path / "catalog.fits")
    assert list(again["good"][:3]) == [1, 0, 1] and again["good"].mask[3]


def test_two_columns_of_one_name_are_refused(plain):
    table = Table({"x": X, "y": Y, "X": X + 1})
    with pytest.raises(MosaicError, match="columns 'x' and 'X'; wanted one of them"):
        read_positions(table, plain)


def test_a_list_in_any_letters_can_be_written(plain, tmp_path):
    path = tmp_path / "Γαλαξίες.ecsv"
    Table({"x": X, "y": Y, "größe": [1, 2, 3], "name": ["Ré", "b", "c"]}).write(path)
    listed = read_positions(path, plain)
    assert listed.said.endswith("columns größe, name are written in ASCII")
    catalogue = with_list(Table({"flux": [0.0] * 3, "input_row": [0, 1, 2]}), listed)
    catalogue.write(tmp_path / "catalog.fits")
    assert list(catalogue["name"]) == ["Re", "b", "c"]
