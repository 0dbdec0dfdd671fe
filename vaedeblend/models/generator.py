"""A generator of galaxies: a VAE of rest-frame stamps, and a flow on its latent given parameters.

As in Lanusse+ 2021, and Bretonniere+ 2022 for the Euclid Morphology Challenge. The decoder draws a
galaxy in its rest frame, so that flux, size, axis ratio and angle need not be learned;
the flow learns which morphologies galaxies of given magnitude, size, B/T and axis ratio have.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PRNGKeyArray

from vaedeblend.exceptions import WorkdirError
from vaedeblend.io import checkpoint
from vaedeblend.io.workdir import CHECKPOINTS, read_config
from vaedeblend.models.flow import Flow
from vaedeblend.models.vae import Code, reparameterize

GENERATOR_STAGES = ("shapes", "flow")
_SCALES = (0.5, 1.5, 4.0, 12.0)
"""Lengths of the radial functions of a decoder's smooth profile [pixel]."""
_FARTHEST = 2.5
"""Conditions that are more spreads than this from the centre of those trained on are its like."""
_SMALL = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")

Generate = Callable[..., Float[Array, "batch side side"]]
"""`(key, conditions) -> stamps`; see `make_generate`."""


class Examples(NamedTuple):
    """Stamps of galaxies in their rest frame, and the parameters given for each."""

    stamp: Float[Array, "batch side side"]
    """Light of unit sum, noise-free."""
    condition: Float[Array, "batch condition"]
    """Numbers of `simulate.galaxies.canonical.describe`."""


class RestFrameEncoder(nn.Module):
    """Convolutions of the logarithm of the light.

    Attributes:
        latent_dim: Size of z.
        widths: Channels of the convolutions: the first has stride 4, the others 2.
        hidden: Width of the dense layer.
        side: Side of a stamp [pixel].
    """

    latent_dim: int
    widths: Sequence[int]
    hidden: int
    side: int

    @nn.compact
    def __call__(self, stamp: Float[Array, "batch side side"]) -> Code:
        """Posterior of the latent."""
        x = jnp.log1p(10 * self.side**2 * stamp)[..., None]
        for i, width in enumerate(self.widths):
            kernel, stride = (3, 2) if i else (8, 4)
            x = nn.gelu(nn.Conv(width, (kernel, kernel), stride)(x))
        x = nn.gelu(nn.Dense(self.hidden)(x.reshape(len(x), -1)))
        x = nn.Dense(2 * self.latent_dim, kernel_init=nn.initializers.zeros)(x)
        mean, log_std = jnp.split(x, 2, axis=-1)
        return Code(mean, 5 * jnp.tanh((log_std - 1) / 5))


class RestFrameDecoder(nn.Module):
    """A smooth radial profile times the exponential of a convolutional network's image.

    A softmax makes the stamp positive and of unit sum. Steps of resolution are dense layers whose
    features become pixels, which on a CPU are many times faster than transposed convolutions.

    Attributes:
        widths: Channels, from the coarsest image to that of half the stamp's resolution.
        hidden: Width of the dense layer.
        side: Side of a stamp [pixel].
    """

    widths: Sequence[int]
    hidden: int
    side: int

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"]) -> Float[Array, "batch side side"]:
        """Stamps of unit sum in the rest frame."""
        coarse = self.side >> len(self.widths)
        hidden = nn.gelu(nn.Dense(self.hidden)(z))
        x = nn.Dense(coarse**2 * self.widths[0])(hidden)
        x = x.reshape(-1, coarse, coarse, self.widths[0])
        for i, width in enumerate(self.widths):
            x = _finer(nn.Dense(4 * width)(x)) if i else x
            x += nn.Conv(width, (3, 3))(nn.gelu(x))
        structure = _finer(nn.Dense(4, kernel_init=_SMALL)(nn.gelu(x)))[..., 0]
        slopes = nn.Dense(len(_SCALES), kernel_init=_SMALL)(hidden) - 1 / len(_SCALES)
        logits = structure + jnp.einsum("nk,khw->nhw", slopes, _radial(self.side))
        light = jax.nn.softmax(logits.reshape(len(z), -1), axis=-1)
        return light.reshape(-1, self.side, self.side)


