"""Sheets of sky: examples of kind fields."""

import numpy as np
import pytest
from simulated import VIS, assert_same, simulate, write_catalogue

from vaedeblend.catalogues import catalogue
from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import PsfError
from vaedeblend.simulate import examples as simulation
from vaedeblend.simulate.render import make_draw, survey_psfs
from vaedeblend.survey import MICROJANSKY_ZERO_POINT

PSFS = {"n_psfs": 4, "psf_default_share": 0.25}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_catalogue(tmp_path_factory.mktemp("catalogue"))


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


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_fields_are_reproducible_over_processes(source, processes):
    one, other = sheets(source, **PSFS), sheets(source, processes=processes, **PSFS)
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
