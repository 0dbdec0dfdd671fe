"""Images that are in memory in place of a file: arrays, NDData, HDUs give what the file gives."""

import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from fitsfolder import GAIN, RMS, SHAPE, folder, network, run, sky  # noqa: F401
from matched import gaussian

from vaedeblend.cli import main
from vaedeblend.exceptions import MosaicError, VaedeblendError
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.io.mosaic import open_mosaic, write_given

BAD = np.zeros(SHAPE, bool)
BAD[60:64, 80:120] = True


@pytest.fixture
def pixels(folder):  # noqa: F811
    """Pixels as astropy reads them, big-endian, and their header."""
    return fits.getdata(folder / "image.fits", header=True)


def array(pixels, header):
    return {"image": pixels, "rms": np.full(SHAPE, RMS), "mask": BAD}


def masked(pixels, header):
    return {"image": np.ma.array(pixels, mask=BAD), "rms": np.full(SHAPE, RMS, ">f4")}


def quantity(pixels, header):
    return {"image": pixels * u.uJy, "rms": np.full(SHAPE, 1e3 * RMS) * u.nJy, "mask": BAD}


def ccd(pixels, header):
    error = StdDevUncertainty(np.full(SHAPE, RMS))
    return {"image": CCDData(pixels, error, BAD, unit="uJy", wcs=WCS(header))}


def ccd_of_units(pixels, header):
    error = StdDevUncertainty(np.full(SHAPE, 1e3 * RMS), unit="nJy")
    return {"image": CCDData(pixels, error, BAD, unit="uJy", wcs=WCS(header))}


def hdus(pixels, header):
    planes = [fits.PrimaryHDU(), fits.ImageHDU(pixels, header, name="SCI")]
    return {
        "image": fits.HDUList(planes),
        "weight": fits.ImageHDU(np.full(SHAPE, RMS**-2, np.float32)),
        "mask": fits.CompImageHDU(BAD.astype(np.uint8)),
    }


@pytest.mark.parametrize("kind", [array, masked, quantity, ccd, ccd_of_units, hdus])
def test_what_is_in_memory_has_the_files_pixels(pixels, folder, kind):  # noqa: F811
    files = write_given(kind(*pixels), folder / "given")
    everywhere = [slice(0, side) for side in SHAPE]
    with open_mosaic(**files) as mosaic:
        image, rms, bad = mosaic.read(*everywhere)
        np.testing.assert_array_equal(bad, BAD)
        np.testing.assert_array_equal(image[~BAD], pixels[0][~BAD])
        np.testing.assert_allclose(rms[~BAD], RMS, rtol=1e-6)
        assert mosaic.unit == (u.uJy if kind in (quantity, ccd, ccd_of_units, hdus) else None)
        assert (mosaic.wcs is not None) == (kind in (ccd, ccd_of_units, hdus))


def test_an_image_in_memory_gives_the_catalogue_of_its_file(pixels, folder):  # noqa: F811
    fits.writeto(folder / "mask.fits", BAD.astype(np.int16))
    given = {"gain": GAIN, "zero_point": 23.9}
    wanted = run(folder, "file", mask=folder / "mask.fits", **given)
    table = deblend_image(*ccd(*pixels).values(), folder / "memory", **given).table
    for name in ("x", "ra", "flux", "flux_err", "flags"):
        np.testing.assert_allclose(table[name].data, wanted[name].data, rtol=1e-5, atol=1e-5)


