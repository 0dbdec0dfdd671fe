import astropy.units as u
import numpy as np
import pytest
from simulated import TWO_BANDS, VIS, assert_same, simulate, write_catalogue

from vaedeblend.catalogues import catalogue, sampling
from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import CatalogueError, PsfError, SceneError
from vaedeblend.pixels.blending import blended_area, flux_ratio, footprints, purity
from vaedeblend.simulate import examples as simulation
from vaedeblend.simulate.render import (
    make_draw,
    survey_psfs,
)
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, make_survey, stamp_centre


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_catalogue(tmp_path_factory.mktemp("catalogue"))


@pytest.fixture(scope="module")
def blends(source):
    return simulate("blended", 12, source)


@pytest.fixture(scope="module")
def coloured(source):
    return simulate("blended", 6, source, survey=TWO_BANDS, star_fraction=0.5)


def redraw(example, survey):
    """The stamps of an example's members, from its labels alone."""
    draw = make_draw(survey_psfs(survey, 64), size=64, pixel_scale=0.1)
    sources = example["sources"]
    galaxies = Galaxies(*(sources[name].astype(float) for name in Galaxies._fields))
    members = range(1 + example["n_companions"])
    return np.stack([draw(galaxies.take(i), sources["position"][i]) for i in members])


@pytest.mark.parametrize(("kind", "stamp"), [("isolated", "isolated"), ("galaxies", "stamp")])
def test_first_centrals_do_not_depend_on_how_many_follow(source, kind, stamp):
    short, long = simulate(kind, 5, source), simulate(kind, 10, source)
    assert (len(short), len(long)) == (5, 10)
    for one, other in zip(short, long, strict=False):
        assert one[stamp].any()
        assert_same(one, other)


def test_first_blends_do_not_depend_on_how_many_follow_a_full_library(source, monkeypatch):
    # Below that size the library, from which every scene draws, grows with n.
    monkeypatch.setattr(simulation, "_MAX_LIBRARY", 12)
    for one, other in zip(
        simulate("blended", 13, source), simulate("blended", 15, source), strict=False
    ):
        assert_same(one, other)


