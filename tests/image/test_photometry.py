"""Apertures and errors of positions, on images whose sources are known."""

import numpy as np
import pytest
from matched import SIZE, gaussian

from vaedeblend.image.photometry import measure_photometry
from vaedeblend.pixels.stamps import PaddedImages

SHAPE, SIGMA, RMS = (120, 130), 3.0, 0.4
PLACES = np.array([[50.0, 40.0], [58.0, 52.0], [90.0, 100.0]])
FLUX = np.array([900.0, 1500.0, 700.0])


def measured(image, rms=RMS, gain=None, purity=1.0):
    """The sources of an image whose light is known, as they are measured on it."""
    rms = np.broadcast_to(rms, SHAPE)[None, ..., None]
    padded = PaddedImages(image[None, ..., None], np.square(rms), size=SIZE, gain=gain)
    corner = np.rint(PLACES - 31.5).astype(int)
    light = [
        f * gaussian(*(at - c), sigma=SIGMA) for f, at, c in zip(FLUX, PLACES, corner, strict=True)
    ]
    stamps = np.stack(light).astype(np.float32)
    at = np.zeros(3, int), corner, np.ones(3, int)
    canvas = padded.paste(stamps[..., None], *at)
    return measure_photometry(padded, at, stamps, FLUX, canvas, np.full(3, purity))


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
    found = measure_photometry(padded, at, light, np.zeros(0), padded.image * 0, np.zeros(0))
    assert len(found.aperture) == 0 and found.position_variance.shape == (0, 3)