def test_the_forms_of_noise_are_brought_to_the_images_unit(tmp_path):
    inputs = {"image": np.ones((9, 9)) * u.uJy, "psf": gaussian(4, 4, (9, 9)), "hdu": None}
    inputs |= {"variance": np.full((9, 9), 4e-12) * u.Jy**2, "catalog": None}
    found = write_given(inputs, tmp_path / "given")
    assert found["hdu"] is None and found["psf"].name == "psf.fits"
    with open_mosaic(found["image"], variance=found["variance"]) as mosaic:
        np.testing.assert_allclose(mosaic.read(slice(0, 9), slice(0, 9)).rms, 2.0)
    noise = VarianceUncertainty(np.full((9, 9), 4.0))
    parts = write_given({"image": CCDData(np.ones((9, 9)), noise, unit="uJy")}, tmp_path)
    np.testing.assert_array_equal(fits.getdata(parts["rms"]), 2.0)
    inputs["variance"] = np.ones((9, 9)) * u.uJy
    with pytest.raises(MosaicError, match="variance: in uJy; wanted uJy2"):
        write_given(inputs, tmp_path)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("rms", RMS),
        ("rms", np.array(RMS)),
        ("rms", 1e3 * RMS * u.nJy),
        ("variance", np.array([RMS**2])),
        ("weight", RMS**-2),
    ],
)
@pytest.mark.parametrize("path", [False, True])
def test_a_number_is_the_noise_of_every_pixel(pixels, folder, form, value, path):  # noqa: F811
    image = folder / "image.fits" if path else pixels[0] * u.uJy
    files = write_given({"image": image, form: value}, folder / "given")
    with open_mosaic(**files) as mosaic:
        rms = mosaic.read(*(slice(0, side) for side in SHAPE)).rms
        np.testing.assert_allclose(rms, RMS, rtol=1e-6)


def test_long_doubles_are_numbers(tmp_path):
    found = write_given({"image": np.ones((9, 9), np.longdouble)}, tmp_path)
    assert fits.getdata(found["image"]).dtype == ">f8"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda to: deblend_image(None, to), "image: None; wanted a path, an array or an HDU"),
        (lambda to: deblend_image(5, to), "image: int; wanted a path, an array or an HDU"),
        (lambda to: deblend_image(np.ones((9, 9)), to, tile=17), "tile is 17; wanted at least 64"),
    ],
)
def test_what_is_not_there_is_one_sentence(tmp_path, call, said):
    with pytest.raises(VaedeblendError, match=said):
        call(tmp_path)


UNCHECKED = """
from vaedeblend.io.workdir import find_workdir
from vaedeblend.io.write import prepare_folder
for function in (find_workdir, prepare_folder):
    try:
        function(None)
    except ValueError as error:
        print(error)
"""


def test_weights_and_folders_that_are_no_paths_are_one_sentence():
    """In a process of its own, where types are not checked, as a user's are not."""
    process = [sys.executable, "-c", UNCHECKED]
    said = subprocess.run(process, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [
        "weights: NoneType; wanted the name of shipped ones, or a workdir",
        "folder: NoneType; wanted the path of one",
    ]


def test_options_are_numbers_whatever_holds_them(folder):  # noqa: F811
    options = {"tile": 4096.0, "iterations": "2", "gain": GAIN * u.electron / u.uJy}
    table = run(folder, rms=RMS, zero_point="23.9", **options)
    assert len(table) > 30 and table.meta["GAIN"] == GAIN and table.meta["MAGZERO"] == 23.9


def test_a_folder_may_have_a_name_in_brackets(folder, capsys):  # noqa: F811
    out = folder / "run[/b]"
    arguments = ["deblend", str(folder / "image.fits"), "--out", str(out)]
    assert main([*arguments, "--rms", str(folder / "rms.fits")]) == 0
    assert "run[/b]/index.html" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.ones((64, 64), complex), "image: an array of complex128; wanted real numbers"),
        (np.array(["a"]), "image: an array of <U1; wanted real numbers"),
        ({"a": 1}, "image: dict; wanted a path, an array or an HDU"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, image, said):
    with pytest.raises(MosaicError, match=said):
        deblend_image(image, tmp_path / "out")


def test_a_file_that_is_closed_already_is_named(folder, tmp_path):  # noqa: F811
    with fits.open(folder / "image.fits", memmap=False, lazy_load_hdus=True) as hdus:
        pass
    with pytest.raises(MosaicError, match="image: HDU 'PRIMARY' .*closed file.*; wanted an open"):
        deblend_image(hdus, tmp_path / "out")