def test_examples_are_reproducible_over_processes(source, blends):
    for one, other in zip(blends, simulate("blended", 12, source, processes=2), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("kind", simulation.KINDS)
def test_a_part_of_a_split_holds_the_examples_of_all_of_it(source, kind):
    turns = {"n_psfs": 2, "n_companions": 2} if kind == "galaxies" else {}
    options = {"survey": VIS, "seed": 5, "source": source, "field_density": 10.0} | turns
    whole = list(simulation.examples(kind, "test", 4, **options))
    make = simulation.prepare_examples(kind, "test", 4, **options)
    parts = [*make(slice(3, 9)), *make(slice(0, 1)), *make(slice(1, 3))]
    assert len(parts) == len(whole) == (6 if turns else 4)
    for one, other in zip(parts, [*whole[3:], *whole[:3]], strict=True):
        assert_same(one, other)


def test_another_seed_gives_other_examples(source):
    one, other = (simulate("isolated", 1, source, seed=seed)[0] for seed in (5, 6))
    assert not np.array_equal(one["blend"], other["blend"])


@pytest.mark.parametrize("kind", ["isolated", "blended", "galaxies"])
def test_splits_share_no_galaxy(source, kind):
    ids = []
    for split in simulation.SPLITS:
        options = {"n_companions": 40} if kind == "galaxies" else {}
        examples = simulate(kind, 40, source, split=split, **options)
        found = {int(each["id"]) for each in examples}
        for each in examples:
            if "sources" in each:
                found |= set(each["sources"]["id"][: 1 + each["n_companions"]].tolist())
        ids.append(found)
    assert min(map(len, ids)) > 10
    assert sum(map(len, ids)) == len(set.union(*ids))


def test_isolated_scene_is_pure(source):
    for example in simulate("isolated", 3, source):
        np.testing.assert_array_equal(example["blend"], example["isolated"])
        assert example["n_companions"] == 0
        assert (example["purity"], example["bm_1"], example["flux_ratio"]) == (1, 0, np.inf)


@pytest.mark.parametrize("kind", ["isolated", "galaxies"])
def test_galaxies_that_stand_alone_are_handed_over_while_others_are_not_drawn(
    source, monkeypatch, kind
):
    """A library of 15 000 stamps of 128 pixels would be a gigabyte."""
    drawn, render = [], simulation.render_entries

    def counted(*args, **options):
        for entry in render(*args, **options):
            drawn.append(entry.stamps.nbytes)
            yield entry

    monkeypatch.setattr(simulation, "render_entries", counted)
    options = {"survey": VIS, "seed": 5, "source": source}
    made = simulation.examples(kind, "test", 5, **options)
    for i in range(5):
        next(made)
        assert drawn == (i + 1) * [128**2 * (4 if kind == "isolated" else 2)]


def test_flux_is_that_of_the_catalogue_and_of_the_stamp(source, blends):
    table = catalogue.read(source)
    for example in blends:
        row = table[table["id"] == example["id"]]
        wanted = (row["flux_bulge"] + row["flux_disk"])[0].to_value("uJy")
        np.testing.assert_allclose(example["flux"], wanted, rtol=1e-6)
        np.testing.assert_allclose(example["magnitude"], catalogue.magnitude(row), rtol=1e-6)
        np.testing.assert_allclose(example["isolated"].sum(axis=(0, 1)), wanted, rtol=0.01)


def test_members_add_up_to_the_blend(blends):
    for example in blends:
        members = redraw(example, VIS)
        atol = 1e-4 * example["blend"].max()
        np.testing.assert_allclose(example["isolated"], members[0], atol=atol)
        np.testing.assert_allclose(example["blend"], members.sum(axis=0), atol=atol)


def test_labels_are_those_of_the_arrays(blends):
    for example in blends:
        members = redraw(example, VIS)
        footprint = footprints(members, VIS.rms)
        sources = example["sources"]
        flux = (sources["flux_bulge"] + sources["flux_disk"])[: len(members)]
        np.testing.assert_allclose(example["purity"], purity(members), rtol=1e-3)
        np.testing.assert_allclose(example["bm_1"], blended_area(footprint), atol=0.02)
        np.testing.assert_allclose(example["flux_ratio"], flux_ratio(flux, footprint), rtol=1e-5)
        assert example["purity"][0] < 0.95
        assert example["id"] == sources["id"][0]


def test_sources_are_padded_with_zeros(blends):
    for example in blends:
        n = 1 + example["n_companions"]
        for values in example["sources"].values():
            assert len(values) == 4
            assert not values[n:].any()


def test_positions_are_those_of_the_light(source):
    for example in simulate("isolated", 4, source):
        light = example["isolated"][..., 0].astype(float)
        offset = np.arange(64) - stamp_centre(64)
        centroid = np.array([light.sum(axis=1) @ offset, light.sum(axis=0) @ offset])
        np.testing.assert_allclose(
            centroid / light.sum(), example["sources"]["position"][0], atol=0.02
        )


def test_stratified_pairs_cover_flux_ratios(source):
    examples = simulate("stratified", 25, source)
    ratios = np.array([each["flux_ratio"][0] for each in examples])
    areas = np.array([each["bm_1"][0] for each in examples])
    assert ((ratios > 0.0999) & (ratios < 10.001)).all()
    assert ratios.min() < 0.5
    assert ratios.max() > 2
    assert ((areas > 0) & (areas <= 1)).all()
    assert all(each["n_companions"] == 1 for each in examples)
    for each in examples:
        sources = each["sources"]
        flux = sources["flux_bulge"] + sources["flux_disk"]
        np.testing.assert_allclose(each["flux_ratio"], flux[0] / flux[1], rtol=1e-5)


def test_standard_scenes_are_cut_by_no_purity(source):
    examples = simulate("standard", 200, source)
    numbers = np.bincount([each["n_companions"] for each in examples])
    assert len(numbers) == 4
    assert (numbers > 30).all()
    purities = np.array([each["purity"][0] for each in examples])
    assert (purities > 0.95).sum() > numbers[0] + 10
    assert (purities < 0.95).sum() > 10


def test_galaxies_are_centrals_then_companions(source):
    examples = simulate("galaxies", 3, source, n_companions=4, star_fraction=0.5)
    assert [bool(each["central"]) for each in examples] == [True] * 3 + [False] * 4
    assert [each["id"] < 0 for each in examples] == [False] * 5 + [True] * 2
    assert examples[0]["stamp"].shape == (128, 128, 1)


def test_every_galaxy_is_used_before_one_recurs(source):
    table = catalogue.split(catalogue.read(source), "test", 5)
    unique = len(catalogue.select(table, catalogue.TALK_SELECTION))
    ids = [int(each["id"]) for each in simulate("isolated", unique + 10, source)]
    assert len(set(ids[:unique])) == unique
    assert ids[unique:] == ids[:10]


def test_stars_are_among_the_companions(coloured):
    assert all(each["id"] >= 0 for each in coloured)
    ids = np.concatenate([each["sources"]["id"] for each in coloured])
    assert (ids < 0).any()


def test_two_bands_go_through(coloured):
    for example in coloured:
        assert example["blend"].shape == (64, 64, 2)
        for label in ("flux", "magnitude", "purity", "bm_1", "flux_ratio"):
            assert example[label].shape == (2,)
        members = redraw(example, TWO_BANDS)
        atol = 1e-4 * example["blend"].max()
        np.testing.assert_allclose(example["blend"], members.sum(axis=0), atol=atol)


def test_fluxes_follow_the_order_of_the_survey_s_bands(source):
    bands = {band.name: {} for band in reversed(TWO_BANDS.bands)}
    (turned,) = simulate("isolated", 1, source, survey=make_survey(bands, 0.1))
    (plain,) = simulate("isolated", 1, source, survey=TWO_BANDS)
    row = (table := catalogue.read(source, TWO_BANDS.band_names))[table["id"] == turned["id"]]
    wanted = (row["flux_bulge"] + row["flux_disk"])[0].to_value("uJy")
    np.testing.assert_allclose(turned["flux"], wanted[::-1], rtol=1e-6)
    if turned["id"] == plain["id"]:
        np.testing.assert_allclose(plain["flux"], wanted, rtol=1e-6)


def test_chosen_rows_keep_the_names_of_the_bands(source):
    table = catalogue.read(source, TWO_BANDS.band_names)
    recipe = sampling.SampleRecipe(star_fraction=0.5)
    chosen, _ = sampling.choose_galaxies(table, 4, 4, (1, 2, 3), recipe)
    assert chosen.meta["bands"] == TWO_BANDS.band_names


def test_an_option_of_no_recipe_is_refused(source):
    with pytest.raises(TypeError, match=r"\['max_companion'\]; wanted some of"):
        simulate("blended", 1, source, max_companion=2)


def test_recipe_of_a_configuration_takes_every_option_to_its_part():
    options = {"area": 0.2, "n_psfs": 2, "max_companions": 1, "field_density": 9.0}
    recipe = simulation.make_recipe(VIS, 3, style="sersic", **options)
    assert (recipe.survey, recipe.seed, recipe.style, recipe.processes) == (VIS, 3, "sersic", 1)
    assert recipe.sample == sampling.SampleRecipe(area=0.2)
    assert recipe.psfs == simulation.PsfRecipe(n_psfs=2)
    assert recipe.scene == simulation.SceneRecipe(max_companions=1)
    assert recipe.sheet == simulation.SheetRecipe(field_density=9.0)


def test_every_kind_has_its_function():
    assert tuple(simulation.EXAMPLES) == simulation.KINDS


def test_unknown_band_is_refused(source):
    with pytest.raises(CatalogueError, match="two_bands.fits.*ultraviolet"):
        simulate("isolated", 1, source, survey=make_survey({"ultraviolet": {}}, 0.1))


def test_selection_that_leaves_nothing_is_refused(source):
    with pytest.raises(CatalogueError, match="magnitude .*: 0"):
        simulate("isolated", 1, source, selection={"magnitude": (10.0, 11.0)})


def test_separations_of_one_number_end_in_a_sentence(source):
    """Whole pixels between two phases are never exactly so far apart."""
    with pytest.raises(SceneError, match="no whole pixels of 10000 draws lie 10 to 10 pixels"):
        simulate("blended", 2, source, separation=(1.0, 1.0))


@pytest.mark.parametrize("kind", ["blended", "standard"])
def test_companions_that_the_library_cannot_hold_are_refused_before_anything_is_drawn(kind):
    fine = make_survey({"euclid-vis": {}}, 0.06)
    said = "separation is up to 3 arcsec, 50 pixels of survey.pixel_scale 0.06; wanted at most 32"
    with pytest.raises(SceneError, match=said):
        simulate(kind, 20, "no such catalogue", survey=fine)


def test_stamps_that_the_library_cannot_hold_are_refused(source):
    with pytest.raises(SceneError, match="96 pixels"):
        simulate("blended", 20, source, stamp_size=96, separation=(1.7, 3.0))


def test_noise_of_a_stamp_depends_on_its_index_alone():
    clean = np.zeros((3, 8, 8, 1), np.float32)
    noise = simulation.noisy(clean, VIS, (1, 2))
    np.testing.assert_array_equal(noise[:2], simulation.noisy(clean[:2], VIS, (1, 2)))
    assert not np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise, simulation.noisy(clean, VIS, (1, 3)))


