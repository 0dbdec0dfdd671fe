"""The results table and the figures of an evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from vaedeblend.evaluation import Evaluation

COLOURS = {"VAE": "#0072B2", "SExtractor": "#D55E00"}
"""Colour-blind safe (Okabe & Ito 2008); the same for a method everywhere."""

_QUANTILES = (0.1, 0.5, 0.9, 0.99)
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
    "  without its failures": "sextractor_clean",
    "  bias removed": "sextractor_corrected",
}


def results_table(metrics: Mapping[str, Mapping]) -> Table:
    """Relative flux errors of the central galaxy, method by method, in per cent."""
    programs = {each["program"] for each in metrics.values()}
    title = f"Relative flux error of the central galaxy (baseline: {', '.join(sorted(programs))})"
    table = Table(title=title, title_justify="left")
    for name in ("set", "method", "stamps", "found"):
        table.add_column(name)
    for name in ("bias %", "sigma %", "NMAD %", "outliers %", "mean |e| %", "VAE closer %"):
        table.add_column(name, justify="right")
    closer = {"sextractor": "vae_closer", "sextractor_corrected": "vae_closer_corrected"}
    for kind, summary in metrics.items():
        for label, key in _ROWS.items():
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
    with mpl.rc_context(_STYLE):
        for kind, table in evaluation.examples.items():
            figure = panels(table, evaluation.images[kind], kind)
            _save(figure, folder / f"panels_{kind}.png")
        tables = evaluation.examples
        _save(errors_against(tables, "magnitude", "magnitude [AB]"), folder / "error_magnitude.png")
        _save(errors_against(tables, "purity", "purity"), folder / "error_purity.png")
        _save(loss_curves(histories), folder / "loss_curves.png")


def panels(table, images: Mapping[str, np.ndarray], kind: str) -> Figure:
    """Input, truth, reconstruction and residual of stamps at quantiles of the VAE's error."""
    error = np.abs(np.asarray(table["vae_error"]))
    order = np.argsort(error)
    rows = [order[min(int(q * len(order)), len(order) - 1)] for q in _QUANTILES]
    figure, axes = _axes(len(rows), 4, (10.5, 2.6 * len(rows)))
    for axis, title in zip(axes[0], ("input", "truth", "reconstruction", "residual"), strict=True):
        axis.set_title(title)
    for row, quantile, i in zip(axes, _QUANTILES, rows, strict=True):
        truth, model = images["truth"][i, ..., 0], images["reconstruction"][i, ..., 0]
        data = images["input"][i, ..., 0]
        noise = 1.4826 * np.median(np.abs(data - np.median(data)))
        for axis, image in zip(row, (data, truth, model, model - truth), strict=True):
            _show(axis, image / noise)
        neighbours = f"{int(table['n_companions'][i])} companions\n"
        row[0].set_ylabel(
            f"quantile {quantile:g} of |e|\n{neighbours}VAE {100 * table['vae_error'][i]:+.0f} %\n"
            f"SExtractor {100 * table['sextractor_error'][i]:+.0f} %"
        )
    figure.suptitle(
        f"{kind}: light in units of the background noise; residual = reconstruction - truth"
    )
    return figure


def errors_against(tables: Mapping, label: str, name: str) -> Figure:
    """Median and 16-84 % range of the relative flux error along a label, for both methods."""
    figure, axes = _axes(1, max(len(tables), 1), (5.5 * max(len(tables), 1), 4.2))
    for axis, (kind, table) in zip(axes[0], tables.items(), strict=False):
        values = np.asarray(table[label])[:, 0]
        edges = np.unique(np.quantile(values[np.isfinite(values)], np.linspace(0, 1, 9)))
        for method, colour in COLOURS.items():
            error = np.asarray(table[f"{method.lower()}_error"])
            _band(axis, values, 100 * error, edges, colour, method)
        axis.axhline(0, color="0.6", lw=0.8, zorder=0)
        axis.set(title=f"{kind} ({len(table)} stamps)", xlabel=name)
        axis.set_ylabel("relative flux error [%]")
        axis.legend()
    figure.text(0.01, 0.005, "line: median, band: 16-84 %; each bin holds equal counts", fontsize=8)
    return figure


def loss_curves(histories: Mapping[str, Sequence[dict]]) -> Figure:
    """Total loss and its parts against the step, training and validation, for each stage."""
    parts = ("loss", "reconstruction", "kl", "flux")
    figure, axes = _axes(max(len(histories), 1), len(parts), (13, 2.9 * max(len(histories), 1)))
    for row, (stage, records) in zip(axes, histories.items(), strict=False):
        for axis, part in zip(row, parts, strict=True):
            for split, style in (("train", "-"), ("validation", "--")):
                key = f"{split}_{part}"
                points = [(r["step"], r[key]) for r in records if key in r]
                if points:
                    axis.plot(*zip(*points, strict=True), style, color="#0072B2", label=split)
            axis.set(title=f"{stage}: {part}", xlabel="step")
            axis.set_yscale("symlog", linthresh=1.0)
        row[0].set_ylabel("nats per stamp")
        row[0].legend() if row[0].lines else None
    return figure


def _axes(rows: int, columns: int, size: tuple[float, float]):
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axis, image) -> None:
    """An image in units of the noise, linear near zero and logarithmic beyond."""
    axis.imshow(np.arcsinh(image), origin="lower", cmap="RdBu_r", vmin=-6, vmax=6)
    axis.set(xticks=[], yticks=[])


def _band(axis, values, error, edges, colour, method) -> None:
    bins = np.clip(np.digitize(values, edges) - 1, 0, max(len(edges) - 2, 0))
    inside = [error[(bins == b) & np.isfinite(values)] for b in range(max(len(edges) - 1, 0))]
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    filled = [
        (m, np.quantile(e, (0.16, 0.5, 0.84)))
        for m, e in zip(middles, inside, strict=True)
        if len(e)
    ]
    if filled:
        x, quantiles = np.array([m for m, _ in filled]), np.array([q for _, q in filled])
        axis.fill_between(x, quantiles[:, 0], quantiles[:, 2], color=colour, alpha=0.2, lw=0)
        axis.plot(x, quantiles[:, 1], "o-", ms=4, color=colour, label=method)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
