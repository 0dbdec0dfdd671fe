"""Apertures and errors of positions, on images whose sources are known."""

from functools import partial

import jax
import numpy as np
import pytest
from matched import SIZE, gaussian

from vaedeblend.image import photometry
from vaedeblend.image.photometry import measure_photometry, weigh
from vaedeblend.pixels.stamps import PaddedImages

SHAPE, SIGMA, RMS = (120, 130), 3.0, 0.4
PLACES = np.array([[50.0, 40.0], [58.0, 52.0], [90.0, 100.0]])
FLUX = np.array([900.0, 1500.0, 700.0])


def measured(image, rms=RMS, gain=None, purity=1.0, point=np.nan, psf=None):
    """The sources of an image whose light is known, as they are measured on it."""
    rms = np.broadcast_to(rms, SHAPE)[None, ..., None]
    padded = PaddedImages(image[None, ..., None], np.square(rms), size=SIZE, gain=gain, psf=psf)
    at, stamps, canvas = modelled(padded)
    given = (np.broadcast_to(each, 3).astype(float) for each in (purity, point))
    return measure_photometry(padded, at, stamps, FLUX, canvas, *given)


def modelled(padded):
    """Stamps, light, and canvas of the sources."""
    corner = np.rint(PLACES - 31.5).astype(int)
    light = [
        f * gaussian(*(at - c), sigma=SIGMA) for f, at, c in zip(FLUX, PLACES, corner, strict=True)
    ]
    stamps = np.stack(light).astype(np.float32)
    at = np.zeros(3, int), corner, np.ones(3, int)
    return at, stamps, padded.paste(stamps[..., None], *at)


def sky(rng=None):
    light = sum(f * gaussian(*at, SHAPE, SIGMA) for f, at in zip(FLUX, PLACES, strict=True))
    return light if rng is None else light + RMS * rng.normal(size=SHAPE)


def test_apertures_hold_the_source_and_not_its_neighbours():
    """A Gaussian has 1 - 2^-4 of its light within its FWHM."""
    np.testing.assert_allclose(measured(sky()).aperture, FLUX * 15 / 16, rtol=5e-3)


def test_light_that_the_network_missed_is_in_the_aperture():
    found = measured(sky() + 100 * gaussian(*PLACES[2], SHAPE, SIGMA))
    np.testing.assert_allclose(found.aperture, (FLUX + [0, 0, 100]) * 15 / 16, rtol=5e-3)


def test_errors_of_apertures_are_their_scatter(rng):
    found = [measured(sky(rng)) for _ in range(60)]
    scatter = np.std([each.aperture for each in found], axis=0)
    np.testing.assert_allclose(found[0].aperture_err, scatter, rtol=0.3)
    photons = measured(sky(), gain=2.0).aperture_err
    np.testing.assert_allclose(
        photons[2] ** 2 - found[0].aperture_err[2] ** 2, FLUX[2] * 15 / 32, rtol=0.02
    )


def test_ignored_pixels_hold_the_sources_light_and_too_many_leave_no_aperture():
    rms, image = np.full(SHAPE, RMS), sky()
    rms[88:91, 97:99], image[88:91, 97:99] = np.inf, 1e6
    rms[30:70, 33:], image[30:70, 33:] = np.inf, 1e6
    found = measured(image, rms)
    np.testing.assert_allclose(found.aperture[2], FLUX[2] * 15 / 16, rtol=5e-3)
    assert np.isnan(found.aperture[:2]).all() and np.isnan(found.aperture_err[:2]).all()


@pytest.mark.parametrize("purity", [1.0, 0.5])
def test_errors_of_positions_are_fishers(purity):
    """Of a Gaussian on white noise: 8 pi sigma^4 rms^2 / flux^2 along either axis."""
    best = 8 * np.pi * SIGMA**4 * RMS**2 / FLUX**2 / purity**2 + 0.025**2
    yy, xx, xy = measured(sky(), purity=purity).position_variance.T
    np.testing.assert_allclose(yy, best, rtol=0.1)
    np.testing.assert_allclose(xx, best, rtol=0.1)
    np.testing.assert_allclose(xy, 0, atol=1e-3 * best.min())


