"""Figures of flux errors: both methods beside the Fisher bound, and their calibration."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vaedeblend.evaluate.metrics import ExampleColumns, equal_bins
from vaedeblend.exceptions import NoData
from vaedeblend.report.figures.style import (
    COLOURS,
    ERROR,
    MAGNITUDE,
    METHODS,
    PURITY,
    SETS,
    Sets,
    canvas,
    draw_band,
    varying,
    write_counts,
    write_note,
)

STATISTIC_LABELS = {
    "bias": "bias (median)",
    "sigma": "sigma (standard deviation)",
    "nmad": "NMAD",
    "dispersion68": "EMC dispersion (68 %)",
    "outliers": "outliers, |e| > 50 %",
}
"""Title of each statistic's panel, by its key in the metrics."""

_TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
_RMS = {"Fisher bound, rms": 1, "_minus": -1}
_MEDIAN = 0.6745
"""Median of a normal variable's size over its standard deviation."""
_FEWEST = 10
"""Least number of stamps of a bin whose coverage is drawn."""


def histogram(sets: Sets) -> Figure:
    """Draws stamps by relative flux error of both methods; the end bins hold all beyond them."""
    figure, axes = canvas(
        1, len(sets), (max(3.9 * len(sets), 4.4), 3.6 if len(sets) > 1 else 4.2), sharey=True
    )
    edges = np.linspace(-102.5, 102.5, 42)
    for axis, (kind, column) in zip(axes[0], sets.items(), strict=True):
        for method, label in METHODS.items():
            error = 100 * column[f"{method}_error"]
            error = np.clip(error[np.isfinite(error)], -100, 100)
            if len(error):
                fill = {"alpha": 0.14, "color": COLOURS[label], "edgecolor": "none"}
                axis.hist(error, edges, histtype="stepfilled", **fill)
                axis.hist(error, edges, histtype="step", lw=1.7, color=COLOURS[label], label=label)
        axis.set(title=f"{kind}: {len(column['vae_error'])} stamps", xlabel=ERROR)
        axis.set(yscale="log", xlim=(-104, 104))
        axis.legend(loc="upper right")
    most = max(patch.get_xy()[:, 1].max() for a in axes[0] for patch in a.patches)
    axes[0, 0].set(ylabel="stamps in 5 %", ylim=(0.7, 2 * most))
    return figure


def by_purity(column: ExampleColumns) -> Figure:
    """Draws the size of both methods' errors along purity, and the Fisher bound."""
    varying({"set": column}, "purity")
    figure, axes = canvas(1, 1, (4.4, 3.7))
    axis = axes[0, 0]
    for method, label in METHODS.items():
        error = 100 * np.abs(column[f"{method}_error"])
        draw_band(axis, column["purity"], error, color=COLOURS[label], label=label)
    _draw_bound(axis, column, "purity", {"Fisher bound, median |e|": _MEDIAN})
    axis.set(yscale="log", xlabel=PURITY, ylabel="|e| [%]: median and 16-84 % of stamps")
    axis.legend(loc="upper right")
    return figure


def errors_against(sets: Sets, name: str, label: str) -> Figure:
    """Draws median and 16-84 % of both methods' flux errors along a column, and the Fisher bound.

    Args:
        sets: Per-example tables by kind of scene.
        name: Column along x.
        label: Label of the x axis.
    """
    shown = varying(sets, name)
    figure, axes = canvas(len(shown), 2, (8.6, 2.75 * len(shown) + 0.2), sharex=True, sharey="row")
    for row, (kind, column) in zip(axes, shown.items(), strict=True):
        for axis, (method, said) in zip(row, METHODS.items(), strict=True):
            error = 100 * column[f"{method}_error"]
            n = draw_band(axis, column[name], error, color=COLOURS[said], label=said)
            _draw_bound(axis, column, name)
            axis.axhline(0, color=COLOURS["bound"], lw=0.7)
            counted = f"{n} stamps a bin" if n else "not measured"
            axis.set_title(f"{kind}, {said}: {counted}", size=9.5)
        low, high = row[0].get_ylim()
        row[0].set(ylim=(max(low, -105), min(high, 130)), ylabel=ERROR)
        row[0].legend()
    for axis in axes[-1]:
        axis.set_xlabel(label)
    return figure


