"""Styles: the ways in which a catalogue galaxy's parameters become its light before the PSF."""

from collections.abc import Callable
from types import MappingProxyType

import galsim

from vaedeblend import profiles, structured
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


class StyleError(ValueError):
    """A style that there is not."""


def find_style(name: str) -> Style:
    """The style of a name.

    Raises:
        StyleError: There is none.
    """
    if name not in STYLES:
        raise StyleError(f"style is {name!r}; wanted one of {sorted(STYLES)}")
    return STYLES[name]