def test_no_sources_have_no_photometry():
    padded = PaddedImages(np.zeros((1, *SHAPE, 1)), 1.0, size=SIZE)
    none = np.zeros(0, int)
    at = none, np.zeros((0, 2), int), none
    light = np.zeros((0, SIZE, SIZE), np.float32)
    given = np.zeros(0), padded.image * 0, np.zeros(0), np.zeros(0)
    found = measure_photometry(padded, at, light, *given)
    assert len(found.aperture) == 0 and found.position_variance.shape == (0, 3)


def test_light_left_is_the_source_s_own_share_of_it():
    """A Gaussian has 1 - exp(-r^2 / 2 sigma^2) of its light within r: 10 pixels, 6 in a blend."""
    found = measured(sky() + 100 * gaussian(*PLACES[2], SHAPE, SIGMA))
    alone, within = (1 - np.exp(-((r / SIGMA) ** 2) / 2) for r in (10, 6))
    np.testing.assert_allclose(found.left, [0, 0, 100 * alone], atol=1.5)
    assert found.left_err[2] == pytest.approx(RMS * np.sqrt(np.pi) * 10, rel=0.02)
    faint = measured(sky() + 100 * gaussian(*PLACES[2], SHAPE, SIGMA), rms=10 * RMS)
    np.testing.assert_allclose(faint.left, [0, 0, 100 * within], atol=1.5)
    star = measured(sky() + 100 * gaussian(*PLACES[2], SHAPE, SIGMA), point=0.9)
    np.testing.assert_allclose(star.left, [0, 0, 100 * within], atol=1.5)
    both = measured(sky() + 100 * gaussian(*PLACES[0], SHAPE, SIGMA), purity=0.7)
    assert both.left[0] + both.left[1] == pytest.approx(100 * within, rel=0.06)
    assert both.left[0] > 4 * both.left[1] > 0


def test_many_sources_are_measured_some_at_a_time(monkeypatch, rng):
    image = sky(rng)
    wanted = measured(image)
    monkeypatch.setattr(photometry, "_CHUNK", 1)
    assert_close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9)
    jax.tree.map(assert_close, measured(image), wanted)


def test_nothing_is_left_where_pixels_are_ignored():
    rms = np.full(SHAPE, RMS)
    rms[85:, 95:] = np.inf
    found = measured(sky() + 100 * gaussian(*PLACES[2], SHAPE, SIGMA), rms)
    assert np.isnan(found.left[2]) and np.isfinite(found.left[:2]).all()


@pytest.mark.parametrize("given", ["one", "callable"])
def test_points_that_are_alone_have_the_flux_of_circles(given):
    """Gaussian stars, whose profiles the network has a tenth too faint."""
    side = 41
    psf = 0.96 * gaussian(20, 20, (side, side), SIGMA)[..., None]  # the rest lies beyond
    of_each = {"one": psf, "callable": lambda index, position: np.stack([psf] * len(index))}
    points = {"purity": [0.8, 1.0, 1.0], "point": [0.9, 0.9, 0.2], "psf": of_each[given]}
    found = measured(1.1 * sky(), rms=0.05, **points)
    flux, error = found.point_flux, found.point_flux_err
    assert np.isnan([flux[0], error[0], flux[2], error[2]]).all()
    assert flux[1] == pytest.approx(1.1 * FLUX[1] / 0.96, rel=0.02)
    radius = 2.2 * found.shapes.fwhm[1]
    share = 0.96 * (1 - np.exp(-((radius / SIGMA) ** 2) / 2))
    noise = 0.05 * np.sqrt(np.pi) * radius
    assert error[1] == pytest.approx(1.15 * np.hypot(noise / share, 0.0015 * flux[1]), rel=0.02)


