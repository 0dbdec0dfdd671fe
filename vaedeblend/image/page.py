"""One page about a deblended image: what was found, how well, where not; all within one file."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from astropy.table import Table
from jaxtyping import Float
from matplotlib.colors import AsinhNorm, Normalize, to_hex
from matplotlib.image import imsave

from vaedeblend.exceptions import PageError
from vaedeblend.io.html import number, share, templates
from vaedeblend.io.write import write_text

MOST_MARKS = 2000
"""Most sources that are marked on the image: the brightest."""

BLENDED = 0.95
"""Purity below which a source counts as blended, here and in every statistic."""

_TEMPLATES = Path(__file__).parent / "templates"
_COLUMNS = ("id", "x", "y", "flux", "flux_err", "mag", "mag_err", "purity", "n_neighbours")
_COLUMNS += ("chi2", "flags")
_NO_DATA = "#e8dfc8"

_Columns = Mapping[str, np.ndarray]


class _Scale(NamedTuple):
    """Stretch and colours of an image, and the values on its colour bar [background rms]."""

    norm: Normalize
    colours: str
    values: tuple[int, ...]


_LIGHT = _Scale(AsinhNorm(1.0, -1, 100), "Greys", (-1, 0, 3, 10, 30, 100))
_RESIDUAL = _Scale(Normalize(-5, 5), "RdBu_r", (-5, 0, 5))


class Overview(NamedTuple):
    """The whole image [background rms], NaN where no data are; one pixel is `binning` squared."""

    image: Float[np.ndarray, "height width"]
    model: Float[np.ndarray, "height width"]
    residual: Float[np.ndarray, "height width"]
    binning: int


class Panel(NamedTuple):
    """The surroundings of a source [background rms]: all light, its model, and the source's own."""

    id: int
    image: Float[np.ndarray, "size size"]
    model: Float[np.ndarray, "size size"]
    alone: Float[np.ndarray, "size size"]


class _View(NamedTuple):
    """An image on the page, its first row at the bottom."""

    name: str
    png: bytes
    width: int
    """Width in pixels of the image from which it was binned."""
    height: int
    letter: str
    """Size of letters on it [image pixel]."""


class _Label(NamedTuple):
    """Place of a source's number on the image [image pixel], y downwards."""

    x: str
    y: str
    before: bool
    """Whether the text ends at x."""


class _Mark(NamedTuple):
    """A circle on a source, in pixels of the image with y downwards."""

    id: int
    x: str
    y: str
    radius: str
    flagged: bool
    said: str
    label: _Label | None
    """Where its number stands; None for a source without a panel."""


def write_page(
    path: str | Path,
    *,
    title: str,
    catalog: Table,
    overview: Overview,
    panels: Sequence[Panel],
    flags: Mapping[int, tuple[str, str]],
    statistics: Mapping[str, float | int | str],
    said: Sequence[str] = (),
) -> None:
    """Writes the page as HTML; it appears complete or not at all.

    Args:
        path: File to write.
        title: Title of the page.
        catalog: Measured sources; x and y are 0-based [image pixel], mag is NaN without a zero
            point.
        overview: The whole image.
        panels: Surroundings of single sources, in the order of the page.
        flags: Name and meaning of each bit of the column flags.
        statistics: Further numbers by label, in the order of the page.
        said: What was assumed of the inputs, a sentence each.

    Raises:
        PageError: A column is missing, shapes differ, or a panel's source is not in the catalogue.
    """
    _check(catalog, overview, panels)
    unit = str(catalog["flux"].unit or "")
    columns = {name: np.ma.asarray(catalog[name].value, float) for name in _COLUMNS}
    sources = {name: np.ma.filled(column, np.nan) for name, column in columns.items()}
    facts = _facts(sources, unit, flags)
    page = templates(_TEMPLATES).get_template("image.html")
    text = page.render(
        title=title,
        n=len(catalog),
        keys=_keys(sources, unit),
        statistics=statistics,
        said=said,
        **_sky(sources, facts, overview, {panel.id for panel in panels}),
        **_panels(sources, facts, panels),
        **_flags(sources, flags),
        counts=_counts(sources),
    )
    write_text(path, text)


