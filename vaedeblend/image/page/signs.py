"""Signs on an image: a bar of known length, and the directions of north and east."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

LETTERS = 28
"""Width of the whole image in the heights of letters on it."""
STAMP_LETTERS = 11
"""That of a stamp, which is small on the page."""

_LENGTHS = 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600
"""Lengths of a bar [arcsec, or 10 pixels]."""
_LONGEST, _ARROW, _NAME = 0.25, 2.0, 3.0
"""Longest bar [width]; length of arrows, and distance of their names [letter]."""


class Arrow(NamedTuple):
    """A direction on the sky, from where the arrows start, x to the right and y downwards."""

    name: str
    tip: tuple[str, str]
    place: tuple[str, str]
    """Where the name stands."""


class Signs(NamedTuple):
    """What is drawn on an image, in the heights of its letters."""

    letters: int
    """Width of the image."""
    length: str
    said: str
    """The bar's length in words."""
    arrows: tuple[Arrow, ...]


def make_signs(width: int, axes: Float[np.ndarray, "2 2"] | None, letters: int = LETTERS) -> Signs:
    """Signs on an image of a width.

    Args:
        width: Width [image pixel].
        axes: Steps (east, north) on the sky of a step along x and along y [arcsec], as of
            `ellipses.sky_axes`; None, or NaN, where they are not known: the bar is of pixels then.
        letters: Width in the heights of letters.
    """
    if axes is None or not np.isfinite(axes).all():
        length = 10 * _longest(_LONGEST * width / 10)
        return Signs(letters, f"{letters * length / width:.4g}", f"{length:g} pixels", ())
    scale = float(np.sqrt(abs(np.linalg.det(axes))))
    length = _longest(_LONGEST * width * scale)
    east, north = np.linalg.inv(axes).T
    arrows = _arrow("N", north), _arrow("E", east)
    bar = f"{letters * length / (scale * width):.4g}"
    return Signs(letters, bar, _in_words(length), arrows)


def _longest(limit: float) -> float:
    return float(max((each for each in _LENGTHS if each <= limit), default=_LENGTHS[0]))


def _in_words(length: float) -> str:
    """A length on the sky."""
    for unit, sign in ((3600, "°"), (60, "′")):
        if length >= unit:
            return f"{length / unit:g}{sign}"
    return f"{length:g}″"


def _arrow(name: str, step: Float[np.ndarray, " 2"]) -> Arrow:
    """The arrow of a step along (x, y) on the image."""
    x, y = step / np.hypot(*step)
    tip, place = ((f"{r * x:z.2f}", f"{-r * y:z.2f}") for r in (_ARROW, _NAME))
    return Arrow(name, tip, place)
