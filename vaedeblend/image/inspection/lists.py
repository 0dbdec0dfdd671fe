"""A user's list of positions, compared with where the light is."""

import numpy as np
from jaxtyping import Float

from vaedeblend.catalogues.positions import Listed, read_positions
from vaedeblend.image.inspection.findings import Finding
from vaedeblend.io.mosaic import Mosaic

_MOST, _FEWEST = 100, 10
"""Rows that are compared, and the least number that tells."""
_HALF, _SIGMA, _ROUNDS = 8, 1.5, 8
"""Half a stamp's side and sigma of the window of a centre [pixel], and the rounds of finding it."""
_BRIGHT = 20.0
"""Signal over noise of light that has a centre."""
_OFF, _SPREAD, _SURE = 0.5, 0.7, 5.0
"""Offset that is no accident, spread of offsets that are all of one kind [pixel], and the least
offset of that kind [its error]."""
_SHARE, _MORE, _BESIDE, _LEAST, _TENTH = 0.2, 3, 2.0, 4, 0.1
"""Share of the positions with light below which others are tried, how many times more of these must
have some, and how far it may be off [pixel]; how many at least, and what share of all."""
_WHOLE = 0.2
"""Distance from a whole number of pixels that is one."""


def list_findings(catalog, mosaic: Mosaic) -> tuple[Listed | None, list[Finding]]:
    """The list of positions, moved to the light where all of it lies beside that by the same step.

    Args:
        catalog: The list, as `positions.read_positions` takes it; None for none.
        mosaic: The image.
    """
    if catalog is None:
        return None, []
    listed = read_positions(catalog, mosaic)
    said = [Finding("assumed", "catalog", listed.said)]
    offset = _offsets(mosaic, listed.measured)
    said += _turned(mosaic, listed.measured, offset)
    if len(offset) < _FEWEST:
        return listed, said
    middle = np.median(offset, axis=0)
    spread = 1.4826 * np.median(np.abs(offset - middle), axis=0)
    sure = np.hypot(*middle) > _SURE * np.hypot(*spread) / np.sqrt(len(offset))
    if np.abs(middle).max() < _OFF or spread.max() > _SPREAD or not sure:
        return listed, said
    whole = np.rint(middle)
    middle = whole if np.abs(middle - whole).max() < _WHOLE else middle
    dy, dx = middle
    text = (
        f"the light of {len(offset)} bright sources lies ({dx:+.2g}, {dy:+.2g}) pixels in x and y"
    )
    text += " from where the list has them: all its positions are moved by that"
    if (dy, dx) == (-1, -1):
        text += "; is its first pixel 1? Here it is 0"
    return listed.moved(middle), [*said, Finding("corrected", "catalog", text)]


def _turned(mosaic: Mosaic, positions, offset) -> list[Finding]:
    """Positions that have no light, and would have some if their axes were others."""
    here, known = _near(offset), int(np.isfinite(positions).all(axis=1).sum())
    if here > _SHARE * min(known, _MOST):
        return []
    y, x = positions.T
    top, right = np.subtract(mosaic.shape, 1)
    others = {
        "x and y exchanged": (x, y),
        "y counted from above": (top - y, x),
        "x counted from the right": (y, right - x),
    }
    for how, there in others.items():
        n = _near(_offsets(mosaic, np.stack(there, axis=1)))
        if n >= max(_LEAST, _TENTH * min(known, _MOST)) and n > _MORE * here:
            text = (
                f"light is at {here} of the list's positions, and at {n} with {how}: is that how "
            )
            return [Finding("warned", "catalog", text + "they are meant?")]
    return []


def _near(offset: Float[np.ndarray, "n 2"]) -> int:
    """Number of positions that have light of their own."""
    return int((np.hypot(*offset.T) < _BESIDE).sum())


def _offsets(mosaic: Mosaic, positions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m 2"]:
    """(y, x) from a list's positions to the centres of the light there, of the bright ones."""
    nearest = np.floor(np.nan_to_num(positions, nan=-1.0) + 0.5).astype(int)
    room = (nearest >= _HALF) & (nearest < np.subtract(mosaic.shape, _HALF))
    rows = np.flatnonzero(room.all(axis=1))
    rows = rows[:: -(-len(rows) // _MOST) or 1]
    found = [_centre(mosaic, nearest[row]) - positions[row] for row in rows]
    found = np.reshape(found, (-1, 2))
    return found[np.isfinite(found).all(axis=1)]


def _centre(mosaic: Mosaic, at) -> Float[np.ndarray, " 2"]:
    """(y, x) of the light about a pixel; NaN where none is bright, or the pixels are not valid."""
    rows, columns = (slice(int(n) - _HALF, int(n) + _HALF + 1) for n in at)
    image, _, bad = mosaic.read(rows, columns)
    edge = np.concatenate([image[[0, -1]].ravel(), image[:, [0, -1]].ravel()]).astype(float)
    light, grid = image - np.median(edge), np.indices(image.shape) - _HALF
    noise = 1.4826 * np.median(np.abs(edge - np.median(edge)))
    centre, seen = np.zeros(2), 0.0
    for _ in range(_ROUNDS):
        window = np.exp(-0.5 * np.square(grid - centre[:, None, None]).sum(axis=0) / _SIGMA**2)
        seen = float((window * light).sum())
        if bad.any() or not seen > _BRIGHT * noise * np.sqrt(np.square(window).sum()):
            return np.full(2, np.nan)
        step = (window * light * (grid - centre[:, None, None])).sum(axis=(1, 2)) / seen
        centre = (centre + 2 * step).clip(-_HALF, _HALF)
    return at + centre
