"""The variational autoencoder: noisy stamp -> latent and flux of the central galaxy -> profile.

A galaxy is its *profile*, which the decoder draws from the latent z, times its *flux*, for which
the encoder has a head of its own: a decoder's manifold limits the accuracy of fluxes read off it,
while a head trained by the likelihood of the flux is accurate and knows its error.

Everything is scale-free. The encoder divides by the background rms, and fluxes are predicted
relative to a matched-filter flux of the stamp's centre, so that neither image units nor the
magnitude range saturate anything.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

_FILTER_SIGMAS = (0.9, 1.4, 2.0, 3.0, 4.5, 7.0)
_REFERENCE_FILTER = 2
"""Widths of the matched filters [pixel], and which of them is the flux's first guess."""


class Posterior(NamedTuple):
    """What the encoder says of a central galaxy: independent Gaussians."""

    mean: Float[Array, "batch latent"]
    log_std: Float[Array, "batch latent"]
    log_flux: Float[Array, "batch band"]
    """Mean of ln(flux), which is the logarithm of the flux's median, in the image's units."""
    log_flux_log_std: Float[Array, "batch band"]
    """ln of the standard deviation of ln(flux)."""


class Encoder(nn.Module):
    """Strided convolutions on the stamp, beside matched-filter fluxes of its centre.

    Attributes:
        latent_dim: Size of z.
        widths: Channels of the convolutions; the first has 8 x 8 kernels and stride 4.
        hidden: Width of the dense layers.
    """

    latent_dim: int
    widths: Sequence[int]
    hidden: int

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "batch height width band"],
        variance: Float[Array, "batch height width band"],
    ) -> Posterior:
        """Posterior of the central galaxy; `variance` is the background's."""
        # Inverse variance: a pixel of infinite variance is masked, not a unit.
        unit = 1 / jnp.sqrt(jnp.mean(1 / variance, axis=(1, 2)))
        filtered = matched_filter_fluxes(image, variance) / unit[:, None]
        reference = jnp.log1p(nn.softplus(filtered[:, _REFERENCE_FILTER]))
        brightness = jnp.arcsinh(filtered).reshape(len(image), -1)

        x = jnp.arcsinh(image / jnp.sqrt(variance))
        for i, width in enumerate(self.widths):
            kernel, stride = (8, 4) if i == 0 else (3, 2)
            x = nn.gelu(nn.Conv(width, (kernel, kernel), stride)(x))
        x = jnp.concatenate([x.reshape(len(x), -1), brightness], axis=-1)
        for _ in range(2):
            x = nn.gelu(nn.Dense(self.hidden)(x))
            x = jnp.concatenate([x, brightness], axis=-1)

        head = _zero_dense(2 * self.latent_dim)(x)
        mean, log_std = jnp.split(head, 2, axis=-1)
        flux = _zero_dense(2 * image.shape[-1])(x)
        log_ratio, log_flux_log_std = jnp.split(flux, 2, axis=-1)
        return Posterior(
            mean,
            _bounded(log_std - 2.0, -7.0, 2.0),
            reference + jnp.log(unit) + log_ratio,
            _bounded(log_flux_log_std - 1.0, -7.0, 2.0),
        )


class Decoder(nn.Module):
    """Dense layers from z to a profile: light shared out over the stamp and the sky beyond.

    A softmax over the stamp's pixels and one more element, for light that falls outside, makes
    the profile non-negative and its sum the captured share of the total flux.

    Attributes:
        hidden: Widths of the dense layers.
        stamp_size: [pixel].
        bands: Number of bands.
    """

    hidden: Sequence[int]
    stamp_size: int
    bands: int

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch height width band"]:
        """Profile of a galaxy of unit total flux."""
        x = z
        for width in self.hidden:
            x = nn.gelu(nn.Dense(width)(x))
        pixels = self.stamp_size**2
        logits = nn.Dense((pixels + 1) * self.bands)(x).reshape(-1, pixels + 1, self.bands)
        profile = jax.nn.softmax(logits, axis=1)[:, :pixels]
        return profile.reshape(-1, self.stamp_size, self.stamp_size, self.bands)


class VAE(nn.Module):
    """Encoder and decoder; both stages of the training are this module.

    Attributes:
        latent_dim: Size of z.
        encoder_widths: See `Encoder`.
        encoder_hidden: See `Encoder`.
        decoder_hidden: See `Decoder`.
        stamp_size: [pixel].
        bands: Number of bands.
    """

    latent_dim: int
    encoder_widths: Sequence[int]
    encoder_hidden: int
    decoder_hidden: Sequence[int]
    stamp_size: int
    bands: int

    def setup(self):
        """Makes the two halves."""
        self.encoder = Encoder(self.latent_dim, self.encoder_widths, self.encoder_hidden)
        self.decoder = Decoder(self.decoder_hidden, self.stamp_size, self.bands)

    def encode(self, image, variance) -> Posterior:
        """Posterior of the central galaxy of each stamp."""
        return self.encoder(image, variance)

    def decode(self, z) -> Float[Array, "batch height width band"]:
        """Profile of unit total flux."""
        return self.decoder(z)

    def __call__(self, image, variance, key: PRNGKeyArray):
        """Posterior, and the profile of one sample of its latent."""
        posterior = self.encode(image, variance)
        return posterior, self.decode(reparameterize(key, posterior))


def reparameterize(key: PRNGKeyArray, posterior: Posterior) -> Float[Array, "batch latent"]:
    """A sample of the latent that is differentiable in its mean and width (Kingma+ 2014)."""
    noise = jax.random.normal(key, posterior.mean.shape)
    return posterior.mean + jnp.exp(posterior.log_std) * noise


def matched_filter_fluxes(
    image: Float[Array, "batch height width band"],
    variance: Float[Array, "batch height width band"],
) -> Float[Array, "batch filter band"]:
    """Fluxes of round Gaussians of six widths at the stamp's centre, inverse-variance weighted."""
    height, width = image.shape[1:3]
    y = jnp.arange(height) - (height - 1) / 2
    x = jnp.arange(width) - (width - 1) / 2
    square = y[:, None] ** 2 + x**2
    sigma2 = jnp.square(jnp.array(_FILTER_SIGMAS))[:, None, None]
    template = jnp.exp(-square / (2 * sigma2)) / (2 * jnp.pi * sigma2)
    weighted = jnp.einsum("nhwb,fhw->nfb", image / variance, template)
    return weighted / jnp.einsum("nhwb,fhw->nfb", 1 / variance, template**2)


def _zero_dense(features: int) -> nn.Dense:
    """A head that starts at zero: the posterior near the prior, the flux at its first guess."""
    return nn.Dense(features, kernel_init=nn.initializers.zeros)


def _bounded(x, low: float, high: float):
    """x, softly kept within (low, high): the identity, nearly, well inside."""
    middle, half = (low + high) / 2, (high - low) / 2
    return middle + half * jnp.tanh((x - middle) / half)
