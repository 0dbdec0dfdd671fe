"""Styles: the ways in which a catalogue galaxy's parameters become its light before the PSF."""

from collections.abc import Callable
from types import MappingProxyType

import galsim
import numpy as np

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import StyleError
from vaedeblend.simulate import generated, hst, profiles, structured

Style = Callable[[Galaxies, tuple[int, ...]], list[galsim.GSObject]]
"""A galaxy's light in each band [uJy], given the galaxy and the words of a seed.

All have the catalogue's flux, size, shape and place, and draw a star as a point."""

STYLES = MappingProxyType(
    {
        "analytic": profiles.analytic,
        "sersic": profiles.sersic,
        "structured": structured.structured,
    }
)

READERS: MappingProxyType[str, Callable[[str], Style]] = MappingProxyType(
    {
        "cosmos": hst.cosmos,
        "generator": generated.generated,
    }
)
"""What makes a style of a path on disk, which stands after its name and a colon."""


_CHOICE = 4
"""Last word of the seed, whose other purposes are the styles'."""


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


def _mixture(styles: list[Style]) -> Style:
    """One of several styles for each galaxy, by chance."""

    def mixture(galaxy: Galaxies, seed: tuple[int, ...]) -> list[galsim.GSObject]:
        rng = np.random.default_rng((*seed, _CHOICE))
        return styles[rng.integers(len(styles))](galaxy, seed)

    return mixture
