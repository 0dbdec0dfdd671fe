"""Companion or knot: the probability that light which a source's model lacks is another source.

A source's stamp, less its neighbours' light, and the light that was found of it --> *candidates*,
peaks of the residual and of the sharpened image near its centre --> for each the probability that
another source is there, and its place; and for the source, that it hides one.

Knots, rings and spikes stand out of a residual as companions do: which it is can be learned, and is
calibrated, where a threshold is neither. The detection at candidates of Lanusse+ 2018's and Burke+
2019's kind of classifier, conditioned on a model of the light as Melchior+ 2018's residuals are.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vaedeblend.models.vae import Observation, background_rms

COMPANION_STAGES = ("companions",)
CANDIDATE_REACH = 12
"""Distance from a source's centre, along either axis, within which candidates lie [pixel]."""
HIDDEN_WITHIN = 5.0
"""Distance within which a source hides another [pixel]: 0.5 arcsec of Euclid's."""
N_RESIDUAL, N_SHARP = 3, 2
"""Candidates that are peaks of the residual, and of the sharpened image."""

_PATCH = 24
"""Side of what is seen about a candidate [pixel]."""
_OWN = 1.5
"""Distance of peaks of the sharpened image from the centre that are the source's own [pixel]."""
_FAINTEST = 1.0
"""Light below which a source is as faint as that [background rms]."""
_POINT, _CORE, _WING, _WING_SHARE = 1.0, 0.6, 1.5, 0.8
"""Sigmas [pixel] of the Gaussians that smooth the residual and, one less a share of the other,
sharpen the image: sources a PSF's width apart are two peaks there."""


class Candidates(NamedTuple):
    """Where a source may have companions; the last of each source is the source itself."""

    pixel: Int[Array, "batch candidate 2"]
    """(y, x) on the stamp."""
    significance: Float[Array, "batch candidate 2"]
    """Smoothed residual, and sharpened image, in units of their noise."""
    real: Bool[Array, "batch candidate"]
    """Whether it is a peak: where there are few, others fill up."""


class Verdicts(NamedTuple):
    """What is said of each candidate, and of each source."""

    logit: Float[Array, "batch candidate"]
    """Logit of the probability that another source is there."""
    offset: Float[Array, "batch candidate 2"]
    """(y, x) of that source from the candidate's pixel, if there is one [pixel]."""
    blend_logit: Float[Array, " batch"]
    """Logit of the probability that the source hides another within `HIDDEN_WITHIN`."""


class Companions(nn.Module):
    """Convolutions of what is seen about each candidate, beside numbers of it and of its source.

    Attributes:
        widths: Channels of the convolutions, each of which has stride 2.
        hidden: Widths of the dense layers.
        context: Channels of the convolutions, of stride 2, of the whole stamp: which pattern a
            candidate is part of. None without.
    """

    widths: Sequence[int]
    hidden: Sequence[int]
    context: Sequence[int] = ()

    @nn.compact
    def __call__(
        self,
        seen: Observation,
        light: Float[Array, "batch size size band"],
        purity: Float[Array, "batch band"],
        candidates: Candidates,
    ) -> Verdicts:
        """Verdicts on candidates of sources.

        Args:
            seen: Stamps less the light of the neighbours that are known.
            light: The light that the deblender finds of each central source.
            purity: The purity that it finds, from 0 to 1.
            candidates: Candidates of `find_candidates`.
        """
        n, k = candidates.pixel.shape[:2]
        planes = _planes(seen, light)
        x = _patches(planes, candidates.pixel)
        for width in self.widths:
            x = nn.gelu(nn.Conv(width, (3, 3), 2)(x))
        known = _numbers(seen, light, purity, candidates)
        # What was added last comes last: parameters without it go on from there (`stages`).
        x = jnp.concatenate([x.reshape(n, k, -1), known, *self._around(planes, k)], axis=-1)
        for width in self.hidden:
            x = nn.gelu(nn.Dense(width)(x))
        logit, *offset = jnp.moveaxis(nn.Dense(3, kernel_init=nn.initializers.zeros)(x), -1, 0)
        # The last candidate is the source itself, about which all others lie.
        whole = jnp.concatenate([x[:, -1], x.max(axis=1)], axis=-1)
        blend = nn.Dense(1, kernel_init=nn.initializers.zeros)(whole)[:, 0]
        return Verdicts(logit - 2.0, jnp.stack(offset, axis=-1), blend - 2.0)

    def _around(self, planes, k: int) -> list[Float[Array, "batch candidate feature"]]:
        """What all k candidates of a source have about them."""
        if not self.context:
            return []
        x = nn.avg_pool(planes, (2, 2), (2, 2))
        for width in self.context:
            x = nn.gelu(nn.Conv(width, (3, 3), 2)(x))
        return [jnp.broadcast_to(x.reshape(len(x), 1, -1), (len(x), k, x[0].size))]


