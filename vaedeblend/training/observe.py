"""What a survey makes of a scene: noise, depth, masks, on the device and new at every step.

The networks are trained on what real images do: exposures of other depths, a sky that was not
quite removed, noise that resampling has correlated, edges, bad columns and cosmic rays.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vaedeblend.io import dataset
from vaedeblend.models.vae import Observation, correlation_features, psf_features
from vaedeblend.simulate.examples import KINDS, SPLITS, Kind
from vaedeblend.simulate.render import default_psf
from vaedeblend.survey import Survey
from vaedeblend.training.placement import CENTRE_JITTER, Composing, DeviceLibrary
from vaedeblend.training.scenes import Scenes, random_scenes

DEEP = 0.1
"""Noise of the deep images of single galaxies, in units of the survey's."""

_FOUND, _FAINTEST, _NEAREST = 0.9, 5.0, 2.5
"""Share of the companions that are found, if brighter than this [background rms] and farther from
the central galaxy [pixel]."""

_STREAK_SIGMA = 6.0
"""Standard deviation of masked streaks' distances from the central galaxy [pixel]."""

_WITHIN = 2.0
"""Least distance of a galaxy's centre from the edge of its image [pixel]."""


class Batch(NamedTuple):
    """Observations that a network is given, and the truth that its loss may know besides."""

    observation: Observation
    """Noisy image of the scene."""
    deep: Observation
    """The central galaxy alone, with a tenth of the survey's noise."""
    target: Float[Array, "batch height width band"]
    """The central galaxy alone, noise-free [uJy per pixel]."""
    flux: Float[Array, "batch band"]
    """Flux of the central galaxy [uJy]."""
    purity: Float[Array, "batch band"]
    """Purity of the central galaxy."""
    corner: Int[Array, "batch companion 2"]
    """(y, x) of the first pixel of the stamp that is centred on a companion."""
    found: Bool[Array, "batch companion"]
    """Whether a detection would find the companion, so that its light can be subtracted."""
    star: Bool[Array, " batch"]
    """Whether the central galaxy is a star."""
    position: Float[Array, "batch companion 2"]
    """(y, x) of the companions from the stamp's centre [pixel]."""
    companion_flux: Float[Array, "batch companion"]
    """Flux of the companions in the first band [uJy]; 0 where there is none."""


class Observing(NamedTuple):
    """Depth of images and their corruptions; a share is that of the stamps."""

    depth: tuple[float, float] = (1.0, 1.0)
    """Range of the background's rms in units of the survey's, uniform in logarithm; the gain goes
    with its inverse square, as it does with exposure time."""
    depth_share: float = 0.0
    """Share of stamps whose depth is drawn; the others have the survey's."""
    gainless_share: float = 0.0
    """Share of stamps without the light's own Poisson noise (infinite gain)."""
    correlated_share: float = 0.0
    """Share of stamps resampled by bilinear interpolation."""
    sky_share: float = 0.0
    """Share of stamps whose sky is off."""
    sky_rms: float = 0.05
    """Standard deviation of such a sky [background rms]."""
    uneven_share: float = 0.0
    """Share of stamps crossed by a line beyond which the depth is another, or the image has
    ended."""
    masked_share: float = 0.0
    """Share of stamps with a masked streak: a bad column or row, or a cosmic ray."""
    edge_share: float = 0.0
    """Share of stamps that reach out of their image, as that of a galaxy near its edge does."""


_PLAIN = Observing()


def make_batches(
    survey: Survey,
    composing: Composing,
    observing: Observing,
    *,
    n_central: int,
    batch_size: int,
    size: int,
) -> Callable[[PRNGKeyArray, DeviceLibrary], Batch]:
    """The function `(key, library) -> Batch`: random scenes under a survey's observation.

    Args:
        survey: Bands, depth and gain.
        composing: Settings of the scenes.
        observing: Settings of their observation.
        n_central: Central galaxies in the library.
        batch_size: Scenes in a batch.
        size: Side of a scene [pixel].
    """
    variance, gain = jnp.asarray(survey.variance), jnp.asarray(survey.gain)
    numbers = {"n_central": n_central, "batch_size": batch_size, "size": size}

    def make_batch(key, library):
        scene_key, noise_key = jax.random.split(key)
        scenes = random_scenes(scene_key, library, composing, **numbers)
        return observe(noise_key, scenes, observing, variance=variance, gain=gain)

    return make_batch


