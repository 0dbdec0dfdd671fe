import numpy as np
import pytest

from vaedeblend.image.residuals import _noise, _smoothed, correct_profiles, significant
from vaedeblend.pixels.profiles import Profiles

SIZE = 64
Y, X = np.indices((SIZE, SIZE), np.float32) - (SIZE - 1) / 2


def profiles(*stamps, corner=(0, 0)):
    """Sources whose stamps all have one corner."""
    return Profiles.pack(stamps, np.array([corner] * len(stamps)), SIZE)


def galaxy(flux, sigma):
    light = np.exp(-(Y**2 + X**2) / (2 * sigma**2))
    return (flux * light / light.sum()).astype(np.float32)


def arms(strength):
    """A factor of two-fold symmetry about one."""
    return 1 + strength * np.cos(2 * np.arctan2(Y, X) - np.hypot(Y, X) / 2)


def spiral(strength, flux=1e5, sigma=8.0):
    return (galaxy(flux, sigma) * arms(strength)).astype(np.float32)


@pytest.mark.parametrize("scale", [0, 1, 2, 3])
def test_noise_of_each_scale_is_that_of_a_monte_carlo(rng, scale):
    noise, drawn = _noise(scale), rng.normal(size=(1024, 1024)).astype(np.float32)
    smooth = drawn
    for each in range(scale + 1):
        before, smooth = smooth, _smoothed(smooth, each)
    np.testing.assert_allclose(noise, [(before - smooth).std(), smooth.std()], rtol=0.05)


def test_nothing_stands_out_of_noise(rng):
    noise = rng.normal(size=(512, 512)).astype(np.float32)
    assert np.square(significant(noise)).sum() < 1e-3 * noise.size


@pytest.mark.parametrize("shape", [(0, 0), (1, 64), (3, 5), (64, 64)])
def test_images_of_any_shape_have_structure_or_none(shape):
    assert significant(np.zeros(shape, np.float32)).shape == shape
    point = np.full(shape, 100, np.float32)
    np.testing.assert_allclose(significant(point), point, rtol=1e-4)


def test_structure_that_was_not_drawn_is_found(rng):
    true, drawn = spiral(0.3), galaxy(1e5, 8.0)
    noise = np.ones((SIZE, SIZE), np.float32)
    image = true + rng.normal(size=true.shape)
    touched = correct_profiles(profiles(drawn), image, noise, np.array([True]))[0]
    before, after = (np.square(image - each).mean() for each in (drawn, touched))
    assert before > 100 and 0.8 < after < 1.5
    assert np.abs(touched - true).sum() < 0.4 * np.abs(drawn - true).sum()


def test_light_is_shared_out_by_its_square_and_others_stay_as_they_are():
    bright, faint, other = galaxy(1e5, 6.0), galaxy(1e4, 6.0), galaxy(1e5, 6.0)
    drawn = profiles(bright, faint, other)
    image = drawn.lay((SIZE, SIZE)) + spiral(0.3)
    chosen = np.array([True, True, False])
    touched = correct_profiles(drawn, image, np.ones_like(image), chosen)
    np.testing.assert_array_equal(touched[2], other)
    np.testing.assert_array_equal(drawn[0], bright)
    gained = [each.sum() - old.sum() for each, old in zip(touched, (bright, faint), strict=False)]
    assert gained[1] / gained[0] == pytest.approx(0.01, rel=0.05)
    assert sum(gained) == pytest.approx(1e5, rel=0.02)


def test_light_stays_positive_and_ignored_pixels_say_nothing():
    drawn, image = galaxy(1e5, 8.0), np.full((SIZE, SIZE), -100, np.float32)
    noise = np.where(X > 0, np.inf, 1.0).astype(np.float32)
    touched = correct_profiles(profiles(drawn), image, noise, np.array([True]))[0]
    assert (touched >= 0).all() and touched[X < -2].sum() == 0
    np.testing.assert_array_equal(touched[X > 0], drawn[X > 0])


def test_stamps_may_reach_out_of_the_image():
    true, corner = spiral(0.3), (-40, 20)
    image = profiles(true, corner=corner).lay((50, 60))
    drawn = profiles(galaxy(1e5, 8.0), corner=corner)
    touched = correct_profiles(drawn, image, np.ones_like(image), np.array([True]))
    np.testing.assert_array_equal(touched[0][:40], drawn[0][:40])
    left = np.abs(touched.lay(image.shape) - image).sum()
    assert left < 0.3 * np.abs(drawn.lay(image.shape) - image).sum()