def find_candidates(seen: Observation, light: Float[Array, "batch size size band"]) -> Candidates:
    """The highest peaks within `CANDIDATE_REACH` of the stamps' centres.

    They are those of the residual, and of the sharpened image.

    Args:
        seen: Stamps less the light of the neighbours that are known.
        light: The light found of the central source.
    """
    sigma = _sigma(seen, light)
    weight = jnp.where(jnp.isfinite(sigma), 1 / sigma, 0)
    size = seen.image.shape[1]
    first = size // 2 - CANDIDATE_REACH - 1
    residual = _filtered((seen.image - light) * weight, first, [(1.0, _POINT)])
    sharp = _filtered(seen.image * weight, first, [(1.0, _CORE), (-_WING_SHARE, _WING)])
    offset = np.arange(first, size - first) - (size - 1) / 2
    others = np.hypot(offset[:, None], offset) > _OWN
    peaks = _peaks(residual, N_RESIDUAL), _peaks(jnp.where(others, sharp, 0), N_SHARP)
    pixel = jnp.concatenate([at for at, _ in peaks], axis=1)
    real = jnp.concatenate([is_peak for _, is_peak in peaks], axis=1)
    own = jnp.full((len(pixel), 1, 2), size // 2 - first)
    pixel = jnp.concatenate([pixel, own], axis=1)
    real = jnp.pad(real, [(0, 0), (0, 1)])
    row = jnp.arange(len(pixel))[:, None]
    maps = jnp.stack([residual, sharp], axis=-1)
    return Candidates(pixel + first, maps[row, pixel[..., 0], pixel[..., 1]], real)


@partial(jax.jit, static_argnames=("model", "size", "bands", "psf", "correlation"))
def init_companions(model: Companions, key, *, size: int, bands: int, **numbers: int) -> dict:
    """Random parameters.

    Args:
        model: The network.
        key: Random key.
        size: Side of a stamp [pixel].
        bands: Number of bands.
        **numbers: Lengths of an observation's `psf` and `correlation`.
    """
    stamp, one = jnp.ones((1, size, size, bands)), jnp.ones((1, bands))
    psf, correlation = (jnp.ones((1, numbers[name])) for name in ("psf", "correlation"))
    seen = Observation(stamp, stamp, one, psf, stamp, correlation)
    return model.init(key, seen, stamp, one, find_candidates(seen, stamp))["params"]


def _sigma(seen: Observation, light) -> Float[Array, "batch size size band"]:
    """Noise of each pixel: of the background, and of the photons of all light that is known."""
    known = (light + seen.neighbours).clip(0)
    return jnp.sqrt(seen.variance + known / seen.gain[:, None, None])


def _planes(seen: Observation, light) -> Float[Array, "batch size size plane"]:
    """What is seen in each pixel, in units of its noise."""
    sigma = _sigma(seen, light)
    parts = seen.image - light, light, seen.neighbours
    depth = background_rms(seen.variance)[:, None, None] / sigma
    return jnp.concatenate([*(jnp.arcsinh(part / sigma) for part in parts), depth], axis=-1)


def _patches(planes, pixel) -> Float[Array, "candidates side side plane"]:
    """Squares about the candidates, of all stamps one after the other."""
    shape = _PATCH, _PATCH, planes.shape[-1]

    def one(stamp, at):
        start = at - _PATCH // 2
        return jax.lax.dynamic_slice(stamp, (start[0], start[1], 0), shape)

    cut = jax.vmap(jax.vmap(one, in_axes=(None, 0)))(planes, pixel)
    return cut.reshape(-1, *shape)


def _numbers(seen: Observation, light, purity, candidates: Candidates):
    """Numbers of each candidate and of its source, of order one."""
    n, k = candidates.pixel.shape[:2]
    centre = (seen.image.shape[1] - 1) / 2
    offset = (candidates.pixel - centre) / CANDIDATE_REACH
    is_own = jnp.broadcast_to(jnp.arange(k) == k - 1, (n, k))[..., None]
    of_each = offset, jnp.linalg.norm(offset, axis=-1, keepdims=True), is_own
    signal = light.sum(axis=(1, 2)) / background_rms(seen.variance)
    brightness = jnp.log(jnp.clip(signal, _FAINTEST)) - 5
    of_source = brightness, purity, seen.psf, seen.correlation
    shared = jnp.concatenate(of_source, axis=-1)[:, None]
    shared = jnp.broadcast_to(shared, (n, k, shared.shape[-1]))
    significance = jnp.arcsinh(candidates.significance)
    return jnp.concatenate([*of_each, significance, shared], axis=-1)


def _peaks(image, n: int) -> tuple[Int[Array, "batch n 2"], Bool[Array, "batch n"]]:
    """The n highest local maxima of images, not at their edges, and which of them are maxima."""
    around = nn.max_pool(image[..., None], (3, 3), padding="SAME")[..., 0]
    side = image.shape[1]
    inside = jnp.pad(jnp.ones((side - 2, side - 2), bool), 1)
    height = jnp.where((image == around) & inside & (image > 0), image, -jnp.inf)
    best, index = jax.lax.top_k(height.reshape(len(image), -1), n)
    return jnp.stack(jnp.divmod(index, side), axis=-1), jnp.isfinite(best)


def _filtered(image, first: int, parts) -> Float[Array, "batch side side"]:
    """The bands' mean through a filter, such that independent noise of rms 1 keeps it.

    Args:
        image: Stamps.
        first: First pixel, along either axis, of the middle that is filtered.
        parts: Factor and sigma [pixel] of each round Gaussian that the filter is the sum of.
    """
    size = image.shape[1]
    summed = image.sum(axis=-1) / np.sqrt(image.shape[-1])
    lines = [_gaussian(sigma) for _, sigma in parts]
    factors = np.array([factor for factor, _ in parts])
    factors /= np.linalg.norm(np.einsum("p,py,px->yx", factors, lines, lines))
    # Along one axis and then the other; in one sum, which is the same wherever it is compared.
    banded = [[np.convolve(row, line, "same") for row in np.eye(size)] for line in lines]
    banded = np.array(banded)[:, first : size - first]
    down, across = (
        jnp.asarray(each, image.dtype) for each in (factors[:, None, None] * banded, banded)
    )
    rows = jnp.einsum("piy,byx->bipx", down, summed, precision="highest")
    return jnp.einsum("bipx,pjx->bij", rows, across, precision="highest")


def _gaussian(sigma: float) -> Float[np.ndarray, " 9"]:
    """A Gaussian of unit sum."""
    line = np.exp(-np.square(np.arange(9) - 4) / (2 * sigma**2))
    return line / line.sum()