def observe(
    key: PRNGKeyArray,
    scenes: Scenes,
    observing: Observing = _PLAIN,
    *,
    variance: Float[Array, " band"],
    gain: Float[Array, " band"],
) -> Batch:
    """Noisy images of scenes.

    Args:
        key: Random key of the batch.
        scenes: Scenes without noise.
        observing: Depth and corruptions; by default the survey's even depth, and none.
        variance: Background variance of the survey [uJy2].
        gain: Electrons per uJy.
    """
    keys = iter(jax.random.split(key, 14))
    n, size = scenes.light.shape[:2]
    scale, gains = _depths(keys, observing, n, gain)
    background = jnp.broadcast_to(variance * scale**2, (n, 1, 1, len(variance)))
    if observing.uneven_share:
        background = background * _beyond_a_line(next(keys), n, size, observing.uneven_share)
    white = jax.random.normal(next(keys), scenes.light.shape)
    noise = white
    if observing.correlated_share:
        noise = _resampled(next(keys), white, observing.correlated_share)
    if scenes.correlation.shape[1] > 1:
        noise = correlated(noise, scenes.correlation)
    image = scenes.light + jnp.sqrt(background + scenes.light.clip(0) / gains) * noise
    if observing.sky_share:
        offset = observing.sky_rms * jax.random.normal(next(keys), (n, 1, 1, len(variance)))
        image += _happens(keys, observing.sky_share, n) * offset * jnp.sqrt(variance) * scale
    background = jnp.broadcast_to(_cut(keys, observing, background, size), image.shape)
    image = jnp.where(jnp.isfinite(background), image, 0.0)
    return Batch(
        Observation(
            image,
            background,
            gains[:, 0, 0],
            scenes.psf,
            jnp.zeros_like(image),
            correlation_features(scenes.correlation),
        ),
        _deep(scenes, white, variance, gain),
        scenes.target,
        scenes.flux,
        scenes.purity,
        *_detected(next(keys), scenes, background, jnp.sqrt(variance[0]) * scale[:, 0, 0]),
        scenes.star,
        scenes.companions,
        scenes.companion_flux,
    )


def observe_validation(directory: Path, survey: Survey, *, kind: Kind, seed: int) -> list[Batch]:
    """Batches of a dataset's validation scenes, as a survey observes them.

    Args:
        directory: Folder of the dataset.
        survey: Bands, depth, gain and PSF.
        kind: Kind of its examples (`examples.KINDS`): each has noise of its own.
        seed: Seed of the noise.
    """
    words = SPLITS.index("validation"), KINDS.index(kind)
    key = functools.reduce(jax.random.fold_in, words, jax.random.key(seed))
    noise = {"variance": survey.variance, "gain": survey.gain}
    examples = dataset.load(directory, "validation")
    return observe_examples(key, examples, psf=default_psf(survey), **noise)


def observe_examples(
    key: PRNGKeyArray,
    examples: Mapping[str, np.ndarray],
    *,
    psf: Float[np.ndarray, "side side band"],
    variance: Float[np.ndarray, " band"],
    gain: Float[np.ndarray, " band"],
    batch_size: int = 250,
) -> list[Batch]:
    """Batches of materialised scenes, under a survey's even noise.

    Args:
        key: Random key of the noise.
        examples: Arrays 'blend', 'isolated' and 'flux' of a dataset [uJy].
        psf: PSF of all scenes; unit sum.
        variance: Background variance [uJy2].
        gain: Electrons per uJy.
        batch_size: Scenes in a batch; the last one may have fewer.
    """
    arrays = [examples[name] for name in ("blend", "isolated", "flux")]
    noise = {"variance": jnp.asarray(variance), "gain": jnp.asarray(gain)}
    features = psf_features(jnp.asarray(psf))
    batches = []
    for start in range(0, len(arrays[0]), batch_size):
        light, target, flux = (jnp.asarray(a[start : start + batch_size]) for a in arrays)
        none = jnp.zeros((len(flux), 0))
        nobody = jnp.zeros((len(flux), 0, 2)), none, none
        white = jnp.ones((len(flux), 1, 1, flux.shape[1]))
        psfs, star = jnp.tile(features, (len(flux), 1)), jnp.zeros(len(flux), bool)
        scenes = Scenes(light, target, flux, psfs, white, star, *nobody)
        batches.append(observe(jax.random.fold_in(key, start), scenes, **noise))
    return batches


