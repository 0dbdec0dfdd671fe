import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.cli import main
from vaedeblend.exceptions import FileError
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.pixels.psf import read_psf
from vaedeblend.simulate.fields import simulate_field, write_field
from vaedeblend.survey import Survey


@pytest.fixture(scope="module")
def field():
    return simulate_field(size=(90, 120), seed=4, survey=Survey(), density=3.0)


@pytest.fixture
def folder(field, tmp_path):
    write_field(field, Survey(), tmp_path / "field")
    return tmp_path / "field"


def test_files_are_those_of_a_real_field(folder, field):
    names = {path.name for path in folder.iterdir()}
    assert names == {"image.fits", "rms.fits", "psf.fits", "truth.fits"}
    with open_mosaic(folder / "image.fits", rms=folder / "rms.fits") as mosaic:
        pixels = mosaic.read(slice(0, 90), slice(0, 120))
        assert mosaic.zero_point == 23.9 and mosaic.gain == pytest.approx(float(Survey().gain[0]))
        assert mosaic.pixel_scale == pytest.approx(0.1)
    np.testing.assert_array_equal(pixels.image, field.image[..., 0])
    np.testing.assert_array_equal(pixels.rms, field.rms[..., 0])


def test_psf_is_effective_centred_and_of_unit_sum(folder):
    psf = read_psf(folder / "psf.fits", default_pixel_scale=0.5)
    assert psf.pixel_scale == 0.1 and psf.image.sum() == pytest.approx(1)
    assert np.unravel_index(np.argmax(psf.image), psf.image.shape) == (15, 15)


def test_truth_is_read_again_with_its_units(folder, field):
    truth = Table.read(folder / "truth.fits", hdu="TRUTH")
    np.testing.assert_array_equal(truth["id"], field.truth["id"])
    np.testing.assert_allclose(truth["flux"], field.truth["flux"].value)
    assert truth["flux"].unit == "uJy" and truth["x"].unit == "pix"


def test_sky_coordinates_have_their_centre_in_the_middle(folder):
    wcs = WCS(fits.getheader(folder / "image.fits"))
    np.testing.assert_allclose(wcs.all_pix2world(59.5, 44.5, 0), (150.1, 2.2))


def test_a_folder_that_cannot_be_made_is_an_error(field, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="file/field"):
        write_field(field, Survey(), tmp_path / "file" / "field")


def test_command_writes_the_same_field(tmp_path, capsys):
    arguments = ["--size", "90", "--density", "2", "--seed", "5", "--processes", "1"]
    assert main(["simulate", "--out", str(tmp_path / "one"), *arguments]) == 0
    assert "galaxies and stars" in capsys.readouterr().out
    expected = simulate_field(size=90, seed=5, survey=Survey(), density=2.0)
    np.testing.assert_array_equal(
        fits.getdata(tmp_path / "one" / "image.fits"), expected.image[..., 0]
    )


def test_command_refuses_what_makes_no_sense(tmp_path, capsys):
    assert main(["simulate", "--out", str(tmp_path / "one"), "--density", "-1"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("error:") and "density is -1" in said
