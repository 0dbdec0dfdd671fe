from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vaedeblend import blending, compose
from vaedeblend.compose import apply_symmetry, make_gallery, random_scenes
from vaedeblend.model import psf_features

N_CENTRAL = 256
SETTINGS = {
    "n_central": N_CENTRAL,
    "batch_size": 2048,
    "size": 16,
    "max_companions": 2,
    "separation": (2.0, 5.0),
    "max_purity": 0.9,
    "candidates": 8,
    "isolated_share": 0.0,
    "unselected_share": 0.0,
    "hard_share": 0.0,
    "hard_purity": 0.5,
    "field_share": 0.0,
}


@partial(jax.jit, static_argnames=list(SETTINGS))
def jitted(key, gallery, **settings):
    return random_scenes(key, gallery, **settings)


def draw(key, gallery, **changes):
    return jitted(key, gallery, **SETTINGS | changes)


def gaussian(side, centre, sigma):
    y, x = np.indices((side, side)) - (side - 1) / 2
    square = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    return np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def gaussians(sigma=(1.0, 1.5), side=32):
    """Round Gaussians in two bands; centrals on a grid of phases, then as many companions."""
    rng = np.random.default_rng(5)
    steps = (np.arange(16) + 0.5) / 16 - 0.5
    phase = np.tile(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), (2, 1))
    width = rng.uniform(*sigma, len(phase))
    flux = rng.uniform(50, 200, (len(phase), 2))
    shapes = np.array([gaussian(side, *args) for args in zip(phase, width, strict=True)])
    stamps = shapes[..., None] * flux[:, None, None]
    central = np.arange(len(phase)) < N_CENTRAL
    arrays = (a.astype(np.float32) for a in (stamps, phase, flux))
    return make_gallery(*arrays, central, round_psfs(1, bands=2))[0], width


def round_psfs(n, bands=1):
    """Gaussians, the first 1 pixel wide and each a tenth wider than the one before."""
    psfs = np.stack([gaussian(15, (0, 0), 1 + 0.1 * i) for i in range(n)])
    return np.repeat(psfs[..., None], bands, axis=-1)


N_PSFS = 3


@pytest.fixture(scope="module")
def marked():
    """A gallery of plain stamps and sheets, whose values tell the PSF that they stand for."""
    group = 1 + np.arange(24) % N_PSFS
    central = np.arange(24) < 12
    value = np.where(central, group, 100 * group).astype(np.float32)
    stamps = np.tile(value[:, None, None, None], (1, 32, 32, 1))
    sheets = np.tile((1e4 * group[:6]).astype(np.float32)[:, None, None, None], (1, 20, 20, 1))
    phase, flux = np.zeros((24, 2), np.float32), np.ones((24, 1), np.float32)
    return make_gallery(stamps, phase, flux, central, round_psfs(N_PSFS), sheets)[0]


def draw_marked(key, marked, **changes):
    return draw(key, marked, n_central=12, batch_size=512, max_purity=0.0, **changes)


def first_pixel(images):
    return np.asarray(images[:, 0, 0, 0])


@pytest.fixture(scope="module")
def gallery():
    return gaussians()[0]


@pytest.fixture(scope="module")
def place(gallery):
    arguments = (gallery, N_CENTRAL, 2, (2.0, 5.0), (0.5, 0.9), 8, (0.0, 0.0, 0.0))
    return jax.jit(lambda key: compose._place(key, *arguments))


def centroid(images):
    """Of the first band, from the image's centre."""
    band = np.asarray(images[..., 0], float)
    offset = np.arange(band.shape[1]) - (band.shape[1] - 1) / 2
    moments = [np.einsum("nhw,h->n", band, offset), np.einsum("nhw,w->n", band, offset)]
    return np.stack(moments, axis=-1) / band.sum(axis=(1, 2))[:, None]


def are_isolated(scenes):
    return np.all(scenes.light == scenes.target, axis=(1, 2, 3))


def windows(gallery, placement, size=16):
    """By plain slices."""
    start = (gallery.stamps.shape[1] - size) // 2 - np.asarray(placement.shift)
    stamps = np.asarray(gallery.stamps)
    members = zip(placement.members, start, placement.present, strict=True)
    return np.stack([p * stamps[m, y : y + size, x : x + size] for m, (y, x), p in members])


def test_gallery_puts_central_galaxies_first():
    stamps, phase = np.ones((6, 4, 4, 1)), np.zeros((6, 2))
    central = np.array([False, True, False, True, True, False])
    flux = np.arange(6.0)[:, None]
    gallery, n_central = make_gallery(stamps, phase, flux, central, round_psfs(1))
    assert n_central == 3
    np.testing.assert_array_equal(gallery.flux[:, 0], [1, 3, 4, 0, 2, 5])


