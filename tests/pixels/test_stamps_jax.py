import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend.pixels.stamps_jax import cut_stamps, paste_stamps

SIZE = 6
INDEX = jnp.array([0, 1, 1, 2, 0])
CORNER = jnp.array([[0, 0], [2, -3], [-6, 0], [5, 5], [1, 0]])


@pytest.fixture
def images(rng):
    return jnp.asarray(rng.normal(size=(3, SIZE, SIZE, 2)), jnp.float32)


def test_stamps_are_the_images_own_pixels(images):
    stamps = cut_stamps(images, INDEX, CORNER, outside=9.0)
    wide = np.pad(images, [(0, 0), (SIZE, SIZE), (SIZE, SIZE), (0, 0)], constant_values=9.0)
    for stamp, image, (y, x) in zip(stamps, INDEX, CORNER + SIZE, strict=True):
        np.testing.assert_array_equal(stamp, wide[image, y : y + SIZE, x : x + SIZE])


def test_pasting_is_the_transpose_of_cutting(images, rng):
    side, corner = 3 * SIZE, jnp.asarray(rng.integers(0, 2 * SIZE, (3, 2)))
    canvas = jnp.asarray(rng.normal(size=(3, side, side, 2)), jnp.float32)
    pasted = jax.jit(paste_stamps)(jnp.zeros_like(canvas), images, corner)
    cut = [c[y : y + SIZE, x : x + SIZE] for c, (y, x) in zip(canvas, corner, strict=True)]
    np.testing.assert_allclose(
        jnp.vdot(canvas, pasted), jnp.vdot(jnp.stack(cut), images), rtol=1e-4
    )


def test_stamps_that_overlap_add_up():
    canvas = jnp.ones((2, 2 * SIZE, 2 * SIZE, 1))
    ones = jnp.ones((2, SIZE, SIZE, 1))
    for corner in ([[0, 0], [SIZE, 2]], [[0, 3], [SIZE, 2]]):
        canvas = paste_stamps(canvas, ones, jnp.array(corner))
    assert canvas[0, 0, :10, 0].tolist() == [2, 2, 2, 3, 3, 3, 2, 2, 2, 1]
    assert canvas[1, SIZE, :10, 0].tolist() == [1, 1, *6 * [3], 1, 1]
    assert (canvas[1, :SIZE] == 1).all()
