"""Images of bands that cannot be measured: a sentence each."""

import numpy as np
import pytest
from astropy.io import fits
from banded import Sky, gaussian

from vaedeblend.cli import main
from vaedeblend.exceptions import VaedeblendError
from vaedeblend.image.bands.pipeline import photometry


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bands")
    sky = Sky(np.random.default_rng(7), 3, shape=(96, 96))
    return sky, sky.deblended(folder / "out")


def refused(made, folder, match, change=lambda path: None, **replaced):
    sky, out = made
    band = sky.band(folder)
    change(band.image)
    with pytest.raises(VaedeblendError, match=match):
        photometry(out, [band._replace(**replaced)])


def test_a_band_of_another_sky(made, tmp_path):
    def elsewhere(path):
        fits.setval(path, "CRVAL1", value=151.0)

    refused(
        made, tmp_path, r"none of VIS's 3 sources lies on it; wanted .* the same sky", elsewhere
    )


def test_a_band_without_wcs(made, tmp_path):
    def without(path):
        fits.writeto(path, fits.getdata(path), fits.Header({"MAGZERO": 23.9}), overwrite=True)

    refused(made, tmp_path, r"H_image.fits: has no WCS; wanted one", without)


def test_a_psf_narrower_than_vis(made, tmp_path):
    fits.writeto(tmp_path / "narrow.fits", gaussian(21, 0.06))
    refused(
        made, tmp_path, r"narrow.fits: PSF of .* at least as wide", psf=tmp_path / "narrow.fits"
    )


def test_a_band_that_is_all_masked(made, tmp_path):
    fits.writeto(tmp_path / "mask.fits", np.ones((96, 96), np.int16))
    refused(made, tmp_path, r"all pixels are masked", mask=tmp_path / "mask.fits")


def test_a_band_of_a_unit_that_is_no_flux(made, tmp_path):
    def kelvin(path):
        fits.setval(path, "BUNIT", value="K")
        fits.delval(path, "MAGZERO")

    refused(made, tmp_path, r"unit 'K' and no zero point; wanted", kelvin)


def test_a_folder_that_no_deblending_has_left(tmp_path):
    with pytest.raises(VaedeblendError, match=r"catalog.fits: is not there; wanted a folder of"):
        photometry(tmp_path, [])


def test_bands_of_one_name(made, tmp_path):
    sky, out = made
    band = sky.band(tmp_path)
    with pytest.raises(VaedeblendError, match="band H is given twice"):
        photometry(out, [band, band])


@pytest.mark.parametrize("name", ["VIS", "vis", "H band é", "../H", "-"])
def test_a_name_that_no_column_or_file_may_have(made, tmp_path, name):
    sky, out = made
    with pytest.raises(VaedeblendError, match=r"band '.*' of .*H_image.fits; wanted letters"):
        photometry(out, [sky.band(tmp_path)._replace(name=name)])
    assert not (out / "photometry").exists()


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (["err_VIS"], "flux_err_vis"),
        (["H", "err-H"], "flux_err_h"),
        (["a_b", "c", "a", "b_c"], "colour_a_b_c"),
    ],
)
def test_names_whose_columns_would_be_others(made, tmp_path, names, column):
    sky, out = made
    band = sky.band(tmp_path)
    with pytest.raises(VaedeblendError, match=f"two columns would be called {column}; wanted"):
        photometry(out, [band._replace(name=name) for name in names])
    assert not (out / "photometry").exists()


def test_a_map_of_another_bands_noise(made, tmp_path):
    sky, out = made
    band = sky.band(tmp_path, rng=np.random.default_rng(3))
    noise = fits.getdata(band.rms)
    fits.writeto(tmp_path / "other.fits", noise / 500)
    with pytest.raises(VaedeblendError, match=r"other.fits: its median is .*, and pixels of .*H_"):
        photometry(out, [band._replace(rms=tmp_path / "other.fits")])


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("--image a.fits --image b.fits --psf p.fits", "1 --psf for 2 --image"),
        ("--image a.fits", "no --psf is given"),
        ("--image {folder} --psf p.fits", "--psf is given beside a folder"),
        ("--image {folder}", "holds no band of MER beside VIS"),
        ("--image a.fits --psf p.fits", "a.fits"),
    ],
)
def test_command_lines_that_do_not_fit(made, tmp_path, words, match, capsys):
    words = words.format(folder=tmp_path).split()
    assert main(["photometry", str(made[1]), *words]) == 1
    assert match in "".join(capsys.readouterr())
