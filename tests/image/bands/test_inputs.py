"""What is said of a band that its pixels contradict; nothing is, of one that is as it is given."""

import numpy as np
import pytest
from astropy.io import fits
from banded import NOISE, Sky

from vaedeblend.image.bands.inputs import open_band
from vaedeblend.image.bands.sources import read_sources


@pytest.fixture(scope="module")
def sky():
    return Sky(np.random.default_rng(11), 14)


@pytest.fixture
def vis(sky, tmp_path):
    return read_sources(sky.deblended(tmp_path / "out"))


@pytest.fixture
def band(sky, tmp_path):
    return sky.band(tmp_path, rng=np.random.default_rng(2))


def warned(given, vis):
    """The lines that warn."""
    return [line for line in open_band(given, vis).said if line.startswith("warned: ")]


def test_a_band_as_it_is_given_has_no_warning(band, vis):
    assert not warned(band, vis) and not warned(band._replace(rms=None), vis)
    assert not warned(band._replace(gain=5.1 / NOISE), vis)


@pytest.mark.parametrize("roll", [(1, 0), (0, -1), (1, 1)])
def test_a_psf_that_peaks_beside_its_middle_pixel_is_moved_there(band, vis, tmp_path, roll):
    psf = fits.getdata(band.psf)
    fits.writeto(tmp_path / "beside.fits", np.roll(psf, roll, axis=(0, 1)))
    (one,) = open_band(band, vis).psfs.psfs
    beside = open_band(band._replace(psf=tmp_path / "beside.fits"), vis)
    assert np.abs(beside.psfs.psfs[0].image - one.image).max() < 1e-4 * one.image.max()
    said = f"corrected: {tmp_path}/beside.fits: 1 of 1 PSFs peak beside their middle pixel; they"
    assert [line for line in beside.said if line.startswith(said)]


def test_a_psf_whose_noise_peaks_beside_its_middle_pixel_stays(band, vis, tmp_path):
    psf = fits.getdata(band.psf)
    psf[len(psf) // 2 + 1, len(psf) // 2] *= 1.2
    fits.writeto(tmp_path / "noisy.fits", psf)
    noisy = open_band(band._replace(psf=tmp_path / "noisy.fits"), vis)
    assert np.array_equal(noisy.psfs.psfs[0].image, psf / psf.sum(dtype=float))


def test_a_psf_of_half_the_width_of_the_sources_is_said(vis, tmp_path):
    """Stars, and the PSF of VIS in the place of the band's."""
    stars = Sky(np.random.default_rng(5), 14)
    stars.width[:] = 0
    band = stars.band(tmp_path, "S", np.random.default_rng(2), bright=np.full(14, 10.0))
    assert not warned(band, vis)
    (said,) = warned(band._replace(psf=tmp_path / "out" / "vis_psf.fits"), vis)
    assert "times sharper than 1" in said and "as wide as each other; is it sampled as" in said


def test_a_gain_that_makes_the_sky_less_than_any_is_said(band, vis):
    (said,) = warned(band._replace(gain=0.1 / NOISE), vis)
    assert "--gain 25 makes the background's rms 0.1 electrons; wanted 5 at least" in said


def test_a_zero_point_that_the_header_contradicts_is_said(band, vis):
    assert not warned(band._replace(zero_point=23.9), vis)
    (said,) = warned(band._replace(zero_point=21.4), vis)
    assert "_image.fits: MAGZERO is 23.9 mag, and --zero-point 21.4, which is used" in said
    assert "fluxes are 10 times those of the header" in said