def statistics(numbers: Mapping[str, Mapping]) -> Figure:
    """Draws bias, sigma, NMAD, EMC dispersion and outliers by magnitude, and the Fisher bound.

    Args:
        numbers: Metrics by kind of scene.
    """
    figure, axes = canvas(
        len(numbers), 5, (13, 2.6 * len(numbers) + 0.4), sharex=True, sharey="col"
    )
    for row, (kind, each) in zip(axes, numbers.items(), strict=True):
        rows = each["by_magnitude"]
        middle = [(r["low"] + r["high"]) / 2 for r in rows]
        for axis, (name, label) in zip(row, STATISTIC_LABELS.items(), strict=True):
            for method, said in METHODS.items():
                axis.plot(
                    middle,
                    _hundred(rows, method, name),
                    "o-",
                    ms=4,
                    color=COLOURS[said],
                    label=said,
                )
            if name == "sigma":
                style = {"color": COLOURS["bound"], "label": "Fisher bound", "lw": 1.3}
                axis.plot(middle, _hundred(rows, "bound", "rms_prior"), "--", **style)
                axis.legend(fontsize=7.5)
            if name in ("bias", "outliers"):
                axis.axhline(0, color=COLOURS["bound"], lw=0.7)
            elif any((line.get_ydata() > 0).any() for line in axis.lines):
                axis.set_yscale("log", nonpositive="mask")
                axis.set_yticks(_TICKS, map(str, _TICKS))
                axis.minorticks_off()
            write_counts(axis, middle, [r["vae"]["n"] for r in rows])
            if axis in axes[0]:
                axis.set_title(label, pad=14)
            if axis in axes[-1]:
                axis.set_xlabel(MAGNITUDE)
        row[0].set_ylabel(f"{kind}\n[% of the flux]")
        row[-1].set_ylabel("[% of stamps]")
    return figure


def _hundred(rows: Sequence[Mapping], method: str, name: str) -> list[float]:
    values = [row[method][name] for row in rows]
    return [np.nan if value is None else 100 * value for value in values]


def _draw_bound(axis, column: ExampleColumns, name: str, lines: Mapping = _RMS) -> None:
    """Draws multiples of the bound's root mean square in bins of equal counts."""
    values, bound = column[name], 100 * column["bound_prior"]
    finite = np.isfinite(values) & np.isfinite(bound)
    parts = equal_bins(values[finite], 8)
    x = [np.median(values[finite][part]) for part in parts]
    rms = np.array([np.sqrt(np.mean(bound[finite][part] ** 2)) for part in parts])
    for label, factor in lines.items():
        axis.plot(x, factor * rms, "--", color=COLOURS["bound"], lw=1.2, label=label)


