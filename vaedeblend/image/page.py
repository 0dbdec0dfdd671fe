"""One page about a deblended image: what was found, how well, where not; all within one file."""

import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from astropy.table import Table
from jaxtyping import Float
from matplotlib.colors import AsinhNorm, Normalize, to_hex
from matplotlib.image import imsave

from vaedeblend.exceptions import PageError
from vaedeblend.io.html import document, keys, number, percent, picture, table
from vaedeblend.io.write import write_text

MOST_MARKS = 2000
"""Sources marked on the image: the brightest."""

_COLUMNS = ("id", "x", "y", "flux", "flux_err", "mag", "mag_err", "purity", "n_neighbours")
_COLUMNS += ("chi2", "flags")
_LIGHT = AsinhNorm(1.0, -1, 100), "Greys", (-1, 0, 3, 10, 30, 100)
_RESIDUAL = Normalize(-5, 5), "RdBu_r", (-5, 0, 5)
"""Stretch and colours of an image, and the values on its colour bar [background rms]."""
_STYLE = """
.sky,.two,.stamps{display:grid;gap:.3rem 12px;grid-template-columns:repeat(3,minmax(0,1fr))}
.sky>:nth-child(3){grid-area:2/1/3/3}.sky>:nth-child(4){grid-area:1/3}.sky+p{margin:.4rem 0}
.frame{position:relative;line-height:0}
svg{position:absolute;inset:0;width:100%;height:100%}text{stroke:#fff;stroke-width:3px}
svg *{vector-effect:non-scaling-stroke;paint-order:stroke}circle{stroke:var(--blue);fill:#0000}
circle.flagged{stroke:#d55e00;stroke-dasharray:3 2}a circle,circle:hover{stroke-width:2.6}
body:has(#circles:not(:checked)) :is(circle,text),body:has(#all:not(:checked)) use{display:none}
body:has(#large:checked) .sky{display:block}body:has(#large:checked) text{font-size:.5em}
.bar{height:9px;border:1px solid var(--rule)}.ticks{position:relative;height:1.3rem}
.ticks span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.ticks :first-child{transform:none}.ticks :last-child{transform:translateX(-100%)}
.gap{background:#e8dfc8;padding:0 .6em}.two table+p{margin-bottom:1.6rem}
.two{grid-template-columns:repeat(2,minmax(0,1fr));gap:1.6rem 36px;margin-top:.9rem}
.stamps{grid-template-columns:repeat(4,minmax(0,1fr));margin-top:.3rem;image-rendering:pixelated}
article{border-top:1px solid var(--rule);padding-top:.5rem;break-inside:avoid}
article :is(b,span),label{margin-right:.9em;display:inline-block}
i{float:left;height:1em;background:var(--blue)}
@media(max-width:900px){.two{grid-template-columns:minmax(0,1fr)}}
@media(max-width:560px){.sky{display:block}circle{stroke-width:.6}
 .stamps{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media print{.sky{break-inside:avoid}}
"""


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


def write_page(
    path: str | Path,
    *,
    title: str,
    catalog: Table,
    overview: Overview,
    panels: Sequence[Panel],
    flags: Mapping[int, tuple[str, str]],
    statistics: Mapping[str, float | int | str],
) -> None:
    """Write the page as HTML; it appears complete or not at all.

    In the catalogue x and y [image pixel] are 0-based, and mag is NaN without a zero point. Panels
    and statistics keep their order; flags are name and meaning of each bit of the column flags.

    Raises:
        PageError: A column is missing, shapes differ, or a panel's source is not in the catalogue.
    """
    _check(catalog, overview, panels)
    unit = escape(str(catalog["flux"].unit or ""))
    columns = {name: np.ma.asarray(catalog[name].value, float) for name in _COLUMNS}
    sources = {name: np.ma.filled(column, np.nan) for name, column in columns.items()}
    facts = _facts(sources, unit, flags)
    values = [(escape(label), number(value)) for label, value in statistics.items()]
    body = f"""{_keys(sources, unit)}{_sky(sources, facts, overview, {p.id for p in panels})}
<h2>The hardest blends</h2>{_panels(sources, facts, panels)}<h2>Statistics</h2><div class="two">
<div>{_counts(sources)}</div>
<div>{table(["statistic", "value"], values)}{_flags(sources, flags)}</div></div>"""
    write_text(path, document(title, body, _STYLE))


def _check(catalog: Table, overview: Overview, panels: Sequence[Panel]) -> None:
    if missing := set(_COLUMNS) - set(catalog.colnames):
        raise PageError(f"catalogue has columns {catalog.colnames}; wanted {sorted(missing)} too")
    for what, images in (("overview", overview[:3]), *((f"panel {p.id}", p[1:]) for p in panels)):
        if len(shapes := {image.shape for image in images}) > 1:
            raise PageError(f"{what} has images of shapes {sorted(shapes)}; wanted one shape")
    if unknown := {panel.id for panel in panels} - set(catalog["id"].tolist()):
        raise PageError(f"panels show sources {sorted(unknown)}; wanted ids in the catalogue")