class Generator(nn.Module):
    """Encoder, decoder and conditional prior; both stages of the training are this module.

    Attributes:
        latent_dim: Size of z.
        encoder_widths: Channels of the encoder's convolutions.
        encoder_hidden: Width of the encoder's dense layer.
        decoder_widths: Channels of the decoder, from its coarsest image on.
        decoder_hidden: Width of the decoder's dense layer.
        flow_hidden: Widths of the dense layers of each coupling of the flow.
        flow_couplings: Number of couplings of the flow.
        condition_centre: Centre of the conditions trained on, one number a condition of
            `simulate.galaxies.canonical.CONDITIONS`.
        condition_spread: Spread of the conditions trained on, one number a condition.
        side: Side of a rest-frame stamp [pixel], that of `simulate.galaxies.canonical`.
    """

    latent_dim: int
    encoder_widths: Sequence[int]
    encoder_hidden: int
    decoder_widths: Sequence[int]
    decoder_hidden: int
    flow_hidden: Sequence[int]
    flow_couplings: int
    condition_centre: Sequence[float]
    condition_spread: Sequence[float]
    side: int = 64

    def setup(self):
        """Makes the parts."""
        encoder = self.encoder_widths, self.encoder_hidden, self.side
        self.encoder = RestFrameEncoder(self.latent_dim, *encoder)
        self.decoder = RestFrameDecoder(self.decoder_widths, self.decoder_hidden, self.side)
        self.flow = Flow(self.latent_dim, self.flow_hidden, self.flow_couplings)

    def encode(self, stamp) -> Code:
        """Posterior of the latent."""
        return self.encoder(stamp)

    def decode(self, z) -> Float[Array, "batch side side"]:
        """Stamps of unit sum in the rest frame."""
        return self.decoder(z)

    def log_prior(self, z, condition) -> Float[Array, " batch"]:
        """Logarithm of the latent's density given the conditions."""
        return self.flow.log_prob(z, self._standard(condition))

    def from_base(self, u, condition) -> Float[Array, "batch latent"]:
        """Latents of galaxies of the conditions, from standard normal variables."""
        return self.flow.from_base(u, self._standard(condition))

    def __call__(self, key: Key[Array, "*each"], examples: Examples):
        """Posterior, the stamp of one sample of it, and the sample's prior density."""
        code = self.encode(examples.stamp)
        z = reparameterize(key, code)
        return code, self.decode(z), self.log_prior(z, examples.condition)

    def _standard(self, condition):
        """Conditions in numbers of order one: a network is not asked to extrapolate."""
        scaled = condition - jnp.array(self.condition_centre)
        return jnp.clip(scaled / jnp.array(self.condition_spread), -_FARTHEST, _FARTHEST)


def init_generator(model: Generator, key: PRNGKeyArray) -> dict:
    """Random parameters of all parts."""
    conditions = jnp.zeros((1, len(model.condition_centre)))
    side = model.side
    blank = Examples(jnp.full((1, side, side), 1 / side**2), conditions)
    return jax.jit(model.init)(key, key, blank)["params"]


def random_examples(key: PRNGKeyArray, examples: Examples, batch_size: int) -> Examples:
    """Random examples, mirrored along each axis by chance; chance knows no handedness."""
    index_key, flip_key = jax.random.split(key)
    index = jax.random.randint(index_key, (batch_size,), 0, len(examples.stamp))
    stamp = examples.stamp[index].astype(jnp.float32)
    flipped = jax.random.bernoulli(flip_key, shape=(2, batch_size, 1, 1))
    for axis in (1, 2):
        stamp = jnp.where(flipped[axis - 1], jnp.flip(stamp, axis), stamp)
    return Examples(stamp, examples.condition[index])


def make_generate(model: Generator, params: dict) -> Generate:
    """The jitted function `(key, conditions) -> stamps`.

    It draws a galaxy in its rest frame for each row (n, 4) of the conditions that
    `simulate.galaxies.canonical.describe` gives; `canonical.place_on_sky` puts it on the sky.
    Stamps are in their rest frame to within errors, which only that function corrects.
    """

    @jax.jit
    def generate(key, conditions):
        u = jax.random.normal(key, (len(conditions), model.latent_dim))
        z = model.apply({"params": params}, u, conditions, method="from_base")
        return model.apply({"params": params}, z, method="decode")

    return generate


def load_generator(workdir: str | Path) -> Generate:
    """The generator that a training left in its working directory.

    Raises:
        WorkdirError: There is no config.json, or it is not that of a generator.
        CheckpointError: The flow has no checkpoint, or a damaged one.
    """
    config = read_config(workdir)
    if list(config["stages"]) != list(GENERATOR_STAGES):
        found = f"stages {list(config['stages'])}"
        raise WorkdirError(
            f"{workdir}: {found}; wanted those of a generator, {list(GENERATOR_STAGES)}"
        )
    trained = Path(workdir) / GENERATOR_STAGES[-1] / CHECKPOINTS
    params = jax.device_put(checkpoint.load_params(trained))
    return make_generate(Generator(**config["model"]), params)


def _finer(x: Float[Array, "batch height width features"]):
    """Twice as many pixels along both axes, each of a quarter of the features."""
    n, height, width, features = x.shape
    x = x.reshape(n, height, width, 2, 2, features // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height, 2 * width, features // 4)


def _radial(side: int) -> Float[Array, "scale side side"]:
    """ln(1 + (r / s)^2), for each scale s: what log profiles of any index are made of, nearly."""
    square = jnp.square(jnp.arange(side) - (side - 1) / 2)
    square = square[:, None] + square
    return jnp.stack([jnp.log1p(square / scale**2) for scale in _SCALES])