@pytest.mark.parametrize(
    ("n_psfs", "sheets", "message"),
    [
        (2, None, "gallery has 3 central galaxies; wanted a multiple of its 2 PSFs"),
        (3, None, "gallery has 4 companions; wanted a multiple of its 3 PSFs"),
        (1, np.zeros((2, 8, 8, 1)), None),
    ],
)
def test_gallery_wants_as_many_of_every_psf(n_psfs, sheets, message):
    arrays = np.ones((7, 4, 4, 1)), np.zeros((7, 2)), np.ones((7, 1)), np.arange(7) < 3
    if message is None:
        assert len(make_gallery(*arrays, round_psfs(n_psfs), sheets)[0].fields) == 2
    else:
        with pytest.raises(ValueError, match=message):
            make_gallery(*arrays, round_psfs(n_psfs), sheets)


def test_gallery_wants_as_many_sheets_of_every_psf():
    arrays = np.ones((4, 4, 4, 1)), np.zeros((4, 2)), np.ones((4, 1)), np.arange(4) < 2
    with pytest.raises(ValueError, match="gallery has 3 sheets; wanted a multiple of its 2 PSFs"):
        make_gallery(*arrays, round_psfs(2), np.zeros((3, 8, 8, 1)))


def test_fields_want_sheets(gallery, key):
    with pytest.raises(ValueError, match="field_share is 0.5, but the gallery has no sheets"):
        random_scenes(key, gallery, **SETTINGS | {"field_share": 0.5})


def test_stamps_that_are_too_small_are_refused(gallery, key):
    with pytest.raises(ValueError, match="leave a margin of 8 pixels round a scene; wanted 9"):
        random_scenes(key, gallery, **SETTINGS | {"separation": (2.0, 7.0)})


def test_all_of_a_scene_have_one_psf(marked, key):
    scenes = draw_marked(key, marked, field_share=0.5)
    group = first_pixel(scenes.target)
    assert set(group) == {1, 2, 3}
    in_field, rest = np.divmod(first_pixel(scenes.light), 1e4)
    companions, alone = np.divmod(rest, 100)
    np.testing.assert_array_equal(alone, group)
    assert set(companions / group) == {1, 2}
    assert set(in_field / group) == {0, 1}
    # Ellipticities turn with the scene: here they are all but zero.
    np.testing.assert_allclose(scenes.psf, marked.psf[group.astype(int) - 1], atol=1e-4)


def test_gallery_tells_its_psfs_features(marked):
    np.testing.assert_allclose(marked.psf, psf_features(jnp.asarray(round_psfs(3))), atol=1e-4)
    assert (np.diff(marked.psf[:, 0]) > 0.1).all()


def test_share_of_scenes_in_a_field_is_as_asked(marked, key):
    scenes = draw_marked(key, marked, field_share=0.5)
    assert np.mean(first_pixel(scenes.light) > 1e4) == pytest.approx(0.5, abs=0.08)


def test_fields_are_windows_of_their_psfs_sheets(marked, key):
    y, x = np.indices((20, 20))
    sheets = 1e4 * np.arange(6)[:, None, None] + 100 * y + x
    gallery = marked._replace(fields=jnp.asarray(sheets[..., None], jnp.float32))

    @jax.vmap
    def windows(key):
        return compose._sky(key, gallery, jnp.array(1), jnp.array(0), 16, 1.0)

    found = np.asarray(windows(jax.random.split(key, 300)), int)[..., 0]
    sheet, corner = np.divmod(found[:, 0, 0], 10_000)
    assert set(sheet) == {1, 4}
    top, left = np.divmod(corner, 100)
    assert set(top) == set(left) == set(range(5))
    for window, at, y, x in zip(found, sheet, top, left, strict=True):
        np.testing.assert_array_equal(window, sheets[at, y : y + 16, x : x + 16])


def test_width_is_the_gaussians_own():
    gallery, width = gaussians()
    np.testing.assert_allclose(gallery.width, width, rtol=1e-3)


def test_eight_symmetries_are_distinct_and_closed():
    image = jnp.arange(9.0).reshape(3, 3, 1)
    turned = [apply_symmetry(image, jnp.array(i)) for i in range(8)]
    distinct = {np.asarray(t).tobytes() for t in turned}
    again = {
        np.asarray(apply_symmetry(t, jnp.array(j))).tobytes() for t in turned for j in range(8)
    }
    assert len(distinct) == 8
    assert again == distinct


