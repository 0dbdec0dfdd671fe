import jax
import jax.numpy as jnp
import numpy as np
import pytest
from libraries import (
    COMPOSING,
    N_CENTRAL,
    are_isolated,
    centroid,
    draw,
    gaussians,
    make_draw_layout,
    marked_library,
    round_psfs,
    windows,
)
from scipy import stats

from vaedeblend.models.vae import psf_features
from vaedeblend.pixels import blending
from vaedeblend.training import placement
from vaedeblend.training.placement import make_device_library


def test_library_puts_central_galaxies_first():
    stamps, phase = np.ones((6, 4, 4, 1)), np.zeros((6, 2))
    central = np.array([False, True, False, True, True, False])
    flux = np.arange(6.0)[:, None]
    library, n_central = make_device_library(stamps, phase, flux, central, round_psfs(1))
    assert n_central == 3
    np.testing.assert_array_equal(library.flux[:, 0], [1, 3, 4, 0, 2, 5])


@pytest.mark.parametrize(
    ("n_psfs", "sheets", "message"),
    [
        (2, None, "library has 3 central galaxies; wanted a multiple of its 2 PSFs"),
        (3, None, "library has 4 companions; wanted a multiple of its 3 PSFs"),
        (1, np.zeros((2, 8, 8, 1)), None),
    ],
)
def test_library_wants_as_many_of_every_psf(n_psfs, sheets, message):
    arrays = np.ones((7, 4, 4, 1)), np.zeros((7, 2)), np.ones((7, 1)), np.arange(7) < 3
    if message is None:
        assert len(make_device_library(*arrays, round_psfs(n_psfs), sheets)[0].fields) == 2
    else:
        with pytest.raises(ValueError, match=message):
            make_device_library(*arrays, round_psfs(n_psfs), sheets)


def test_library_wants_as_many_sheets_of_every_psf():
    arrays = np.ones((4, 4, 4, 1)), np.zeros((4, 2)), np.ones((4, 1)), np.arange(4) < 2
    with pytest.raises(ValueError, match="library has 3 sheets; wanted a multiple of its 2 PSFs"):
        make_device_library(*arrays, round_psfs(2), np.zeros((3, 8, 8, 1)))


def test_library_tells_its_psfs_features():
    marked = marked_library()
    np.testing.assert_allclose(marked.psf, psf_features(jnp.asarray(round_psfs(3))), atol=1e-4)
    assert (np.diff(marked.psf[:, 0]) > 0.1).all()


def test_width_is_the_gaussians_own():
    library, width = gaussians()
    np.testing.assert_allclose(library.width, width, rtol=1e-3)


@pytest.fixture(scope="module")
def library():
    return gaussians()[0]


@pytest.fixture(scope="module")
def layout(library):
    return make_draw_layout(library)


def test_one_to_all_companions_are_present(layout, key):
    present = jax.vmap(layout)(jax.random.split(key, 500)).present
    assert set(np.asarray(present.sum(axis=1)).tolist()) == {2, 3}
    assert present[:, 0].all()


def test_share_of_isolated_scenes_is_as_asked(library, key):
    assert not are_isolated(draw(key, library)).any()
    scenes = draw(key, library, isolated_share=0.3)
    assert are_isolated(scenes).mean() == pytest.approx(0.3, abs=0.04)
    assert (scenes.purity[are_isolated(scenes)] == 1).all()


def test_unselected_scenes_are_as_pure_as_first_candidates(library, key):
    one, other = jax.random.split(key)
    first = draw(one, library, candidates=1).purity[:, 0]
    unselected = draw(other, library, unselected_share=1.0).purity[:, 0]
    assert stats.ks_2samp(first, unselected).pvalue > 0.01
    assert stats.ks_2samp(first, draw(other, library).purity[:, 0]).pvalue < 1e-6


def test_the_three_kinds_of_scenes_share_the_batch(library, key):
    scenes = draw(key, library, isolated_share=0.25, unselected_share=0.5)
    assert are_isolated(scenes).mean() == pytest.approx(0.25, abs=0.04)
    pure = [
        np.mean(draw(key, library, **changes).purity[:, 0] >= 0.9)
        for changes in ({}, {"unselected_share": 1.0})
    ]
    expected = 0.25 + 0.25 * pure[0] + 0.5 * pure[1]
    assert np.mean(scenes.purity[:, 0] >= 0.9) == pytest.approx(float(expected), abs=0.05)


