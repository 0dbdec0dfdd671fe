"""A normalizing flow as learned prior of the latent: RealNVP (Dinh+ 2017).

As in Lanusse+ 2021 and MADNESS (Biswas+ 2025): the galaxies' latents do not fill a unit Gaussian,
and a prior that knows where they lie can generate them and regularise a fit. Given a condition,
which every coupling's network is shown, it is the density of the latents of such galaxies.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

Condition = Float[Array, "batch feature"] | None
"""What is known of each galaxy, in numbers of order one; all calls of a flow have one, or none."""

_MAX_LOG_SCALE = 2.0
"""A coupling stretches by at most exp(2), so that none can blow up."""


class Coupling(nn.Module):
    r"""Affine coupling, $u_b = (z_b - t(z_a)) e^{-s(z_a)}$, $u_a = z_a$ (Dinh+ 2017, eq. 7-8).

    Attributes:
        size: Elements of $z_b$.
        hidden: Widths of the network of s and t, whose last layer starts at zero: the identity.
    """

    size: int
    hidden: Sequence[int]

    @nn.compact
    def __call__(
        self, fixed: Float[Array, "batch a"], condition: Condition = None
    ) -> tuple[Float[Array, "batch b"], Float[Array, "batch b"]]:
        """Logarithmic scale s and shift t."""
        x = fixed if condition is None else jnp.concatenate([fixed, condition], axis=-1)
        for width in self.hidden:
            x = nn.gelu(nn.Dense(width)(x))
        x = nn.Dense(2 * self.size, kernel_init=nn.initializers.zeros)(x)
        log_scale, shift = jnp.split(x, 2, axis=-1)
        return _MAX_LOG_SCALE * jnp.tanh(log_scale / _MAX_LOG_SCALE), shift


class Flow(nn.Module):
    """Latent z <-> base u ~ N(0, 1).

    Couplings come in pairs, of which each moves what the other holds fixed. A pair divides the
    elements by one bit of their index, so that 2 log2(latent_dim) couplings, rounded up, put any
    two elements on different sides at least once.

    Attributes:
        latent_dim: Size of z, at least 2.
        hidden: Widths of each coupling's network.
        couplings: Number of couplings.
    """

    latent_dim: int
    hidden: Sequence[int]
    couplings: int

    def setup(self):
        """Makes the couplings, and for each the indices that it holds fixed and that it moves."""
        index = np.arange(self.latent_dim)
        bits = (self.latent_dim - 1).bit_length()
        bit = [(index >> (i // 2 % bits)) % 2 == i % 2 for i in range(self.couplings)]
        self._halves = [(np.flatnonzero(held), np.flatnonzero(~held)) for held in bit]
        self.layers = [Coupling(len(moved), self.hidden) for _, moved in self._halves]

    def to_base(
        self, z: Float[Array, "batch latent"], condition: Condition = None
    ) -> tuple[Float[Array, "batch latent"], Float[Array, " batch"]]:
        r"""Base of z, u, and $\ln |\det \partial u / \partial z|$."""
        log_det = jnp.zeros(len(z))
        for coupling, (fixed, moved) in zip(self.layers, self._halves, strict=True):
            log_scale, shift = coupling(z[:, fixed], condition)
            z = z.at[:, moved].set((z[:, moved] - shift) * jnp.exp(-log_scale))
            log_det -= log_scale.sum(axis=-1)
        return z, log_det

    def from_base(
        self, u: Float[Array, "batch latent"], condition: Condition = None
    ) -> Float[Array, "batch latent"]:
        """The z of which u is the base: that of a random galaxy, if u ~ N(0, 1)."""
        pairs = zip(self.layers, self._halves, strict=True)
        for coupling, (fixed, moved) in reversed(list(pairs)):
            log_scale, shift = coupling(u[:, fixed], condition)
            u = u.at[:, moved].set(u[:, moved] * jnp.exp(log_scale) + shift)
        return u

    def log_prob(
        self, z: Float[Array, "batch latent"], condition: Condition = None
    ) -> Float[Array, " batch"]:
        """Logarithm of the density at z."""
        u, log_det = self.to_base(z, condition)
        return log_det - (jnp.square(u) + jnp.log(2 * jnp.pi)).sum(axis=-1) / 2

    def __call__(
        self, z: Float[Array, "batch latent"], condition: Condition = None
    ) -> Float[Array, " batch"]:
        """Same as `log_prob`, so that `init` reaches every coupling."""
        return self.log_prob(z, condition)
