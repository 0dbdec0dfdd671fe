"""Galaxies that a trained generator makes up, at the flux, size and shape of a catalogue."""

import functools
import multiprocessing
from collections.abc import Callable

import galsim
import numpy as np

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.simulate.canonical import describe, place
from vaedeblend.simulate.profiles import dominant_shape, half_light_radius, points

_MORPHOLOGY = 3
"""Last word of the seed, whose other purposes are the caller's."""


@functools.lru_cache(maxsize=2)
def generated(workdir: str) -> Callable[[Galaxies, tuple[int, ...]], list[galsim.GSObject]]:
    """The style of the generator of a working directory.

    A galaxy's morphology depends on the words of the seed, its magnitude, half-light radius, B/T
    and axis ratio, and is the same in all bands. Flux, half-light radius, axis ratio, angle and
    centroid are the catalogue's: of bulge and disk together, the shape of the brighter of them.

    Raises:
        WorkdirError: The workdir is not that of a generator.
        CheckpointError: Its training left no checkpoint, or a damaged one.
    """
    draw_stamp = _on_cpu(workdir)

    def style(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
        if galaxy.star:
            return points(galaxy)
        stamp = draw_stamp((*seed, _MORPHOLOGY), describe(galaxy))
        light = place(stamp, half_light_radius(galaxy), *dominant_shape(galaxy))
        return [light.withFlux(float(flux)) for flux in galaxy.flux]

    return style


def _on_cpu(workdir: str):
    """`(seed, condition) -> stamp`, one galaxy at a time: on a CPU as fast as many at once.

    Not on an accelerator, whose memory many processes would fight for, and whose galaxies would
    differ a little.
    """
    # JAX only here: the processes that render other styles do without.
    import jax

    from vaedeblend.models.generator import load_generator

    if multiprocessing.parent_process() is not None:
        jax.config.update("jax_platforms", "cpu")
    cpu = jax.devices("cpu")[0]
    generate = load_generator(workdir)

    def draw_stamp(seed, condition):
        words = np.random.SeedSequence(seed).generate_state(2)
        with jax.default_device(cpu):
            key = jax.random.wrap_key_data(words)
            return np.asarray(generate(key, condition[None].astype(np.float32)))[0]

    return draw_stamp