def test_faint_points_have_the_flux_of_a_fit(rng):
    """As noisy as a matched filter, whose error is the most that a known profile allows."""
    psf = gaussian(20, 20, (41, 41), SIGMA)[..., None]
    noise = 3.0
    draws = [
        measured(sky() + rng.normal(0, noise, SHAPE), rms=noise, point=1.0, psf=psf)
        for _ in range(40)
    ]
    flux, error = (
        np.array([getattr(each, name)[2] for each in draws])
        for name in ("point_flux", "point_flux_err")
    )
    best = noise * np.sqrt(4 * np.pi) * SIGMA
    assert error == pytest.approx(1.15 * np.hypot(best, 0.002 * flux), rel=0.02)
    assert np.std(flux) == pytest.approx(best, rel=0.3)
    assert np.mean(flux) == pytest.approx(FLUX[2], abs=3 * best / np.sqrt(len(flux)))


def test_points_whose_core_is_masked_are_not_measured_in_circles():
    psf = gaussian(20, 20, (41, 41), SIGMA)[..., None]
    rms = np.ones(SHAPE)
    rms[89:92, 99:102] = np.inf
    rms[58, 40] = np.inf  # a pixel of the second one's wings
    flux = measured(sky(), rms, point=1.0, psf=psf).point_flux
    np.testing.assert_array_equal(np.isnan(flux), [False, False, True])


def test_without_a_psf_no_point_is_measured():
    found = measured(sky(), point=1.0)
    assert np.isnan([found.point_flux, found.point_flux_err]).all()


def test_weighed_fluxes_are_the_posterior_s_mean_and_spread():
    """Against draws of the two hypotheses: those galaxies whose light left is about as much."""
    rng, n, flux, err, sigma = np.random.default_rng(0), 2_000_000, 100.0, 4.0, 3.0
    sigma_all = np.hypot(sigma, 0.01 * flux)
    unlike = rng.uniform(size=n) < 0.3
    missing = np.where(unlike, rng.normal(0, 0.1 * flux, n), 0)
    left = missing + rng.normal(0, sigma_all, n)
    # Where the galaxy is unlike, its flux is the pixels', to 3 %; else what the network says.
    unsure = np.hypot(sigma_all, 0.03 * flux)
    true = flux + np.where(unlike, left + rng.normal(0, unsure, n), rng.normal(0, err, n))
    for value in (0.0, 6.0, 9.0, -20.0):
        near = abs(left - value) < 0.25
        weighed = weigh(*(np.array([x]) for x in (flux, err, value, sigma)))
        assert weighed.unlike_prob[0] == pytest.approx(unlike[near].mean(), abs=0.03)
        assert weighed.flux[0] == pytest.approx(true[near].mean(), abs=0.3)
        assert weighed.flux_err[0] == pytest.approx(true[near].std(), rel=0.04)


def test_fluxes_stay_the_network_s_where_the_pixels_do_not_tell():
    flux, err = np.array([100.0, np.nan]), np.array([5.0, np.nan])
    weighed = weigh(flux, err, np.array([np.nan, 3.0]), np.array([np.nan, 1.0]))
    np.testing.assert_array_equal(weighed.flux, flux)
    np.testing.assert_array_equal(weighed.flux_err, err)
    assert np.isnan(weighed.unlike_prob).all()


def test_a_galaxy_that_the_network_cannot_draw_has_the_flux_of_its_pixels():
    weighed = weigh(*(np.array([x]) for x in (1e4, 30.0, -2500.0, 20.0)))
    assert weighed.flux[0] == pytest.approx(7500, rel=1e-3) and weighed.unlike_prob[0] > 0.99
    assert weighed.flux_err[0] == pytest.approx(np.sqrt(20**2 + 100**2 + 300**2), rel=0.05)
