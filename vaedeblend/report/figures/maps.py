"""Figures of two quantities at once: complexity, who is closer, latent spaces, shapes."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from astropy.table import Table
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from vaedeblend.evaluate.latents import ACTIVE
from vaedeblend.evaluate.metrics import ExampleColumns, equal_bins
from vaedeblend.evaluate.summary import ELONGATED
from vaedeblend.exceptions import NoData
from vaedeblend.pixels.shapes import turned
from vaedeblend.report.figures.style import (
    COLOURS,
    MAGNITUDE,
    METHODS,
    PURITY,
    SETS,
    Sets,
    canvas,
    draw_band,
    measured,
    write_note,
)

AXES = {
    "bm_1": "blended area BM_1",
    "flux_ratio": "flux ratio FR, centre / companion",
    "purity": PURITY,
    "separation": "nearest companion [arcsec]",
}
"""Axis label of each column of a map of complexity."""
PARAMETER_LABELS = {
    "magnitude": MAGNITUDE,
    "disk_half_light_radius": "disk radius [arcsec]",
    "disk_axis_ratio": "disk axis ratio",
    "bulge_fraction": "B/T",
    "purity": "purity",
}
"""Label of each parameter by which a latent space is coloured."""


def complexity(cells: Sequence[Mapping], names: tuple[str, str]) -> Figure:
    """Draws sigma of both methods and its ratio over two columns, and the stamps of each cell.

    Args:
        cells: Cells of the two columns, as `metrics.cells` returns them.
        names: ExampleColumns along x and y.
    """
    if not any(cell["vae"] is not None for cell in cells):
        raise NoData("no cell of the map holds enough stamps")
    figure, axes = canvas(1, 3, (12.5, 4.3), sharey=True)
    percent = {"cmap": "cividis", "norm": LogNorm(3, 300)}
    ratio = {"cmap": "PuOr_r", "norm": LogNorm(1 / 30, 30)}
    for axis, key in zip(axes[0], ("vae", "sextractor", "ratio"), strict=True):
        factor, style = (1, ratio) if key == "ratio" else (100, percent)
        mesh = _map(axis, cells, key, factor, style)
        title = "SExtractor / network" if key == "ratio" else f"{METHODS[key]}: sigma [%]"
        axis.set(title=title, xlabel=AXES[names[0]])
        if key != "vae":
            figure.colorbar(mesh, ax=axes[0, :2] if key == "sextractor" else axis, extend="both")
    axes[0, 0].set_ylabel(AXES[names[1]])
    return figure


def _map(axis, cells: Sequence[Mapping], key: str, factor, style: Mapping):
    """Draws cells as colours, each with its number and its count."""
    x, y = (
        np.unique([cell[f"{name}_{end}"] for cell in cells for end in ("low", "high")])
        for name in ("x", "y")
    )
    values = np.full((len(y) - 1, len(x) - 1), np.nan)
    for cell in cells:
        i, j = np.searchsorted(x, cell["x_low"]), np.searchsorted(y, cell["y_low"])
        if cell[key] is not None:
            values[j, i] = factor * cell[key]
        if cell["n"]:
            dark = cell[key] is not None and _dark(style, values[j, i])
            look = {"ha": "center", "color": "white" if dark else COLOURS["bound"]}
            axis.text(i + 0.5, j + 0.5, _written(values[j, i]), va="bottom", size=9, **look)
            axis.text(i + 0.5, j + 0.46, cell["n"], va="top", size=6.5, **look)
    axis.set_facecolor("#F0F1F3")
    axis.grid(False)
    for ticks, edges in ((axis.set_xticks, x), (axis.set_yticks, y)):
        ticks(np.arange(len(edges)), [f"{edge:.2g}" for edge in edges])
    return axis.pcolormesh(values, edgecolors="white", linewidth=1, **style)


def _written(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _dark(style: Mapping, value: float) -> bool:
    red, green, blue, _ = mpl.colormaps[style["cmap"]](style["norm"](value))
    return bool(0.3 * red + 0.59 * green + 0.11 * blue < 0.5)


def cell_table(cells: Sequence[Mapping], names: tuple[str, str]) -> Table:
    """Cells as a table: edges of both columns, stamps, sigma of both methods and their ratio."""
    found = {}
    for axis, name in zip("xy", names, strict=True):
        for end in ("low", "high"):
            found[f"{name}_{end}"] = [cell[f"{axis}_{end}"] for cell in cells]
    found["n"] = [cell["n"] for cell in cells]
    for key in ("vae", "sextractor", "ratio"):
        found[key] = [np.nan if cell[key] is None else cell[key] for cell in cells]
    return Table(found)


def head_to_head(sets: Sets) -> Figure:
    """Draws one method's errors against the other's, and how often the network is closer."""
    shown = measured(sets)
    figure, axes = canvas(2, len(shown), (3.9 * len(shown), 7.2))
    for column_of, (kind, column) in zip(axes.T, shown.items(), strict=True):
        ours, theirs = (100 * np.abs(column[f"{m}_error"]) for m in METHODS)
        top, bottom = column_of
        low, high = 0.1, 300
        bins = np.geomspace(low, high, 45)
        _density(top, np.clip(theirs, low, high), np.clip(ours, low, high), bins, bins)
        top.plot([low, high], [low, high], color=COLOURS["bound"], lw=1)
        top.set(xscale="log", yscale="log", xlabel="SExtractor |e| [%]")
        top.set(ylabel="network |e| [%]", title=f"{kind}: {np.isfinite(theirs).sum()} stamps")
        write_note(top, "network closer", y=0.04)
        write_note(top, "SExtractor closer", x=0.03)
        for name, style, label in (("magnitude", "o-", MAGNITUDE), ("purity", "s--", PURITY)):
            _share(bottom, column, name, ours < theirs, style, label, SETS[kind])
        bottom.axhline(50, color=COLOURS["bound"], lw=0.8)
        bottom.set(ylim=(0, 104), ylabel="network closer [% of stamps]")
        bottom.set(xlabel="rank of the stamp by it [%]")
        if bottom.get_legend_handles_labels()[0]:
            bottom.legend(loc="lower left")
    return figure


def _share(
    axis, column: ExampleColumns, name: str, won, style: str, label: str, colour: str
) -> None:
    values = column[name]
    if not np.ptp(values[np.isfinite(values)]):
        return
    parts = equal_bins(values, 8)
    place = (np.arange(len(parts)) + 0.5) / len(parts) * 100
    share = np.array([won[part].mean() for part in parts])
    err = np.sqrt(share * (1 - share) / [len(part) for part in parts])
    ends = f"{values[parts[0]].min():.3g} to {values[parts[-1]].max():.3g}"
    said = f"{label.split(' [')[0].split(' of')[0]}, {ends}; {len(parts[0])} a bin"
    axis.errorbar(place, 100 * share, 100 * err, fmt=style, ms=4, color=colour, label=said)


def _density(axis, x, y, x_bins, y_bins) -> None:
    """Draws counts of points, white where there is none."""
    counts, _, _ = np.histogram2d(x, y, (x_bins, y_bins))
    counts = np.where(counts > 0, counts, np.nan).T
    top = np.nanmax(counts) if np.isfinite(counts).any() else 1
    style = {"cmap": "Greys", "norm": LogNorm(0.5, max(top, 1)), "rasterized": True}
    axis.pcolormesh(x_bins, y_bins, counts, **style)


def embedding(column: ExampleColumns, label: str) -> Figure:
    """Draws a latent space's t-SNE, coloured by the galaxies' parameters.

    Args:
        column: Per-example table of one kind of scene.
        label: Network, as in the table's columns: vae_i or vae_ii.
    """
    place = column[f"{label}_tsne"]
    shown = np.isfinite(place).all(axis=1)
    if not shown.any():
        raise NoData("too few stamps for a t-SNE")
    varying = [name for name in PARAMETER_LABELS if np.ptp(column[name][shown]) > 1e-6]
    if not varying:
        raise NoData("no parameter varies")
    figure, axes = canvas(1, len(varying), (2.75 * len(varying), 3.1))
    for axis, name in zip(axes[0], varying, strict=True):
        values = column[name][shown]
        low, high = np.quantile(values, (0.02, 0.98))
        style = {"c": values, "s": 5, "lw": 0, "cmap": "viridis", "rasterized": True}
        points = axis.scatter(*place[shown].T, vmin=low, vmax=high, **style)
        axis.set(xticks=[], yticks=[], xlabel="t-SNE 1", title=PARAMETER_LABELS[name])
        axis.set_aspect("equal", "datalim")
        axis.grid(False)
        figure.colorbar(points, ax=axis, location="bottom", aspect=25, pad=0.02)
    axes[0, 0].set_ylabel("t-SNE 2")
    return figure


def constant_parameters(column: ExampleColumns) -> list[str]:
    """Parameters that are the same for every stamp, and so have no panel."""
    finite = {name: column[name][np.isfinite(column[name])] for name in PARAMETER_LABELS}
    return [name for name, values in finite.items() if not len(values) or np.ptp(values) < 1e-6]


def dimensions(spaces: Mapping[str, Mapping]) -> Figure:
    """Draws how much each dimension of the latent spaces is used, the most used first.

    Args:
        spaces: Variance, noise and counts of dimensions (`latents.usage`), by name of the network.
    """
    figure, axes = canvas(1, len(spaces), (4.6 * len(spaces), 3.6), sharey=True)
    for axis, (name, numbers) in zip(axes[0], spaces.items(), strict=True):
        order = np.argsort(numbers["variance"])[::-1]
        rank = np.arange(1, len(order) + 1)
        variance, noise = (np.array(numbers[key])[order] for key in ("variance", "noise"))
        label = "variance of the mean over galaxies"
        axis.bar(rank, variance, color=COLOURS["network"], label=label)
        label = "mean variance of a galaxy's posterior"
        axis.plot(rank, noise, "o", ms=3.5, color=COLOURS["bound"], label=label)
        axis.axhline(ACTIVE, color="#5D6670", ls="--", lw=1, label=f"active above {ACTIVE}")
        active = f"{numbers['n_active']} of {numbers['n_dimensions']} active"
        axis.set(yscale="log", title=f"{name}: {active}", xlabel="dimension, the most used first")
        if len(order) <= 24:
            axis.set_xticks(rank, [f"z{k}" for k in order], size=7, rotation=90)
    axes[0, 0].set_ylabel("variance")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower left")
    return figure


def shapes(sets: Sets) -> Figure:
    """Draws recovered half-light radius, axis ratio and position angle against the truth."""
    figure, axes = canvas(len(sets), 3, (11, 3.6 * len(sets)))
    for row, (kind, column) in zip(axes, sets.items(), strict=True):
        for axis, name in zip(row, ("half_light_radius", "axis_ratio"), strict=False):
            _recovered(axis, *(column[f"{m}_{name}"] for m in ("truth", "vae")))
        row[0].set(xlabel="true half-light radius [arcsec]", ylabel=f"{kind}: network [arcsec]")
        row[1].set(xlabel="true axis ratio", ylabel="network axis ratio")
        _angles(row[2], column)
    return figure


def _recovered(axis, true, found) -> None:
    """Draws the density of a recovered quantity against the truth, with the running median."""
    finite = np.isfinite(true + found)
    if finite.sum() < 3:
        raise NoData("too few stamps whose shapes can be measured")
    true, found = true[finite], found[finite]
    low, high = np.quantile(np.concatenate([true, found]), (0.002, 0.998))
    bins = np.linspace(low, high, 50)
    _density(axis, true, found, bins, bins)
    axis.plot([low, high], [low, high], color=COLOURS["bound"], lw=1)
    n = draw_band(axis, true, found, color=COLOURS["network"], label="median, 16-84 %")
    axis.set(xlim=(low, high), ylim=(low, high), title=f"{len(true)} stamps, {n} a bin")
    axis.legend(loc="upper left")


def _angles(axis, column: ExampleColumns) -> None:
    """Draws the turn of the position angle along the axis ratio: the rounder, the less it means."""
    turn = turned(*(column[f"{m}_position_angle"] for m in ("vae", "truth")))
    ratio = column["truth_axis_ratio"]
    finite = np.isfinite(turn + ratio)
    y_bins = np.linspace(-90, 90, 46)
    if finite.sum() < 3:
        raise NoData("too few stamps whose position angles can be measured")
    x_bins = np.linspace(*np.quantile(ratio[finite], (0.002, 0.998)), 50)
    _density(axis, ratio[finite], turn[finite], x_bins, y_bins)
    draw_band(axis, ratio, turn, color=COLOURS["network"], label="median, 16-84 %")
    axis.axhline(0, color=COLOURS["bound"], lw=1)
    axis.axvline(ELONGATED, color=COLOURS["bound"], lw=1, ls=":")
    axis.set(xlabel="true axis ratio", ylabel="network − true position angle [deg]")
    axis.set(title=f"{finite.sum()} stamps", ylim=(-90, 90), yticks=(-90, -45, 0, 45, 90))
