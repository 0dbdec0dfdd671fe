import numpy as np
import pytest

from vaedeblend.deblend.detect import (
    background_strips,
    detect,
    estimate_background,
    members,
    mesh_side,
)

SIZE = 64


def galaxy(y, x, flux=300.0, sigma=1.8, size=SIZE):
    rows, columns = np.indices((size, size))
    square = (rows - y) ** 2 + (columns - x) ** 2
    return flux * np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@pytest.fixture
def noise(rng):
    return rng.normal(size=(SIZE, SIZE))


def test_positions_are_those_of_the_galaxies(noise):
    true = np.array([[20.3, 40.8], [45.0, 12.4]])
    found = detect(noise + sum(galaxy(*at) for at in true), np.ones_like(noise))
    assert len(found) == 2
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], true, atol=0.3)


def test_pure_noise_has_no_galaxies_to_speak_of(rng):
    found = [detect(rng.normal(size=(SIZE, SIZE)), np.ones((SIZE, SIZE))) for _ in range(50)]
    assert np.mean([len(each) for each in found]) < 0.5


@pytest.mark.parametrize("ignored", ["nan", "infinite rms"])
def test_pixels_to_be_ignored_hide_a_galaxy(noise, ignored):
    image, rms = noise + galaxy(20, 40), np.ones_like(noise)
    where = np.s_[10:30, 30:50]
    (image if ignored == "nan" else rms)[where] = np.nan if ignored == "nan" else np.inf
    assert not len(detect(image, rms))


def test_nothing_valid_finds_nothing():
    assert detect(np.zeros((SIZE, SIZE)), np.full((SIZE, SIZE), np.inf)).shape == (0, 2)


def test_members_begin_with_the_central_galaxy_whether_seen_or_not(noise):
    beside = noise + galaxy(31.5, 31.5) + galaxy(31.2, 44.9)
    index, corner = members(np.stack([beside, noise * 0, beside]), np.ones((3, SIZE, SIZE)))
    np.testing.assert_array_equal(index, [0, 0, 1, 2, 2])
    np.testing.assert_array_equal(corner[[0, 2, 3]], 0)
    np.testing.assert_array_equal(corner[[1, 4]], [[0, 13]] * 2)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_dead_column_does_not_cut_a_galaxy_in_two(noise, width):
    image, rms = noise + galaxy(31, 30.5, flux=2000.0, sigma=2.5), np.ones_like(noise)
    rms[:, 30 : 30 + width], image[:, 30 : 30 + width] = np.inf, np.nan
    found = detect(image, rms)
    assert len(found) == 1
    np.testing.assert_allclose(found, [[31, 30.5]], atol=1)


@pytest.mark.parametrize("height", [2049, 2054, 2060, 4100, 4223])
def test_strips_have_the_background_of_the_whole_image(height):
    rng = np.random.default_rng(height)
    slope = np.linspace(0, 3, height)[:, None]
    image = 10 + slope + rng.normal(size=(height, 300)) * (1 + slope / 10)
    bad = rng.random(image.shape) < 0.1
    whole, mesh = estimate_background(image, bad), (mesh_side(height), mesh_side(300))
    assert mesh[0] >= 112 and -height % mesh[0] < 12
    rows = np.zeros(height, int)
    for kept, read in background_strips(height, 2048):
        parts = estimate_background(image[read], bad[read], mesh)
        rows[kept] += 1
        for part, truth in zip(parts, whole, strict=True):
            own = part[kept.start - read.start : kept.stop - read.start]
            np.testing.assert_allclose(own, truth[kept], rtol=0.02)
    np.testing.assert_array_equal(rows, 1)
    np.testing.assert_allclose(whole[1], 1 + np.broadcast_to(slope, image.shape) / 10, rtol=0.1)


def test_background_of_few_valid_pixels_is_theirs(noise):
    bad = np.indices(noise.shape).sum(axis=0) % 3 > 0
    level, rms = estimate_background(np.where(bad, 1e6, 7 + noise), bad)
    np.testing.assert_allclose(level, 7, atol=0.2)
    np.testing.assert_allclose(rms, 1, rtol=0.2)
