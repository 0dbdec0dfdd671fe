"""The results table and the figures of an evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.table import Table

from vaedeblend.evaluation import Evaluation
from vaedeblend.scene import BM_1_EDGES, FLUX_RATIO_EDGES

COLOURS = {"VAE": "#0072B2", "SExtractor": "#D55E00"}
"""Colour-blind safe (Okabe & Ito 2008); the same for a method everywhere."""

_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_BINS = 8
_LIGHT_TICKS = (-3, 0, 3, 10, 30, 100)
_RESIDUAL_RANGE = 5.0
"""Of the residuals' colours [background rms]."""

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "legend.frameon": False,
    "savefig.dpi": 130,
}
_ROWS = {
    "VAE": "vae",
    "SExtractor": "sextractor",
    "  no failures": "sextractor_clean",
    "  bias removed": "sextractor_corrected",
    "  its defaults": "sextractor_default",
    "network, one look": "one_look",
    "VAE I": "vae_i",
}


def results_table(metrics: Mapping[str, Mapping]) -> Table:
    """Relative flux errors of the central galaxy, method by method, in per cent."""
    programs = ", ".join(sorted({each["program"] for each in metrics.values()}))
    table = Table(
        title=f"relative flux error [%] of the central galaxy; baseline {programs}",
        title_justify="left",
        box=SIMPLE,
        padding=0,
    )
    table.add_column("set", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for name in ("n", "found", "bias", "sigma", "NMAD", "outliers", "mean |e|", "VAE closer"):
        table.add_column(name, justify="right")
    closer = {
        "one_look": "vae_closer_one_look",
        "vae_i": "vae_closer_vae_i",
        "sextractor": "vae_closer",
        "sextractor_corrected": "vae_closer_corrected",
        "sextractor_default": "vae_closer_default",
    }
    for kind, summary in metrics.items():
        for label, key in _ROWS.items():
            if key not in summary:
                continue
            errors = summary[key]
            values = [errors[n] for n in ("bias", "sigma", "nmad", "outliers", "mean_abs")]
            values.append(summary[closer[key]] if key in closer else None)
            cells = ["" if v is None else f"{100 * v:.1f}" for v in values]
            table.add_row(kind, label, str(errors["n"]), str(errors["found"]), *cells)
        table.add_section()
    return table


def save_figures(
    folder: str | Path, evaluation: Evaluation, histories: Mapping[str, Sequence[dict]]
) -> None:
    """Writes every figure as PNG into a folder; histories are a training's records by stage."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tables = evaluation.examples
    with mpl.rc_context(_STYLE):
        figures = {f"panels_{k}": panels(t, evaluation.images[k], k) for k, t in tables.items()}
        figures["error_vs_magnitude"] = errors_against(tables, "magnitude", "magnitude [AB]")
        figures["error_vs_purity"] = errors_against(tables, "purity", "purity of the central")
        figures["error_histogram"] = error_histogram(tables)
        if any(histories.values()):
            figures["loss_curves"] = loss_curves(histories)
        if "stratified" in tables:
            figures["complexity"] = complexity(tables["stratified"])
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png")


def panels(table, images: Mapping[str, np.ndarray], kind: str) -> Figure:
    """Input, truth, reconstruction and residual of stamps at quantiles of the VAE's error."""
    order = np.argsort(np.abs(np.asarray(table["vae_error"])))
    chosen = [order[int(q * (len(order) - 1))] for q in _QUANTILES if len(order)]
    titles = ("input", "truth", "reconstruction", "reconstruction - truth")
    figure, axes = _axes(len(_QUANTILES), 4, (11, 2.5 * len(_QUANTILES)))
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for row, quantile, i in zip(axes, _QUANTILES, chosen, strict=False):
        truth, model = images["truth"][i, ..., 0], images["reconstruction"][i, ..., 0]
        light, residual = _show(row, images["input"][i, ..., 0], truth, model)
        row[0].set_ylabel(
            f"{100 * quantile:g} % of |e| are less\n{int(table['n_companions'][i])} companions\n"
            f"VAE {100 * table['vae_error'][i]:+.0f} %\n"
            f"SExtractor {100 * table['sextractor_error'][i]:+.0f} %"
        )
    if chosen:
        bar = {"location": "bottom", "aspect": 40, "pad": 0.01}
        ticks = {"ticks": _LIGHT_TICKS, "format": "%g", "label": "light [background rms]"}
        figure.colorbar(light, ax=axes[:, :3], shrink=0.6, **ticks, **bar)
        figure.colorbar(residual, ax=axes[:, 3:], label="residual [background rms]", **bar)
    figure.suptitle(f"{kind}: from good to bad, by the VAE's relative flux error e")
    return figure


def errors_against(tables: Mapping, label: str, name: str) -> Figure:
    """Median and 16-84 % range of the relative flux error along a label, for both methods.

    A kind of scene whose label does not vary has no panel.
    """
    shown = {k: t for k, t in tables.items() if len(np.unique(t[label][:, 0])) > 1}
    figure, axes = _axes(1, max(len(shown), 1), (5.5 * max(len(shown), 1), 4.4))
    for axis, (kind, table) in zip(axes[0], shown.items(), strict=False):
        values = np.asarray(table[label], float)[:, 0]
        bins = _equal_bins(values)
        for method, colour in COLOURS.items():
            error = 100 * np.asarray(table[f"{method.lower()}_error"])
            _band(axis, values, error, bins, color=colour, label=method)
        axis.axhline(0, color="0.6", lw=0.8, zorder=0)
        counts = f"{kind}: {len(table)} stamps, about {len(table) // _BINS} a bin"
        low, high = axis.get_ylim()
        axis.set(title=counts, xlabel=name, ylabel="relative flux error [%]")
        axis.set(ylim=(max(low, -102), min(high, 150)))
        axis.legend(title="median, 16-84 %")
    return figure


def error_histogram(tables: Mapping) -> Figure:
    """Stamps by relative flux error, for both methods; the end bins hold all beyond."""
    figure, axes = _axes(1, max(len(tables), 1), (5.5 * max(len(tables), 1), 4.2))
    edges = np.linspace(-102.5, 152.5, 52)
    for axis, (kind, table) in zip(axes[0], tables.items(), strict=False):
        for method, colour in COLOURS.items():
            error = np.clip(100 * np.asarray(table[f"{method.lower()}_error"]), -100, 150)
            axis.hist(error, edges, histtype="step", lw=1.6, color=colour, label=method)
        axis.set(title=f"{kind}: {len(table)} stamps", xlabel="relative flux error [%]")
        axis.set(ylabel="stamps in 5 %", yscale="symlog", ylim=(0, None))
        axis.legend()
    return figure


def loss_curves(histories: Mapping[str, Sequence[dict]]) -> Figure:
    """Total loss and its parts against the step, training and validation, for each stage."""
    named = {
        stage: [key.removeprefix("train_") for key in records[0] if key.startswith("train_")]
        for stage, records in histories.items()
        if records
    }
    columns = max(map(len, named.values()), default=1)
    figure, axes = _axes(max(len(named), 1), columns, (3.5 * columns, 3.0 * max(len(named), 1)))
    for row, (stage, parts) in zip(axes, named.items(), strict=False):
        records = histories[stage]
        for axis in row[len(parts) :]:
            axis.set_axis_off()
        for axis, part in zip(row, parts, strict=False):
            for split, style in (("train", "-"), ("validation", "--")):
                points = [
                    (r["step"], r[f"{split}_{part}"]) for r in records if _has(r, split, part)
                ]
                if points:
                    axis.plot(*zip(*points, strict=True), style, color=COLOURS["VAE"], label=split)
            axis.set(title=f"{stage}: {part}", xlabel="step")
            _focus(axis)
        row[0].set_ylabel("mean over stamps [nat]")
        if row[0].lines:
            row[0].legend()
    return figure


def complexity(table) -> Figure:
    """Sigma of both methods' relative flux error over blended area BM_1 and flux ratio FR."""
    area, ratio = (np.asarray(table[name], float)[:, 0] for name in ("bm_1", "flux_ratio"))
    # FR is infinite without an overlap: no cell of the map.
    inside = np.isfinite(ratio) & (ratio > 0)
    column = np.digitize(area[inside], BM_1_EDGES[1:-1])
    row = np.digitize(ratio[inside], FLUX_RATIO_EDGES[1:-1])
    figure, axes = _axes(1, len(COLOURS), (11, 4.8))
    for axis, method in zip(axes[0], COLOURS, strict=True):
        error = 100 * np.asarray(table[f"{method.lower()}_error"])[inside]
        image = _map(axis, row, column, error)
        axis.set(title=f"{method}: sigma, and stamps", xlabel="blended area BM_1")
        axis.set_ylabel("flux ratio FR, centre / companion")
    figure.colorbar(image, ax=axes, label="sigma of the relative flux error [%]", extend="max")
    return figure


def _axes(rows: int, columns: int, size: tuple):
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(row, data, truth, model):
    """Three images, linear near the noise and logarithmic beyond, and the linear residual."""
    # The background's rms, robust to the galaxies; 1 should a stamp hold no noise.
    noise = 1.4826 * np.median(np.abs(data - np.median(data))) or 1.0
    for axis in row:
        axis.set(xticks=[], yticks=[])
    options = {
        "norm": AsinhNorm(1.0, _LIGHT_TICKS[0], _LIGHT_TICKS[-1]),
        "cmap": "viridis",
        "origin": "lower",
    }
    light = [
        axis.imshow(i / noise, **options)
        for axis, i in zip(row, (data, truth, model), strict=False)
    ]
    limits = {"vmin": -_RESIDUAL_RANGE, "vmax": _RESIDUAL_RANGE}
    residual = row[3].imshow((model - truth) / noise, cmap="RdBu_r", origin="lower", **limits)
    return light[0], residual


def _map(axis, row, column, error):
    """Standard deviation of the errors in each cell, as colour and number, with its count."""
    sigma = np.full((len(FLUX_RATIO_EDGES) - 1, len(BM_1_EDGES) - 1), np.nan)
    for y, x in np.ndindex(sigma.shape):
        cell = error[(row == y) & (column == x)]
        if len(cell):
            sigma[y, x] = cell.std()
            style = {"ha": "center", "va": "center", "fontsize": 9}
            colour = "black" if sigma[y, x] > 50 else "white"
            axis.text(x, y, f"{sigma[y, x]:.0f} %\n{len(cell)}", color=colour, **style)
    for ticks, edges in ((axis.set_xticks, BM_1_EDGES), (axis.set_yticks, FLUX_RATIO_EDGES)):
        ticks(np.arange(len(edges)) - 0.5, [f"{edge:.2g}" for edge in edges])
    return axis.imshow(sigma, origin="lower", cmap="cividis", vmin=0, vmax=100)


def _equal_bins(values) -> list[np.ndarray]:
    """Indices of the finite values in order, cut into bins of equal counts; no empty one."""
    order = np.argsort(values)
    order = order[np.isfinite(values[order])]
    return [part for part in np.array_split(order, _BINS) if len(part)]


def _band(axis, values, error, bins, *, color: str, label: str) -> None:
    if not bins:
        return
    x = [np.median(values[part]) for part in bins]
    low, middle, high = np.array([np.nanquantile(error[b], (0.16, 0.5, 0.84)) for b in bins]).T
    axis.fill_between(x, low, high, color=color, alpha=0.2, lw=0)
    axis.plot(x, middle, "o-", ms=4, color=color, label=label)


def _has(record: Mapping, split: str, part: str) -> bool:
    return bool(np.isfinite(record.get(f"{split}_{part}") or np.nan))


def _focus(axis) -> None:
    """Limits without the steep first tenth, next to which nothing else would be seen."""
    if axis.lines:
        x, y = np.concatenate([line.get_xydata() for line in axis.lines]).T
        late = y[x >= 0.1 * x.max()]
        margin = 0.08 * np.ptp(late) or 1.0
        axis.set_ylim(late.min() - margin, late.max() + margin)
