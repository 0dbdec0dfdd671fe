import astropy.units as u
import numpy as np
import pytest
from skies import PSFS, VIS

from vaedeblend.catalogues import catalogue, egg
from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate.fields import make_truth
from vaedeblend.simulate.library import (
    MAX_RADIUS,
    STAMP_SIZES,
    PlacedSources,
    place_sources,
    random_sources,
    render_library,
    render_sources,
    stamp_sizes,
)

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


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_psfs_are_used_by_turns_whatever_the_processes(processes):
    sigmas = (0.08, 0.12, 0.16)
    several = render(80, sigmas=sigmas)
    assert_same(several, render(80, sigmas=sigmas, processes=processes))
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


def disks(flux, radius, ratio=0.7, angle=20.0):
    """Disks with a fifth of their light in a bulge a tenth as large; stars where radius is 0."""
    flux, radius = np.asarray(flux, float), np.asarray(radius, float)
    light = 0.2 * flux[:, None], 0.8 * flux[:, None]
    shape = (np.full(len(flux), value) for value in (ratio, ratio, angle, angle))
    return Galaxies(*light, 0.1 * radius, radius, *shape)


def sources_at(pixel, flux, radius, seed=0):
    pixel = np.asarray(pixel)
    phase = np.random.default_rng(seed).uniform(-0.5, 0.5, pixel.shape).astype(np.float32)
    return PlacedSources(np.arange(len(pixel)), disks(flux, radius), pixel, phase)


def render_on_field(sources, shape, psfs=PSFS):
    return render_sources(sources, shape, psfs, 0.1)


def test_light_is_what_the_catalogue_says():
    table = catalogue.select(egg.catalogue(0.002, seed=1), {"magnitude": (22.0, 25.0)})[:25]
    pixel = np.random.default_rng(0).integers(256, 384, (25, 2))
    poses = np.zeros((25, 2), np.float32)
    sources = PlacedSources(np.asarray(table["id"]), make_galaxies(table), pixel, poses)
    light, _ = render_on_field(sources, (640, 640))
    total = sources.galaxies.flux.sum()
    assert 0.99 * total < light.sum() < 1.001 * total
    truth = make_truth(sources, np.ones((25, 1)), (640, 640), VIS)
    np.testing.assert_allclose(truth["flux"].value, sources.galaxies.flux)
    np.testing.assert_allclose(truth["mag"].value[:, 0], catalogue.magnitude(table))


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.9, 1.6, 3.0])
def test_centroid_of_a_lone_source_is_its_position(radius):
    sources = sources_at([(301, 287)], [10.0], [radius])
    light, purities = render_on_field(sources, (600, 600))
    truth = make_truth(sources, purities, (600, 600), VIS)
    window = light[270:331, 256:317, 0].astype(float)  # symmetric about neither axis
    y, x = np.indices(light.shape[:2])
    light = light[..., 0].astype(float)
    centroid = (light * x).sum() / light.sum(), (light * y).sum() / light.sum()
    np.testing.assert_allclose(
        centroid, (truth["x"][0].value, truth["y"][0].value), atol=0.02 if radius < 1 else 0.1
    )
    brightest = np.add(np.unravel_index(window.argmax(), window.shape), (270, 256))
    assert np.abs(brightest - (truth["y"][0].value, truth["x"][0].value)).max() < 0.75
    assert truth["star"][0] == (radius == 0)


@pytest.mark.parametrize("pixel", [(60, 40), (1, 119), (0, 0)])
def test_purity_of_a_lone_source_is_one_even_at_the_edge(pixel):
    sources = sources_at([pixel], [1e-6], [0.3])._replace(phase=np.full((1, 2), 0.2, np.float32))
    _, purities = render_on_field(sources, (120, 120))
    np.testing.assert_allclose(purities, 1, atol=4e-4)


def test_sources_off_the_image_have_no_purity():
    assert np.isnan(render_on_field(sources_at([(-9, 4)], [3.0], [0.3]), (120, 120))[1]).all()


def test_purity_of_two_overlapping_sources():
    sources = sources_at([(60, 40), (65, 44)], [3.0, 1.0], [0.3, 0.6])
    light, purities = render_on_field(sources, (120, 120))
    each = [render_on_field(sources_at([(60, 40), (65, 44)], flux, [0.3, 0.6]), (120, 120))[0]
            for flux in ([3.0, 1e-9], [1e-9, 1.0])]  # fmt: skip
    np.testing.assert_allclose(light, each[0] + each[1], atol=1e-6)
    for source, own, (y, x) in zip(purities, each, sources.pixel, strict=True):
        core = np.s_[y - 32 : y + 32, x - 32 if x > 32 else 0 : x + 32]
        direct = (own[core] ** 2).sum() / (own[core] * light[core]).sum()
        assert source[0] == pytest.approx(direct, abs=3e-4)
    assert purities[1, 0] < 0.6 < purities[0, 0] < 0.96


