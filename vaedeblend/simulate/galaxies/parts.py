"""Which real galaxies are for training, and which for the test: no galaxy is in both.

What follows `#` in a style's path is a part: `real:PATH#train`, `cosmos:PATH#test`; all galaxies
where nothing follows. The part of a galaxy depends on its name alone: on its number in a catalogue,
or on the file and plane that it is cut from, so that neighbours stay together. Three of ten names
are for the test.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool

from vaedeblend.exceptions import StyleError
from vaedeblend.io.folders.digest import digest

_TEST_SHARE = 0.3
_PARTS = "train", "test"


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
    return (
        np.ones(len(shares), bool) if part is None else (shares < _TEST_SHARE) == (part == "test")
    )
