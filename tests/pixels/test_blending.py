import numpy as np
import pytest

from vaedeblend.pixels.blending import blended_area, flux_ratio, footprint_owner, footprints, purity
from vaedeblend.pixels.profiles import Profiles


def spot(y, x, side=16, sigma=1.5, flux=1.0):
    ys, xs = np.indices((side, side))
    light = np.exp(-0.5 * ((ys - y) ** 2 + (xs - x) ** 2) / sigma**2)
    return flux * light[..., None] / light.sum()


@pytest.fixture
def members():
    return np.stack([spot(8, 8), spot(6, 11, flux=0.7), spot(12, 7, flux=2.0)])


def squares(*corners, side=3, frame=8):
    masks = np.zeros((len(corners), frame, frame, 1), bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    return masks


def symmetries(members):
    for turned in (np.rot90(members, k, axes=(1, 2)) for k in range(4)):
        yield from (turned, turned[:, :, ::-1])


def test_isolated_galaxy_is_pure(members):
    np.testing.assert_allclose(purity(members[:1]), [1])


def test_companion_far_away_leaves_the_centre_pure():
    far = np.stack([spot(8, 8, side=64), spot(56, 56, side=64)])
    np.testing.assert_allclose(purity(far), [1])


def test_two_equal_coincident_galaxies_are_half_pure(members):
    np.testing.assert_allclose(purity(members[[0, 0]]), [0.5])


def test_purity_is_its_definition(members):
    central, total = members[0, ..., 0], members.sum(axis=0)[..., 0]
    wanted = (central**2).sum() / (central * total).sum()
    np.testing.assert_allclose(purity(members), [wanted])


@pytest.mark.parametrize("gain", [1e-3, 14277.0])
def test_flux_units_change_nothing(members, gain):
    rms = np.array([0.004])
    scaled = footprints(members * gain, rms * gain)
    np.testing.assert_array_equal(scaled, footprints(members, rms))
    np.testing.assert_allclose(purity(members * gain), purity(members))


def test_eight_symmetries_change_nothing(members):
    rms, flux = np.array([0.004]), members.sum(axis=(1, 2))
    area = blended_area(footprints(members, rms))
    assert 0 < area < 1
    for turned in symmetries(members):
        footprint = footprints(turned, rms)
        np.testing.assert_allclose(purity(turned), purity(members))
        np.testing.assert_allclose(blended_area(footprint), area)
        np.testing.assert_allclose(flux_ratio(flux, footprint), 0.5)


def test_bands_are_independent(members):
    both = np.concatenate([members, members[[0, 0, 0]]], axis=-1)
    np.testing.assert_allclose(purity(both), [purity(members)[0], 1 / 3])


def test_footprint_is_above_one_and_a_half_rms():
    light = np.array([1.4, 1.6]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(footprints(light, np.ones(1)).ravel(), [False, True])


def test_blended_area_of_overlapping_squares():
    np.testing.assert_allclose(blended_area(squares((2, 2), (3, 3))), [4 / 9])


def test_pixels_that_two_companions_cover_count_once():
    np.testing.assert_allclose(blended_area(squares((2, 2), (3, 3), (3, 3))), [4 / 9])


def test_flux_ratio_is_to_the_brightest_overlapping_companion():
    footprint = squares((2, 2), (3, 3), (2, 1), (5, 5))
    flux = np.array([[6.0], [2.0], [3.0], [100.0]])
    np.testing.assert_allclose(flux_ratio(flux, footprint), [2])


@pytest.mark.parametrize("corners", [[(2, 2)], [(2, 2), (5, 5)]])
def test_limits_of_an_isolated_galaxy(corners):
    footprint = squares(*corners)
    flux = np.ones((len(corners), 1))
    np.testing.assert_array_equal(blended_area(footprint), [0])
    np.testing.assert_array_equal(flux_ratio(flux, footprint), [np.inf])


def test_galaxy_below_the_noise_has_no_blended_area():
    footprint = squares((2, 2), (2, 2))
    footprint[0] = False
    np.testing.assert_array_equal(blended_area(footprint), [0])


def test_each_pixel_belongs_to_the_brightest_source():
    profile = spot(31.5, 31.5, side=64, sigma=2.0)[..., 0].astype(np.float32)
    stamps = [5.0 * profile, 50 * profile]
    corner = np.array([[0, 0], [0, 6]])
    profiles, rms = Profiles.pack(stamps, corner, 64), np.full((64, 80), 0.02)
    owner = footprint_owner(profiles, rms)
    assert owner[31, 37] == 2 and owner[31, 28] == 1 and owner[0, 0] == 0
    assert not footprint_owner(profiles.moved([200, 200]), rms).any()
