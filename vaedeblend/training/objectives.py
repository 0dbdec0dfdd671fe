"""What each stage of the training minimises: functions of parameters and batch to loss parts.

Stage I learns what galaxies look like, by the evidence lower bound on isolated ones. Stage II
learns what a blend says of its central galaxy, by maximising the posterior density of the truth
(neural posterior estimation, Papamakarios & Murray 2016). An evidence bound cannot serve there: the
width of its optimal posterior follows from pixel noise, not from how ambiguous the blend is.

A generator has stages of its own: an evidence bound on noise-free light, and its latent's density.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from vaedeblend.deblend.iterative import SourceStamps, State, iterate, subtract_neighbours
from vaedeblend.exceptions import VaedeblendError
from vaedeblend.models import losses
from vaedeblend.models.generator import Examples, Generator
from vaedeblend.models.vae import VAE, Observation, Posterior, background_rms, reparameterize
from vaedeblend.pixels.stamps_jax import cut_stamps
from vaedeblend.training.observe import Batch

Parts = dict[str, Float[Array, " batch"]]
Objective = Callable[..., Parts]
"""`(params, batch, key, step) -> parts`, each one number per example; 'loss' is minimised.

The key is one for all examples, or one for each, of which an example's random numbers are the same
in whatever batch it lies.

One that holds arrays is a `jax.tree_util.Partial`, which a jitted function takes as an argument:
arrays that it closed over would be constants in its program."""

_MOST_ELECTRONS = 1e3
"""Largest background rms in a Poisson likelihood: beyond it, rounding errors prevail [electron]."""


class EvidenceSettings(NamedTuple):
    """Likelihood, weights and allowances of the evidence lower bound."""

    likelihood: str
    """Likelihood of the light: gaussian or poisson."""
    model_error: float
    """Error that the decoder is allowed, relative to the light of each pixel: a bright galaxy's
    photons would otherwise demand all of its attention."""
    flux_error: float
    """Error that it is allowed in any pixel, relative to the flux: a bright star's far wings would
    demand it otherwise."""
    kl_weight: float
    """Weight of the KL divergence once warmed up."""
    kl_warmup_steps: int
    """Steps over which that weight rises from zero."""
    kl_cycles: int
    """Times that it does so, one after the other (Fu+ 2019)."""
    free_bits: float
    """Least cost of each dimension of the latent [nat]."""
    flux_weight: float
    """Weight of the flux's likelihood."""
    centre_boost: float
    """Weight of the stamp's centre beyond that of its other pixels, which is one."""
    centre_sigma: float
    """Width of the Gaussian of that weight [pixel]."""


def evidence(model: VAE, **settings) -> Objective:
    """The negative evidence lower bound of the central galaxy, and its flux's likelihood beside.

    loss = reconstruction + w KL + flux_weight x flux. The reconstruction is the likelihood of the
    central galaxy's noise-free light under its true flux times the decoded profile: a noisy target
    has the same expectation and a larger variance. The flux head is trained by its own likelihood.

    Args:
        model: The VAE.
        **settings: Fields of `EvidenceSettings`.

    Raises:
        VaedeblendError: An unknown likelihood.
    """
    chosen = EvidenceSettings(**settings)
    weight = losses.centre_weight(model.stamp_size, chosen.centre_boost, chosen.centre_sigma)

    def gaussian(batch: Batch, light, unit):
        gain = batch.observation.gain[:, None, None]
        errors = chosen.model_error * batch.target, chosen.flux_error * batch.flux[:, None, None]
        allowed = sum(map(jnp.square, errors))
        variance = unit**2 + batch.target.clip(0) / gain + allowed
        return losses.gaussian_nll(batch.target, light, variance, weight)

    def poisson(batch: Batch, light, unit):
        gain = jnp.minimum(batch.observation.gain[:, None, None], _MOST_ELECTRONS / unit)
        return losses.poisson_nll(batch.target, light, (unit * gain) ** 2, gain, weight)

    likelihoods = {"gaussian": gaussian, "poisson": poisson}
    if chosen.likelihood not in likelihoods:
        raise VaedeblendError(
            f"likelihood is {chosen.likelihood!r}; wanted one of {sorted(likelihoods)}"
        )

    def loss(params, batch: Batch, key, step) -> Parts:
        posterior, profile, _ = model.apply({"params": params}, batch.observation, key)
        light = batch.flux[:, None, None] * profile
        unit = background_rms(batch.observation.variance)[:, None, None]
        reconstruction = likelihoods[chosen.likelihood](batch, light, unit)
        kl = losses.kl_divergence(posterior, chosen.free_bits)
        flux = losses.flux_nll(posterior, batch.flux)
        warm = chosen.kl_weight * _warmth(step, chosen.kl_warmup_steps, chosen.kl_cycles)
        total = reconstruction + warm * kl + chosen.flux_weight * flux
        return {"loss": total, "reconstruction": reconstruction, "kl": kl, "flux": flux}

    return loss


