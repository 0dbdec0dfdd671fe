from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vaedeblend import compose, model
from vaedeblend.blending import purity
from vaedeblend.compose import apply_symmetry, make_gallery, random_batch

N_CENTRAL = 256
NOISELESS = {"variance": jnp.zeros(2), "gain": jnp.full(2, jnp.inf)}
NOISY = {"variance": jnp.array([1.0, 4.0]), "gain": jnp.array([0.5, 2.0])}
SETTINGS = {
    "n_central": N_CENTRAL,
    "batch_size": 2048,
    "size": 16,
    "max_companions": 2,
    "separation": (2.0, 5.0),
    "max_purity": 0.9,
    "candidates": 8,
}


@partial(jax.jit, static_argnames=list(SETTINGS))
def jitted(key, gallery, **settings):
    return random_batch(key, gallery, **settings)


def draw(key, gallery, noise=NOISELESS, **changes):
    return jitted(key, gallery, **SETTINGS | noise | changes)


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
    return make_gallery(*arrays, central)[0], width


@pytest.fixture(scope="module")
def gallery():
    return gaussians()[0]


@pytest.fixture(scope="module")
def place(gallery):
    return jax.jit(lambda key: compose._place(key, gallery, N_CENTRAL, 2, (2.0, 5.0), 0.9, 8))


def centroid(images):
    """Of the first band, from the image's centre."""
    band = np.asarray(images[..., 0], float)
    offset = np.arange(band.shape[1]) - (band.shape[1] - 1) / 2
    moments = [np.einsum("nhw,h->n", band, offset), np.einsum("nhw,w->n", band, offset)]
    return np.stack(moments, axis=-1) / band.sum(axis=(1, 2))[:, None]


def central_purity(batch):
    scene, target = np.asarray(batch.image[..., 0]), np.asarray(batch.target[..., 0])
    return (target**2).sum(axis=(1, 2)) / (target * scene).sum(axis=(1, 2))


def windows(gallery, placement, size=16):
    """By plain slices."""
    start = (gallery.stamps.shape[1] - size) // 2 - np.asarray(placement.shift)
    stamps = np.asarray(gallery.stamps)
    members = zip(placement.members, start, placement.present, strict=True)
    return np.stack([p * stamps[m, y : y + size, x : x + size] for m, (y, x), p in members])


def test_gallery_puts_central_galaxies_first(rng):
    stamps, phase = np.ones((6, 4, 4, 1)), np.zeros((6, 2))
    central = np.array([False, True, False, True, True, False])
    gallery, n_central = make_gallery(stamps, phase, np.arange(6.0)[:, None], central)
    assert n_central == 3
    np.testing.assert_array_equal(gallery.flux[:, 0], [1, 3, 4, 0, 2, 5])


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
    batch = draw(key, gallery, max_companions=0)
    np.testing.assert_array_equal(batch.image, batch.target)


def test_flux_is_the_targets(gallery, key):
    batch = draw(key, gallery)
    np.testing.assert_allclose(batch.target.sum(axis=(1, 2)), batch.flux, rtol=1e-3)


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
    batch = draw(jax.random.key(7), gallery, **changes)
    return centroid(batch.image - batch.target) - centroid(batch.target)


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
        truth = purity(windows(gallery, placement))[0]
        np.testing.assert_allclose(estimate, truth, atol=0.01)


def test_choice_among_candidates_makes_most_scenes_blends(gallery, key):
    chosen = np.mean(central_purity(draw(key, gallery)) < 0.9)
    first = np.mean(central_purity(draw(key, gallery, candidates=1)) < 0.9)
    assert chosen > 0.9
    assert chosen > first


def test_noise_is_the_backgrounds_and_the_lights(gallery, key):
    scene = draw(key, gallery).image
    noise = np.asarray(draw(key, gallery, NOISY).image - scene)
    sigma = np.sqrt(NOISY["variance"] + scene / NOISY["gain"])
    bright = np.asarray(scene) > 4
    assert stats.kstest((noise / sigma)[bright][::10], "norm").pvalue > 0.001
    np.testing.assert_allclose(np.std((noise / sigma)[bright]), 1, atol=0.01)
    np.testing.assert_allclose(np.std(noise / sigma, axis=(0, 1, 2)), 1, atol=0.01)


def test_noise_is_independent_between_examples_and_bands(gallery, key):
    noise = draw(key, gallery, NOISY).image - draw(key, gallery).image
    rows = np.concatenate([noise[:2].reshape(2, -1), noise[:1, ..., 0].reshape(1, -1).repeat(2, 1)])
    assert np.abs(np.corrcoef(rows[:2]))[0, 1] < 0.2
    assert np.abs(np.corrcoef(noise.reshape(-1, 2).T))[0, 1] < 0.01


def test_variance_is_the_backgrounds_alone(gallery, key):
    variance = draw(key, gallery, NOISY).variance
    assert variance.shape == (2048, 16, 16, 2)
    np.testing.assert_array_equal(variance, np.broadcast_to(NOISY["variance"], variance.shape))


def test_truth_does_not_reach_the_encoder(gallery, key):
    vae = model.VAE(3, (4,), 8, (8,), 16, 2)
    batch = draw(key, gallery, NOISY, batch_size=8)
    params = jax.jit(vae.init)(key, batch.image, batch.variance, key)
    encode = jax.jit(lambda b: vae.apply(params, b.image, b.variance, method="encode"))
    shuffled = batch._replace(target=batch.target[::-1], flux=batch.flux[::-1])
    jax.tree.map(np.testing.assert_array_equal, encode(batch), encode(shuffled))


def test_same_key_same_batch(gallery, key):
    jax.tree.map(
        np.testing.assert_array_equal, draw(key, gallery, NOISY), draw(key, gallery, NOISY)
    )


def test_steps_differ(gallery, key):
    first, second = (draw(jax.random.fold_in(key, i), gallery, NOISY) for i in range(2))
    for name in ("image", "target", "flux"):
        assert not np.array_equal(getattr(first, name), getattr(second, name))
