import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend.pixels.stamps_jax import frames_of, stamps_of

SIZE = 6
INDEX = jnp.array([0, 1, 1, 2, 0])
CORNER = jnp.array([[0, 0], [2, -3], [-6, 0], [5, 5], [1, 0]])


@pytest.fixture
def frames(rng):
    return jnp.asarray(rng.normal(size=(3, SIZE, SIZE, 2)), jnp.float32)


def test_stamps_are_the_frames_own_pixels(frames):
    stamps = stamps_of(frames, INDEX, CORNER, outside=9.0)
    wide = np.pad(frames, [(0, 0), (SIZE, SIZE), (SIZE, SIZE), (0, 0)], constant_values=9.0)
    for stamp, frame, (y, x) in zip(stamps, INDEX, CORNER + SIZE, strict=True):
        np.testing.assert_array_equal(stamp, wide[frame, y : y + SIZE, x : x + SIZE])


def test_laying_back_is_the_transpose_of_cutting(frames, rng):
    corner = jnp.asarray(rng.integers(-SIZE, SIZE, (3, 2, 2)))
    stamps = jnp.asarray(rng.normal(size=(3, 2, SIZE, SIZE, 2)), jnp.float32)
    cut = stamps_of(frames, jnp.repeat(jnp.arange(3), 2), corner.reshape(-1, 2), outside=0.0)
    laid = jax.jit(frames_of)(stamps, corner)
    np.testing.assert_allclose(
        jnp.vdot(cut, stamps.reshape(cut.shape)), jnp.vdot(frames, laid), rtol=1e-4
    )


def test_stamps_that_overlap_add_up():
    corner = jnp.array([[[0, 0], [0, 3], [0, 3]]])
    frames = frames_of(jnp.ones((1, 3, SIZE, SIZE, 1)), corner)
    np.testing.assert_array_equal(
        frames[0, :, :, 0], np.repeat([[1.0, 3.0]], 3, axis=1).repeat(6, 0)
    )


def test_stamps_beyond_the_frame_leave_no_light():
    assert not frames_of(jnp.ones((1, 1, SIZE, SIZE, 1)), jnp.array([[[SIZE, 0]]])).any()