def coverage_and_pit(sets: Sets, numbers: Mapping[str, Mapping]) -> Figure:
    """Draws the coverage of central intervals, overall and by bin, and the PIT histogram.

    Args:
        sets: Per-example tables by kind of scene.
        numbers: Metrics by kind of scene.
    """
    if not sets:
        raise NoData("there are no test stamps")
    figure, axes = canvas(2, 2, (9.4, 7.2))
    (cover, pit), bins = axes
    for kind, column in sets.items():
        each, style = numbers[kind]["coverage"], {"ms": 3.5, "color": SETS[kind]}
        nominal = 100 * np.array(each["nominal"])
        for method, line in (("vae", "o-"), ("sextractor", "x:")):
            share = [np.nan if v is None else 100 * v for v in each[method]]
            label = f"{kind}, network" if method == "vae" else "SExtractor's flux_err"
            cover.plot(nominal, share, line, label=label, **style)
        values = column["vae_pit"][np.isfinite(column["vae_pit"])]
        counts, edges = np.histogram(values, 20, (0, 1))
        if counts.sum():
            label = f"{kind}: {counts.sum()} stamps"
            pit.stairs(20 * counts / counts.sum(), edges, color=SETS[kind], lw=1.7, label=label)
    cover.plot([0, 100], [0, 100], color=COLOURS["bound"], lw=1)
    cover.set(xlabel="nominal probability [%]", ylabel="true fluxes within [%]", title="coverage")
    handles, labels = cover.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    cover.legend(unique.values(), unique.keys(), loc="upper left")
    pit.axhline(1, color=COLOURS["bound"], lw=1)
    pit.set(xlabel="posterior probability below the true flux", ylabel="density")
    pit.set(title="PIT histogram", ylim=(0, None))
    pit.legend(loc="lower center")
    names = {"by_estimated_magnitude": MAGNITUDE, "by_estimated_purity": PURITY}
    for axis, (name, label) in zip(bins, names.items(), strict=True):
        _coverage_by(axis, numbers, name, label)
    return figure


def _coverage_by(axis, numbers: Mapping[str, Mapping], name: str, label: str) -> None:
    """Draws the coverage of the nominal 68 and 95 % by bin of an estimate, with counting errors."""
    for offset, (kind, each) in zip(itertools.count(-1), numbers.items()):
        rows = [row for row in each[name] if row["vae"]["n"] >= _FEWEST]
        place = [(r["low"] + r["high"]) / 2 + 0.012 * offset * (r["high"] - r["low"]) for r in rows]
        n = np.array([row["vae"]["n"] for row in rows])
        for key, marker in (("coverage68", "o"), ("coverage95", "s")):
            share = np.array([np.nan if r[key] is None else r[key] for r in rows])
            err = np.sqrt(np.maximum(share * (1 - share), 0) / np.maximum(n, 1))
            style = {"fmt": f"{marker}-", "ms": 4, "lw": 1.2, "color": SETS[kind]}
            axis.errorbar(place, 100 * share, 100 * err, **style)
        for x, count in zip(place, n, strict=True):
            style = {"ha": "center", "size": 7, "color": SETS[kind]}
            height = 1.0 + 0.045 * (len(numbers) - 2 - offset)
            axis.text(x, height, count, transform=axis.get_xaxis_transform(), va="bottom", **style)
    for level in (68.3, 95):
        axis.axhline(level, color=COLOURS["bound"], lw=1, ls="--")
    axis.set(xlabel=f"{label}, as estimated", ylabel="true fluxes within [%]", ylim=(40, 102))
    write_note(axis, "95 % intervals: squares; flux ± flux_err: circles", y=0.05)


def comparison(ours: Sets, theirs: Sets, names: tuple[str, str]) -> Figure:
    """Draws the flux errors of two networks along magnitude and purity, a row a kind of scene.

    Args:
        ours: Per-example tables of this report by kind of scene.
        theirs: Per-example tables of the other report by kind of scene.
        names: Name of this report and of the other one.
    """
    kinds = [kind for kind in ours if kind in theirs]
    if not kinds:
        raise NoData("the two reports have no kind of scene in common")
    figure, axes = canvas(len(kinds), 2, (8.6, 2.9 * len(kinds)), sharey="row")
    for row, kind in zip(axes, kinds, strict=True):
        both = zip(names, (ours[kind], theirs[kind]), ("network", "compared"), strict=True)
        for name, column, colour in both:
            for axis, along in zip(row, ("magnitude", "purity"), strict=True):
                if not np.ptp(column[along][np.isfinite(column[along])]):
                    write_note(axis, f"the {along} does not vary")
                    continue
                style = {"color": COLOURS[colour], "label": name}
                draw_band(axis, column[along], 100 * np.abs(column["vae_error"]), **style)
        row[0].set(ylabel=f"{kind}: |e| [%]", xlabel=MAGNITUDE)
        row[1].set(xlabel=PURITY)
        row[0].legend(title="median, 16-84 %")
    return figure
