"""Direct regression of a galaxy's image, with or without an adversary: rows of the ablation.

A U-Net draws the light of a blend's central galaxy, as each branch of Reiman & Goehre's (2019)
network does, and is trained on the scenes of the quick recipe. Its loss is the pixels' squared
error in units of their variance, that of stage I. The adversary, after Ledig et al. (2017), tells
such light from a galaxy's; the network is to deceive it, with the weight they give to that. The
flux is the sum of the light: such a network states no error.
"""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from vaedeblend.models.vae import background_rms
from vaedeblend.training import loop
from vaedeblend.training.observe import Observing, make_batches
from vaedeblend.training.placement import load_device_library
from vaedeblend.training.trainers.deblender import stage_composing

ADVERSARY = 1e-3
"""Weight of the adversary's verdict (Ledig et al. 2017)."""
WARM = 20
"""Steps by which the speed is measured."""
BATCH, WARM_SHARE = 32, 0.1
"""Scenes in a batch, and share of the steps in which the rate warms up: of so short a training."""


class Separator(nn.Module):
    """A U-Net from a blend to the light of its central galaxy [background rms]."""

    widths: tuple[int, ...] = (16, 32, 64)
    blocks: int = 2

    @nn.compact
    def __call__(self, image):
        x, passed = jnp.arcsinh(image), []
        for width in self.widths:
            x = nn.gelu(nn.Conv(width, (4, 4), 2)(x))
            passed.append(x)
        for _ in range(self.blocks):
            inside = nn.gelu(nn.Conv(self.widths[-1], (3, 3))(x))
            x += nn.Conv(self.widths[-1], (3, 3), kernel_init=nn.initializers.zeros)(inside)
        for width, known in zip(self.widths[-2::-1], passed[-2::-1], strict=True):
            x = nn.gelu(nn.Conv(width, (3, 3))(jnp.concatenate([_finer(x), known], axis=-1)))
        return _finer(nn.Conv(4, (3, 3), kernel_init=nn.initializers.zeros)(x))


def _finer(x):
    """Twice as many pixels along each axis, of a quarter of the channels (Shi et al. 2016)."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, 2, 2, channels // 4).swapaxes(2, 3)
    return x.reshape(n, 2 * height, 2 * width, channels // 4)


class Adversary(nn.Module):
    """Logit of the probability that light [background rms] is a galaxy's own."""

    widths: tuple[int, ...] = (16, 32, 64)

    @nn.compact
    def __call__(self, light):
        x = jnp.arcsinh(light)
        for width in self.widths:
            x = nn.leaky_relu(nn.Conv(width, (4, 4), 2)(x), 0.2)
        return nn.Dense(1)(nn.leaky_relu(nn.Dense(64)(x.reshape(len(x), -1)), 0.2))[:, 0]


class _State(NamedTuple):
    number: jax.Array
    params: dict
    optimizers: dict


def _make_step(make_batch, optimizer, weight, model_error, seed):
    """The jitted step `(state, library) -> state`: the separator's, then the adversary's."""
    separator, adversary = Separator(), Adversary()

    def losses(own, name, others, batch):
        params = others | {name: own}
        unit = background_rms(batch.observation.variance)[:, None, None]
        light = separator.apply({"params": params["separator"]}, batch.observation.image / unit)
        true = batch.target / unit
        photons = batch.target.clip(0) / batch.observation.gain[:, None, None] / unit**2
        content = jnp.mean((light - true) ** 2 / (1 + photons + (model_error * true) ** 2))
        says = [adversary.apply({"params": params["adversary"]}, each) for each in (light, true)]
        deceived = jnp.mean(jax.nn.softplus(-says[0]))
        told_apart = jnp.mean(jax.nn.softplus(says[0]) + jax.nn.softplus(-says[1]))
        return {"separator": content + weight * deceived, "adversary": told_apart}[name]

    @jax.jit
    def step(state, library):
        batch = make_batch(jax.random.fold_in(jax.random.key(seed), state.number), library)
        params, optimizers = dict(state.params), dict(state.optimizers)
        for name in ("separator", "adversary") if weight else ("separator",):
            own = params[name]
            gradient = jax.grad(losses)(own, name, params, batch)
            updates, optimizers[name] = optimizer.update(gradient, optimizers[name], own)
            params[name] = optax.apply_updates(own, updates)
        return _State(state.number + 1, params, optimizers)

    return step


def _start(optimizer, size, seed):
    keys, stamp = jax.random.split(jax.random.key(seed)), jnp.zeros((1, size, size, 1))
    networks = {"separator": Separator(), "adversary": Adversary()}
    params = {
        name: network.init(key, stamp)["params"]
        for (name, network), key in zip(networks.items(), keys, strict=True)
    }
    optimizers = {name: optimizer.init(each) for name, each in params.items()}
    return _State(jnp.zeros((), int), params, optimizers)


def train(config, survey, galaxies, *, weight, minutes):
    """A function as a deblender's, trained for some minutes; and the number of its steps.

    Args:
        config: The quick recipe, of which the stage of blends says scenes, batch and optimiser.
        survey: Its survey.
        galaxies: Folder of its galaxies.
        weight: Weight of the adversary; 0 without one.
        minutes: Wall time.
    """
    stage, size = config.stages.blended, config.data.stamp_size
    library, n_central = load_device_library(galaxies, None, n_psfs=config.data.n_psfs)
    scenes = stage_composing(config.data, stage.scenes, survey)
    numbers = {"n_central": n_central, "batch_size": BATCH, "size": size}
    make_batch = make_batches(survey, scenes, Observing(**config.observation), **numbers)

    def prepared(steps):
        settings = stage.optimizer.to_dict() | {"warmup_steps": int(WARM_SHARE * steps)}
        optimizer = loop.make_optimizer(steps=steps, **settings)
        error = config.stages.isolated.loss.model_error
        step = _make_step(make_batch, optimizer, weight, error, config.seed)
        return step, _start(optimizer, size, config.seed)

    step, state = prepared(10 * WARM)
    state = jax.block_until_ready(step(state, library))
    start = time.perf_counter()
    for _ in range(WARM):
        state = step(state, library)
    jax.block_until_ready(state)
    steps = int(60 * minutes * WARM / (time.perf_counter() - start))
    step, state = prepared(steps)
    for _ in range(steps):
        state = step(state, library)
    return _deblender(state.params["separator"]), steps


def _deblender(params):
    """`(image, variance, gain) -> (flux, flux_err, light)`: of errors it knows nothing."""

    @jax.jit
    def deblend(image, variance, gain):
        unit = background_rms(variance)[:, None, None]
        light = unit * Separator().apply({"params": params}, image / unit)
        flux = light.sum(axis=(1, 2))
        return flux, jnp.full_like(flux, np.nan), light

    return deblend
