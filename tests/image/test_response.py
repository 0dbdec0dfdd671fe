"""A network's response to an image: what it makes of sources of known flux."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from matched import gaussian

from vaedeblend.deblend.arrays import as_psf
from vaedeblend.deblend.calibration import Response
from vaedeblend.deblend.network import Deblended
from vaedeblend.image.inspection.findings import Inspection
from vaedeblend.image.inspection.response import Conditions, fit_response, measure_response
from vaedeblend.models.sinh_arcsinh import SinhArcsinh
from vaedeblend.pixels.coadds import Dithers, noise_autocorrelation
from vaedeblend.pixels.psf import Psf
from vaedeblend.pixels.psfs.wings import completed
from vaedeblend.survey import Survey

SIZE, RMS = 64, 0.5
CIRCLE = np.hypot(*(np.indices((SIZE, SIZE)) - 31.5)) < 15


def aperture(image, variance, psf=None, gain=None, *, gathered=1.0):
    """A deblender by the light in a circle, of which it takes a share for all."""
    flux = (image[..., 0] * CIRCLE).sum((1, 2)) * gathered
    error = jnp.sqrt((variance[..., 0] * CIRCLE).sum((1, 2)))
    if gain is not None:
        error = jnp.hypot(error, jnp.sqrt(flux.clip(0) / gain[:, 0]))
    zeros = jnp.zeros((len(image), 1))
    log_flux = SinhArcsinh(jnp.log(flux)[:, None], jnp.log(error / flux)[:, None], zeros, zeros)
    light = flux[:, None, None, None] * gaussian(31.5, 31.5)[..., None]
    return Deblended(flux[:, None], error[:, None], light, zeros, zeros, 1 + zeros, log_flux)


def conditioned(image, variance, psf=None, gain=None):
    """The light in a circle, over the share that the PSF holds, as the door of stamps has it."""
    share = as_psf(psf, len(image), 1).sum((1, 2, 3))
    return aperture(image, variance, gain=gain, gathered=1 / share)


def psf(sigma, side=21):
    middle = side // 2
    image = gaussian(middle, middle, (side, side), sigma)
    return (image / image.sum()).astype(np.float32)[None, None]


def sources(rng, law, n=3000, stars=500):
    """What a network finds of sources whose ln(true / found) follows a law, some of them lost."""
    flux, relative = np.exp(rng.uniform(5, 10, n)), np.exp(rng.uniform(-4, -2, n))
    brightness = np.log(flux / RMS)
    shift = law(brightness, brightness + np.log(np.arcsinh(relative)))
    shift[-stars:] = 0.03
    noise = rng.normal(0, relative) + (rng.random(n) < 0.02)
    median, zeros = np.log(flux)[:, None], np.zeros((n, 1))
    log_flux = SinhArcsinh(median, np.log(np.arcsinh(relative))[:, None], zeros, zeros)
    error = (flux * relative)[:, None]
    found = Deblended(flux[:, None], error, None, None, None, None, log_flux)
    return found, flux * np.exp(shift + noise)


def test_the_fit_finds_what_fluxes_lack_though_some_are_far_off(rng):
    found, true = sources(rng, lambda b, n: 0.05 - 0.02 * b + 0.04 * n)
    area = 3 * np.asarray(found.flux)[:, 0] ** 0.5 * np.exp(rng.normal(0, 0.1, 3000))
    response = fit_response(found, true, area, RMS, 500)
    np.testing.assert_allclose(response.galaxies[1:], [-0.02, 0.04], atol=6e-3)
    middle = 0.05 + response.middle @ [-0.02, 0.04]
    assert response.galaxies[0] == pytest.approx(middle, abs=5e-3)
    assert response.stars == pytest.approx(0.03, abs=5e-3)
    np.testing.assert_allclose(response.sky[1:], [0.5, 0], atol=0.02)


@pytest.mark.parametrize(("share", "kind"), [(0.97, "corrected"), (0.66, "warned")])
def test_weights_that_lose_much_of_the_light_are_warned_of(share, kind):
    numbers = np.array([-np.log(share), 0, 0]), *np.zeros((3, 2)), np.zeros(()), np.zeros(3)
    (found,) = Inspection((), {}, {}).under_response(Response(*numbers)).findings
    assert (
        found.kind == kind and f"finds {100 * share:.1f} % of the light of galaxies" in found.text
    )


def test_few_galaxies_with_a_flux_have_no_response(rng):
    found, true = sources(rng, lambda b, n: 0 * b, 30, 5)
    assert fit_response(found, true, true, RMS, 5) is None
    lost = found._replace(log_flux=found.log_flux._replace(median=np.full((30, 1), np.nan)))
    assert fit_response(lost, true, true, RMS, 5) is None


@pytest.mark.parametrize("gathered", [0.95, 1.05])
@pytest.mark.parametrize("electrons", [None, 26.0])
def test_light_that_a_network_adds_or_loses_is_found(gathered, electrons):
    conditions = Conditions(psf(0.9), None, electrons)
    lossless, response = (
        measure_response(Partial(aperture, gathered=g), Survey(), conditions, size=SIZE)
        for g in (1.0, gathered)
    )
    for name in ("galaxies", "stars"):
        found, least = (np.ravel(getattr(each, name))[0] for each in (response, lossless))
        assert found - least == pytest.approx(-np.log(gathered), abs=1e-3)
    assert lossless.stars == pytest.approx(0, abs=5e-3)
    assert np.exp(lossless.sky[0]) == pytest.approx(CIRCLE.sum(), rel=1e-3)
    assert np.exp(response.sky[0]) == pytest.approx(CIRCLE.sum() * gathered, rel=1e-3)


@pytest.mark.parametrize("held", [0.95, 0.85])
def test_light_that_the_psfs_image_lacks_is_expected_beyond_it(held):
    """Of a stamp of some share, the circle holds that much, and some of the wings.

    A PSF of which the stamp is a part may hold 0.9 of the light, and its middle less.
    """
    whole, cut = (Conditions(share * psf(0.9), None, None) for share in (1.0, held))
    lost, expected, given = (
        float(measure_response(Partial(deblend), Survey(), each, size=SIZE).stars)
        for deblend, each in ((aperture, whole), (aperture, cut), (conditioned, cut))
    )
    assert 0.2 * (1 - held) < expected - lost < 1 - held
    assert given - expected == pytest.approx(np.log(held), abs=1e-3)


def test_correlated_noise_is_that_of_the_sources():
    """It moves no flux, since its sums over large apertures are those of white noise."""
    covariance = noise_autocorrelation(Dithers(np.array([[0.5, 0.5]]), "bilinear"))
    white, correlated = (
        measure_response(Partial(aperture), Survey(), Conditions(psf(0.9), each, 26.0), size=SIZE)
        for each in (None, covariance)
    )
    assert correlated.galaxies[0] == pytest.approx(white.galaxies[0], abs=5e-3)
    assert (correlated.galaxies != white.galaxies).any()


def test_the_seed_decides_and_many_psfs_are_taken_by_turns():
    grid = np.concatenate([psf(0.8), psf(1.6)], axis=1)
    one, again, other = (
        measure_response(
            Partial(aperture), Survey(), Conditions(grid, None, 26.0), size=SIZE, seed=seed
        )
        for seed in (0, 0, 1)
    )
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert (one.galaxies != other.galaxies).any()


def test_what_a_psf_lacks_lies_right_beyond_its_image_though_that_was_padded():
    """The circle holds what lies between the image's edge, at 10.5 pixels, and 15."""
    radius = np.hypot(*(np.indices((21, 21)) - 10))
    core = np.exp(-(radius**2) / 2) + 1e-4
    whole = (0.95 * core / core.sum()).astype(np.float32)[None, None]
    padded = np.pad(whole, ((0, 0), (0, 0), (22, 22), (22, 22)))
    same, found = (
        measure_response(Partial(aperture), Survey(), Conditions(each, None, 26.0), size=SIZE)
        for each in (whole, padded)
    )
    np.testing.assert_allclose(found.galaxies, same.galaxies, atol=1e-5)
    held = completed(Psf(whole[0, 0] / 0.95, 0.1, 0.95), 129).image
    circle = np.hypot(*(np.indices((129, 129)) - 64)) < 15
    assert 0.95 < held[circle].sum() < 0.99
    assert float(found.stars) == pytest.approx(-np.log(held[circle].sum()), abs=3e-3)
