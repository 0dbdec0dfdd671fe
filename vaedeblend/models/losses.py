"""Likelihoods and divergences, one number per example.

Additive terms that depend on the data alone are left out, except where a perfect model would
otherwise not have the likelihood its formula gives; where they are, the docstring says so.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vaedeblend.models import sinh_arcsinh
from vaedeblend.models.vae import Code, Posterior


def gaussian_nll(
    data: Float[Array, "batch height width band"],
    model: Float[Array, "batch height width band"],
    variance: Float[Array, "batch height width band"],
    weight: Float[Array, "height width"],
) -> Float[Array, " batch"]:
    r"""Negative Gaussian log-likelihood, $\sum_p w_p (d_p - m_p)^2 / 2 v_p$, without its constant.

    Args:
        data: Image [uJy per pixel].
        model: Expected image [uJy per pixel].
        variance: Variance of a pixel as a whole, background plus light / gain [uJy2].
        weight: Weight of each pixel.
    """
    return jnp.einsum("hw,nhwb->n", weight, (data - model) ** 2 / variance) / 2


def poisson_nll(
    data: Float[Array, "batch height width band"],
    model: Float[Array, "batch height width band"],
    background: Float[Array, "batch 1 1 band"],
    gain: Float[Array, "batch 1 1 band"],
    weight: Float[Array, "height width"],
) -> Float[Array, " batch"]:
    r"""Negative Poisson log-likelihood on electrons, relative to that of a perfect model.

    With k = data x gain + b and $\lambda$ = model x gain + b, where b holds sky and squared read
    noise, $\sum_p w_p (\lambda - k + k \ln(k / \lambda))$: read noise as though it were a further
    Poisson source of its variance.

    Args:
        data: Image [uJy per pixel].
        model: Expected image, non-negative [uJy per pixel].
        background: Variance b of sky and read noise [electron2].
        gain: Electrons per uJy.
        weight: Weight of each pixel.
    """
    count = jnp.maximum(data * gain + background, 1e-3)
    expected = model * gain + background
    excess = count - expected
    deviance = count * jnp.log1p(excess / expected) - excess
    return jnp.einsum("hw,nhwb->n", weight, deviance)


def kl_divergence(posterior: Posterior | Code, free_bits: float = 0.0) -> Float[Array, " batch"]:
    r"""KL of the latent's posterior from N(0, 1), $\sum (\mu^2 + \sigma^2 - 1)/2 - \ln\sigma$.

    Args:
        posterior: Posterior of the latent.
        free_bits: Least cost of each dimension, so that none is switched off to save less than
            that (Kingma+ 2016) [nat].
    """
    square = jnp.square(posterior.mean) + jnp.exp(2 * posterior.log_std)
    return jnp.sum(jnp.maximum((square - 1) / 2 - posterior.log_std, free_bits), axis=-1)


def latent_nll(posterior: Posterior, z: Float[Array, "batch latent"]) -> Float[Array, " batch"]:
    """Negative log-likelihood of a latent under its posterior, without ln(2 pi) / 2 each."""
    scaled = (z - posterior.mean) * jnp.exp(-posterior.log_std)
    return jnp.sum(jnp.square(scaled) / 2 + posterior.log_std, axis=-1)


def purity_nll(posterior: Posterior, purity: Float[Array, "batch band"]) -> Float[Array, " batch"]:
    """Cross entropy of the purity's estimate: least where it is the expected purity."""
    logit = posterior.purity_logit
    return jnp.sum(jnp.logaddexp(0.0, logit) - purity * logit, axis=-1)


def point_nll(posterior: Posterior, star: Bool[Array, " batch"]) -> Float[Array, " batch"]:
    """Cross entropy of the probability that the source is a point."""
    return jnp.logaddexp(0.0, posterior.point_logit) - star * posterior.point_logit


def flux_nll(posterior: Posterior, flux: Float[Array, "batch band"]) -> Float[Array, " batch"]:
    """Negative log-likelihood of ln(flux) under the flux's posterior, without ln(2 pi) / 2."""
    return jnp.sum(sinh_arcsinh.nll(posterior.log_flux, jnp.log(flux)), axis=-1)


def centre_weight(size: int, boost: float, sigma: float) -> Float[Array, "size size"]:
    """Weights 1 + boost x a Gaussian of `sigma` pixels about the stamp's centre."""
    offset = jnp.arange(size) - (size - 1) / 2
    square = offset[:, None] ** 2 + offset**2
    return 1 + boost * jnp.exp(-square / (2 * sigma**2))
