r"""The sinh-arcsinh distribution of ln(flux): normal, with skew and tails (Jones & Pewsey 2009).

A flux in a blend is not log-normal: now and then a companion has gone unseen, and the galaxy has
less light than it seems. With z standard normal, $\ln f = m + s\,g(z)$ where

$$g(z) = \frac{\sinh(t + \mathrm{arcsinh}(z) / d) - \sinh t}{\cosh t\,\sinh(a / d)},\quad
a = \mathrm{arcsinh}\,1,$$

so that m is the median, s half the width of the central 68 %, t the skew, and tails are heavier
than normal for d < 1; g(z) = z for t = 0, d = 1. Quantiles and density are closed forms.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

_ONE = float(np.arcsinh(1.0))

Numbers = Float[Array | np.ndarray, "*n"]

ProfileDecoder = Callable[[Float[Array, "batch latent"]], Float[Array, "batch height width band"]]
"""From latents to profiles of unit flux, under one PSF or one of each."""


class SinhArcsinh(NamedTuple):
    """Parameters of the sinh-arcsinh distribution of a number; arrays of one shape."""

    median: Float[Array, "*n"]
    log_width: Float[Array, "*n"]
    """ln of half the width of the central 68 % interval."""
    skew: Float[Array, "*n"]
    log_tail: Float[Array, "*n"]
    """ln d: 0 for a normal distribution's tails, less for heavier ones."""


def quantile(of: SinhArcsinh, z: Numbers | float) -> Numbers:
    """The number that is as probable to be exceeded as z is by a standard normal variable."""
    xp = of.median.__array_namespace__()  # on the host, no programs
    y = xp.sinh(of.skew + xp.arcsinh(z) * xp.exp(-of.log_tail)) - xp.sinh(of.skew)
    return of.median + xp.exp(of.log_width) * y / _norm(of)


def draw_galaxies(
    decode: ProfileDecoder,
    mean: Float[Array | np.ndarray, "batch latent"],
    std: Float[Array | np.ndarray, "batch latent"],
    log_flux: SinhArcsinh,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "batch band"], Float[Array, "batch height width band"]]:
    """A flux of each galaxy, and its light of that flux, drawn from the posterior of both.

    Args:
        decode: From latents to profiles, under the PSF of the galaxies' stamps.
        mean: Mean of the latents.
        std: Standard deviation of the latents.
        log_flux: Posterior of ln(flux) (batch, band).
        key: Random key.
    """
    latent_key, flux_key = jax.random.split(key)
    flux = jnp.exp(quantile(log_flux, jax.random.normal(flux_key, log_flux.median.shape)))
    return flux, flux[:, None, None] * decode(
        mean + std * jax.random.normal(latent_key, mean.shape)
    )


def normal_score(of: SinhArcsinh, x: Numbers) -> Numbers:
    """The z of which x is the `quantile`: standard normal if x follows the distribution."""
    return jnp.sinh(jnp.exp(of.log_tail) * (jnp.arcsinh(_stretched(of, x)) - of.skew))


def nll(of: SinhArcsinh, x: Numbers) -> Numbers:
    """Negative log density at x, without ln(2 pi) / 2."""
    w, z = _stretched(of, x), normal_score(of, x)
    log_slope = of.log_tail + (jnp.log1p(z**2) - jnp.log1p(w**2)) / 2
    return z**2 / 2 - log_slope - jnp.log(_norm(of)) + of.log_width


def _stretched(of: SinhArcsinh, x):
    """The argument of the outer arcsinh."""
    return (x - of.median) * jnp.exp(-of.log_width) * _norm(of) + jnp.sinh(of.skew)


def _norm(of: SinhArcsinh):
    xp = of.skew.__array_namespace__()
    return xp.cosh(of.skew) * xp.sinh(_ONE * xp.exp(-of.log_tail))
