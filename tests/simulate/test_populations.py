import numpy as np
import pytest
from simulated import VIS, assert_same, simulate, write_catalogue

from vaedeblend.catalogues import catalogue
from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import CatalogueError, PsfError
from vaedeblend.simulate import examples as simulation
from vaedeblend.simulate.render import make_draw, psf_family, resampled_psf, survey_psfs
from vaedeblend.survey import MICROJANSKY_ZERO_POINT

PSFS = {"n_psfs": 4, "psf_default_share": 0.25}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_catalogue(tmp_path_factory.mktemp("catalogue"))


def magnitudes(examples):
    flux = np.array([(each["flux_bulge"] + each["flux_disk"])[0] for each in examples])
    return MICROJANSKY_ZERO_POINT - 2.5 * np.log10(flux)


def test_stars_are_the_psf_of_their_turn(source):
    examples = simulate("galaxies", 4, source, n_companions=8, star_fraction=1.0, **PSFS)
    psfs = psf_family(
        VIS, 4, fwhm=(0.15, 0.25), default_share=0.25, stamp_size=64, seed=(5, 2, 0, 7)
    )
    for i, example in enumerate(examples):
        (psf,) = psfs[i % 4]
        np.testing.assert_allclose(example["psf"][..., 0], resampled_psf(psf, 0.1, 31), atol=1e-7)
        assert example["psf"].sum() == pytest.approx(1, rel=1e-5)
        if example["id"] < 0:
            star = Galaxies(*(np.asarray(example[name], float) for name in Galaxies._fields))
            wanted = make_draw(psfs[i % 4], size=128, pixel_scale=0.1)(star, example["phase"])
            np.testing.assert_allclose(example["stamp"], wanted, atol=1e-3 * wanted.max())
    assert sum(example["id"] < 0 for example in examples) == 8


def test_galaxies_and_fields_have_one_family_of_psfs(source):
    galaxies = simulate("galaxies", 4, source, **PSFS)
    fields = simulate("fields", 8, source, field_magnitude=(24.0, 25.0), **PSFS)
    for i, example in enumerate(fields):
        np.testing.assert_array_equal(example["psf"], galaxies[i % 4]["psf"])
    assert (galaxies[0]["psf"] != galaxies[1]["psf"]).any()


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


@pytest.mark.parametrize("shares", [(0.5, 0.4), (1.5, -0.5)])
def test_shares_that_are_no_mixture_are_refused(source, shares):
    populations = tuple(zip(shares, (BRIGHT, FAINT), strict=True))
    with pytest.raises(CatalogueError, match="wanted none negative, and a sum of 1"):
        simulate("galaxies", 4, source, populations=populations)


@pytest.mark.parametrize(("kind", "n", "others"), [("galaxies", 6, 4), ("galaxies", 4, 2)])
def test_numbers_that_are_no_multiples_of_the_psfs_are_refused(source, kind, n, others):
    with pytest.raises(PsfError, match=f"n = {n} and n_companions = {others} of n_psfs = 4"):
        simulate(kind, n, source, n_companions=others, **PSFS)


def test_sheets_that_are_no_multiple_of_the_psfs_are_refused(source):
    with pytest.raises(PsfError, match="n = 6 .* of n_psfs = 4"):
        simulate("fields", 6, source, **PSFS)


def sheets(source, n=8, **options):
    options = {"field_magnitude": (22.0, 25.5), "field_star_fraction": 0.1} | options
    return simulate("fields", n, source, **options)


def test_light_of_a_field_is_the_catalogue_s(source):
    """The mean of 40 sheets of 41 sources and more within three times its scatter."""
    density = 400.0
    found = [
        each["sheet"].astype(float).sum()
        for each in sheets(source, 40, field_density=density, field_star_fraction=0.0)
    ]
    table = catalogue.split(catalogue.read(source), "test", 5)
    flux = 10 ** (0.4 * (MICROJANSKY_ZERO_POINT - catalogue.magnitude(table)))
    wanted = flux.mean() * density * (192 * 0.1 / 60) ** 2
    scatter = np.std(found) / np.sqrt(40)
    assert scatter < 0.06 * wanted
    assert np.mean(found) == pytest.approx(wanted, abs=3 * scatter)


def test_fields_are_reproducible_over_processes(source):
    one, other = sheets(source, **PSFS), sheets(source, processes=2, **PSFS)
    for a, b in zip(one, other, strict=True):
        assert_same(a, b)
    assert one[0]["sheet"].shape == (192, 192, 1)
    assert one[0]["sheet"].dtype == np.float16
    assert (one[0]["sheet"] != one[4]["sheet"]).any()


def test_fields_go_as_deep_as_asked():
    examples = simulate("fields", 2, "", area=0.002, field_magnitude=(27.0, 28.0))
    assert all(example["sheet"].any() for example in examples)
    assert max(example["sheet"].max() for example in examples) < 0.06  # uJy: 27 mag is 0.058


def test_fields_draw_from_full_libraries_of_each_psf():
    assert simulation._library_size(1e6, 32) == 8192
    assert simulation._library_size(100.0, 8) == 96
    assert simulation._library_size(3.0, 8) == 8


def test_fields_may_be_of_stars_alone(source):
    """Every sheet then has a pixel as bright as a star's is at the worst of phases."""
    star = Galaxies(np.zeros(1), np.ones(1), *np.zeros(2), *np.ones(2), *np.zeros(2))
    worst = make_draw(survey_psfs(VIS, 64), size=64, pixel_scale=0.1)(star, (0.5, 0.5)).max()
    faintest = 10 ** (0.4 * (MICROJANSKY_ZERO_POINT - 22.5))
    brightest = {
        share: [
            each["sheet"].max()
            for each in sheets(source, 4, field_magnitude=(22.0, 22.5), field_star_fraction=share)
        ]
        for share in (0.0, 1.0)
    }
    assert min(brightest[1.0]) > 0.98 * worst * faintest
    assert min(brightest[0.0]) < 0.98 * worst * faintest
