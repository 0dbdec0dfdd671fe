import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate import library as library_module
from vaedeblend.simulate.library import render_library

SIDE = 33


def galaxies(n):
    rng = np.random.default_rng(1)
    light = rng.uniform(0.5, 2, (2, n, 1))
    radii = np.full(n, 0.02), rng.uniform(0.05, 0.2, n)
    return Galaxies(*light, *radii, *rng.uniform(0.3, 1, (2, n)), *rng.uniform(0, 180, (2, n)))


def gaussian_psf(sigma):
    axis = np.exp(-0.5 * (np.arange(-20, 21) * 0.05 / sigma) ** 2)
    return (make_psf(np.outer(axis, axis), 0.05),)


def render(n, seed=(7, 0), processes=1, sigmas=(0.1,)):
    psfs = [gaussian_psf(sigma) for sigma in sigmas]
    ids, central = np.arange(n) + 100, np.arange(n) % 2 == 0
    options = {"seed": seed, "psfs": psfs, "size": SIDE, "pixel_scale": 0.1}
    return render_library(
        galaxies(150).take(slice(n)), ids, central, processes=processes, **options
    )


@pytest.fixture(scope="module")
def library():
    return render(70)


def assert_same(a, b):
    for one, other in zip(a[:4], b[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(a.galaxies, b.galaxies, strict=True):
        np.testing.assert_array_equal(one, other)


def test_number_of_processes_changes_nothing(library):
    assert_same(library, render(70, processes=2))


def test_processes_keep_to_a_core_each(monkeypatch):
    """On a machine of many cores BLAS's threads, times the processes, would stand in line."""
    before = threadpool_info()
    monkeypatch.setattr(library_module, "_draws", None, raising=False)
    with threadpool_limits(2):
        library_module._start_worker(
            {"psfs": [gaussian_psf(0.1)], "size": SIDE, "pixel_scale": 0.1, "style": "analytic"}
        )
        assert before and {pool["num_threads"] for pool in threadpool_info()} == {1}


def test_entries_that_follow_change_nothing(library):
    longer = render(80)
    first = longer._replace(**{name: getattr(longer, name)[:70] for name in longer._fields[:4]})
    assert_same(library, first._replace(galaxies=longer.galaxies.take(slice(70))))


def test_another_seed_gives_other_poses(library):
    assert not np.isclose(library.phase, render(70, seed=(7, 1)).phase).any()


def test_entries_of_one_galaxy_differ_in_pose(library):
    assert len(np.unique(library.phase[:, 0])) == 70


def test_phases_fill_half_a_pixel_about_the_centre(library):
    assert np.abs(library.phase).max() <= 0.5
    assert np.abs(library.phase).max() > 0.45
    np.testing.assert_allclose(library.phase.mean(axis=0), 0, atol=0.15)


def test_centroids_are_the_phases(library):
    offset = np.arange(SIDE) - SIDE // 2
    light = library.stamps[..., 0].astype(float)
    total = light.sum(axis=(1, 2))
    centroid = np.stack([light.sum(axis=2) @ offset, light.sum(axis=1) @ offset], 1)
    np.testing.assert_allclose(centroid / total[:, None], library.phase, atol=0.02)


def test_both_components_turn_by_one_angle(library):
    given = galaxies(150).take(slice(70))
    bulge = library.galaxies.bulge_position_angle - given.bulge_position_angle
    disk = library.galaxies.disk_position_angle - given.disk_position_angle
    np.testing.assert_allclose(bulge, disk)
    assert 0 <= bulge.min() < 20
    assert 160 < bulge.max() < 180


def test_angles_are_those_on_the_stamps(library):
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    flat = np.flatnonzero((given := library.galaxies).disk_axis_ratio < 0.5)
    disks = flat[given.flux_disk[flat, 0] > 2 * given.flux_bulge[flat, 0]]
    disks = disks[given.disk_half_light_radius[disks] > 0.1]
    assert len(disks) > 1
    for i in disks:
        light, (dy, dx) = library.stamps[i, ..., 0], library.phase[i]
        xx, yy, xy = (
            (light * p).sum() for p in ((x - dx) ** 2, (y - dy) ** 2, (x - dx) * (y - dy))
        )
        angle = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
        assert abs((angle - given.disk_position_angle[i] + 90) % 180 - 90) < 5


def test_ids_and_flags_are_kept(library):
    np.testing.assert_array_equal(library.central, np.arange(70) % 2 == 0)
    np.testing.assert_array_equal(library.id, np.arange(70) + 100)


def test_psfs_are_used_by_turns_whatever_the_processes():
    sigmas = (0.08, 0.12, 0.16)
    several = render(80, sigmas=sigmas)
    assert_same(several, render(80, sigmas=sigmas, processes=2))
    for turn, sigma in enumerate(sigmas):
        alone = render(80, sigmas=(sigma,))
        np.testing.assert_array_equal(several.stamps[turn::3], alone.stamps[turn::3])
        assert (several.stamps[turn - 1 :: 3][:26] != alone.stamps[turn - 1 :: 3][:26]).any()


def test_star_is_the_psf_of_its_turn_at_its_phase():
    psfs = [gaussian_psf(sigma) for sigma in (0.08, 0.16)]
    zeros, ones = np.zeros((3, 6)), np.ones((3, 6))
    stars = Galaxies(zeros[0, :, None], ones[0, :, None], *zeros[:2], *ones[:2], *zeros[:2])
    options = {"seed": (2,), "psfs": psfs, "size": SIDE, "pixel_scale": 0.1}
    library = render_library(stars, -np.arange(6), ones[0] > 0, **options)
    axis = (np.arange(SIDE) - SIDE // 2) * 0.1
    for i, (dy, dx) in enumerate(0.1 * library.phase):
        profile = [np.exp(-0.5 * ((axis - d) / (0.08, 0.16)[i % 2]) ** 2) for d in (dy, dx)]
        wanted = np.outer(*profile) / np.outer(*profile).sum()
        np.testing.assert_allclose(library.stamps[i, ..., 0], wanted, atol=0.01 * wanted.max())
