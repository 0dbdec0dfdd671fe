"""Correlated noise: measured on blank sky, given to the network, and counted in thresholds."""

import jax.numpy as jnp
import numpy as np
import pytest
from matched import gaussian
from scipy.ndimage import gaussian_filter

from vaedeblend.deblend.detect import detect_all
from vaedeblend.image.inspection.sky.correlation import (
    correlated_noise,
    correlation_findings,
    measure_blank_sky,
)
from vaedeblend.io.mosaic import Pixels
from vaedeblend.pixels.coadds import (
    Dithers,
    filtered_rms,
    noise_autocorrelation,
    pixel_variance,
)
from vaedeblend.training.observe import correlated

SHAPE = 300, 300
DITHERS = np.array([[0.2, 0.6], [0.7, 0.1], [0.4, 0.5]])
COADDS = {name: noise_autocorrelation(Dithers(DITHERS, name)) for name in ("bilinear", "lanczos3")}


def resampled(covariance, seed=0):
    """Noise of an autocovariance, of unit white-equivalent rms."""
    white = np.random.default_rng(seed).standard_normal((1, 300, 300, 1)).astype(np.float32)
    noise = correlated(jnp.asarray(white), jnp.asarray(covariance, jnp.float32)[None, ..., None])
    return np.asarray(noise, float)[0, ..., 0]


def strip(image, rms=1.0):
    return [Pixels(image, None if rms is None else np.full(image.shape, rms), None)]


def measure_noise(strips):
    return correlated_noise(measure_blank_sky(strips))


def sky_with_sources(noise):
    """Sources of all brightnesses, most of them too faint to be seen."""
    rng = np.random.default_rng(1)
    light = np.zeros(SHAPE)
    y, x = rng.integers(0, 300, (2, 400))
    light[y, x] = 2 * rng.pareto(1.0, 400).clip(max=1e4)
    return noise + gaussian_filter(light, 1.2)


@pytest.mark.parametrize("name", COADDS)
def test_correlation_of_a_coadd_is_measured_between_its_sources(name):
    image = sky_with_sources(3 * resampled(COADDS[name]))
    found = measure_noise(strip(image, 3.0))
    middle = COADDS[name][2:-2, 2:-2]
    np.testing.assert_allclose(found.covariance, middle, atol=0.06)
    assert pixel_variance(found.covariance) == pytest.approx(pixel_variance(middle), rel=0.1)
    assert found.covariance.sum() == pytest.approx(1) and found.factor == 1


@pytest.mark.parametrize("rms", [1.0, None])
def test_white_noise_is_white_and_nothing_is_said_of_it(rms):
    image = sky_with_sources(np.random.default_rng(2).standard_normal(SHAPE))
    found = measure_noise(strip(image, rms))
    assert found is None and correlation_findings(found) == []


def test_too_little_blank_sky_is_taken_for_white():
    assert measure_noise(strip(resampled(COADDS["bilinear"])[:60, :60])) is None
    assert measure_noise(strip(np.full(SHAPE, np.nan))) is None


@pytest.mark.parametrize("given", [True, False])
def test_an_rms_of_single_pixels_becomes_that_of_sums(given):
    """Of 40 x 40 pixels, say, whose mean scatters by more than that of independent pixels."""
    noise = resampled(COADDS["bilinear"])
    scatter = noise.std()
    found = measure_noise(strip(noise, scatter if given else None))
    assert found.factor == pytest.approx(1 / scatter, rel=0.08)
    assert found.factor > 1.4
    said = correlation_findings(found)
    assert [each.kind for each in said] == ["found", "corrected"]
    assert f"{found.factor:.3g} times" in said[1].text


def test_filtered_noise_is_as_predicted():
    y, x = np.indices((5, 5)) - 2
    kernel = np.exp(-(y**2 + x**2) / 2.0)
    for covariance in COADDS.values():
        noise = np.fft.fft2(resampled(covariance))
        filtered = np.fft.ifft2(noise * np.fft.fft2(kernel, SHAPE)).real
        assert filtered_rms(kernel, covariance) == pytest.approx(filtered.std(), rel=0.03)
    assert filtered_rms(kernel) == pytest.approx(np.linalg.norm(kernel))


def test_faint_sources_are_found_where_the_noise_of_pixels_is_known_to_be_less():
    places = [(y, x) for y in range(30, 300, 40) for x in range(30, 300, 40)]
    light = 26 * sum(gaussian(y, x, SHAPE, 1.3) for y, x in places)
    image, rms = light + resampled(COADDS["bilinear"], 3), np.ones(SHAPE)

    def found(covariance):
        offset = detect_all(image, rms, covariance=covariance).position[:, None] - places
        near = np.linalg.norm(offset, axis=-1).min(axis=1) < 2
        return near.sum(), (~near).sum()

    (true, false), (unknown, _) = found(COADDS["bilinear"]), found(None)
    assert true > 1.3 * unknown > 0
    assert false <= 2
