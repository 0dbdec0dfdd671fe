"""What the test of companions minimises: scenes as a deblender sees them, and what is true of them.

blend --deblender--> light of the central source, less known neighbours --candidates--> verdicts

A companion that has been found is known: its light is subtracted, and what is left of it is no
companion. Any other is one, where a candidate lies on it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from vaedeblend.models.companions import HIDDEN_WITHIN, Candidates, Companions, find_candidates
from vaedeblend.models.vae import VAE, draw_each
from vaedeblend.training.objectives import Objective, Parts, cleaned, light_of
from vaedeblend.training.observe import Batch

_SAME = 1.5
"""Distance of a companion from a candidate that lies on it [pixel]."""
_LEAST = 0.1
"""Flux of a companion that a source hides, in units of the source's own."""
_PLACE = 0.5
"""Typical error of a candidate's place [pixel]."""


class Truth(NamedTuple):
    """What is true of the candidates of a batch."""

    companion: Float[Array, "batch candidate"]
    """1 where a companion that is not known lies on the candidate, or else 0."""
    offset: Float[Array, "batch candidate 2"]
    """(y, x) of the nearest such companion from the candidate's pixel [pixel]."""
    blend: Float[Array, " batch"]
    """1 where the central source hides such a companion, or else 0."""


def verdict_losses(
    model: Companions,
    deblender: VAE,
    params: dict,
    *,
    known_share: float,
    offset_weight: float,
    companion_share: float,
) -> Objective:
    """Cross entropies of companions and blends, and the places of companions.

    loss = w (mean over candidates of the cross entropy + that of the blend + offset_weight x the
    squared error of the companions' places, in units of half a pixel). The weights w make of the
    scenes with a companion a share that they have on the sky, so that probabilities are those of
    the sky and not of a training that needs more of them.

    Args:
        model: The test.
        deblender: The deblender whose sources are tested.
        params: Its parameters.
        known_share: Share of the companions that a detection would find that are known.
        offset_weight: Weight of the places.
        companion_share: Share of the sources with a companion that the probabilities are for.
    """

    def loss(frozen, params, batch: Batch, key, step) -> Parts:
        del step
        frozen = jax.lax.stop_gradient(frozen)
        batch = _with_known(deblender, frozen, batch, key, known_share)
        found, light = light_of(deblender, frozen, batch.observation)
        candidates = find_candidates(batch.observation, light)
        purity = jax.nn.sigmoid(found.purity_logit)
        arguments = batch.observation, light, purity, candidates
        verdicts = model.apply({"params": params["companions"]}, *arguments)
        truth = what_is_true(batch, candidates)
        real = candidates.real
        entropy = jnp.logaddexp(0.0, verdicts.logit) - truth.companion * verdicts.logit
        companion = (real * entropy).sum(axis=1) / real.sum(axis=1).clip(1)
        blend = jnp.logaddexp(0.0, verdicts.blend_logit) - truth.blend * verdicts.blend_logit
        square = jnp.square((verdicts.offset - truth.offset) / _PLACE).sum(axis=-1)
        place = (real * truth.companion * square).sum(axis=1)
        total = companion + blend + offset_weight * place
        total *= _weights((batch.companion_flux > 0).any(axis=1), companion_share)
        return {"loss": total, "companion": companion, "blend": blend, "place": place}

    return Partial(loss, params)


def _weights(paired: Bool[Array, " batch"], share: float) -> Float[Array, " batch"]:
    """Weights of mean 1 under which a share of the scenes has a companion."""
    mean = paired.mean()
    return jnp.where(paired, share / mean, (1 - share) / (1 - mean).clip(1e-6))


def what_is_true(batch: Batch, candidates: Candidates) -> Truth:
    """The truth about candidates: a companion that is not known makes one of those on it true.

    Args:
        batch: Scenes whose known companions are those that are marked as found.
        candidates: Their candidates.
    """
    hidden = (batch.companion_flux > 0) & ~batch.found
    centre = (batch.target.shape[1] - 1) / 2
    apart = batch.position[:, None] + centre - candidates.pixel[:, :, None]
    distance = jnp.where(hidden[:, None], jnp.linalg.norm(apart, axis=-1), jnp.inf)
    nearest = jnp.argmin(distance, axis=-1)[..., None]
    offset = jnp.take_along_axis(apart, nearest[..., None], axis=2)[:, :, 0]
    companion = jnp.take_along_axis(distance, nearest, axis=-1)[..., 0] < _SAME
    bright = hidden & (batch.companion_flux > _LEAST * batch.flux[:, :1])
    near = jnp.linalg.norm(batch.position, axis=-1) < HIDDEN_WITHIN
    blend = (bright & near).any(axis=1)
    return Truth(companion.astype(float), jnp.where(companion[..., None], offset, 0), 1.0 * blend)


def _with_known(deblender: VAE, params, batch: Batch, key, share: float) -> Batch:
    """The batch less the light of the companions that are known."""

    def draw(key, shape):
        return jax.random.bernoulli(key, share, shape)

    known: Bool[Array, "batch companion"] = batch.found
    known &= draw_each(draw, key, known.shape)
    return cleaned(deblender, params, batch._replace(found=known), len(batch.flux), 1)
