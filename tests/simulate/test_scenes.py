import numpy as np
import pytest
from scipy.stats import kstest

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import SceneError
from vaedeblend.pixels.blending import blended_area, flux_ratio, footprints, purity
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate import scenes
from vaedeblend.simulate.library import Library, render_library
from vaedeblend.simulate.render import make_draw

SIZE, SIDE, N = 32, 64, 40
RMS = np.array([0.002])
STRATIFIED = {"size": SIZE, "min_separation": 3.0, "rms": RMS}


def psfs():
    axis = np.exp(-0.5 * (np.arange(-20, 21) * 0.05 / 0.1) ** 2)
    return (make_psf(np.outer(axis, axis), 0.05),)


@pytest.fixture(scope="module")
def library():
    rng = np.random.default_rng(3)
    light = rng.uniform(0.1, 1, (2, N, 1))
    radii = np.full(N, 0.02), rng.uniform(0.05, 0.35, N)
    galaxies = Galaxies(*light, *radii, *rng.uniform(0.3, 1, (2, N)), *rng.uniform(0, 180, (2, N)))
    options = {"seed": (1, 2), "psfs": (psfs(),), "size": SIDE, "pixel_scale": 0.1}
    return render_library(galaxies, np.arange(N), np.arange(N) < N // 2, **options)


def blended(library, seed, **options):
    wanted = {"size": SIZE, "max_companions": 3, "separation": (3.0, 12.0), "max_purity": 0.95}
    return scenes.draw_blended(library, np.random.default_rng(seed), **wanted | options)


def neighbours(library, seed, separation=(3.0, 15.0), **options):
    options = {"max_companions": 3, "separation": separation} | options
    return scenes.draw_neighbours(library, np.random.default_rng(seed), **options)


def distances(library, drawn):
    places = scenes.positions(library, drawn)
    return np.hypot(*(places[1:] - places[0]).T)


def direct(library, drawn, size):
    draw = make_draw(psfs(), size=size, pixel_scale=0.1)
    places = scenes.positions(library, drawn)
    pairs = zip(drawn.members, places, drawn.scale, strict=True)
    return np.stack([draw(library.galaxies.take(i), place) * scale for i, place, scale in pairs])


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-16, 16), (5, 11)])
def test_composed_galaxy_is_the_one_drawn_in_its_place(library, shift):
    drawn = scenes.Scene(np.array([4, 9]), np.array([(0, 0), shift]), np.array([1.0, 2.5]))
    members = scenes.compose(library, drawn, SIZE)
    wanted = direct(library, drawn, SIZE)
    np.testing.assert_allclose(members, wanted, atol=1e-5 * wanted.max())


def test_isolated_scene_is_the_middle_of_its_library_stamp(library):
    members = scenes.compose(library, scenes.isolated(7), SIZE)
    edge = (SIDE - SIZE) // 2
    np.testing.assert_array_equal(members, library.stamps[7:8, edge:-edge, edge:-edge])


@pytest.mark.parametrize(("size", "shift"), [(SIZE, (0, 17)), (SIZE, (-17, 0)), (33, (0, 0))])
def test_scene_that_a_library_stamp_does_not_cover_is_refused(library, size, shift):
    drawn = scenes.Scene(np.array([0, 1]), np.array([(0, 0), shift]), np.ones(2))
    with pytest.raises(SceneError, match=f"{size} pixels .* library stamps of 64"):
        scenes.compose(library, drawn, size)


def test_central_galaxy_is_within_half_a_pixel_of_the_centre(library):
    drawn = neighbours(library, 0)
    assert library.central[drawn.members[0]]
    assert not library.central[drawn.members[1:]].any()
    assert np.abs(scenes.positions(library, drawn)[0]).max() <= 0.5


def test_companions_number_one_to_the_most_allowed(library):
    numbers = [len(neighbours(library, seed).members) - 1 for seed in range(300)]
    assert (np.bincount(numbers, minlength=4)[1:] > 70).all()
    assert set(numbers) == {1, 2, 3}


def test_companions_may_number_none(library):
    drawn = [neighbours(library, seed, min_companions=0) for seed in range(400)]
    numbers = np.bincount([len(each.members) - 1 for each in drawn], minlength=4)
    assert numbers.sum() == 400 and len(numbers) == 4
    assert (numbers > 70).all()
    alone = next(each for each in drawn if len(each.members) == 1)
    assert scenes.compose(library, alone, SIZE).shape == (1, SIZE, SIZE, 1)


def test_separations_are_in_range_and_uniform_in_area():
    phases = np.random.default_rng(5).uniform(-0.5, 0.5, (400, 2)).astype(np.float32)
    galaxies = Galaxies(*np.ones((2, 400, 1)), *np.ones((6, 400)))
    stamps = np.zeros((400, 1, 1, 1), np.float32)
    points = Library(stamps, phases, np.arange(400) < 200, np.arange(400), galaxies)
    low, high = 3.0, 30.0
    drawn = (neighbours(points, seed, (low, high)) for seed in range(700))
    found = np.concatenate([distances(points, each) for each in drawn])
    assert low <= found.min() < 5
    assert 29.5 < found.max() <= high
    assert kstest((found**2 - low**2) / (high**2 - low**2), "uniform").pvalue > 0.01


