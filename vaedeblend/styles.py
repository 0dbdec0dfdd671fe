"""Styles: the ways in which a catalogue galaxy's parameters become its light before the PSF."""

from collections.abc import Callable
from types import MappingProxyType

import galsim

from vaedeblend import cosmos, generated, profiles, structured
from vaedeblend.galaxies import Galaxies

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
        "cosmos": cosmos.cosmos,
        "generator": generated.generated,
    }
)
"""What makes a style of a path on disk, which stands after its name and a colon."""


class StyleError(ValueError):
    """A style that there is not."""


def find_style(name: str) -> Style:
    """The style of a name, or of a name and a path: `name:PATH`.

    Raises:
        StyleError: There is none; its reader may raise other ValueErrors on what lies at a path.
    """
    if name in STYLES:
        return STYLES[name]
    kind, _, path = name.partition(":")
    if kind not in READERS or not path:
        wanted = sorted([*STYLES, *(f"{each}:PATH" for each in READERS)])
        raise StyleError(f"style is {name!r}; wanted one of {wanted}")
    return READERS[kind](path)