def _median(values: np.ndarray) -> float:
    """Of the finite ones; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _facts(sources: Mapping, unit: str, flags: Mapping) -> list[dict[str, str]]:
    """What is said of each source, as HTML."""
    facts, columns = [], [sources[name].tolist() for name in _COLUMNS[3:]]
    for flux, flux_err, mag, mag_err, purity, neighbours, chi2, mask in zip(*columns, strict=True):
        bits = [1 << k for k in range(32) if mask > 0 and int(mask) >> k & 1]
        names = ", ".join(flags.get(bit, (f"bit {bit}",))[0] for bit in bits)
        fact = {"mag": f"{number(mag)} ± {number(mag_err, 2)}"}
        fact["flux"] = f"{number(flux)} ± {number(flux_err, 2)} {unit}".rstrip()
        fact |= {"purity": number(purity, 3), "neighbours": number(neighbours)}
        facts.append(fact | {"χ²": number(chi2, 3), "flags": escape(names) or "none"})
    return facts


def _keys(sources: Mapping, unit: str) -> str:
    """The line of key numbers."""
    n, limit = len(sources["id"]), 5 * _median(sources["flux_err"])
    blended, flagged = (int(np.sum(sources[name] > 0)) for name in ("n_neighbours", "flags"))
    with np.errstate(all="ignore"):
        zero = _median(sources["mag"] + 2.5 * np.log10(sources["flux"]))
        if np.isfinite(zero):
            limit, unit = zero - 2.5 * np.log10(limit), "mag"
        pairs = {
            "sources": str(n),
            f"blended: {blended}": percent(np.divide(blended, n)),
            f"flagged: {flagged}": percent(np.divide(flagged, n)),
            "median χ² per pixel": number(_median(sources["chi2"])),
            "5 σ limit at the median flux error": f"{number(limit)} {unit}",
            "median relative flux error": percent(_median(sources["flux_err"] / sources["flux"])),
        }
    return keys(pairs.items())


def _frame(name: str, values: np.ndarray, scale: tuple, marks: str = "", binning: int = 1) -> str:
    """An image, first row at the bottom, with marks in units of image pixels over it."""
    height, width = (binning * n for n in values.shape)
    cmap, file = mpl.colormaps[scale[1]].with_extremes(bad="#e8dfc8"), io.BytesIO()
    levels = np.round(scale[0](values), 2)  # 100 of them make a small file
    imsave(file, levels, vmin=0, vmax=1, cmap=cmap, origin="lower", format="png")
    return f"""<figure><h3>{name}</h3><div class="frame"><img alt="{name}"
src="{picture(file.getvalue())}">
<svg viewBox="0 0 {width} {height}" font-size="{width / 28:.4g}">{marks}</svg></div></figure>"""


def _bar(what: str, scale: tuple) -> str:
    """A colour bar; `what` says quantity and unit."""
    stops = ",".join(map(to_hex, mpl.colormaps[scale[1]](np.linspace(0, 1, 17))))
    ticks = [f'<span style="left:{100 * scale[0](v):.3g}%">{v}</span>' for v in scale[2]]
    return f"""<div class="soft"><div class="bar" style="background:linear-gradient(90deg,{stops})">