@pytest.mark.parametrize("seed", range(10))
def test_blended_centre_is_impure(library, seed):
    drawn = blended(library, seed)
    assert purity(scenes.compose(library, drawn, SIZE))[0] < 0.95
    assert distances(library, drawn).min() >= 3
    assert distances(library, drawn).max() <= 12


def test_scenes_follow_from_their_generator_alone(library):
    one, other = blended(library, 4), blended(library, 4)
    np.testing.assert_array_equal(one.members, other.members)
    np.testing.assert_array_equal(one.shift, other.shift)


def test_blends_that_cannot_be_are_refused(library, monkeypatch):
    monkeypatch.setattr(scenes, "_MAX_DRAWS", 20)
    with pytest.raises(SceneError, match="of 20 has a central purity below 0.01"):
        blended(library, 0, max_purity=0.01)


def test_separations_that_no_whole_pixels_have_are_refused(library, monkeypatch):
    monkeypatch.setattr(scenes, "_MAX_DRAWS", 20)
    with pytest.raises(SceneError, match="of 20 draws lie 3 to 3 pixels apart"):
        neighbours(library, 0, separation=(3.0, 3.0), min_companions=1)


def test_cells_cover_the_complexity_map():
    np.testing.assert_allclose(scenes.BM_1_EDGES[[0, -1]], [0, 1])
    np.testing.assert_allclose(scenes.FLUX_RATIO_EDGES[[0, -1]], [0.1, 10])


@pytest.fixture(scope="module")
def cells(library):
    return scenes.feasible_cells(library, (8,), **STRATIFIED)


def test_most_cells_can_be_filled(cells):
    assert len(cells) >= 15


def test_stratified_pair_is_in_its_cell(library, cells):
    for cell in cells:
        drawn = scenes.draw_stratified(
            library, np.random.default_rng((8, *cell)), cell, **STRATIFIED
        )
        footprint = footprints(scenes.compose(library, drawn, SIZE), RMS)
        flux = library.galaxies.flux[drawn.members] * drawn.scale[:, None]
        area, ratio = blended_area(footprint)[0], flux_ratio(flux, footprint)[0]
        assert area > 0
        assert scenes.BM_1_EDGES[cell[0]] <= area <= scenes.BM_1_EDGES[cell[0] + 1]
        low, high = scenes.FLUX_RATIO_EDGES[cell[1] : cell[1] + 2]
        assert low * (1 - 1e-6) <= ratio <= high * (1 + 1e-6)
        assert distances(library, drawn)[0] >= STRATIFIED["min_separation"]


def test_cell_that_cannot_be_filled_gives_none(library):
    invisible = STRATIFIED | {"rms": np.array([1e6])}
    assert scenes.draw_stratified(library, np.random.default_rng(0), (2, 2), **invisible) is None


SHEET = 96


def field(library, seed, density=0.005, entries=range(N)):
    rng = np.random.default_rng(seed)
    return scenes.draw_field(library, rng, np.array(entries), size=SHEET, density=density)


def test_sources_of_a_field_fill_it_and_all_around_it(library):
    drawn = [field(library, seed) for seed in range(30)]
    shifts = np.concatenate([each.shift for each in drawn])
    half = (SHEET + SIDE) / 2
    assert abs(shifts).max() == half - 1
    for axis in shifts.T:
        assert kstest((axis + half) / (2 * half), "uniform").pvalue > 0.01
    wanted = 30 * 0.005 * (2 * half - 1) ** 2
    assert abs(len(shifts) - wanted) < 4 * np.sqrt(wanted)
    counts = [len(each.members) for each in drawn]
    assert 0.3 < np.var(counts) / np.mean(counts) < 2.5


def test_field_takes_the_entries_it_is_given(library):
    members = field(library, 0, entries=np.arange(3, N, 8)).members
    assert set(members) == {3, 11, 19, 27, 35}


def test_field_is_the_light_of_its_sources_in_their_places(library):
    drawn = scenes.Scene(
        np.array([4, 9, 20, 31]),
        np.array([(0, 0), (30, -47), (-52, 3), (79, 79)]),
        np.array([1.0, 2.5, 1.0, 1.0]),
    )
    sheet = scenes.compose_field(library, drawn, SHEET)
    wanted = direct(library, drawn, SHEET)
    assert wanted[2].sum() > 0  # of a source outside
    np.testing.assert_allclose(sheet, wanted.sum(axis=0), atol=2e-5 * wanted.max())
    assert sheet[0, 40:60].max() > 1e-3 * sheet.max()


def test_field_without_sources_is_dark(library):
    assert not scenes.compose_field(library, field(library, 0, density=0.0), SHEET).any()


def test_field_whose_centre_is_none_of_the_stamps_is_refused(library):
    with pytest.raises(SceneError, match="97 pixels, stamps of 64"):
        scenes.compose_field(library, field(library, 0), 97)
