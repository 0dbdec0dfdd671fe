"""Styles: the ways in which a catalogue galaxy's parameters become its light before the PSF.

Most are modules of their own; the galaxies that a trained generator makes up, at the flux, size and
shape of a catalogue, are made here.
"""

import multiprocessing
from collections.abc import Callable
from types import MappingProxyType

import galsim
import numpy as np

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import StyleError
from vaedeblend.io.folders.digest import kept_while_unchanged
from vaedeblend.simulate.galaxies import hst, profiles, real, structured
from vaedeblend.simulate.galaxies.canonical import describe, place_on_sky

Style = Callable[[Galaxies, tuple[int, ...]], list[galsim.GSObject]]
"""A galaxy's light in each band [uJy], given the galaxy and the words of a seed.

All have the catalogue's flux, size, shape and place, and draw a star as a point."""


_MORPHOLOGY, _CHOICE = 3, 4
"""Last words of the seed, whose other purposes are those of the other styles and the caller's."""


@kept_while_unchanged(maxsize=2)
def generated(workdir: str) -> Style:
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
            return profiles.points(galaxy)
        stamp = draw_stamp((*seed, _MORPHOLOGY), describe(galaxy))
        radius, shape = profiles.half_light_radius(galaxy), profiles.dominant_shape(galaxy)
        light = place_on_sky(stamp, radius, *shape)
        return [light.withFlux(float(flux)) for flux in galaxy.flux]

    return style


STYLES = MappingProxyType(
    {
        "analytic": profiles.analytic,
        "sersic": profiles.sersic,
        "structured": structured.structured,
        "clumpy": structured.clumpy,
    }
)


READERS: MappingProxyType[str, Callable[[str], Style]] = MappingProxyType(
    {
        "cosmos": hst.cosmos,
        "generator": generated,
        "real": real.real,
    }
)
"""What makes a style of a path on disk, which stands after its name and a colon."""


def find_style(name: str) -> Style:
    """The style of a name, of a name and a path (`name:PATH`), or of several in equal shares.

    Several are joined by plus signs: `analytic+structured`.

    Raises:
        StyleError: There is none; its reader may raise other ValueErrors on what lies at a path.
    """
    if "+" in name:
        return _mixture([find_style(each) for each in name.split("+")])
    if name in STYLES:
        return STYLES[name]
    kind, _, path = name.partition(":")
    if kind not in READERS or not path:
        wanted = sorted([*STYLES, *(f"{each}:PATH" for each in READERS)])
        raise StyleError(f"style is {name!r}; wanted one of {wanted}")
    return READERS[kind](path)


def of_split(name: str, split: str) -> str:
    """The style of a split of a dataset: `#split` after a path becomes the part of that name.

    Args:
        name: Name of a style, or of several.
        split: train, validation or test.
    """
    return name.replace("#split", f"#{split}")


def _mixture(styles: list[Style]) -> Style:
    """One of several styles for each galaxy, by chance."""

    def mixture(galaxy: Galaxies, seed: tuple[int, ...]) -> list[galsim.GSObject]:
        rng = np.random.default_rng((*seed, _CHOICE))
        return styles[rng.integers(len(styles))](galaxy, seed)

    return mixture


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
