"""Scenes of a galaxy and its neighbours, and the noise of their observations."""

import jax.numpy as jnp
import numpy as np

from vaedeblend.training.scenes import Scenes

N, SIZE = 2000, 15


def blobs(n=N, size=SIZE):
    """A galaxy in the middle, of the same light in every example, and a neighbour."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    target = np.exp(-(y**2 + x**2) / 8)[..., None] * [30.0, 60.0]
    both = target + np.roll(target, 4, axis=1)
    light, target = (jnp.asarray(np.tile(a, (n, 1, 1, 1)), jnp.float32) for a in (both, target))
    flux = jnp.tile(jnp.array([600.0, 1500.0]), (n, 1))
    companions = jnp.tile(jnp.array([[4.0, 0.2], [0.0, 2.0], [-5.6, 1.0]]), (n, 1, 1))
    brightness = jnp.tile(jnp.array([20.0, 20.0, 0.0]), (n, 1))
    white = jnp.ones((n, 1, 1, 2))
    known = jnp.ones((n, 20)), white, jnp.arange(n) % 4 == 0
    return Scenes(light, target, flux, *known, companions, brightness, 30 * brightness)


def residual(seen, light):
    """Noise of an observation in units of what its variance and gain say."""
    gain = np.asarray(seen.gain)[:, None, None]
    with np.errstate(invalid="ignore"):
        return np.asarray(seen.image - light) / np.sqrt(seen.variance + light / gain)


def assert_unit_noise(noise):
    """In every pixel, over the examples: within five standard errors."""
    n = len(noise)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose(noise.var(axis=0), 1, atol=5 * np.sqrt(2 / n))