def posterior(
    model: VAE,
    teacher: dict,
    *,
    latent_weight: float,
    flux_weight: float,
    purity_weight: float,
    point_weight: float,
    cleaned_share: float,
    cleaned_from: int,
    cleaned_looks: int,
) -> Objective:
    """The negative log posterior density of what is true of the central galaxy.

    loss = latent_weight x latent + flux_weight x flux + purity_weight x purity + prior. The true
    latent is a sample of what stage I's encoder says of a deep image of the galaxy alone: deep,
    so that it is the galaxy's and not its noise's. The same latents train the flow, their prior.

    Args:
        model: The VAE.
        teacher: Parameters of stage I's encoder.
        latent_weight: Weight of the latent's likelihood.
        flux_weight: Weight of the likelihood of ln(flux).
        purity_weight: Weight of the cross entropy of the purity.
        point_weight: Weight of the cross entropy of a point source's probability; 0 where the
            model has none.
        cleaned_share: Share of stamps from which the companions that a detection would find have
            been subtracted, as the network itself sees them at present.
        cleaned_from: Step from which on they are: an early network finds nothing to subtract.
        cleaned_looks: Iterations of neighbour subtraction, at most, before the companions are
            subtracted.
    """

    def some_cleaned(params, batch: Batch):
        return cleaned(model, params, batch, round(cleaned_share * len(batch.flux)), cleaned_looks)

    def loss(teacher, params, batch: Batch, key, step) -> Parts:
        if cleaned_share and batch.corner.shape[1]:
            late = step >= cleaned_from
            batch = jax.lax.cond(late, some_cleaned, lambda _, b: b, params, batch)
        seen = model.apply({"params": params | {"encoder": teacher}}, batch.deep, method="encode")
        z = jax.lax.stop_gradient(reparameterize(key, seen))
        found = model.apply({"params": params}, batch.observation, method="encode")
        latent = losses.latent_nll(found, z)
        flux = losses.flux_nll(found, batch.flux)
        purity = losses.purity_nll(found, batch.purity)
        prior = -model.apply({"params": params}, z, method="log_prior")
        total = latent_weight * latent + flux_weight * flux + purity_weight * purity + prior
        parts = {"latent": latent, "flux": flux, "purity": purity, "prior": prior}
        if point_weight:
            parts["point"] = losses.point_nll(found, batch.star)
            total += point_weight * parts["point"]
        return {"loss": total} | parts

    return Partial(loss, teacher)


def light(
    model: Generator, *, photons: float, background: float, kl_weight: float, kl_warmup_steps: int
) -> Objective:
    """The negative evidence lower bound of a rest-frame stamp, as though photons were counted.

    loss = reconstruction + w KL. Noise-free light has no noise to say which errors matter: a count
    of photons gives each pixel a variance in proportion to its light, plus a floor. Least squares
    with such a variance would draw a variable pixel too faint; the Poisson likelihood's best
    estimate is the mean.

    Args:
        model: The generator.
        photons: Photons in a stamp; the more of them, the finer the structure that the latent
            holds.
        background: Photons of the background in a pixel.
        kl_weight: Weight of the KL divergence once warmed up.
        kl_warmup_steps: Steps over which that weight rises from zero.
    """
    even = losses.centre_weight(model.side, 0.0, 1.0)

    def loss(params, batch: Examples, key, step) -> Parts:
        code, stamp, _ = model.apply({"params": params}, key, batch)
        counted = [
            jnp.full((len(stamp), 1, 1, 1), number, stamp.dtype) for number in (background, photons)
        ]
        pair = batch.stamp[..., None], stamp[..., None]
        reconstruction = losses.poisson_nll(*pair, *counted, even)
        kl = losses.kl_divergence(code)
        total = reconstruction + kl_weight * _warmth(step, kl_warmup_steps, 1) * kl
        return {"loss": total, "reconstruction": reconstruction, "kl": kl}

    return loss


def density(model: Generator) -> Objective:
    """The negative log density of a galaxy's latent given its conditions; trains the flow.

    Latents are samples of the encoder's posterior, so that the flow's galaxies are as the decoder
    has seen them (Lanusse+ 2021).
    """

    def loss(params, batch: Examples, key, step) -> Parts:
        code = model.apply({"params": params}, batch.stamp, method="encode")
        z = jax.lax.stop_gradient(reparameterize(key, code))
        total = -model.apply({"params": params}, z, batch.condition, method="log_prior")
        return {"loss": total}

    return loss


