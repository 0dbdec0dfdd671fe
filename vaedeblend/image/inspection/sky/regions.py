"""The noise's map and the sky, part by part of an image: what one median does not see."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vaedeblend.image.inspection.findings import Finding
from vaedeblend.image.inspection.samples import Blocks
from vaedeblend.io.mosaic import Mosaic

_PARTS, _FEWEST = 4, 8
"""Parts of an image along either axis, and the least number of blocks of one that is judged."""
_FACTOR = 2.0
"""Factor between the scatter over the rms of a part and of the others that is no accident."""
_STEP, _FILLED = 0.5, 2.0
"""Difference of the sky's level between parts that is said, and beyond which light raises the
scatter, too [rms]."""


class _Parts(NamedTuple):
    """Parts of an image."""

    cell: Int[np.ndarray, "n 2"]
    """(row, column) of each part, of _PARTS each."""
    quiet: Float[np.ndarray, " n"]
    """Scatter over the rms in the quietest blocks: sources hardly raise it."""
    middle: Float[np.ndarray, " n"]
    """Median of the scatter over the rms."""
    level: Float[np.ndarray, " n"]
    """Lower quarter of the sky's level [rms]."""


def region_findings(
    mosaic: Mosaic, blocks: Blocks, given: Float[np.ndarray, " n"]
) -> list[Finding]:
    """Parts of an image in which the noise's map, or the sky, is not that of the others.

    Args:
        mosaic: An image with a map of its noise.
        blocks: Blocks of its pixels.
        given: The given rms of each block.
    """
    parts = _parts(blocks, given)
    if len(parts.level) < 2:
        return []
    return _noise(mosaic, parts) + _sky(mosaic, parts)


def _parts(blocks: Blocks, given) -> _Parts:
    cell = np.minimum(blocks.place * _PARTS, _PARTS - 1).astype(int)
    cells, of, n = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
    of, found = of.ravel(), []
    kept = np.flatnonzero(n >= _FEWEST)
    for part in kept:
        mine = of == part
        rms = given[mine]
        quiet = np.quantile(blocks.floor[mine] / rms, 0.1)
        middle = np.median(blocks.scatter[mine] / rms)
        found.append((quiet, middle, np.quantile(blocks.level[mine] / rms, 0.25)))
    return _Parts(cells[kept], *np.reshape(found, (-1, 3)).T)


def _noise(mosaic: Mosaic, parts: _Parts) -> list[Finding]:
    """A map that is too small, or too large, in a part of the image."""
    plane, findings = mosaic.planes[mosaic.noise], []
    dark = np.abs(parts.level - _usual(parts.level, 0.0)) < _FILLED
    for values, sign in ((parts.quiet, 1), (parts.middle, -1)):
        usual = _usual(values)
        if not usual > 0:
            continue
        off = dark & ((values / usual) ** sign > _FACTOR)
        if off.any():
            found, where = np.median(values[off]), _where(parts.cell[off], mosaic.shape)
            text = f"{plane}: {where}, pixels scatter by {found:.2g} of what it says, elsewhere by "
            text += f"{usual:.2g}; wanted the same all over: is it wrong there?"
            findings.append(Finding("warned", mosaic.noise, text))
    return findings


def _sky(mosaic: Mosaic, parts: _Parts) -> list[Finding]:
    """A sky that is not the same all over: amplifiers, or exposures, that were not matched."""
    usual = _usual(parts.level, 0.0)
    if abs(usual) > _STEP:  # a sky that is left all over, or a gradient
        return []
    off = np.abs(parts.level - usual) > _STEP
    if not off.any():
        return []
    found, where = np.median(parts.level[off]), _where(parts.cell[off], mosaic.shape)
    text = f"{mosaic.planes['image']}: {where}, the median of image / rms is {found:.2g} between "
    text += f"its sources, elsewhere {usual:.2g}: a step of the sky is left, or light fills it"
    return [Finding("found", "sky", text)]


def _usual(values: Float[np.ndarray, " n"], wanted: float = 1.0) -> float:
    """The value of most parts; of two halves that differ, that of the one nearer to the wanted."""
    low, high = np.quantile(values, [0.4, 0.6], method="nearest")
    return float(low if abs(low - wanted) < abs(high - wanted) else high)


def _where(cells, shape: tuple[int, int]) -> str:
    """Words for the least rectangle about some parts."""
    low, high = cells.min(axis=0), cells.max(axis=0) + 1
    whole = len(cells) == np.prod(high - low)
    (y, x), (y_end, x_end) = (np.rint(each * shape / _PARTS).astype(int) for each in (low, high))
    said = "" if whole else f"{len(cells)} of {_PARTS**2} parts, "
    return f"in {said}x {x} to {x_end}, y {y} to {y_end}"
