from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from libraries import (
    COMPOSING,
    SETTINGS,
    are_isolated,
    centroid,
    draw,
    gaussians,
    make_draw_layout,
    marked_library,
    windows,
)

from vaedeblend.models.vae import psf_features
from vaedeblend.pixels import blending
from vaedeblend.training import scenes as module
from vaedeblend.training.placement import make_device_library
from vaedeblend.training.scenes import apply_symmetry, random_scenes


@pytest.fixture(scope="module")
def marked():
    return marked_library()


@pytest.fixture(scope="module")
def library():
    return gaussians()[0]


@pytest.fixture(scope="module")
def layout(library):
    return make_draw_layout(library)


def draw_marked(key, marked, **changes):
    return draw(key, marked, n_central=12, batch_size=512, max_purity=0.0, **changes)


def first_pixel(images):
    return np.asarray(images[:, 0, 0, 0])


def test_fields_want_sheets(library, key):
    with pytest.raises(ValueError, match="field_share is 0.5, but the library has no sheets"):
        random_scenes(key, library, COMPOSING._replace(field_share=0.5), **SETTINGS)


def test_stamps_that_are_too_small_are_refused(library, key):
    with pytest.raises(ValueError, match="hold companions up to 6 pixels away; wanted 7"):
        random_scenes(key, library, COMPOSING._replace(separation=(2.0, 7.0)), **SETTINGS)


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


def test_share_of_scenes_in_a_field_is_as_asked(marked, key):
    scenes = draw_marked(key, marked, field_share=0.5)
    assert np.mean(first_pixel(scenes.light) > 1e4) == pytest.approx(0.5, abs=0.08)


def test_fields_are_windows_of_their_psfs_sheets(marked, key):
    y, x = np.indices((20, 20))
    sheets = 1e4 * np.arange(6)[:, None, None] + 100 * y + x
    library = marked._replace(fields=jnp.asarray(sheets[..., None], jnp.float32))

    @jax.vmap
    def windows(key):
        return module._sky(key, library, jnp.array(1), jnp.array(0), 16, 1.0)

    found = np.asarray(windows(jax.random.split(key, 300)), int)[..., 0]
    sheet, corner = np.divmod(found[:, 0, 0], 10_000)
    assert set(sheet) == {1, 4}
    top, left = np.divmod(corner, 100)
    assert set(top) == set(left) == set(range(5))
    for window, at, y, x in zip(found, sheet, top, left, strict=True):
        np.testing.assert_array_equal(window, sheets[at, y : y + 16, x : x + 16])


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


def test_windows_are_slices_of_the_stamps(library, layout, key):
    for k in jax.random.split(key, 5):
        drawn = layout(k)
        expected = windows(library, drawn)
        scene, target = module._scene_and_target(library, drawn, jnp.array(0), 16)
        np.testing.assert_allclose(scene, expected.sum(axis=0), rtol=1e-6)
        np.testing.assert_array_equal(target, expected[0])


@pytest.mark.parametrize("element", range(8))
def test_blend_and_target_turn_together(element, library, layout, key):
    upright = module._scene_and_target(library, layout(key), jnp.array(0), 16)
    turned = module._scene_and_target(library, layout(key), jnp.array(element), 16)
    for before, after in zip(upright, turned, strict=True):
        np.testing.assert_array_equal(after, apply_symmetry(before, jnp.array(element)))


def test_absent_companions_leave_no_light(library, layout, key):
    alone = layout(key)._replace(present=jnp.array([True, False, False]))
    scene, target = module._scene_and_target(library, alone, jnp.array(0), 16)
    np.testing.assert_array_equal(scene, target)


def test_without_companions_the_blend_is_the_target(library, key):
    assert are_isolated(draw(key, library, max_companions=0)).all()


def test_purity_is_that_of_blending(library, key):
    scenes = draw(key, library)
    for i in range(5):
        members = np.stack([scenes.target[i], scenes.light[i] - scenes.target[i]])
        np.testing.assert_allclose(scenes.purity[i], blending.purity(members), rtol=1e-5)


def test_flux_is_the_targets(library, key):
    scenes = draw(key, library)
    np.testing.assert_allclose(scenes.target.sum(axis=(1, 2)), scenes.flux, rtol=1e-3)


def test_target_is_centred_at_shift_plus_phase(library, layout, key):
    drawn = layout(key)
    _, target = module._scene_and_target(library, drawn, jnp.array(0), 16)
    expected = drawn.shift[0] + library.phase[drawn.members[0]]
    np.testing.assert_allclose(centroid(target[None])[0], expected, atol=1e-3)


def test_companions_are_where_they_are_said_to_be_and_as_bright():
    """Under every symmetry of the square."""
    library, _ = gaussians(sigma=(0.8, 1.0), side=40)
    changes = {"size": 24, "max_companions": 1, "candidates": 1, "separation": (2.0, 6.0)}
    scenes = draw(jax.random.key(8), library, **changes)
    light = scenes.light - scenes.target
    np.testing.assert_allclose(scenes.companions[:, 0], centroid(light), atol=0.02)
    square = jnp.square(light[..., 0]).sum(axis=(1, 2))
    np.testing.assert_allclose(scenes.brightness[:, 0], jnp.sqrt(square), rtol=0.01)


def test_absent_companions_have_no_brightness(library, key):
    scenes = draw(key, library, isolated_share=0.5)
    np.testing.assert_array_equal(~(scenes.brightness > 0).any(axis=1), are_isolated(scenes))


def test_same_key_same_scenes(library, key):
    jax.tree.map(np.testing.assert_array_equal, draw(key, library), draw(key, library))


def test_steps_differ(library, key):
    first, second = (draw(jax.random.fold_in(key, i), library) for i in range(2))
    for name in ("light", "target", "flux"):
        assert not np.array_equal(getattr(first, name), getattr(second, name))


def test_psf_is_told_as_turned_as_the_scene_is(key):
    """Stars of an elliptical PSF: what the network is told of it is what the stars show."""
    y, x = np.indices((33, 33)) - 16
    star = np.exp(-(x**2 / 4 + y**2 + x * y / 2) / 2)[..., None].repeat(4, axis=-1)
    star = np.moveaxis(star / star.sum(axis=(0, 1)), -1, 0)[..., None].astype(np.float32)
    arrays = star, np.zeros((4, 2), np.float32), np.ones((4, 1), np.float32)
    psf = star[:1, 9:24, 9:24]
    correlation = np.arange(9.0, dtype=np.float32).reshape(1, 3, 3, 1) / 9
    library, n_central = make_device_library(
        *arrays, np.arange(4) < 2, psf, correlation=correlation
    )
    options = {"n_central": n_central, "batch_size": 64, "size": 15, "max_companions": 0}
    scenes = draw(key, library, **options)
    brightest = np.asarray(scenes.target).reshape(64, -1).argmax(axis=1)
    centred = np.all(np.divmod(brightest, 15) == np.array([[7], [7]]), axis=0)
    shown = psf_features(scenes.target[centred])
    assert len(np.unique(np.round(shown[:, 4:], 2), axis=0)) == 4
    np.testing.assert_allclose(scenes.psf[centred], shown, atol=0.02)
    turned = {bytes(np.asarray(each)) for each in scenes.correlation}
    every = (apply_symmetry(library.correlation[0], element) for element in jnp.arange(8))
    assert turned == {bytes(np.asarray(each)) for each in every}