def cleaned(model: VAE, params: dict, batch: Batch, n: int, iterations: int) -> Batch:
    """The batch, n of its stamps less what the network finds their found companions to be.

    They are taken at even steps, since the first of a batch may share a kind of noise. Companions
    of the first n / iterations of them are measured once, of the next up to twice, ...: jointly
    with the central galaxy, as those of an image are (see `deblend.iterative`).

    Args:
        model: The deblender.
        params: Its parameters.
        batch: Scenes.
        n: Number of stamps.
        iterations: Iterations of neighbour subtraction.
    """
    chosen = jnp.arange(n) * len(batch.flux) // n
    parts = batch.observation, batch.corner, batch.found
    seen, corner, found = jax.tree.map(lambda a: a[chosen], parts)
    stamps, state = _members(seen, corner, found, iterations)
    network = Partial(partial(_light, model), jax.lax.stop_gradient(params))
    state = iterate(network, stamps, state, batch_size=n)
    central = jnp.arange(len(stamps.image)) % (1 + found.shape[1]) == 0
    state = subtract_neighbours(stamps, state, central, batch_size=n)
    neighbours = state.neighbours[:: 1 + found.shape[1]]
    cleaned = seen._replace(image=seen.image - neighbours, neighbours=neighbours)
    joined = jax.tree.map(lambda a, b: a.at[chosen].set(b), batch.observation, cleaned)
    return batch._replace(observation=joined)


class _Light(NamedTuple):
    """What the joint measurement needs of a network."""

    image: Float[Array, "batch height width band"]


def _light(model: VAE, params: dict, image, variance, neighbours, **given) -> _Light:
    """The light that the network finds at the centre of stamps."""
    seen = Observation(image, variance, neighbours=neighbours, **given)
    return _Light(light_of(model, params, seen)[1])


def light_of(
    model: VAE, params: dict, seen: Observation
) -> tuple[Posterior, Float[Array, "batch height width band"]]:
    """The posterior of the central source of stamps, and its light: at the latent's mean.

    Args:
        model: The deblender.
        params: Its parameters.
        seen: Stamps.
    """
    found = model.apply({"params": params}, seen, method="encode")
    profile = model.apply({"params": params}, found.mean, seen.psf, method="decode")
    return found, jnp.exp(found.log_flux.median)[:, None, None] * profile


def _members(seen: Observation, corner, found, iterations: int) -> tuple[SourceStamps, State]:
    """The galaxies of blends as sources to be measured jointly, frame by frame, central ones first.

    A central galaxy is measured once less than its companions: the loss measures it last.
    """
    n, size = seen.image.shape[:2]
    corner = jnp.pad(corner, [(0, 0), (1, 0), (0, 0)])  # the central galaxy's is (0, 0)
    present = jnp.pad(found, [(0, 0), (1, 0)], constant_values=True)
    members = present.shape[1]
    index, at = jnp.repeat(jnp.arange(n), members), corner.reshape(-1, 2)
    image = cut_stamps(seen.image, index, at, outside=0.0)
    variance = cut_stamps(seen.variance, index, at, outside=jnp.inf)
    others = (jnp.arange(members)[:, None] + jnp.arange(1, members)) % members
    offset = corner[:, others] - corner[:, :, None]
    sources = n * members
    page = jnp.arange(n)[:, None, None] * members + others
    page = jnp.where((jnp.abs(offset) < size).all(axis=-1), page, sources)
    last = jnp.array([(k + 1) * n // iterations for k in range(iterations)])
    limit = 1 + jnp.searchsorted(last, jnp.arange(n), side="right")
    limit = jnp.where(present, limit[:, None] - (jnp.arange(members) == 0), 0)
    number, one = jnp.arange(sources), jnp.ones(sources, int)
    stamps = SourceStamps(
        image,
        variance,
        {"gain": seen.gain[index], "psf": seen.psf[index], "correlation": seen.correlation[index]},
        binning=one,
        first_page=number,
        overlapping=page.reshape(sources, members - 1),
        offset=offset.reshape(sources, members - 1, 2),
        owner=jnp.append(number, sources),
        limit=limit.ravel(),
    )
    dark = jnp.zeros_like(image)
    light = jnp.zeros((sources + 1, *image.shape[1:]))
    pending = limit.ravel() > 0
    return stamps, State(light, dark, pending, 0 * one, _Light(dark))


def _warmth(step, warmup_steps: int, cycles: int):
    """Share of the KL's weight: a ramp to one, at which all cycles but the last stay for a half."""
    position = (step + 1) / max(warmup_steps, 1)
    last = cycles - 1
    ramp = jnp.where(position < last, 2 * (position % 1), position - last)
    return jnp.minimum(1.0, ramp)
