import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psf import (
    PSF_SIZE,
    is_native,
    make_psf,
    native_psf,
    native_psfs,
    read_native_psfs,
    read_psf,
    write_native_psfs,
)
from vaedeblend.simulate.render import (
    default_psf,
    make_draw,
    optical_psf,
    resampled_psf,
    resampled_psfs,
    survey_psfs,
)
from vaedeblend.survey import Survey, make_survey


def gaussian(side=31, sigma=1.0, centre=None):
    centre = side // 2 if centre is None else centre
    axis = np.exp(-0.5 * ((np.arange(side) - centre) / sigma) ** 2)
    return np.outer(axis, axis)


def star(flux=1.0):
    none, round_ = np.float64(0), np.float64(1)
    light = np.array([0.0]), np.array([flux])
    return Galaxies(*light, none, none, round_, round_, none, none)


def test_psf_is_normalised():
    assert make_psf(7 * gaussian(), 0.1).image.sum() == pytest.approx(1)


def _holed():
    image = gaussian()
    image[3, 4] = np.nan
    return image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (gaussian(30), "30 pixels wide; wanted an odd number"),
        (_holed(), "1 NaN"),
        (np.zeros((31, 31)), "sums to 0; wanted a positive sum"),
        (-gaussian(), r"sums to -6.28; wanted a positive sum"),
        (np.ones((31, 29)), r"shape \(31, 29\); wanted a square image"),
        (np.ones((3, 31, 31)), r"shape \(3, 31, 31\); wanted a square image"),
        (gaussian(centre=20), r"peaks at \(y, x\) = \(20, 20\); wanted .* \(15, 15\)"),
    ],
)
def test_unusable_image_is_refused_with_its_numbers(image, message):
    with pytest.raises(PsfError, match=message):
        make_psf(image, 0.1)


def test_pixel_scale_has_to_be_positive():
    with pytest.raises(PsfError, match="is -0.1; wanted > 0"):
        make_psf(gaussian(), -0.1)


def test_psf_larger_than_the_stamp_is_refused(tmp_path):
    fits.writeto(tmp_path / "psf.fits", gaussian(31))
    survey = make_survey({"euclid-vis": {"psf": str(tmp_path / "psf.fits")}}, 0.1)
    with pytest.raises(PsfError, match=r"psf.fits: .* 3.10 arcsec wide; wanted .* 2.40 arcsec"):
        survey_psfs(survey, 24)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(PsfError, match="absent.fits"):
        read_psf(tmp_path / "absent.fits", default_pixel_scale=0.1)


# Astropy itself warns before the error.
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("length", [0, 100, 2880, 6000])
def test_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / "psf.fits"
    fits.writeto(path, gaussian(51))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PsfError, match="psf.fits"):
        read_psf(path, default_pixel_scale=0.1)


def test_table_without_image_is_refused(tmp_path):
    column = fits.Column("flux", "D", array=np.ones(3))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "table.fits")
    with pytest.raises(PsfError, match="no FITS image"):
        read_psf(tmp_path / "table.fits", default_pixel_scale=0.1)


@pytest.mark.parametrize(("header", "scale"), [({}, 0.1), ({"PIXSCALE": 0.02}, 0.02)])
def test_pixel_scale_of_the_header_comes_first(tmp_path, header, scale):
    fits.writeto(tmp_path / "psf.fits", gaussian(), fits.Header(header))
    assert read_psf(tmp_path / "psf.fits", default_pixel_scale=0.1).pixel_scale == scale


def test_a_pixel_scale_that_is_given_comes_before_the_headers(tmp_path):
    fits.writeto(tmp_path / "psf.fits", gaussian(), fits.Header({"PIXSCALE": 0.02}))
    scales = {"pixel_scale": 0.05, "default_pixel_scale": 0.1}
    assert read_psf(tmp_path / "psf.fits", **scales).pixel_scale == 0.05