def _check(catalog: Table, overview: Overview, panels: Sequence[Panel]) -> None:
    if missing := set(_COLUMNS) - set(catalog.colnames):
        raise PageError(f"catalogue has columns {catalog.colnames}; wanted {sorted(missing)} too")
    for what, images in (("overview", overview[:3]), *((f"panel {p.id}", p[1:]) for p in panels)):
        if len(shapes := {image.shape for image in images}) > 1:
            raise PageError(f"{what} has images of shapes {sorted(shapes)}; wanted one shape")
    if unknown := {panel.id for panel in panels} - set(catalog["id"].tolist()):
        raise PageError(f"panels show sources {sorted(unknown)}; wanted ids in the catalogue")


def _median(values: np.ndarray) -> float:
    """Median of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _facts(sources: _Columns, unit: str, flags: Mapping) -> list[dict[str, str]]:
    """What is said of each source, by quantity."""
    facts, columns = [], [sources[name].tolist() for name in _COLUMNS[3:]]
    for flux, flux_err, mag, mag_err, purity, neighbours, chi2, mask in zip(*columns, strict=True):
        bits = [1 << k for k in range(32) if mask > 0 and int(mask) >> k & 1]
        names = ", ".join(flags.get(bit, (f"bit {bit}",))[0] for bit in bits)
        fact = {"mag": f"{number(mag)} ± {number(mag_err, 2)}"}
        fact["flux"] = f"{number(flux)} ± {number(flux_err, 2)} {unit}".rstrip()
        fact |= {"purity": number(purity, 3), "neighbours": number(neighbours)}
        facts.append(fact | {"χ²": number(chi2, 3), "flags": names or "none"})
    return facts


def _keys(sources: _Columns, unit: str) -> list[tuple[str, str]]:
    """_Label and value of the key numbers."""
    n, limit = len(sources["id"]), 5 * _median(sources["flux_err"])
    blended, flagged = int(np.sum(sources["purity"] < BLENDED)), int(np.sum(sources["flags"] > 0))
    with np.errstate(all="ignore"):
        zero = _median(sources["mag"] + 2.5 * np.log10(sources["flux"]))
        if np.isfinite(zero):
            limit, unit = zero - 2.5 * np.log10(limit), "mag"
        return [
            ("sources", str(n)),
            (f"blended: {blended}", share(np.divide(blended, n))),
            (f"flagged: {flagged}", share(np.divide(flagged, n))),
            ("median χ² per pixel", number(_median(sources["chi2"]))),
            ("5 σ limit at the median flux error", f"{number(limit)} {unit}"),
            ("median relative flux error", share(_median(sources["flux_err"] / sources["flux"]))),
        ]


def _view(name: str, values: np.ndarray, scale: _Scale, binning: int = 1) -> _View:
    """An image in a scale's colours."""
    height, width = (binning * n for n in values.shape)
    cmap, file = mpl.colormaps[scale.colours].with_extremes(bad=_NO_DATA), io.BytesIO()
    levels = np.round(scale.norm(values), 2)  # 100 of them make a small file
    imsave(file, levels, vmin=0, vmax=1, cmap=cmap, origin="lower", format="png")
    return _View(name, file.getvalue(), width, height, f"{width / 28:.4g}")


def _bar(scale: _Scale) -> dict[str, Any]:
    """Colours along a colour bar, and its values with their places [%]."""
    stops = map(to_hex, mpl.colormaps[scale.colours](np.linspace(0, 1, 17)))
    ticks = [(f"{100 * scale.norm(value):.3g}", value) for value in scale.values]
    return {"stops": list(stops), "ticks": ticks}


def _marks(sources: _Columns, facts: Sequence, shape: tuple, panels: set[int]) -> list[_Mark]:
    """Circles on the brightest sources; those that a panel shows also have a number."""
    height, width = shape
    order = np.argsort(-np.nan_to_num(sources["flux"], nan=-np.inf), kind="stable")
    order = order[np.isfinite(sources["x"] + sources["y"])[order]][:MOST_MARKS]
    radius = np.clip(0.2 * np.sqrt(width * height / (1 + len(order))), width / 150, width / 60)
    marks = []
    for rank, i in enumerate(order.tolist()):
        each, r = int(sources["id"][i]), radius * (1.3 - 0.6 * rank / len(order))
        x, y = sources["x"][i] + 0.5, height - sources["y"][i] - 0.5
        said = "; ".join(f"{k} {facts[i][k]}" for k in ("mag", "flux", "purity", "flags"))
        label = None
        if each in panels:
            before = bool(x > 0.85 * width)
            top = max(y - r, width / 28)
            label = _Label(f"{x - r if before else x + r:.2f}", f"{top:.2f}", before)
        flagged = bool(sources["flags"][i] > 0)
        place = (f"{x:.2f}", f"{y:.2f}", f"{r:.3g}")
        marks.append(_Mark(each, *place, flagged, f"id {each}; {said}", label))
    return marks