def _depths(keys, observing: Observing, n, gain):
    """Background rms in units of the survey's, and the gain, of each stamp."""
    low, high = jnp.log(jnp.array(observing.depth))
    drawn = jnp.exp(jax.random.uniform(next(keys), (n, 1, 1, 1), minval=low, maxval=high))
    scale = jnp.where(_happens(keys, observing.depth_share, n), drawn, 1.0)
    return scale, jnp.where(_happens(keys, observing.gainless_share, n), jnp.inf, gain / scale**2)


def _happens(keys, share, n):
    """Whether it does, to each stamp."""
    return jax.random.bernoulli(next(keys), share, (n, 1, 1, 1))


def _cut(keys, observing: Observing, background, size):
    """The variance, infinite where a streak masks a stamp or it lies outside of its image."""
    n = len(background)
    if observing.masked_share:
        streak = _streak(next(keys), n, size, observing.masked_share)
        background = jnp.where(streak, jnp.inf, background)
    if observing.edge_share:
        outside = _outside(next(keys), n, size, observing.edge_share)
        background = jnp.where(outside, jnp.inf, background)
    return background


def _detected(key, scenes: Scenes, background, rms):
    """Corners of the companions' stamps, their centres as uncertain as the central galaxy's."""
    size = background.shape[1]
    jitter_key, found_key = jax.random.split(key)
    position = scenes.companions
    jitter = CENTRE_JITTER * jax.random.normal(jitter_key, position.shape)
    distance = jnp.linalg.norm(position, axis=-1)
    inside = (jnp.abs(position) < size / 2 - 1).all(axis=-1)
    y, x = jnp.moveaxis(jnp.rint(position + (size - 1) / 2).astype(int).clip(0, size - 1), -1, 0)
    inside &= jnp.isfinite(background[jnp.arange(len(y))[:, None], y, x, 0])
    bright = scenes.brightness > _FAINTEST * rms
    lucky = jax.random.bernoulli(found_key, _FOUND, distance.shape)
    found = lucky & bright & inside & (distance > _NEAREST)
    return jnp.rint(position + jitter).astype(int), found


def _deep(scenes: Scenes, white, variance, gain) -> Observation:
    """Deep images of the targets; each has the noise that another of the batch was shown."""
    background = jnp.broadcast_to(variance * DEEP**2, scenes.target.shape)
    gain = gain / DEEP**2
    sigma = jnp.sqrt(background + scenes.target.clip(0) / gain)
    gains = jnp.broadcast_to(gain, scenes.flux.shape)
    return Observation(
        scenes.target + sigma * jnp.roll(white, 1, axis=0),
        background,
        gains,
        scenes.psf,
        jnp.zeros_like(scenes.target),
        jnp.zeros_like(correlation_features(scenes.correlation)),
    )


