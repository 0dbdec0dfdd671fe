"""The variational autoencoder: noisy stamp -> latent and flux of the central galaxy -> profile.

A galaxy is its *profile*, which the decoder draws from the latent z, times its *flux*, for which
the encoder has a head of its own: a decoder's manifold limits the accuracy of fluxes read off it,
while a head trained by the likelihood of the flux is accurate and knows its error.

Everything is scale-free. The encoder divides by the background rms, and fluxes are predicted
relative to a matched-filter flux of the stamp's centre, so that neither image units nor the
magnitude range saturate anything. Both halves are given the PSF, by a few numbers of it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PRNGKeyArray

from vaedeblend.models.flow import Flow
from vaedeblend.models.sinh_arcsinh import SinhArcsinh

_FILTER_SIGMAS = (0.9, 1.4, 2.0, 3.0, 4.5, 7.0)
_REFERENCE_FILTER = 2
"""Widths of the matched filters [pixel], and which of them is the flux's first guess."""

_PSF_SIGMAS = (0.9, 1.4, 2.0, 3.0)
_CORE_SIZE = 31
_WING_SIGMAS = (4.5, 8.0, 14.0)
"""Scales of the PSF's core, side of what is taken for it, and scales of its wings [pixel]."""
_POISSON_SCALE = 26.0
"""Electrons in the background rms of Euclid's wide survey."""


_SMALL = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")
"""Initial kernel of a residual block's last layer: the block begins near the identity."""

N_CORE_FEATURES = len(_PSF_SIGMAS) + 2
"""Numbers of each band's PSF that are of its core; the last two are its ellipticity."""
N_CORRELATION_FEATURES = 5
"""Numbers of the noise's correlation that the networks are given of each band."""
N_PSF_FEATURES = N_CORE_FEATURES + len(_WING_SIGMAS) + 1
"""Numbers of each band's PSF; those of all bands' cores come first, then those of their wings."""


class Observation(NamedTuple):
    """A stamp as a network is given it: nothing here depends on the truth."""

    image: Float[Array, "batch height width band"]
    """Background subtracted, in any unit of flux per pixel."""
    variance: Float[Array, "batch height width band"]
    """Variance of the background alone [image unit squared]; infinite where a pixel is masked."""
    gain: Float[Array, "batch band"]
    """Electrons per image unit; infinite where the light's own Poisson noise is left out."""
    psf: Float[Array, "batch feature"]
    """Numbers of the PSF, from `psf_features`."""
    neighbours: Float[Array, "batch height width band"]
    """Light of other galaxies that has been subtracted from the image, as far as it is known."""
    correlation: Float[Array, "batch feature"]
    """Numbers of the noise's correlation, from `correlation_features`."""


class Posterior(NamedTuple):
    """The encoder's posterior of a central galaxy; elements of the latent are independent."""

    mean: Float[Array, "batch latent"]
    log_std: Float[Array, "batch latent"]
    log_flux: SinhArcsinh
    """Posterior of ln(flux) in the image's units (batch, band)."""
    purity_logit: Float[Array, "batch band"]
    """Logit of the expected purity of the central galaxy."""
    point_logit: Float[Array, " batch"] | None = None
    """Logit of the probability that it is a point source; None from a network that knows none."""


class Code(NamedTuple):
    """A posterior of the latent alone; its elements are independent."""

    mean: Float[Array, "batch latent"]
    log_std: Float[Array, "batch latent"]


