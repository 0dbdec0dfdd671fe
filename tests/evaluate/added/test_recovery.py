import numpy as np
import pytest
from astropy.table import Table

from vaedeblend.evaluate.added.places import make_addition, random_mixture
from vaedeblend.evaluate.added.recovery import recovered

N = 40
"""Sources that are added to an image of a zero point of 23.9 mag, one a square of 20 pixels."""


def catalogue(place, flux):
    table = Table({"y": place[:, 0], "x": place[:, 1], "flux": np.asarray(flux, float)})
    table["id"], table["flags"] = 1 + np.arange(len(table)), 0
    table["flux_err"], table["flux_err_95"], table["purity"] = 1.0, 2.5, 1.0
    return table


@pytest.fixture
def added():
    recipe = make_addition(N, 0, (24.0, 25.0))
    sources = random_mixture(recipe, (200, 200), ("euclid-vis",), 0)
    place = np.stack(np.divmod(np.arange(N), 8), axis=1) * 20 + 15
    return sources._replace(pixel=place)


def test_sources_that_were_there_before_are_not_taken_for_added_ones(added):
    for old in (500.0, 1e-3):
        there = catalogue(added.position, np.full(N, old))
        table = recovered(added, 1.0, there, there, 7)
        assert not table["found"].any() and (table["error"] == -1).all()
        assert not table["id"].any() and (table["seed"] == 7).all()


def test_new_sources_are_those_that_were_added(added):
    flux = added.galaxies.flux[:, 0]
    bright = catalogue(added.position + [0, 2.5], np.full(N, 100.0))
    both = catalogue(
        np.concatenate([added.position + 0.2, added.position + [0, 2.5]]),
        np.append(1.1 * flux, np.full(N, 100.0)),
    )
    table = recovered(added, 1.0, both, bright, 0)
    assert table["found"].all()
    np.testing.assert_array_equal(table["id"], 1 + np.arange(N))
    np.testing.assert_allclose(table["error"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(table["x_found"] - table["x"], 0.2)
    assert (table["flux_err_95"] == 2.5).all()
    radii = np.asarray(table["half_light_radius"])
    largest = np.maximum(
        added.galaxies.bulge_half_light_radius, added.galaxies.disk_half_light_radius
    )
    assert (radii > 0).all() and (radii <= largest * (1 + 1e-6)).all()


def test_a_source_that_gained_the_light_counts_where_it_is_more(added):
    """A faint source became the blend of both; a bright one stays what it was, and the other's."""
    flux = added.galaxies.flux[:, 0].astype(float)
    old = np.where(np.arange(N) % 2, 0.3, 3.0) * flux
    before = catalogue(added.position + 0.4, old)
    table = recovered(added, 1.0, catalogue(added.position + 0.1, old + flux), before, 0)
    np.testing.assert_array_equal(table["found"], np.arange(N) % 2 == 1)


def test_unmeasured_rows_are_no_sources(added):
    found = catalogue(added.position, np.full(N, np.nan))
    assert not recovered(added, 1.0, found, found[:0], 0)["found"].any()
