"""Headers and files of surveys and cameras as they are: read aright, or said."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import RMS, SHAPE, folder, network, sky  # noqa: F401
from inspected import changed, inspected, kinds, only

from vaedeblend.catalogues.positions import read_positions
from vaedeblend.io.mosaic import image_header, open_mosaic
from vaedeblend.io.write import write_tables

TAN_SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": 1e-6}


@pytest.mark.parametrize(
    ("cards", "zero_point"),
    [
        ({"BUNIT": "counts", "ABMAGZP": 25.9}, 25.9),
        ({"BUNIT": "counts", "ZP_STACK": 30.132}, 30.132),
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"BUNIT": "ELECTRONS/S", "PHOTFLAM": 7.0e-20, "PHOTPLAM": 8045.0}, 25.952),
        ({"BUNIT": "ELECTRONS", "PHOTFLAM": 7.0e-20, "PHOTPLAM": 8045.0}, None),
        ({"BUNIT": "uJy", "MAGZERO": -999.0}, 23.9),
        ({"BUNIT": "counts", "MAGZERO": 99.0}, None),
    ],
)
def test_zero_points_of_many_surveys_are_known(folder, cards, zero_point):  # noqa: F811
    with open_mosaic(changed(folder, cards=cards) / "image.fits") as mosaic:
        assert mosaic.zero_point == (zero_point and pytest.approx(zero_point, abs=2e-3))


@pytest.mark.parametrize("card", ["MAGZEROP", "FLUXMAG0", "PHOTFLAM"])
def test_cards_that_may_tell_a_zero_point_are_named(folder, card):  # noqa: F811
    said = inspected(changed(folder, cards={"BUNIT": "DN", card: 25.9, "BZERO": 0.0}))[1]
    line = only(said, "assumed zero point")
    assert f"NaN; {card} 25.9 may tell one: give --zero-point" in line


def test_a_zero_point_that_the_header_contradicts_is_said(folder):  # noqa: F811
    assert "".join(kinds(inspected(folder, zero_point=23.9)[1])) == "given zero point"
    line = only(inspected(folder, zero_point=24.9)[1], "warned header")
    assert "is 23.9 mag, and --zero-point 24.9, which is used: fluxes are 0.398 times" in line


def test_a_mark_of_an_unknown_zero_point_is_said(folder):  # noqa: F811
    line = only(inspected(changed(folder, cards={"MAGZERO": -999.0}))[1], "warned header")
    assert "MAGZERO -999 is no number between -90 and 90" in line


@pytest.mark.parametrize("unit", ["mag", "mag(AB)", "mag/arcsec2", "dex"])
def test_images_of_magnitudes_are_refused(folder, unit):  # noqa: F811
    line = only(inspected(changed(folder, cards={"BUNIT": unit}))[1], "refused image")
    assert f"its unit is {unit}; wanted one of fluxes" in line


def test_one_of_several_images_is_said(folder):  # noqa: F811
    image = fits.getdata(folder / "image.fits")
    planes = [fits.ImageHDU(image, name="SCI", ver=i) for i in (1, 2)]
    planes += [fits.ImageHDU(image, name="ERR"), fits.ImageHDU(image[:9], name="SCI", ver=3)]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(folder / "image.fits", overwrite=True)
    line = only(inspected(folder)[1], "assumed image")
    assert "image.fits[SCI]: the first of 2 images" in line and "image.fits[SCI,2]" in line


def test_distortions_that_ctype_does_not_name_are_used_and_said_in_a_line(folder, capfd):  # noqa: F811
    line = only(inspected(changed(folder, cards=TAN_SIP))[1], "warned header")
    assert "coefficients of SIP, but no CTYPE of -SIP; they are used" in line
    with open_mosaic(folder / "image.fits") as mosaic:
        header = image_header(mosaic)
    assert header["CTYPE1"] == "RA---TAN-SIP" and header["A_2_0"] == 1e-6
    assert not "".join(capfd.readouterr())  # astropy's own words are many


@pytest.mark.parametrize(
    "cards",
    [
        {"DATE-OBS": "12/05/98", "MJD-OBS": 50945.0, "RADECSYS": "FK5", "EPOCH": 2000.0},
        {"DATE": "tomorrow", "TIMESYS": "LOCAL", "OBSGEO-X": 1.0},
        {"BUNIT": "counts per second per pixel of the detector, flat fielded and so on and so on"},
        {"HIERARCH ESO DET OUT1 GAIN": 3.0, "COMMENT": 150 * "x"},
    ],
)
def test_ordinary_headers_give_no_warnings(folder, cards, capfd):  # noqa: F811
    """Of the suite's own, each warning is an error."""
    assert kinds(inspected(changed(folder, cards=cards))[1]) <= {"assumed zero point"}
    with open_mosaic(folder / "image.fits") as mosaic:
        fits.writeto(folder / "model.fits", fits.getdata(folder / "rms.fits"), image_header(mosaic))
    assert not "".join(capfd.readouterr())


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_2", "HCOMPRESS_1"])
def test_compressed_images_and_maps_are_read(folder, compression):  # noqa: F811
    image = fits.getdata(folder / "image.fits")
    for name in ("image.fits", "rms.fits"):
        data, header = fits.getdata(folder / name), fits.getheader(folder / name)
        hdu = fits.CompImageHDU(data, header, compression_type=compression)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(folder / name, overwrite=True)
    assert not kinds(inspected(folder)[1])
    with open_mosaic(folder / "image.fits", rms=folder / "rms.fits") as mosaic:
        found = mosaic.read(slice(3, 150), slice(7, 259))
    np.testing.assert_allclose(found.image, image[3:150, 7:259], atol=0.1 * RMS)
    np.testing.assert_allclose(found.rms, RMS, rtol=1e-3)


