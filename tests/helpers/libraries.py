"""Device libraries of plain stamps, and scenes composed of them."""

from functools import partial

import jax
import numpy as np

from vaedeblend.training.placement import Composing, draw_layout, make_device_library
from vaedeblend.training.scenes import random_scenes

N_CENTRAL = 256
COMPOSING = Composing(
    max_companions=2, separation=(2.0, 5.0), max_purity=0.9, candidates=8, hard_purity=0.5
)
SETTINGS = {"n_central": N_CENTRAL, "batch_size": 2048, "size": 16}


def gaussian(side, centre, sigma):
    y, x = np.indices((side, side)) - (side - 1) / 2
    square = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    return np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def gaussians(sigma=(1.0, 1.5), side=32):
    """Round Gaussians in two bands; centrals on a grid of phases, then as many companions."""
    rng = np.random.default_rng(5)
    steps = (np.arange(16) + 0.5) / 16 - 0.5
    phase = np.tile(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), (2, 1))
    width = rng.uniform(*sigma, len(phase))
    flux = rng.uniform(50, 200, (len(phase), 2))
    shapes = np.array([gaussian(side, *args) for args in zip(phase, width, strict=True)])
    stamps = shapes[..., None] * flux[:, None, None]
    central = np.arange(len(phase)) < N_CENTRAL
    arrays = (a.astype(np.float32) for a in (stamps, phase, flux))
    return make_device_library(*arrays, central, round_psfs(1, bands=2))[0], width


def round_psfs(n, bands=1):
    """Gaussians, the first 1 pixel wide and each a tenth wider than the one before."""
    psfs = np.stack([gaussian(15, (0, 0), 1 + 0.1 * i) for i in range(n)])
    return np.repeat(psfs[..., None], bands, axis=-1)


N_PSFS = 3


def marked_library():
    """Plain stamps and sheets, whose values tell the PSF that they stand for."""
    group = 1 + np.arange(24) % N_PSFS
    central = np.arange(24) < 12
    value = np.where(central, group, 100 * group).astype(np.float32)
    stamps = np.tile(value[:, None, None, None], (1, 32, 32, 1))
    sheets = np.tile((1e4 * group[:6]).astype(np.float32)[:, None, None, None], (1, 20, 20, 1))
    phase, flux = np.zeros((24, 2), np.float32), np.ones((24, 1), np.float32)
    return make_device_library(stamps, phase, flux, central, round_psfs(N_PSFS), sheets)[0]


jitted = jax.jit(random_scenes, static_argnames=["composing", *SETTINGS])


def draw(key, library, **changes):
    """Scenes of `SETTINGS` and `COMPOSING`, some of either changed."""
    composing = {name: changes.pop(name) for name in Composing._fields if name in changes}
    return jitted(key, library, composing=COMPOSING._replace(**composing), **SETTINGS | changes)


def make_draw_layout(library):
    draw_one = partial(draw_layout, composing=COMPOSING, n_central=N_CENTRAL)
    return jax.jit(lambda key: draw_one(key, library))


def are_isolated(scenes):
    return np.all(scenes.light == scenes.target, axis=(1, 2, 3))


def centroid(images):
    """Of the first band, from the image's centre."""
    band = np.asarray(images[..., 0], float)
    offset = np.arange(band.shape[1]) - (band.shape[1] - 1) / 2
    moments = [np.einsum("nhw,h->n", band, offset), np.einsum("nhw,w->n", band, offset)]
    return np.stack(moments, axis=-1) / band.sum(axis=(1, 2))[:, None]


def windows(library, layout, size=16):
    """By plain slices."""
    start = (library.stamps.shape[1] - size) // 2 - np.asarray(layout.shift)
    stamps = np.asarray(library.stamps)
    members = zip(layout.members, start, layout.present, strict=True)
    return np.stack([p * stamps[m, y : y + size, x : x + size] for m, (y, x), p in members])