def test_source_beyond_the_edge_reaches_in_and_is_no_truth():
    sources = sources_at([(-40, 50), (50, 140)], [30.0, 30.0], [1.0, 0.2])
    light, purities = render_on_field(sources, (100, 100))
    assert light[0, 50, 0] > light[20, 50, 0] > 1e-6
    assert not light[40:60, 90].any()  # a small source farther off than its stamp reaches
    assert len(make_truth(sources, purities, (100, 100), VIS)) == 0


def test_centres_up_to_the_outer_edge_of_the_pixels_are_on_the_image():
    phase = np.array([[0.01, 0], [-0.01, 0], [-0.01, 0], [0.01, 0]], np.float32)
    sources = sources_at([(0, 9), (0, 9), (20, 9), (20, 9)], np.ones(4), np.full(4, 0.1))
    truth = make_truth(sources._replace(phase=phase), np.ones((4, 1)), (20, 20), VIS)
    np.testing.assert_array_equal(truth["id"], [0, 2])
    np.testing.assert_allclose(truth["y"].value, [-0.49, 19.49])
    np.testing.assert_allclose(truth["x"].value, 8.5)


def test_every_row_lies_once_anywhere_on_field_and_margin():
    table = egg.catalogue(0.01, seed=2)
    sources = place_sources([table, catalogue.stars(50, np.random.default_rng(0))], (300, 100), 5)
    np.testing.assert_array_equal(sources.id, [*table["id"], *-np.arange(1, 51)])
    np.testing.assert_array_equal(sources.galaxies.flux[:-50], make_galaxies(table).flux)
    for axis, side in enumerate((300, 100)):
        assert -256 < sources.position[:, axis].min() < -250
        assert side + 249 < sources.position[:, axis].max() < side + 255
        share = (sources.pixel[:, axis] < side / 2).mean()
        assert share == pytest.approx(0.5, abs=0.04)
    assert np.unique(sources.phase).size > 1.99 * len(table)


def test_radii_that_no_stamp_holds_are_cut():
    table = egg.catalogue(0.002, seed=2)
    table["disk_half_light_radius"][:] = 9 * u.arcsec
    assert (place_sources([table], (9, 9), 0).galaxies.disk_half_light_radius == MAX_RADIUS).all()


def test_stamps_grow_with_what_they_hold():
    galaxies = disks(np.ones(5), [0.0, 0.2, 0.8, 1.6, 4.0])
    assert list(stamp_sizes(galaxies, PSFS, 0.1, STAMP_SIZES)) == [64, 64, 128, 256, 512]
    ones = np.ones(1)
    bulge = Galaxies(ones[:, None], 0 * ones[:, None], 0.3 * ones, 0 * ones, ones, ones, ones, ones)
    assert stamp_sizes(bulge, PSFS, 0.1, STAMP_SIZES)[0] > 128
    wings = np.pad(np.ones((1, 1)), 50, constant_values=1e-4)
    assert stamp_sizes(galaxies, (make_psf(wings, 0.1),), 0.1, STAMP_SIZES)[0] == 128


def test_what_stamps_lose_is_what_growth_curves_say():
    galaxies = disks(np.ones(3), [0.2, 0.8, 1.4])
    sizes = stamp_sizes(galaxies, PSFS, 0.1, STAMP_SIZES)
    for i, size in enumerate(sizes):
        one = galaxies.take(slice(i, i + 1))
        drawing = {"seed": (0,), "psfs": [PSFS], "size": int(size), "pixel_scale": 0.1}
        stamp = render_library(one, np.zeros(1, int), np.ones(1, bool), **drawing).stamps[0]
        assert 0.995 < stamp.sum() < 1.0005


def test_neighbours_are_bright_and_near():
    pixel = [(50, 50), (50, 70), (70, 50), (50, 81), (-5, 10), (20, 10)]
    faint = 10 ** (0.4 * (23.9 - 26.5))
    sources = sources_at(pixel, [1, 1, faint, 1, 1, 1], np.full(6, 0.1))
    sources = sources._replace(phase=np.zeros((6, 2), np.float32))
    truth = make_truth(sources, np.ones((6, 1)), (100, 100), VIS)
    # The faint one is nobody's; the fifth is off the image, and the sixth's all the same.
    np.testing.assert_array_equal(truth["id"], [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(truth["n_neighbours"], [1, 2, 2, 1, 1])


@pytest.mark.parametrize("magnitude", [(24.0, 27.0), (26.0, 27.0)])
def test_random_sources_are_as_faint_as_asked_for(magnitude):
    found = random_sources(300, magnitude, (64, 64), ("euclid-vis",), seed=2).magnitude
    assert magnitude[0] <= found.min() and magnitude[1] - 0.1 < found.max() <= magnitude[1]


def test_random_sources_do_not_depend_on_the_programs_that_there_are(monkeypatch):
    asked = 5, (22.0, 25.0), (64, 64), ("euclid-vis",), 3
    wanted = random_sources(*asked).magnitude
    monkeypatch.setattr(egg.shutil, "which", lambda name: "/there/" + name)
    np.testing.assert_array_equal(random_sources(*asked).magnitude, wanted)