class Encoder(nn.Module):
    """Convolutions of the stamp, finer at its centre, beside matched-filter fluxes of that centre.

    Attributes:
        latent_dim: Size of z.
        widths: Channels of the convolutions of the inner half, the first of which has stride 2;
            the whole stamp is seen at half that resolution, by a third of the channels.
        hidden: Width of the dense layers.
        blocks: Residual blocks of two dense layers.
        coadds: Whether it is given the noise's correlation and the PSF's wings, and knows stars.
        dtype: Type in which all layers but the last compute; None for that of what they are given.
    """

    latent_dim: int
    widths: Sequence[int]
    hidden: int
    blocks: int
    coadds: bool
    dtype: str | None

    @nn.compact
    def __call__(self, observation: Observation) -> Posterior:
        """Posterior of the central galaxy."""
        image, variance, gain, psf, neighbours, correlation = observation
        bands = image.shape[-1]
        unit = background_rms(variance)
        filtered = matched_filter_fluxes(image, variance) / unit[:, None]
        reference = jnp.log1p(nn.softplus(filtered[:, _REFERENCE_FILTER]))
        poisson = _POISSON_SCALE / (gain * unit)
        core, wings = jnp.split(psf, [N_CORE_FEATURES * bands], axis=-1)
        known = [jnp.arcsinh(filtered).reshape(len(image), -1), core, poisson]
        known = jnp.concatenate([*known, correlation, wings] if self.coadds else known, axis=-1)

        depth = jnp.square(unit)[:, None, None] / variance
        light, subtracted = (jnp.arcsinh(a / jnp.sqrt(variance)) for a in (image, neighbours))
        pixels = jnp.concatenate([light, subtracted, jnp.sqrt(depth)], axis=-1)
        y, x = image.shape[1] // 4, image.shape[2] // 4
        dense = partial(nn.Dense, self.hidden, dtype=self.dtype)
        thirds = [-(-width // 3) for width in self.widths]
        inner = _convolutions(pixels[:, y:-y, x:-x], self.widths, stride=2, dtype=self.dtype)
        whole = _convolutions(pixels, thirds, stride=4, dtype=self.dtype)
        x = dense()(jnp.concatenate([inner, whole, known], axis=-1)).astype(known.dtype)
        for _ in range(self.blocks):
            inside = jnp.concatenate([nn.LayerNorm()(x), known], axis=-1)
            x += dense(kernel_init=_SMALL)(nn.gelu(dense()(inside)))
        x = jnp.concatenate([nn.gelu(x), known], axis=-1)

        mean, log_std = jnp.split(_zero_dense(2 * self.latent_dim)(x), 2, axis=-1)
        flux = _zero_dense(5 * bands)(x)
        log_ratio, log_width, skew, log_tail, purity_logit = jnp.split(flux, 5, axis=-1)
        log_flux = SinhArcsinh(
            reference + jnp.log(unit) + log_ratio,
            _bounded(log_width - 1.0, -7.0, 2.0),
            _bounded(skew, -1.5, 1.5),
            _bounded(log_tail, -1.2, 0.1),
        )
        log_std = _bounded(log_std - 2.0, -7.0, 2.0)
        point = _zero_dense(1, name="point_source")(x)[:, 0] if self.coadds else None
        return Posterior(mean, log_std, log_flux, purity_logit + 2.0, point)


class Decoder(nn.Module):
    """Dense layers from z and the PSF to a profile: light shared out over the stamp and beyond.

    A softmax over the stamp's pixels and one more element, for light that falls outside, makes
    the profile non-negative and its sum the captured share of the total flux.

    Attributes:
        hidden: Widths of the dense layers.
        stamp_size: Side of a stamp [pixel].
        bands: Number of bands.
        coadds: Whether it is given the PSF's wings.
        dtype: Type in which its layers compute; None for that of what they are given.
    """

    hidden: Sequence[int]
    stamp_size: int
    bands: int
    coadds: bool
    dtype: str | None

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent"], psf: Float[Array, "batch feature"]
    ) -> Float[Array, "batch height width band"]:
        """Profile of a galaxy of unit total flux."""
        psf = psf if self.coadds else psf[:, : N_CORE_FEATURES * self.bands]
        x = jnp.concatenate([z, psf], axis=-1)
        for width in self.hidden:
            x = nn.gelu(nn.Dense(width, dtype=self.dtype)(x))
        pixels = self.stamp_size**2
        logits = nn.Dense((pixels + 1) * self.bands, dtype=self.dtype)(x).astype(z.dtype)
        logits = logits.reshape(-1, pixels + 1, self.bands)
        profile = jax.nn.softmax(logits, axis=1)[:, :pixels]
        return profile.reshape(-1, self.stamp_size, self.stamp_size, self.bands)


class VAE(nn.Module):
    """Encoder, decoder and the prior of the latent; both stages of the training are this module.

    Attributes:
        latent_dim: Size of z.
        encoder_widths: Channels of the encoder's convolutions of the inner half.
        encoder_hidden: Width of the encoder's dense layers.
        encoder_blocks: Residual blocks of the encoder.
        decoder_hidden: Widths of the decoder's dense layers.
        flow_hidden: Widths of each coupling's network in the flow, the latent's prior.
        flow_couplings: Number of couplings of the flow.
        stamp_size: Side of a stamp [pixel].
        bands: Number of bands.
        coadds: Whether it is given what the co-adds of a survey vary in, the correlation of their
            noise and the wings of their PSF, and tells stars from galaxies.
        dtype: Type in which encoder and decoder compute, as bfloat16; None for that of the stamps.
            Parameters, posteriors and profiles are float32 in any case.
    """

    latent_dim: int
    encoder_widths: Sequence[int]
    encoder_hidden: int
    encoder_blocks: int
    decoder_hidden: Sequence[int]
    flow_hidden: Sequence[int]
    flow_couplings: int
    stamp_size: int
    bands: int
    coadds: bool = False
    dtype: str | None = None

    def setup(self):
        """Makes the parts."""
        self.encoder = Encoder(
            self.latent_dim,
            self.encoder_widths,
            self.encoder_hidden,
            self.encoder_blocks,
            self.coadds,
            self.dtype,
        )
        decoder = self.decoder_hidden, self.stamp_size, self.bands, self.coadds, self.dtype
        self.decoder = Decoder(*decoder)
        self.flow = Flow(self.latent_dim, self.flow_hidden, self.flow_couplings)

    def encode(self, observation: Observation) -> Posterior:
        """Posterior of the central galaxy of each stamp."""
        return self.encoder(observation)

    def decode(self, z, psf) -> Float[Array, "batch height width band"]:
        """Profile of unit total flux."""
        return self.decoder(z, psf)

    def log_prior(self, z) -> Float[Array, " batch"]:
        """Logarithm of the learned prior's density."""
        return self.flow.log_prob(z)

    def to_base(self, z) -> Float[Array, "batch latent"]:
        """Standard normal variables, of latents that follow the learned prior."""
        return self.flow.to_base(z)[0]

    def from_base(self, u) -> Float[Array, "batch latent"]:
        """Latents of the learned prior, from standard normal variables."""
        return self.flow.from_base(u)

    def __call__(self, observation: Observation, key: Key[Array, "*each"]):
        """Posterior, the profile of one sample of its latent, and the sample's prior density."""
        posterior = self.encode(observation)
        z = reparameterize(key, posterior)
        return posterior, self.decode(z, observation.psf), self.log_prior(z)


@partial(jax.jit, static_argnames="model")
def init_params(model: VAE, key: PRNGKeyArray) -> dict:
    """Random parameters of all parts: {'encoder': ..., 'decoder': ..., 'flow': ...}."""
    stamp = jnp.ones((1, model.stamp_size, model.stamp_size, model.bands))
    white = correlation_features(jnp.ones((1, 1, 1, model.bands)))
    psf = psf_features(stamp[0])[None]
    observation = Observation(stamp, stamp, stamp[:, 0, 0], psf, stamp, white)
    return model.init(key, observation, key)["params"]


def reparameterize(
    key: Key[Array, "*each"], posterior: Posterior | Code
) -> Float[Array, "batch latent"]:
    """A sample of the latent that is differentiable in its mean and width (Kingma+ 2014).

    Args:
        key: One for all, or one for each example, whose sample is the same in any batch.
        posterior: The posterior.
    """
    noise = draw_each(jax.random.normal, key, posterior.mean.shape)
    return posterior.mean + jnp.exp(posterior.log_std) * noise


def draw_each(draw: Callable, key: Key[Array, "*each"], shape: tuple[int, ...]) -> Array:
    """Random numbers `draw(key, shape)`: of one key, or of a key of its own for each example."""
    if key.ndim == 0:
        return draw(key, shape)
    return jax.vmap(lambda own: draw(own, shape[1:]))(key)


def background_rms(variance: Float[Array, "batch height width band"]) -> Float[Array, "batch band"]:
    """Background rms of each stamp's valid pixels: the unit in which a network sees a stamp."""
    weight = 1 / variance
    valid = jnp.sum(weight > 0, axis=(1, 2))
    return jnp.sqrt(jnp.maximum(valid, 1) / jnp.sum(weight, axis=(1, 2)))


def psf_features(psf: Float[Array, "*batch height width band"]) -> Float[Array, "*batch feature"]:
    r"""Numbers of an effective PSF that the networks are given: six of its core, four of its wings.

    Those of the cores of all bands come first. Of the core of 31 pixels, of unit sum, ln of
    $1 / (2 \pi a_k) - \sigma_k^2$ for four widths $\sigma_k$, where $a_k$ is its overlap with a
    round Gaussian of that width: a Gaussian PSF's own squared width [pixel2], whatever the width it
    is seen with; and two components of its ellipticity. Of the wings, shares of the total light
    that lie beyond Gaussian apertures of three widths, and beyond the image.

    Args:
        psf: PSF of odd size, centred on the middle pixel, at the survey's pixels; its sum is the
            share of a point source's total light that it holds.
    """
    psf, wings = _core(psf), _wings(psf)
    square, x, y = _grid(*psf.shape[-3:-1])
    sigma2 = jnp.square(jnp.array(_PSF_SIGMAS))
    gaussian = _apertures(square, _PSF_SIGMAS) / (2 * jnp.pi * sigma2[:, None, None])
    overlap = jnp.einsum("...hwb,fhw->...bf", psf, gaussian)
    width = jnp.log(jnp.maximum(1 / (2 * jnp.pi * overlap) - sigma2, 1e-2))
    moments = jnp.stack([x**2 - y**2, 2 * x * y, square]) * gaussian[2]
    *ellipticity, size = jnp.moveaxis(jnp.einsum("...hwb,mhw->...bm", psf, moments), -1, 0)
    stretched = [4 * width, *(10 * e[..., None] / size[..., None] for e in ellipticity)]
    parts = jnp.concatenate(stretched, axis=-1), wings
    return jnp.concatenate([a.reshape(*psf.shape[:-3], -1) for a in parts], axis=-1)


def correlation_features(
    covariance: Float[Array, "*batch lag lag band"],
) -> Float[Array, "*batch feature"]:
    """Numbers of the correlation of noise that the networks are given: five a band, 0 where white.

    The correlations of neighbours along x, along y and along both diagonals, and the logarithm of
    the rms of a pixel in units of the white-equivalent rms, stretched to be of order one.

    Args:
        covariance: Autocovariance at lags (y, x) about 0, whose sum is 1; one lag alone if white.
    """
    y, x = (n // 2 for n in covariance.shape[-3:-1])
    variance = covariance[..., y, x, :]
    if y == x == 0:
        lags = 4 * [jnp.zeros_like(variance)]
    else:
        steps = (0, 1), (1, 0), (1, 1), (1, -1)
        lags = [covariance[..., y + j, x + i, :] / variance for j, i in steps]
    features = jnp.stack([*(4 * lag for lag in lags), 2 * jnp.log(variance)], axis=-1)
    return features.reshape(*covariance.shape[:-3], -1)


def matched_filter_fluxes(
    image: Float[Array, "batch height width band"],
    variance: Float[Array, "batch height width band"],
) -> Float[Array, "batch filter band"]:
    """Fluxes of round Gaussians of six widths at the stamp's centre, inverse-variance weighted."""
    square, _, _ = _grid(*image.shape[1:3])
    sigma2 = jnp.square(jnp.array(_FILTER_SIGMAS))[:, None, None]
    template = jnp.exp(-square / (2 * sigma2)) / (2 * jnp.pi * sigma2)
    weighted = jnp.einsum("nhwb,fhw->nfb", image / variance, template)
    return weighted / jnp.einsum("nhwb,fhw->nfb", 1 / variance, template**2)


def _core(psf):
    """The middle of a PSF, or all of a small one; unit sum."""
    beyond = max(psf.shape[-2] - _CORE_SIZE, 0) // 2
    core = psf[..., beyond : psf.shape[-3] - beyond, beyond : psf.shape[-2] - beyond, :]
    return core / core.sum(axis=(-3, -2), keepdims=True)


def _wings(psf):
    """Shares of the light beyond apertures, and beyond the image, stretched to be of order one."""
    square, _, _ = _grid(*psf.shape[-3:-1])
    inside = jnp.einsum("...hwb,fhw->...bf", psf, _apertures(square, _WING_SIGMAS))
    whole = psf.sum(axis=(-3, -2))[..., None]
    return 10 * (1 - jnp.concatenate([inside, whole], axis=-1))


def _apertures(square, sigmas):
    """Gaussians of unit peak."""
    return jnp.exp(-square / (2 * jnp.square(jnp.array(sigmas))[:, None, None]))


def _grid(height: int, width: int):
    """Squared distance from the centre, x and y of each pixel."""
    y = (jnp.arange(height) - (height - 1) / 2)[:, None]
    x = jnp.arange(width) - (width - 1) / 2
    return y**2 + x**2, x, y


def _convolutions(
    x, widths: Sequence[int], stride: int, dtype: str | None
) -> Float[Array, "batch feature"]:
    """The first with kernels of twice its stride, the others 3 x 3 with stride 2; flattened."""
    for i, width in enumerate(widths):
        kernel, step = (3, 2) if i else (2 * stride, stride)
        x = nn.gelu(nn.Conv(width, (kernel, kernel), step, dtype=dtype)(x))
    return x.reshape(len(x), -1)


def _zero_dense(features: int, name: str | None = None) -> nn.Dense:
    """A head that starts at zero: the posterior near the prior, the flux at its first guess."""
    return nn.Dense(features, kernel_init=nn.initializers.zeros, name=name)


def _bounded(x, low: float, high: float):
    """x, softly kept within (low, high): the identity, nearly, well inside."""
    middle, half = (low + high) / 2, (high - low) / 2
    return middle + half * jnp.tanh((x - middle) / half)