def _sky(
    sources: _Columns, facts: Sequence, overview: Overview, panels: set[int]
) -> dict[str, Any]:
    """Image, model and residual, the marks on them, and the residual's extremes."""
    image, model, residual, binning = overview
    farthest = None
    if np.isfinite(residual).any():
        y, x = np.unravel_index(np.nanargmax(np.abs(residual)), residual.shape)
        place = {"x": binning * (x + 0.5) - 0.5, "y": binning * (y + 0.5) - 0.5}
        beyond = np.mean(np.abs(residual[np.isfinite(residual)]) > 5)
        farthest = {"beyond": beyond, "value": residual[y, x], **place}
    sky = {
        "image": _view("Image", image, _LIGHT, binning),
        "model": _view("Model", model, _LIGHT, binning),
        "residual": _view("Residual: image − model", residual, _RESIDUAL, binning),
    }
    marks = _marks(sources, facts, tuple(binning * n for n in image.shape), panels)
    bars = {"light": _bar(_LIGHT), "differences": _bar(_RESIDUAL)}
    return {"sky": sky, "marks": marks, "binning": binning, "farthest": farthest, **bars}


def _panels(sources: _Columns, facts: Sequence, panels: Sequence[Panel]) -> dict[str, Any]:
    """Image, model, residual and own light of each panel's source."""
    rows = [int(np.flatnonzero(sources["id"] == panel.id)[0]) for panel in panels]
    shown = [
        {
            "id": panel.id,
            "facts": facts[row],
            "views": [
                _view("Image", panel.image, _LIGHT),
                _view("Model", panel.model, _LIGHT),
                _view("Residual", panel.image - panel.model, _RESIDUAL),
                _view("Source alone", panel.alone, _LIGHT),
            ],
        }
        for panel, row in zip(panels, rows, strict=True)
    ]
    if not shown:
        return {"panels": shown}
    worst = int(np.argmax(np.nan_to_num(sources["chi2"][rows])))
    return {
        "panels": shown,
        "panel_purity": _median(sources["purity"][rows]),
        "worst": shown[worst],
    }


def _flags(sources: _Columns, flags: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """How often each flag occurs."""
    masks = np.nan_to_num(sources["flags"]).astype(int)
    found = [
        {"name": name, "meaning": meaning, "n": int(np.sum(masks & bit > 0))}
        for bit, (name, meaning) in flags.items()
    ]
    often = max(found, key=lambda flag: flag["n"], default={"n": 0})
    return {
        "flags": found,
        "flagged": int(np.sum(masks > 0)),
        "commonest": often["name"] if often["n"] else "",
    }


def _counts(sources: _Columns) -> dict[str, Any] | None:
    """Sources and their flux errors by magnitude, or by flux where none has a magnitude."""
    quantity, values = "mag", sources["mag"]
    with np.errstate(all="ignore"):
        error = sources["flux_err"] / sources["flux"]
        if not np.isfinite(values).any():
            quantity, values = "log10 flux", np.log10(sources["flux"])
    used = np.isfinite(values)
    if not used.any():
        return None
    step = max(0.5, np.ceil(np.ptp(values[used]) / 5) / 2)
    place, error = np.floor(values[used] / step).astype(int), error[used]
    bins = range(place.min(), place.max() + 1)
    n = [int(np.sum(place == k)) for k in bins]
    rows = [
        {
            "range": f"{k * step:g} to {(k + 1) * step:g}",
            "n": count,
            "width": f"{100 * count / max(n):.3g}",
            "error": _median(error[place == k]),
        }
        for k, count in zip(bins, n, strict=True)
    ]
    fullest = rows[int(np.argmax(n))]["range"]
    without = int(np.sum(~used))
    return {"quantity": quantity, "rows": rows, "fullest": fullest, "without": without}
