import numpy as np
import pytest
from astropy.io import fits
from banded import NOISE, VIS_SIGMA, Sky

from vaedeblend.exceptions import BandError
from vaedeblend.image.bands.pipeline import photometry
from vaedeblend.image.bands.sources import gradients, known_errors, read_sources, size_errors


def squares_of(vis):
    """Sums of the squares of profiles of unit flux."""
    return np.array([np.square(s / f).sum() for s, f in zip(vis.profiles, vis.flux, strict=True)])


def test_the_psf_is_that_of_the_deblendings_command(tmp_path):
    folder = tmp_path / ("a folder's name of such a length that its card goes on " * 2)
    folder.mkdir()
    vis = read_sources(Sky(np.random.default_rng(1), 3).deblended(folder / "out"))
    assert vis.files[-1] == folder / "out" / "vis_psf.fits"
    assert vis.psfs.fwhm == pytest.approx(np.sqrt(8 * np.log(2)) * VIS_SIGMA, rel=0.02)
    assert vis.measured.all() and not vis.point.any() and vis.microjansky == pytest.approx(1)


def test_what_noise_does_not_explain_is_the_profiles(tmp_path):
    sky = Sky(np.random.default_rng(2), 4)
    vis, rows = read_sources(sky.deblended(tmp_path / "out", flux_err=0.1)), np.arange(4)
    squares = squares_of(vis)
    known = known_errors(vis, rows, squares)
    assert known == pytest.approx(NOISE / np.sqrt(squares), rel=1e-3)
    expected = np.sqrt(0.1**2 - (known / sky.flux) ** 2)
    assert size_errors(vis, rows, squares) == pytest.approx(expected, rel=1e-6)
    sure = read_sources(sky.deblended(tmp_path / "sure", flux_err=1e-4))
    assert not size_errors(sure, rows, squares).any()
    unsure = read_sources(sky.deblended(tmp_path / "unsure", flux_err=2.0))
    assert (size_errors(unsure, rows, squares) == 0.3).all()
    points = read_sources(sky.deblended(tmp_path / "points", flux_err=0.1, point=True))
    assert not size_errors(points, rows, squares).any()


def test_what_is_wider_than_the_psf_may_be_of_another_size(tmp_path):
    sky = Sky(np.random.default_rng(2), 3)
    sky.width[:] = 1e-3, VIS_SIGMA, 3 * VIS_SIGMA
    vis, rows = read_sources(sky.deblended(tmp_path / "out")), np.arange(3)
    squares = squares_of(vis)
    found = gradients(vis, rows, squares)
    assert found / found[2] == pytest.approx([0, 0.5 / 0.9, 1], abs=0.05)
    points = read_sources(sky.deblended(tmp_path / "points", point=True))
    assert not gradients(points, rows, squares).any()


def leaving(out, share):
    """A deblending whose models lack a share of the light."""
    model = fits.getdata(out / "model.fits", header=True)
    fits.writeto(out / "residual.fits", share * model[0], model[1], overwrite=True)
    return out


def test_templates_are_as_bright_as_the_pixels_of_vis(tmp_path):
    """Also where sources overlap: what is left belongs to both."""
    sky = Sky(np.random.default_rng(4), 12, shape=(96, 96), flux=(20, 40))
    out = leaving(sky.deblended(tmp_path / "bright"), 0.02)
    assert read_sources(out).amplitude == pytest.approx(1.02, abs=1e-3)
    found = photometry(out, [sky.band(out)])
    assert np.asarray(found["flux_h"]) == pytest.approx(sky.band_flux / 1.02, rel=3e-3)
    assert np.asarray(found["flux_vis"]) == pytest.approx(sky.flux)


def test_noise_does_not_tell_how_bright_templates_are(tmp_path):
    sky = Sky(np.random.default_rng(4), 5, flux=(0.1, 0.2))
    vis, rows = read_sources(leaving(sky.deblended(tmp_path / "faint"), 0.5)), np.arange(5)
    squares = squares_of(vis)
    noise = known_errors(vis, rows, squares) / sky.flux
    assert noise.min() > 0.09 and vis.amplitude.max() < 1.02


def test_what_is_no_light_of_a_source_hardly_moves_its_template(tmp_path):
    """A dead column, a pixel that was hit, a star in no list; and masked pixels tell nothing."""
    sky = Sky(np.random.default_rng(5), 1, flux=(20, 21))
    out = sky.deblended(tmp_path / "out")
    model, header = fits.getdata(out / "model.fits", header=True)
    y, x = np.rint(sky.position[0]).astype(int)
    holes = [np.zeros_like(model) for _ in range(4)]
    holes[0][:, x] = -model[:, x]
    holes[1][y + 2, x + 1] = 500 * NOISE
    holes[2] = 3 * np.roll(model, 4, axis=1)
    holes[3][:] = -2 * model
    for hole in holes:
        fits.writeto(out / "residual.fits", hole, header, overwrite=True)
        assert 0.93 < read_sources(out).amplitude[0] < 1.07
    left = 0.02 * model
    left[:, : x + 1] = np.nan
    fits.writeto(out / "residual.fits", left, header, overwrite=True)
    assert read_sources(out).amplitude[0] == pytest.approx(1.02, abs=1e-3)
    fits.writeto(out / "residual.fits", model[:9, :9], header, overwrite=True)
    with pytest.raises(BandError, match="no image such as vaedeblend deblend writes"):
        read_sources(out)


def test_an_image_without_wcs_is_refused(tmp_path):
    out = Sky(np.random.default_rng(3), 2).deblended(tmp_path / "out")
    fits.writeto(out / "model.fits", fits.getdata(out / "model.fits"), overwrite=True)
    with pytest.raises(BandError, match="the deblended image has no WCS; wanted one"):
        read_sources(out)