</div><div class="ticks">{"".join(ticks)}</div>{what}</div>"""


def _marks(sources: Mapping, facts: Sequence, shape: tuple, panels: set) -> list[str]:
    """Circles on the brightest sources; the id, and a link, where a panel shows the source."""
    height, width = shape
    order = np.argsort(-np.nan_to_num(sources["flux"], nan=-np.inf), kind="stable")
    order = order[np.isfinite(sources["x"] + sources["y"])[order]][:MOST_MARKS]
    radius = np.clip(0.2 * np.sqrt(width * height / (1 + len(order))), width / 150, width / 60)
    marks = []
    for rank, i in enumerate(order.tolist()):
        each, r = int(sources["id"][i]), radius * (1.3 - 0.6 * rank / len(order))
        x, y = sources["x"][i] + 0.5, height - sources["y"][i] - 0.5
        said = "; ".join(f"{k} {facts[i][k]}" for k in ("mag", "flux", "purity", "flags"))
        kind = ' class="flagged"' if sources["flags"][i] > 0 else ""
        mark = f'<circle{kind} cx="{x:.2f}" cy="{y:.2f}" r="{r:.3g}">'
        mark += f"<title>id {each}; {said}</title></circle>"
        if each in panels:
            x, end = (x - r, ' text-anchor="end"') if x > 0.85 * width else (x + r, "")
            label = f'<text x="{x:.2f}" y="{max(y - r, width / 28):.2f}"{end}>{each}</text>'
            mark = f'<a href="#source-{each}">{mark}{label}</a>'
        marks.append(mark)
    return marks


def _sky(sources: Mapping, facts: Sequence, overview: Overview, panels: set) -> str:
    """Image, model and residual with the sources marked, and what they show."""
    image, model, residual, binning = overview
    marks = _marks(sources, facts, tuple(binning * n for n in image.shape), panels)
    every = "all" if len(marks) == len(facts) else f"{len(marks)}, the brightest, of"
    say = "The residual has no data."
    if np.isfinite(residual).any():
        y, x = np.unravel_index(np.nanargmax(np.abs(residual)), residual.shape)
        beyond = np.mean(np.abs(residual[np.isfinite(residual)]) > 5)
        say = f"""{percent(beyond)} of the residual's pixels lie beyond ±5 rms; the farthest,
{residual[y, x]:+.1f}, at x {binning * (x + 0.5) - 0.5:.0f}, y {binning * (y + 0.5) - 0.5:.0f}."""
    first, others = f'<g id="marks">{"".join(marks)}</g>', '<use href="#marks"/>'
    return f"""<div class="sky">
{_frame("Image", image, _LIGHT, first, binning)}{_frame("Model", model, _LIGHT, others, binning)}
{_bar("light [background rms], arcsinh stretch", _LIGHT)}
{_frame("Residual: image − model", residual, _RESIDUAL, others, binning)}
{_bar('residual [background rms]; <span class="gap">no data</span>', _RESIDUAL)}</div><p>{say}</p>
<p class="soft">Circles: {every} {len(facts)} sources, larger if brighter, dashed orange if flagged;
numbered ones have a panel below. Binned {binning} × {binning}, y upwards.</p>
<p class="soft controls"><label><input type="checkbox" id="circles" checked> circles</label>
<label><input type="checkbox" id="all"> on all three images</label>
<label><input type="checkbox" id="large"> large images</label></p>"""


def _panels(sources: Mapping, facts: Sequence, panels: Sequence[Panel]) -> str:
    """Image, model, residual and own light of each panel's source."""
    rows = [int(np.flatnonzero(sources["id"] == panel.id)[0]) for panel in panels]
    if not rows:
        return "<p>No blends were chosen.</p>"
    worst, parts = max(rows, key=lambda row: np.nan_to_num(sources["chi2"][row])), []
    for panel, row in zip(panels, rows, strict=True):
        said = " ".join(f"<span>{key} {value}</span>" for key, value in facts[row].items())
        parts.append(f"""<article id="source-{panel.id}"><b>Source {panel.id}</b> {said}
<div class="stamps">{_frame("Image", panel.image, _LIGHT)}{_frame("Model", panel.model, _LIGHT)}
{_frame("Residual", panel.image - panel.model, _RESIDUAL)}
{_frame("Source alone", panel.alone, _LIGHT)}</div></article>""")
    return f"""<p>In the median {percent(_median(sources["purity"][rows]))} of the light under
these sources is their own; the largest χ² is {facts[worst]["χ²"]}, of source
{sources["id"][worst]:.0f}.</p>
<div class="two">{"".join(parts)}</div>"""


def _flags(sources: Mapping, flags: Mapping) -> str:
    """How often each flag occurs."""
    masks = np.nan_to_num(sources["flags"]).astype(int)
    n = {escape(name): int(np.sum(masks & bit > 0)) for bit, (name, _) in flags.items()}
    said = [f"<b>{escape(name)}</b> {escape(meaning)}" for name, meaning in flags.values()]
    often = f", most often {max(n, key=n.get)}" if any(n.values()) else ""
    say = f"<p>{np.sum(masks > 0)} of {len(masks)} sources have a flag{often}.</p>"
    return table(["flag", "sources"], zip(said, n.values(), strict=True)) + say


def _counts(sources: Mapping) -> str:
    """Sources and their flux errors by magnitude, or by flux where none has a magnitude."""
    what, values = "mag", sources["mag"]
    with np.errstate(all="ignore"):
        error = sources["flux_err"] / sources["flux"]
        if not np.isfinite(values).any():
            what, values = "log10 flux", np.log10(sources["flux"])
    used = np.isfinite(values)
    if not used.any():
        return "<p>No source has a magnitude or a positive flux.</p>"
    step = max(0.5, np.ceil(np.ptp(values[used]) / 5) / 2)
    place, error = np.floor(values[used] / step).astype(int), error[used]
    bins = range(place.min(), place.max() + 1)
    n, errors = ([f(error[place == k]) for k in bins] for f in (len, _median))
    names = [f"{k * step:g} to {(k + 1) * step:g}" for k in bins]
    bars = [f'<i style="width:{100 * k / max(n):.3g}%"></i>' for k in n]
    rows = zip(names, n, bars, map(percent, errors), strict=True)
    return f"""{table([what, "sources", "", "median flux error"], rows)}
<p>The fullest row is {what} {names[int(np.argmax(n))]}; the median flux error is
{percent(errors[0])} in the first row and {percent(errors[-1])} in the last. Without {what}:
{np.sum(~used)}.</p>"""