def test_whole_numbers_with_a_scale_and_blanks_are_read(folder):  # noqa: F811
    image, header = fits.getdata(folder / "image.fits"), fits.getheader(folder / "image.fits")
    hdu = fits.PrimaryHDU(np.zeros(SHAPE, np.int16), header)
    hdu.writeto(folder / "image.fits", overwrite=True)
    stored = np.rint((image - 100) / 0.02).clip(-32000, 32000).astype(">i2")
    stored[:30] = -32768
    path = folder / "image.fits"
    with fits.open(path) as hdus:
        start = hdus[0].fileinfo()["datLoc"]
    content = bytearray(path.read_bytes())
    cards = {"BSCALE": 0.02, "BZERO": 100.0, "BLANK": -32768}
    written = fits.Header(cards).tostring(endcard=False, padding=False).encode()
    end = content.index(b"END" + b" " * 77)
    assert end + len(written) + 80 <= start
    content[end : end + len(written) + 80] = written + b"END" + b" " * 77
    content[start : start + stored.nbytes] = stored.tobytes()
    path.write_bytes(content)
    with open_mosaic(path) as mosaic:
        found = mosaic.read(slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    assert found.bad[:30].all() and not found.bad[30:].any()
    np.testing.assert_allclose(found.image[30:], image[30:], atol=0.011)


def test_lists_with_long_names_and_odd_units_are_kept(folder, sky):  # noqa: F811
    place, flux = sky
    names = [90 * "a", 90 * "a" + "b"]
    listed = Table({"x": place[:, 1], "y": place[:, 0], names[0]: flux, names[1]: 2 * flux})
    listed["x"].unit, listed["y"].unit = "pixels", "PIX"
    with open_mosaic(folder / "image.fits") as mosaic:
        kept = read_positions(listed, mosaic).table
    write_tables(folder / "kept.fits", {"KEPT": kept})
    kept = Table.read(folder / "kept.fits")
    assert len(kept.colnames) == 4
    np.testing.assert_array_equal(kept[kept.colnames[3]], 2 * flux)


@pytest.mark.parametrize(
    ("how", "turn"),
    [
        ("x and y exchanged", lambda y, x: (x, y)),
        ("y counted from above", lambda y, x: (SHAPE[0] - 1 - y, x)),
        ("x counted from the right", lambda y, x: (y, SHAPE[1] - 1 - x)),
    ],
)
def test_a_list_whose_axes_are_others_is_warned_of(folder, sky, how, turn):  # noqa: F811
    y, x = turn(*sky[0].T)
    listed = Table({"x": x, "y": y})
    line = only(inspected(folder, catalog=listed)[1], "warned catalog")
    assert how in line
    assert how in only(inspected(folder, catalog=listed[::4])[1], "warned catalog")
    rng = np.random.default_rng(2)
    nowhere = Table({"x": rng.uniform(9, 250, 60), "y": rng.uniform(9, 190, 60)})
    assert kinds(inspected(folder, catalog=nowhere)[1]) == {"assumed catalog"}