@pytest.mark.slow
def test_hard_scenes_are_those_of_a_lower_purity(library, key):
    hard = draw(key, library, hard_share=1.0)
    jax.tree.map(np.testing.assert_array_equal, hard, draw(key, library, max_purity=0.5))
    low = [
        np.mean(draw(key, library, **changes).purity[:, 0] < 0.5)
        for changes in ({}, {"unselected_share": 1.0}, {"hard_share": 1.0}, {"hard_share": 0.4})
    ]
    assert low[2] > 2 * low[0]
    assert low[3] == pytest.approx(float(0.6 * low[0] + 0.4 * low[2]), abs=0.05)
    every = draw(key, library, isolated_share=0.2, unselected_share=0.3, hard_share=0.5)
    assert np.mean(every.purity[:, 0] < 0.5) == pytest.approx(
        float(0.3 * low[1] + 0.5 * low[2]), abs=0.05
    )


def test_central_offset_is_a_uniform_pixel_and_gaussian_jitter(library, key):
    offset = centroid(draw(key, library, max_companions=0, batch_size=8192).target)
    np.testing.assert_allclose(offset.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(offset.var(axis=0), 1 / 12 + 0.3**2, atol=0.012)
    assert abs(np.corrcoef(offset.T)[0, 1]) < 0.05


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_companions_from_the_central_galaxies_is_as_asked(library, key, share):
    keys = jax.random.split(key, 1000)
    drawn = [
        placement._members(k, library, N_CENTRAL, 0, COMPOSING._replace(central_share=share))
        for k in keys
    ]
    members = np.asarray(jnp.stack(drawn))
    assert np.mean(members < N_CENTRAL) == pytest.approx(share, abs=0.04)
    assert members.min() >= 0 and members.max() < len(library.phase)
    for half in (members[members < N_CENTRAL], members[members >= N_CENTRAL] - N_CENTRAL):
        assert not len(half) or half.max() - half.min() > 0.9 * N_CENTRAL


@pytest.fixture(scope="module")
def separations():
    """From central galaxies to their only companions [pixel]."""
    library, _ = gaussians(sigma=(0.8, 1.0), side=40)
    changes = {"size": 20, "max_companions": 1, "candidates": 1, "separation": (2.0, 6.0)}
    scenes = draw(jax.random.key(7), library, **changes)
    return centroid(scenes.light - scenes.target) - centroid(scenes.target)


def test_separations_are_in_range_to_half_a_pixel(separations):
    radius = np.hypot(*separations.T)
    assert radius.min() > 2 - np.sqrt(0.5)
    assert radius.max() < 6 + np.sqrt(0.5)


def test_separations_are_uniform_in_area(separations, rng):
    radius = np.sqrt(rng.uniform(2**2, 6**2, 20_000))
    angle = rng.uniform(0, 2 * np.pi, 20_000)
    rounding = rng.uniform(-0.5, 0.5, (2, 20_000))
    expected = radius * np.array([np.sin(angle), np.cos(angle)]) + rounding
    assert stats.ks_2samp(np.hypot(*separations.T), np.hypot(*expected)).pvalue > 0.01
    for axis in range(2):
        assert stats.ks_2samp(separations[:, axis], expected[axis]).pvalue > 0.01


def test_estimated_purity_of_gaussians_is_their_purity(library, layout, key):
    for k in jax.random.split(key, 10):
        drawn = layout(k)
        (central, *_), (shift, *_) = drawn.members, drawn.shift
        others = (a[1:] for a in (drawn.members, drawn.shift, drawn.present))
        estimate = placement._estimated_purity(library, central, shift, *others)
        truth = blending.purity(windows(library, drawn))[0]
        np.testing.assert_allclose(estimate, truth, atol=0.01)


def test_choice_among_candidates_makes_most_scenes_blends(library, key):
    chosen = np.mean(draw(key, library).purity[:, 0] < 0.9)
    first = np.mean(draw(key, library, candidates=1).purity[:, 0] < 0.9)
    assert chosen > 0.9
    assert chosen > first
