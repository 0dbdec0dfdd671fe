import numpy as np
import pytest
from astropy.table import Table

from vaedeblend.evaluate.added.places import (
    bright_rows,
    make_addition,
    on_good_pixels,
    random_mixture,
)
from vaedeblend.exceptions import MosaicError

SHAPE = 120, 160
NONE = Table({"x": [1.0], "y": [1.0], "flux": [1.0], "flags": [8]})[:0]


def mixture(n=40, stars=5, seed=0):
    recipe = make_addition(n, stars, (23.0, 25.0))
    return random_mixture(recipe, SHAPE, ("euclid-vis",), seed)


def test_stars_are_points_of_the_range_behind_the_galaxies():
    sources = mixture()
    np.testing.assert_array_equal(sources.galaxies.star, np.arange(45) >= 40)
    assert (sources.magnitude > 23).all() and (sources.magnitude < 25).all()
    assert len(set(sources.id.tolist())) == 45
    np.testing.assert_array_equal(mixture(stars=0).position, sources.position[:40])


def test_sources_lie_on_pixels_that_count():
    counting = np.zeros(SHAPE, bool)
    counting[50:53, 70:90] = True
    sources = on_good_pixels(mixture(), counting, 1.0, NONE, 3)
    y, x = np.floor(sources.position + 0.5).astype(int).T
    assert len(y) == 45 and counting[y, x].all()


def test_no_source_lies_where_it_would_be_a_bright_one_s_spike():
    """Of 200 times its flux, within 32 pixels; of those that find no place none is left."""
    bright = Table({"x": [80.0], "y": [60.0], "flux": [300.0], "flags": [8]})
    sources = on_good_pixels(mixture(), np.ones(SHAPE, bool), 1.0, bright, 3)
    distance = np.hypot(*(sources.position - [60, 80]).T)
    assert len(distance) == 45
    assert (sources.galaxies.flux[:, 0] * distance**2 >= 5 * 300).all() and distance.min() < 60
    bright["flux"] = 1e7
    assert not len(on_good_pixels(mixture(), np.ones(SHAPE, bool), 1.0, bright, 3).id)


def test_bright_rows_have_the_flag_and_a_flux():
    table = Table({"flux": [1.0, np.nan, 2.0], "flags": [8, 8 + 32, 4]})
    assert bright_rows(table)["flux"].tolist() == [1.0]


def test_no_pixel_and_no_range_are_refused():
    with pytest.raises(MosaicError, match="every pixel of the image is ignored"):
        on_good_pixels(mixture(), np.zeros(SHAPE, bool), 1.0, NONE, 0)
    with pytest.raises(MosaicError, match="magnitudes from 25 to 22; wanted the brighter"):
        make_addition(3, 0, (25, 22))
    with pytest.raises(MosaicError, match="from 8 to 10: EGG has no such galaxies"):
        make_addition(3, 0, (8, 10))
    with pytest.raises(MosaicError, match="seed is -3; wanted"):
        make_addition(3, 0, (22, 25), seed=-3)


def test_stars_alone_may_be_fainter_than_any_galaxy():
    addition = make_addition(0, 3, (28.0, 29.0), seed=4, repeats=2)
    sources = random_mixture(addition, SHAPE, ("euclid-vis",), 4)
    assert sources.galaxies.star.all() and len(sources.id) == 3
    assert addition.seeds == (4, 5) and addition.total == 6
