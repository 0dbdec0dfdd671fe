"""Gaussian galaxies on images, and a deblender that knows their profile."""

import jax.numpy as jnp
import numpy as np

from vaedeblend.deblend.network import Deblended
from vaedeblend.models.sinh_arcsinh import SinhArcsinh

SIZE = 32


def gaussian(size=SIZE, y=0.0, x=0.0, sigma=2.0):
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    square = (rows - y) ** 2 + (columns - x) ** 2
    return (np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2))[..., None]


def matched_filter(image, variance, psf=None, gain=None, neighbours=None):
    """A deblender that knows the profile and nothing of neighbours."""
    weight = 1 / jnp.asarray(variance)
    flux = (image * weight * gaussian()).sum((1, 2)) / (weight * gaussian() ** 2).sum((1, 2))
    error = (weight * gaussian() ** 2).sum((1, 2)) ** -0.5
    light = flux[:, None, None] * gaussian()
    zeros = jnp.zeros((len(image), 3))
    log_flux = SinhArcsinh(jnp.log(flux), jnp.log(error / flux), 0 * flux, 0 * flux)
    return Deblended(flux, error, light, zeros, zeros, flux / flux, log_flux)


def field(shape, places, flux):
    """Gaussians whose stamps' first pixels lie at `places` of one image."""
    image = np.zeros((1, *shape, 1))
    for (y, x), each in zip(places, flux, strict=True):
        whole = np.zeros((shape[0] + 2 * SIZE, shape[1] + 2 * SIZE, 1))
        whole[y + SIZE : y + 2 * SIZE, x + SIZE : x + 2 * SIZE] = each * gaussian()
        image[0] += whole[SIZE:-SIZE, SIZE:-SIZE]
    return image