def test_pixel_scale_that_is_no_number_is_refused(tmp_path):
    fits.writeto(tmp_path / "psf.fits", gaussian(), fits.Header({"PIXSCALE": "fine"}))
    with pytest.raises(PsfError, match="fine"):
        read_psf(tmp_path / "psf.fits", default_pixel_scale=0.1)


def test_image_in_an_extension_is_found(tmp_path):
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(gaussian().astype(np.float32))])
    hdus.writeto(tmp_path / "psf.fits")
    psf = read_psf(tmp_path / "psf.fits", default_pixel_scale=0.1)
    np.testing.assert_allclose(psf.image, gaussian() / gaussian().sum(), atol=1e-7)


def test_native_psf_file_gives_flux_and_centroid_back(tmp_path):
    fits.writeto(tmp_path / "psf.fits", 3 * gaussian())
    survey = make_survey({"euclid-vis": {"psf": str(tmp_path / "psf.fits")}}, 0.1)
    draw = make_draw(survey_psfs(survey, 64), size=65, pixel_scale=0.1)
    image = draw(star(2.5), (0.3, -0.2))[..., 0].astype(float)
    y, x = np.indices(image.shape) - 32
    assert image.sum() == pytest.approx(2.5, rel=1e-3)
    assert (image * y).sum() / image.sum() == pytest.approx(0.3, abs=0.01)
    assert (image * x).sum() / image.sum() == pytest.approx(-0.2, abs=0.01)


def test_native_sampling_of_a_native_psf_is_its_image():
    psf = make_psf(gaussian(), 0.1)
    np.testing.assert_allclose(resampled_psf(psf, 0.1, 31), psf.image, atol=1e-5)
    np.testing.assert_allclose(native_psf(psf, 0.1, 31), psf.image, rtol=1e-12)


@pytest.mark.parametrize("side", [21, 31, 51])
def test_cropped_native_psf_is_the_drawn_one(side):
    psf = make_psf(resampled_psf(optical_psf(Survey().bands[0], 0.1), 0.1, side), 0.1)
    np.testing.assert_allclose(native_psf(psf, 0.1, 31), resampled_psf(psf, 0.1, 31), atol=1e-16)
    np.testing.assert_array_equal(native_psfs((psf, psf), 0.1), resampled_psfs((psf, psf), 0.1))


def test_psf_of_another_sampling_is_not_cropped():
    psf = make_psf(gaussian(), 0.05)
    assert is_native(psf, 0.05) and not is_native(psf, 0.1)
    with pytest.raises(PsfError, match="sampled at 0.05 arcsec; wanted 0.1"):
        native_psf(psf, 0.1, 31)


def test_native_psfs_come_back_from_their_file(tmp_path):
    survey = make_survey({"blue": {"wavelength": 500.0}, "red": {"wavelength": 720.0}}, 0.1)
    psfs, path = default_psf(survey), tmp_path / "psf.fits"
    write_native_psfs(path, psfs, 0.1)
    found = read_native_psfs(path, 0.1)
    assert found.dtype == np.float32 and found.shape == (PSF_SIZE, PSF_SIZE, 2)
    np.testing.assert_array_equal(found, psfs)
    with pytest.raises(PsfError, match=r"sampled at 0.1 arcsec; wanted 0.2"):
        read_native_psfs(path, 0.2)
    fits.writeto(path, gaussian(), overwrite=True)
    with pytest.raises(PsfError, match=r"shape \(31, 31\); wanted \(band, height, width\)"):
        read_native_psfs(path, 0.1)


def test_optical_psf_has_the_width_of_vis():
    vis = Survey()
    psf = optical_psf(vis.bands[0], vis.pixel_scale.value)
    image = make_draw((psf,), size=101, pixel_scale=0.01)(star(), (0.0, 0.0))[..., 0]
    area = (image > image.max() / 2).sum() * 0.01**2
    assert 0.155 < 2 * np.sqrt(area / np.pi) < 0.18