def test_noise_is_drawn_from_no_seed_that_an_example_is_drawn_from(source, monkeypatch):
    """Words of a dataset are (seed, split, kind, purpose, ...), those of its noise begin alike."""
    used, make = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: used.append(seed) or make(seed))
    simulate("blended", 2, source, star_fraction=0.5)
    simulate("galaxies", 2, source, n_companions=2, star_fraction=0.5)
    kinds = [simulation.KINDS.index(kind) for kind in ("blended", "galaxies")]
    examples, split = set(used), simulation.SPLITS.index("test")
    used.clear()
    for kind in kinds:
        simulation.noisy(np.zeros((9, 1, 1, 1), np.float32), VIS, (5, split, kind))
    assert len(used) == 18
    assert not {words[:4] for words in used} & {words[:4] for words in examples}


def test_the_catalogue_of_egg_is_the_default():
    (example,) = simulate("isolated", 1, "", area=0.05)
    assert 23 < example["magnitude"][0] < 25


PSFS = {"n_psfs": 4, "psf_default_share": 0.25}


def magnitudes(examples):
    flux = np.array([(each["flux_bulge"] + each["flux_disk"])[0] for each in examples])
    return MICROJANSKY_ZERO_POINT - 2.5 * np.log10(flux)


def test_scenes_keep_the_survey_s_psf(source):
    one, other = simulate("standard", 3, source), simulate("standard", 3, source, **PSFS)
    for plain, asked in zip(one, other, strict=True):
        assert_same(plain, asked)


