"""Co-adds: kernels against exposures that are drawn, interpolated and averaged one by one."""

import galsim
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from vaedeblend.pixels.coadds import (
    LARGEST_LAG,
    Dithers,
    autocovariance,
    coadded_psf,
    correlate_noise,
    draw_dithers,
    noise_autocorrelation,
    white_autocorrelation,
)
from vaedeblend.pixels.psf import make_psf

SCALE, FINE, SIDE = 0.1, 0.025, 201
SHIFTS = np.array([[0.2, 0.7], [0.55, 0.1], [0.9, 0.35]])


def light(sigma=0.09):
    return galsim.Gaussian(sigma=sigma).shear(g1=0.1, g2=0.05)


def drawn(profile, size, scale, offset=(0.0, 0.0)):
    image = profile.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", offset=offset)
    return image.array.astype(float)


def interpolated(exposure, shift, interpolation):
    """An exposure at the co-add's pixels, pixel by pixel."""
    if interpolation == "bilinear":
        y, x = np.indices(exposure.shape) - np.reshape(shift, (2, 1, 1))
        return map_coordinates(exposure, [y, x], order=1, mode="nearest")
    size = len(exposure)
    place = np.arange(size)
    apart = place[:, None] - place - np.reshape(shift, (2, 1, 1))  # (axis, co-add, exposure)
    kernel = np.where(abs(apart) < 3, np.sinc(apart) * np.sinc(apart / 3), 0)
    y, x = kernel / kernel.sum(axis=2, keepdims=True)
    return y @ exposure @ x.T


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3"])
def test_a_coadded_star_is_the_mean_of_its_interpolated_exposures(interpolation):
    dithers, size, star = Dithers(SHIFTS, interpolation), 41, np.array([0.3, -0.4])
    exposures = [drawn(light(), size, SCALE, tuple((star - s)[::-1])) for s in SHIFTS]
    wanted = np.mean(
        [interpolated(e, s, interpolation) for e, s in zip(exposures, SHIFTS, strict=True)], axis=0
    )
    psf = coadded_psf(make_psf(drawn(light(), SIDE, FINE), FINE), dithers, SCALE)
    seen = galsim.InterpolatedImage(galsim.Image(psf.image, scale=FINE), flux=1.0)
    found = drawn(seen, size, SCALE, tuple(star[::-1]))
    inner = slice(6, -6)
    np.testing.assert_allclose(found[inner, inner], wanted[inner, inner], atol=2e-4 * wanted.max())


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3"])
def test_noise_of_a_coadd_has_the_predicted_correlation(interpolation):
    rng, size = np.random.default_rng(3), 400
    exposures = np.sqrt(len(SHIFTS)) * rng.standard_normal((len(SHIFTS), size, size))
    noise = np.mean(
        [interpolated(e, s, interpolation) for e, s in zip(exposures, SHIFTS, strict=True)], axis=0
    )[8:-8, 8:-8]
    predicted = noise_autocorrelation(Dithers(SHIFTS, interpolation))
    for y, x in [(0, 0), (0, 1), (1, 0), (1, 1), (-1, 1), (2, 0), (0, 3)]:
        shifted = np.roll(noise, (y, x), axis=(0, 1))
        found = (noise * shifted)[6:-6, 6:-6].mean()
        assert found == pytest.approx(predicted[LARGEST_LAG + y, LARGEST_LAG + x], abs=0.015)


def test_noise_is_white_equivalent():
    rng = np.random.default_rng(0)
    for interpolation in ("bilinear", "lanczos3"):
        dithers = draw_dithers(rng, (1, 6), (interpolation,))
        covariance = noise_autocorrelation(dithers)
        assert covariance.sum() == pytest.approx(1)
        assert covariance[LARGEST_LAG, LARGEST_LAG] < 1
        np.testing.assert_allclose(covariance, covariance[::-1, ::-1])


def test_whole_pixels_change_nothing():
    dithers = Dithers(np.array([[0.0, 0.0], [1.0, -2.0]]), "lanczos3")
    np.testing.assert_allclose(noise_autocorrelation(dithers), white_autocorrelation(), atol=1e-12)
    psf = make_psf(drawn(light(), SIDE, FINE), FINE)
    np.testing.assert_allclose(coadded_psf(psf, dithers, SCALE).image, psf.image, atol=1e-12)


def test_dithers_are_drawn_from_their_range():
    drawn_ = [draw_dithers(np.random.default_rng(i), (2, 4), ("bilinear",)) for i in range(40)]
    assert {len(each.shift) for each in drawn_} == {2, 3, 4}
    assert all(((each.shift >= 0) & (each.shift < 1)).all() for each in drawn_)


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos3"])
def test_white_noise_is_correlated_as_resampling_does_it(interpolation, rng):
    """Scatter and neighbours are the kernel's; sums over large apertures those of white noise."""
    dithers = Dithers(np.array([[0.4, 0.3], [0.5, 0.6]]), interpolation)
    made = noise_autocorrelation(dithers)
    white = rng.normal(size=(600, 700))
    noise = correlate_noise(white, made)
    middle = LARGEST_LAG, LARGEST_LAG
    assert np.var(noise) == pytest.approx(made[middle], rel=0.03)
    boxes = noise.reshape(12, 50, 14, 50).sum(axis=(1, 3))
    assert np.std(boxes) == pytest.approx(50, rel=0.2)
    noise[100:150] = np.nan
    found = autocovariance(noise, LARGEST_LAG)
    np.testing.assert_allclose(found / found[middle], made / made[middle], atol=0.04)
    assert correlate_noise(white, None) is white