@pytest.mark.parametrize("element", range(8))
def test_symmetry_keeps_every_pixel(element, rng):
    image = jnp.asarray(rng.normal(size=(2, 5, 5, 2)), jnp.float32)
    turned = apply_symmetry(image, jnp.array(element))
    sort = partial(np.sort, axis=0)
    for before, after in zip(image, turned, strict=True):
        np.testing.assert_array_equal(sort(after.reshape(-1, 2)), sort(before.reshape(-1, 2)))


def test_windows_are_slices_of_the_stamps(gallery, place, key):
    for k in jax.random.split(key, 5):
        placement = place(k)
        expected = windows(gallery, placement)
        scene, target = compose._scene_and_target(gallery, placement, jnp.array(0), 16)
        np.testing.assert_allclose(scene, expected.sum(axis=0), rtol=1e-6)
        np.testing.assert_array_equal(target, expected[0])


@pytest.mark.parametrize("element", range(8))
def test_blend_and_target_turn_together(element, gallery, place, key):
    upright = compose._scene_and_target(gallery, place(key), jnp.array(0), 16)
    turned = compose._scene_and_target(gallery, place(key), jnp.array(element), 16)
    for before, after in zip(upright, turned, strict=True):
        np.testing.assert_array_equal(after, apply_symmetry(before, jnp.array(element)))


def test_absent_companions_leave_no_light(gallery, place, key):
    alone = place(key)._replace(present=jnp.array([True, False, False]))
    scene, target = compose._scene_and_target(gallery, alone, jnp.array(0), 16)
    np.testing.assert_array_equal(scene, target)


def test_one_to_all_companions_are_present(place, key):
    present = jax.vmap(place)(jax.random.split(key, 500)).present
    assert set(np.asarray(present.sum(axis=1)).tolist()) == {2, 3}
    assert present[:, 0].all()


def test_without_companions_the_blend_is_the_target(gallery, key):
    assert are_isolated(draw(key, gallery, max_companions=0)).all()


def test_share_of_isolated_scenes_is_as_asked(gallery, key):
    assert not are_isolated(draw(key, gallery)).any()
    scenes = draw(key, gallery, isolated_share=0.3)
    assert are_isolated(scenes).mean() == pytest.approx(0.3, abs=0.04)
    assert (scenes.purity[are_isolated(scenes)] == 1).all()


def test_unselected_scenes_are_as_pure_as_first_candidates(gallery, key):
    one, other = jax.random.split(key)
    first = draw(one, gallery, candidates=1).purity[:, 0]
    unselected = draw(other, gallery, unselected_share=1.0).purity[:, 0]
    assert stats.ks_2samp(first, unselected).pvalue > 0.01
    assert stats.ks_2samp(first, draw(other, gallery).purity[:, 0]).pvalue < 1e-6


def test_the_three_kinds_of_scenes_share_the_batch(gallery, key):
    scenes = draw(key, gallery, isolated_share=0.25, unselected_share=0.5)
    assert are_isolated(scenes).mean() == pytest.approx(0.25, abs=0.04)
    pure = [
        np.mean(draw(key, gallery, **changes).purity[:, 0] >= 0.9)
        for changes in ({}, {"unselected_share": 1.0})
    ]
    expected = 0.25 + 0.25 * pure[0] + 0.5 * pure[1]
    assert np.mean(scenes.purity[:, 0] >= 0.9) == pytest.approx(float(expected), abs=0.05)


def test_hard_scenes_are_those_of_a_lower_purity(gallery, key):
    hard = draw(key, gallery, hard_share=1.0)
    jax.tree.map(np.testing.assert_array_equal, hard, draw(key, gallery, max_purity=0.5))
    low = [
        np.mean(draw(key, gallery, **changes).purity[:, 0] < 0.5)
        for changes in ({}, {"unselected_share": 1.0}, {"hard_share": 1.0}, {"hard_share": 0.4})
    ]
    assert low[2] > 2 * low[0]
    assert low[3] == pytest.approx(float(0.6 * low[0] + 0.4 * low[2]), abs=0.05)
    every = draw(key, gallery, isolated_share=0.2, unselected_share=0.3, hard_share=0.5)
    assert np.mean(every.purity[:, 0] < 0.5) == pytest.approx(
        float(0.3 * low[1] + 0.5 * low[2]), abs=0.05
    )


def test_purity_is_that_of_blending(gallery, key):
    scenes = draw(key, gallery)
    for i in range(5):
        members = np.stack([scenes.target[i], scenes.light[i] - scenes.target[i]])
        np.testing.assert_allclose(scenes.purity[i], blending.purity(members), rtol=1e-5)


def test_flux_is_the_targets(gallery, key):
    scenes = draw(key, gallery)
    np.testing.assert_allclose(scenes.target.sum(axis=(1, 2)), scenes.flux, rtol=1e-3)


