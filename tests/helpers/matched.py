"""A matched filter in the place of a network, and the galaxies that it knows."""

import jax
import jax.numpy as jnp
import numpy as np

from vaedeblend.deblend.network import Deblended
from vaedeblend.models.sinh_arcsinh import SinhArcsinh

SIZE = 64


def gaussian(y, x, shape=(SIZE, SIZE), sigma=2.0):
    rows, columns = np.indices(shape)
    square = (rows - y) ** 2 + (columns - x) ** 2
    return np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)


PROFILE = gaussian(31.5, 31.5)[..., None].astype(np.float32)


def matched_filter(image, variance, psf=None, gain=None, neighbours=None):
    """A deblender that knows the profile, but for its place within the central pixel."""
    weight = 1 / jnp.asarray(variance)
    norm = (weight * PROFILE**2).sum((1, 2))
    flux = (image * weight * PROFILE).sum((1, 2)) / norm
    error = norm**-0.5
    zeros = jnp.zeros((len(image), 3))
    log_flux = SinhArcsinh(jnp.log(flux), jnp.log(error / flux), 0 * flux, 0 * flux)
    light = flux[:, None, None] * PROFILE
    return Deblended(flux, error, light, zeros, zeros, flux / flux, log_flux)


def recording_psfs(record):
    """The matched filter, which appends the PSFs that it is given to a list."""

    def listen(image, variance, psf=None, **options):
        jax.debug.callback(lambda given: record.append(np.asarray(given)), psf)
        return matched_filter(image, variance)

    return listen
