import numpy as np
import pytest
from matched import gaussian

from vaedeblend.evaluate.added.ground import Ground
from vaedeblend.evaluate.added.light import added_light, photon_noise
from vaedeblend.evaluate.added.places import make_addition, random_mixture
from vaedeblend.pixels.coadds import (
    Dithers,
    autocovariance,
    noise_autocorrelation,
)
from vaedeblend.pixels.psf import make_psf

SHAPE = 120, 160


def cut_psf(total, sigma):
    """A Gaussian that is faint, but not dark, to the edges of its image."""
    image = gaussian(15, 15, (31, 31), sigma)
    image = image + 2e-6 * image.max()
    return make_psf(total * image / image.sum(), 0.1)


NARROW, WIDE = cut_psf(0.95, 1.0), cut_psf(3.0, 1.6)


def ground(**changes):
    known = {
        "counting": np.ones(SHAPE, bool),
        "pixel_scale": 0.1,
        "zero_point": 24.9,
        "psfs": [[NARROW, WIDE]],
        "gain": 50.0,
        "correlation": None,
        "bands": ("euclid-vis",),
        "is_total": False,
    }
    return Ground(**known | changes)


def star(x):
    """A star in the middle of a pixel."""
    one = random_mixture(make_addition(0, 1, (22.0, 23.0)), SHAPE, ("euclid-vis",), 0)
    return one._replace(pixel=np.array([[60, x]]), phase=np.array([[0.5, 0.5]], np.float32))


@pytest.mark.parametrize(("x", "psf", "share"), [(40, NARROW, 0.95), (120, WIDE, 1.0)])
def test_a_star_is_the_psf_of_its_cell(x, psf, share):
    """Its flux is that of all light, of which the PSF's image has the share that it sums to.

    The rest lies beyond, most of it within 6 arcsec, where the image of the field ends.
    """
    light = added_light(star(x), ground(), 0)
    flux = 10 ** (0.4 * (24.9 - star(x).magnitude[0]))
    within = light[60 - 9 : 60 + 10, x - 9 : x + 10].sum()
    assert within == pytest.approx(share * flux, rel=5e-3)
    assert light.sum() == pytest.approx(flux, rel=0.02) and light.sum() >= within
    found = light[60 - 3 : 60 + 4, x - 3 : x + 4] / (share * flux)
    np.testing.assert_allclose(found, psf.image[12:19, 12:19], atol=1e-3)


def test_photon_noise_has_the_variance_of_the_gain_at_each_pixel():
    gain = np.where(np.arange(SHAPE[1]) < 80, 20.0, 80.0) * np.ones(SHAPE)
    noise, variance = photon_noise(np.full(SHAPE, 30, np.float32), ground(gain=gain), 0)
    for side in (np.s_[:, :80], np.s_[:, 80:]):
        assert noise[side].var() == pytest.approx(30 / gain[side].mean(), rel=0.05)
        np.testing.assert_allclose(variance[side], 30 / gain[side])


def test_photon_noise_is_correlated_as_the_sky_is():
    dithers = Dithers(np.array([[0.5, 0.5]]), "bilinear")
    made = noise_autocorrelation(dithers)
    noise, variance = photon_noise(np.full(SHAPE, 30, np.float32), ground(correlation=made), 0)
    assert noise.var() == pytest.approx(made[5, 5] * 30 / 50, rel=0.05)
    np.testing.assert_allclose(variance, 30 / 50)
    found = autocovariance(noise.astype(float), 1)
    assert found[1, 2] / found[1, 1] == pytest.approx(0.5, abs=0.05)
    assert "scatter by 0.50" in ground(correlation=made).said()[0]


def test_without_a_gain_there_is_no_noise_which_is_said():
    noise, variance = photon_noise(np.ones(SHAPE, np.float32), ground(gain=None), 0)
    assert not noise.any() and not variance.any()
    assert "No gain is known" in ground(gain=None).said()[0]
    dark, _ = photon_noise(np.ones(SHAPE, np.float32), ground(gain=np.zeros(SHAPE)), 0)
    assert not dark.any()
