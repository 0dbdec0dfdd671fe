"""The page of a survey: maps of what its tiles are like, so that a bad one stands out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaedeblend.image.surveys.edges.cores import outline
from vaedeblend.image.surveys.plan import Plan
from vaedeblend.image.surveys.status import TileState, said_of
from vaedeblend.io.html import number, templates
from vaedeblend.io.write import write_text

_TEMPLATES = Path(__file__).parent / "templates"
_STATES = {"done": "#9ecae1", "failed": "#d55e00", "waiting": "#e8dfc8"}
_COLOURS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
"""From the least to the largest."""
_MAPS = {
    "density": ("density", "sources per square arcmin, in units of the training's sky"),
    "depth": ("depth", "rms of the background in units of the training's"),
    "psf_fwhm": ("PSF", "effective FWHM [arcsec]"),
    "correlation": ("noise correlation", "of neighbouring pixels"),
    "chi2": ("residual chi2", "median over the sources"),
    "flag_poor": ("poor", "share of sources whose residual is far from noise"),
    "flag_unlike": ("unlike", "share of sources unlike what was trained on"),
    "sky_over_rms": ("sky", "level left between the sources [rms]"),
}
"""Numbers of a tile that are drawn: title and meaning. Of flags, those that the catalogue has."""
_FAR, _LISTED = 5.0, 500
"""Distance from the median of a number that stands out, in units of its scatter; rows at most."""
_ALIKE = 0.01
"""Range of a number, as a share of its median, up to which all tiles have one colour."""
_WIDTH = 1000


class _Shape(NamedTuple):
    """Tiles of one colour."""

    colour: str
    path: str


class _Map(NamedTuple):
    title: str
    said: str
    shapes: tuple[_Shape, ...]
    key: tuple[tuple[str, str], ...]
    """Colours and what they stand for."""


def write_survey_page(out: Path, plan: Plan, states: Sequence[TileState]) -> None:
    """Writes index.html of a survey.

    Args:
        out: Folder of the survey.
        plan: Its tiles.
        states: What became of each.

    Raises:
        FileError: It cannot be written.
    """
    known = {each.name: each for each in states}
    tiles = [tile for tile in plan.tiles if tile.name in known]
    drawn, height = _paths([np.stack(outline(tile)) for tile in tiles])
    own = [known[tile.name] for tile in tiles]
    maps = [_state_map(own, drawn)]
    maps += [m for name in _MAPS if (m := _number_map(name, own, drawn)) is not None]
    notable = _notable(states)
    page = templates(_TEMPLATES).get_template("survey.html")
    text = page.render(
        title=f"Survey of {len(states)} tiles",
        said=said_of(states)[:2],
        maps=maps,
        width=_WIDTH,
        height=height,
        rows=notable[:_LISTED],
        beyond=max(len(notable) - _LISTED, 0),
    )
    write_text(out / "index.html", text)


def _paths(outlines) -> tuple[list[str], int]:
    """Tiles as paths on an equal-area map, north up and east left; and the map's height."""
    if not outlines:
        return [], 1
    sky = np.array(outlines)
    centre = np.angle(np.exp(1j * np.radians(sky[:, 0])).mean(), deg=True)
    east = (sky[:, 0] - centre + 180) % 360 - 180
    x, y = -east * np.cos(np.radians(sky[:, 1])), -sky[:, 1]
    size = max(np.ptp(x), np.ptp(y)) or 1.0
    x, y = (_WIDTH * (each - each.min()) / size for each in (x, y))
    paths = [
        "M" + "L".join(f"{a:.4g},{b:.4g}" for a, b in zip(*each, strict=True)) + "z"
        for each in zip(x, y, strict=True)
    ]
    return paths, int(np.ceil(y.max()))


def _state_map(states: Sequence[TileState], drawn: Sequence[str]) -> _Map:
    shapes = [
        _Shape(colour, "".join(d for s, d in zip(states, drawn, strict=True) if s.state == state))
        for state, colour in _STATES.items()
    ]
    drifting = [d for s, d in zip(states, drawn, strict=True) if s.drift]
    shapes.append(_Shape("#cc79a7", "".join(drifting)))
    key = [(colour, state) for state, colour in _STATES.items()]
    key.append(("#cc79a7", "done, outside the training's range"))
    return _Map("tiles", "", tuple(shapes), tuple(key))


def _number_map(name: str, states: Sequence[TileState], drawn: Sequence[str]) -> _Map | None:
    values = np.array([_value(each, name) for each in states])
    known = np.isfinite(values)
    if not known.any():
        return None
    low, high = np.quantile(values[known], [0.0, 1.0])
    bounds = low + (high - low) * np.arange(len(_COLOURS)) / len(_COLOURS)
    middle, level = np.median(values[known]), np.zeros(len(values), int)
    if high - low > _ALIKE * abs(middle):
        level[known] = np.searchsorted(bounds, values[known], side="right") - 1
    else:
        bounds = [middle]
    labels = [number(float(bound), 4) for bound in bounds]
    shapes = [
        _Shape(colour, "".join(drawn[i] for i in np.flatnonzero(known & (level == k))))
        for k, colour in enumerate(_COLOURS)
    ]
    return _Map(*_MAPS[name], tuple(shapes), tuple(zip(_COLOURS, labels, strict=False)))


def _notable(states: Sequence[TileState]) -> list[tuple[str, str, str]]:
    """Tiles that failed, drift, or stand out in a number: name, state and why."""
    rows = [(each.name, each.state, each.sentence) for each in states if each.state == "failed"]
    why = {each.name: [f"{name} beyond the training" for name in each.drift] for each in states}
    for name, (title, _) in _MAPS.items():
        values = np.array([_value(each, name) for each in states])
        known = np.isfinite(values)
        if known.sum() < 5:
            continue
        middle = np.median(values[known])
        scatter = 1.4826 * np.median(np.abs(values[known] - middle))
        for i in np.flatnonzero(known & (np.abs(values - middle) > _FAR * scatter) & (scatter > 0)):
            why[states[i].name].append(f"{title} {values[i]:.3g} (median {middle:.3g})")
    return rows + [(s.name, s.state, "; ".join(why[s.name])) for s in states if why[s.name]]


def _value(state: TileState, name: str) -> float:
    value = state.numbers.get(name)
    return np.nan if value is None else float(value)
