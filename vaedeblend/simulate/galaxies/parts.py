"""Which real galaxies are for training, for validation and for the test: each is in one part.

What follows `#` in a style's path is a part: `real:PATH#train`, `cosmos:PATH#test`; all galaxies
where nothing follows. A dataset draws each of its splits by the part of its name where `#split`
follows. The part of a galaxy depends on its name alone: on its number in a catalogue, or on the
file and plane that it is cut from, so that neighbours stay together. Of ten names three are for the
test, two for validation.
"""

from collections.abc import Iterable
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool

from vaedeblend.exceptions import StyleError
from vaedeblend.io.folders.digest import digest

_PARTS = MappingProxyType({"test": (0.0, 0.3), "validation": (0.3, 0.5), "train": (0.5, 1.0)})
"""Ranges of what a name's digest says, uniform from 0 to 1."""


def split_part(path: str) -> tuple[str, str | None]:
    """The path proper, and the part that is wanted of what lies there; None for all of it.

    Raises:
        StyleError: Another word than those of the parts follows `#`.
    """
    path, mark, part = path.partition("#")
    if mark and part not in _PARTS:
        raise StyleError(f"{path}: found part {part!r}; wanted one of {list(_PARTS)} after #")
    return path, part or None


def is_in_part(names: Iterable[str], part: str | None) -> Bool[np.ndarray, " n"]:
    """Whether each galaxy, by its name, is in a part."""
    shares = np.array([int(digest(each.encode())[:8], 16) / 16**8 for each in names])
    low, high = (0.0, 1.0) if part is None else _PARTS[part]
    return (shares >= low) & (shares < high)
