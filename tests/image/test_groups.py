import numpy as np
import pytest

from vaedeblend.image import groups
from vaedeblend.image.groups import Groups, beside_bright, find_groups, with_shares
from vaedeblend.pixels.profiles import Profiles

SIZE = 32


def gaussian(sigma=2.0):
    square = (np.arange(SIZE) - (SIZE - 1) / 2) ** 2
    return np.exp(-(square[:, None] + square) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def groups_of(corner, flux=1.0, variance=1.0):
    corner = np.array(corner)
    stamps = np.tile(flux * gaussian(), (len(corner), 1, 1))
    return find_groups(Profiles.pack(stamps, corner, SIZE), np.full((130, 130), float(variance)))


def test_chains_are_one_group_and_far_galaxies_are_not():
    found = groups_of([[0, 0], [0, 5], [0, 10], [40, 40], [41, 44], [90, 90]])
    assert len(set(found.group[:3])) == len(set(found.group[3:5])) == 1
    assert len(set(found.group)) == 3
    np.testing.assert_array_equal(found.neighbours, [1, 2, 1, 1, 1, 0])


def test_two_templates_have_the_correlation_of_their_cosine():
    """Of one width, their cosine is exp(-d2 / 4 sigma2), and the errors' correlation minus it."""
    found = groups_of([[0, 0], [3, 0]])
    assert found.correlation[0] == pytest.approx(-np.exp(-9 / 16), rel=1e-3)


def test_correlations_are_those_of_least_squares(rng):
    corner = np.array([[4, 4], [6, 8], [10, 3], [9, 9]])
    variance = rng.uniform(0.5, 2.0, (64, 64))
    variance[20:23, 18:30] = np.inf
    images = np.zeros((4, 64, 64))
    for image, (y, x) in zip(images, corner, strict=True):
        image[y : y + SIZE, x : x + SIZE] = gaussian()
    stamps = np.tile(gaussian(), (4, 1, 1))
    found = find_groups(Profiles.pack(stamps, corner, SIZE), variance)
    design = (images / np.sqrt(variance)).reshape(4, -1)
    covariance = np.linalg.inv(design @ design.T)
    std = np.sqrt(np.diag(covariance))
    expected = (covariance / np.outer(std, std))[tuple(found.pair.T)]
    assert len(expected) == 6
    np.testing.assert_allclose(found.correlation, expected, atol=1e-3)


def test_what_one_of_two_unresolved_sources_has_too_much_the_other_lacks():
    pair = np.array([[0, 1], [2, 1], [2, 3], [3, 4]])
    found = Groups(np.zeros(5, int), pair, np.array([-0.5, -0.4, -0.3, -0.2]))
    flux, error = np.array([100.0, 40, 60, 50, np.nan]), np.array([3.0, 4, 5, 6, np.nan])
    shared, whole = with_shares(found, np.array([[0, 1], [1, 2], [3, 4]]), flux, error)
    both = np.hypot(4, 20 * np.sqrt(2))
    np.testing.assert_allclose(whole, [np.hypot(3, 20), both, np.hypot(5, 20), 6, np.nan])
    i, j = pair.T
    before = found.correlation * error[i] * error[j]
    after = shared.correlation * whole[i] * whole[j]
    np.testing.assert_allclose(after[:2], before[:2] - 20**2)
    np.testing.assert_allclose(after[2], before[2])  # their own share is not each other's
    assert shared.correlation[3] == -0.2
    alone = found._replace(pair=pair[:1], correlation=found.correlation[:1])
    sums = [
        np.sum(errors[:2] ** 2) + 2 * each.correlation[0] * errors[0] * errors[1]
        for each, errors in ((alone, error), with_shares(alone, pair[:1], flux, error))
    ]
    assert sums[0] == pytest.approx(sums[1])  # the variance of the sum of both


def test_resolved_sources_keep_errors_and_correlations():
    found = groups_of([[0, 0], [3, 0]])
    flux, error = np.array([9.0, 5.0]), np.array([1.0, 1.0])
    same, whole = with_shares(found, np.zeros((0, 2), int), flux, error)
    assert same is found and whole is error


def test_pairs_that_cannot_overlap_are_passed_over_and_no_others(rng, monkeypatch):
    """Profiles of many shapes, sizes and places: the same pairs, of fewer products."""
    corner = rng.integers(0, 98, (150, 2))
    middle, width = (
        a.T[:, :, None, None]
        for a in (rng.normal(15.5, 3, (150, 2)), rng.uniform(0.4, 2, (150, 2)))
    )
    y, x = (np.indices((SIZE, SIZE))[:, None] - middle) / width
    stamps = np.exp(-np.hypot(y, x))
    given = Profiles.pack(stamps, corner, SIZE), np.ones((130, 130))
    products, product = [], groups._product
    monkeypatch.setattr(groups, "_product", lambda *a: products.append(1) or product(*a))
    found, n = find_groups(*given), len(products)
    monkeypatch.setattr(groups, "_may_overlap", lambda pair, centre, radius: pair[:, 0] >= 0)
    whole = find_groups(*given)
    np.testing.assert_array_equal(found.pair, whole.pair)
    np.testing.assert_array_equal(found.correlation, whole.correlation)
    assert len(found.pair) > 200 and n < 0.8 * (len(products) - n)


def test_a_vast_group_is_inverted_piece_by_piece(rng, monkeypatch):
    corner = rng.integers(0, 98, (260, 2))
    whole = groups_of(corner)
    assert np.bincount(whole.group).max() > 200
    sizes, pinv = [], np.linalg.pinv
    monkeypatch.setattr(np.linalg, "pinv", lambda m, **o: sizes.append(len(m)) or pinv(m, **o))
    monkeypatch.setattr(groups, "_WHOLE", 200)
    pieces = groups_of(corner)
    assert max(sizes) <= 61
    apart = np.abs(pieces.correlation - whole.correlation)
    assert len(apart) > 500 and apart.mean() < 0.01 and np.mean(apart < 0.05) > 0.97


def test_units_do_not_matter():
    one, other = groups_of([[0, 0], [3, 2]]), groups_of([[0, 0], [3, 2]], 1e5, 1e-8)
    np.testing.assert_allclose(one.correlation, other.correlation, rtol=1e-5)


def test_twins_at_one_place_do_not_break_it():
    found = groups_of([[0, 0], [0, 0], [3, 3]])
    assert np.isfinite(found.correlation).all() and (np.abs(found.correlation) <= 1).all()


@pytest.mark.parametrize("n", [0, 1])
def test_few_galaxies_have_no_pairs(n):
    found = groups_of(np.zeros((n, 2), int))
    assert len(found.group) == n and found.pair.shape == (0, 2)


def test_dark_galaxies_are_alone():
    found = groups_of([[0, 0], [0, 2]], flux=0.0)
    assert len(set(found.group)) == 2


def test_large_stamps_meet_small_ones_far_from_their_centres():
    large, small = np.zeros((4 * SIZE, 4 * SIZE)), gaussian()
    large[2 * SIZE, ::4] = 1.0
    corner = np.array([[0, 0], [2 * SIZE - SIZE // 2, 3 * SIZE], [3 * SIZE, 3 * SIZE]])
    profiles = Profiles.pack([large, small, small], corner, SIZE)
    found = find_groups(profiles, np.ones((130, 130)))
    np.testing.assert_array_equal(found.pair, [[0, 1]])
    image = np.zeros((160, 160))
    image[corner[1, 0] : corner[1, 0] + SIZE, corner[1, 1] : corner[1, 1] + SIZE] = small
    cosine = np.vdot(image[:128, :128], large) / np.linalg.norm(large) / np.linalg.norm(small)
    assert found.correlation[0] == pytest.approx(-cosine, rel=1e-5)


def test_faint_sources_beside_a_bright_one_may_be_its_spikes():
    position = np.array([[0, 0], [100, 0], [0, 100], [0, 300], [30, 40], [5, 5]], float)
    flux = np.array([np.nan, 40.0, 60.0, 6.0, np.nan, 1e5])
    bright = np.array([True, False, False, False, False, True])
    apparent = np.array([1e5, 40.0, 60.0, 6.0, 0.0, 1e5])
    doubtful = beside_bright(position, flux, apparent, bright)
    np.testing.assert_array_equal(doubtful, [False, True, False, False, False, False])
    assert not beside_bright(position, flux, apparent, np.zeros(6, bool)).any()