def correlated(
    white: Float[Array, "batch size size band"], covariance: Float[Array, "batch lag lag band"]
) -> Float[Array, "batch size size band"]:
    """Noise of an autocovariance, from independent pixels of unit variance; periodic.

    Args:
        white: Independent pixels.
        covariance: Autocovariance at lags (y, x) about 0, fewer of them than pixels.
    """
    size, lags = white.shape[1], covariance.shape[1]
    pad = [(0, 0), (0, size - lags), (0, size - lags), (0, 0)]
    centred = jnp.roll(jnp.pad(covariance, pad), (-(lags // 2),) * 2, axis=(1, 2))
    power = jnp.fft.rfft2(centred, axes=(1, 2)).real.clip(0)
    waves = jnp.fft.rfft2(white, axes=(1, 2)) * jnp.sqrt(power)
    return jnp.fft.irfft2(waves, (size, size), axes=(1, 2))


def _resampled(key, noise, share):
    """Noise as bilinear interpolation at one sub-pixel shift leaves it, its variance restored."""
    n = round(share * len(noise))
    shifts = jax.random.uniform(key, (2, n, 1, 1, 1), maxval=0.5)
    mixed = noise[:n]
    for axis, shift in zip((1, 2), shifts, strict=True):
        mixed = (1 - shift) * mixed + shift * jnp.roll(mixed, 1, axis)
        mixed /= jnp.sqrt((1 - shift) ** 2 + shift**2)
    return jnp.concatenate([mixed, noise[n:]])


def _beyond_a_line(key, n, size, share):
    """Factor of the variance: 1 on the centre's side of a line, one factor beyond it.

    The line passes anywhere from the centre outwards. A fourth of them lie along an axis and have
    an infinite factor: the image ends there.
    """
    keys = jax.random.split(key, 5)
    ends = jax.random.bernoulli(keys[0], 0.25, (n, 1, 1, 1))
    here = jax.random.bernoulli(keys[1], share, (n, 1, 1, 1))
    turn, distance = (jax.random.uniform(k, (n, 1, 1, 1)) for k in keys[2:4])
    angle = jnp.pi / 2 * jnp.where(ends, jnp.floor(4 * turn), 4 * turn)
    along, _ = _turned(size, angle)
    low, high = jnp.log(0.25), jnp.log(4.0)
    factor = jnp.exp(jax.random.uniform(keys[4], (n, 1, 1, 1), minval=low, maxval=high))
    beyond = here & (along > distance * size / 2)
    return jnp.where(beyond, jnp.where(ends, jnp.inf, factor), 1.0)


def _streak(key, n, size, share):
    """Where a streak masks the stamp: half of them whole columns or rows, half cosmic rays."""
    keys = jax.random.split(key, 6)
    column = jax.random.bernoulli(keys[0], 0.5, (n, 1, 1, 1))
    here = jax.random.bernoulli(keys[1], share, (n, 1, 1, 1))
    turn, length, breadth = (jax.random.uniform(k, (n, 1, 1, 1)) for k in keys[2:5])
    angle = jnp.pi * jnp.where(column, jnp.floor(2 * turn) / 2, turn)
    along, across = _turned(size, angle)
    place = _STREAK_SIGMA * jax.random.normal(keys[5], (2, n, 1, 1, 1))
    long = jnp.where(column, jnp.inf, 1 + 7 * length)
    return here & (abs(along - place[0]) < long) & (abs(across - place[1]) < 0.5 + breadth)


def _outside(key, n, size, share):
    """Where a stamp lies outside of an image of its own size, on which its galaxy is anywhere."""
    keys = jax.random.split(key, 3)
    here = jax.random.bernoulli(keys[0], share, (n, 1, 1, 1))
    distance = jax.random.uniform(keys[1], (n, 1, 1, 1), maxval=size / 2 - _WITHIN)
    angle = jax.random.uniform(keys[2], (n, 1, 1, 1), maxval=2 * jnp.pi)
    y, x = _offsets(size)
    off = jnp.abs(y + distance * jnp.sin(angle)), jnp.abs(x + distance * jnp.cos(angle))
    return here & (jnp.maximum(*off) > size / 2)


def _turned(size, angle):
    """Coordinates of the pixels along and across a direction [pixel from the centre]."""
    y, x = _offsets(size)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _offsets(size):
    """Y and x of the pixels, from the centre [pixel]."""
    offset = jnp.arange(size) - (size - 1) / 2
    return offset[:, None, None], offset[:, None]