BRIGHT, FAINT = {"magnitude": (22.0, 23.0)}, {"magnitude": (24.0, 25.0)}


def test_every_psf_has_the_same_mixture_of_populations(source):
    populations = ((0.3, BRIGHT), (0.7, FAINT))
    examples = simulate("galaxies", 80, source, populations=populations, **PSFS)
    bright = magnitudes(examples) < 23.001
    assert ((magnitudes(examples) > 23.999) | bright).all()
    np.testing.assert_array_equal(bright.reshape(20, 4).sum(axis=0), 6)
    # Any stretch holds about as many: no population comes in one piece.
    np.testing.assert_allclose(bright.reshape(20, 4)[:10].sum(axis=0), 3)


def test_galaxies_of_a_mixture_are_all_used_before_one_recurs(source):
    table = catalogue.split(catalogue.read(source), "test", 5)
    populations = ((0.5, BRIGHT), (0.5, FAINT))
    n_bright = len(catalogue.select(table, BRIGHT))
    examples = simulate("galaxies", 2 * n_bright, source, populations=populations)
    ids = [int(each["id"]) for each in examples]
    bright = np.array(ids)[magnitudes(examples) < 23.5]
    assert len(bright) == len(set(bright)) == n_bright > 5


def test_one_population_is_a_selection(source):
    examples = simulate("galaxies", 6, source, populations=((1.0, BRIGHT),), n_companions=2)
    assert (magnitudes(examples[:6]) < 23.001).all()
    assert [bool(each["central"]) for each in examples] == [True] * 6 + [False] * 2


def test_a_population_of_all_radii_holds_pure_disks_and_no_stars(source):
    table = catalogue.read(source)[:8]
    table["bulge_half_light_radius"][:] = 0 * u.arcsec
    table["id"][0], table["disk_half_light_radius"][0] = -5, 0 * u.arcsec
    wide = {f"{part}_half_light_radius": (0.0, 9.0) for part in ("bulge", "disk")}
    recipe = sampling.SampleRecipe(populations=((1.0, wide),))
    chosen, _ = sampling.choose_galaxies(table, 14, 0, (1,), recipe)
    assert set(chosen["id"]) == set(table["id"][1:])


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.5, -0.5)])
def test_shares_that_are_no_mixture_are_refused(source, shares):
    populations = tuple(zip(shares, (BRIGHT, FAINT), strict=True))
    with pytest.raises(CatalogueError, match="wanted none negative, and a sum of 1"):
        simulate("galaxies", 4, source, populations=populations)


@pytest.mark.parametrize(("kind", "n", "others"), [("galaxies", 6, 4), ("galaxies", 4, 2)])
def test_numbers_that_are_no_multiples_of_the_psfs_are_refused(source, kind, n, others):
    with pytest.raises(PsfError, match=f"n = {n} and n_companions = {others} of n_psfs = 4"):
        simulate(kind, n, source, n_companions=others, **PSFS)


def test_a_population_may_be_of_stars(source):
    populations = ((0.5, {"star_magnitude": (17.0, 19.0)}), (0.5, FAINT))
    examples = simulate("galaxies", 8, source, populations=populations)
    stars = np.array([each["id"] < 0 for each in examples])
    assert stars.sum() == 4 and all(each["central"] for each in examples)
    assert (magnitudes(examples)[stars] < 19).all() and (magnitudes(examples)[~stars] > 24).all()
    assert len({int(each["id"]) for each in examples}) == 8