def test_central_offset_is_a_uniform_pixel_and_gaussian_jitter(gallery, key):
    offset = centroid(draw(key, gallery, max_companions=0, batch_size=8192).target)
    np.testing.assert_allclose(offset.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(offset.var(axis=0), 1 / 12 + 0.3**2, atol=0.012)
    assert abs(np.corrcoef(offset.T)[0, 1]) < 0.05


def test_target_is_centred_at_shift_plus_phase(gallery, place, key):
    placement = place(key)
    _, target = compose._scene_and_target(gallery, placement, jnp.array(0), 16)
    expected = placement.shift[0] + gallery.phase[placement.members[0]]
    np.testing.assert_allclose(centroid(target[None])[0], expected, atol=1e-3)


@pytest.fixture(scope="module")
def separations():
    """From central galaxies to their only companions [pixel]."""
    gallery, _ = gaussians(sigma=(0.8, 1.0), side=40)
    changes = {"size": 20, "max_companions": 1, "candidates": 1, "separation": (2.0, 6.0)}
    scenes = draw(jax.random.key(7), gallery, **changes)
    return centroid(scenes.light - scenes.target) - centroid(scenes.target)


def test_companions_are_where_they_are_said_to_be_and_as_bright():
    """Under every symmetry of the square."""
    gallery, _ = gaussians(sigma=(0.8, 1.0), side=40)
    changes = {"size": 24, "max_companions": 1, "candidates": 1, "separation": (2.0, 6.0)}
    scenes = draw(jax.random.key(8), gallery, **changes)
    light = scenes.light - scenes.target
    np.testing.assert_allclose(scenes.companions[:, 0], centroid(light), atol=0.02)
    square = jnp.square(light[..., 0]).sum(axis=(1, 2))
    np.testing.assert_allclose(scenes.brightness[:, 0], jnp.sqrt(square), rtol=0.01)


def test_absent_companions_have_no_brightness(gallery, key):
    scenes = draw(key, gallery, isolated_share=0.5)
    np.testing.assert_array_equal(~(scenes.brightness > 0).any(axis=1), are_isolated(scenes))


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


def test_estimated_purity_of_gaussians_is_their_purity(gallery, place, key):
    for k in jax.random.split(key, 10):
        placement = place(k)
        (central, *_), (shift, *_) = placement.members, placement.shift
        others = (a[1:] for a in (placement.members, placement.shift, placement.present))
        estimate = compose._estimated_purity(gallery, central, shift, *others)
        truth = blending.purity(windows(gallery, placement))[0]
        np.testing.assert_allclose(estimate, truth, atol=0.01)


def test_choice_among_candidates_makes_most_scenes_blends(gallery, key):
    chosen = np.mean(draw(key, gallery).purity[:, 0] < 0.9)
    first = np.mean(draw(key, gallery, candidates=1).purity[:, 0] < 0.9)
    assert chosen > 0.9
    assert chosen > first


def test_same_key_same_scenes(gallery, key):
    jax.tree.map(np.testing.assert_array_equal, draw(key, gallery), draw(key, gallery))


def test_steps_differ(gallery, key):
    first, second = (draw(jax.random.fold_in(key, i), gallery) for i in range(2))
    for name in ("light", "target", "flux"):
        assert not np.array_equal(getattr(first, name), getattr(second, name))


def test_psf_is_told_as_turned_as_the_scene_is(key):
    """Stars of an elliptical PSF: what the network is told of it is what the stars show."""
    y, x = np.indices((33, 33)) - 16
    star = np.exp(-(x**2 / 4 + y**2 + x * y / 2) / 2)[..., None].repeat(4, axis=-1)
    star = np.moveaxis(star / star.sum(axis=(0, 1)), -1, 0)[..., None].astype(np.float32)
    arrays = star, np.zeros((4, 2), np.float32), np.ones((4, 1), np.float32)
    psf = star[:1, 9:24, 9:24]
    gallery, n_central = make_gallery(*arrays, np.arange(4) < 2, psf)
    options = {"n_central": n_central, "batch_size": 64, "size": 15, "max_companions": 0}
    scenes = draw(key, gallery, **options)
    brightest = np.asarray(scenes.target).reshape(64, -1).argmax(axis=1)
    centred = np.all(np.divmod(brightest, 15) == np.array([[7], [7]]), axis=0)
    shown = psf_features(scenes.target[centred])
    assert len(np.unique(np.round(shown[:, 4:], 2), axis=0)) == 4
    np.testing.assert_allclose(scenes.psf[centred], shown, atol=0.02)
