"""Figures made of curves: the catalogue's cuts, training, light with radius, likeness."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from vaedeblend.evaluate.table import RINGS
from vaedeblend.exceptions import NoData
from vaedeblend.report.figures import style as charts
from vaedeblend.report.figures.style import COLOURS, MAGNITUDE, PURITY, SETS, canvas
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, flux_to_magnitude

LIKENESS = {
    "cosine_distance": "cosine distance",
    "mse": "MSE [μJy² / pixel²]",
    "similarity": "SSIM",
}
FIRST = ("loss", "reconstruction", "kl")
"""Parts of a loss that come first."""

Columns = Mapping[str, np.ndarray]
Sets = Mapping[str, Columns]


def selection(histograms: Mapping[str, Columns]) -> Figure:
    """Magnitudes and radii of the catalogue before and after the cuts.

    Args:
        histograms: By quantity: edges (one more than the counts), before, after.
    """
    labels = {
        "magnitude": MAGNITUDE,
        "bulge_half_light_radius": "bulge half-light radius [arcsec]",
        "disk_half_light_radius": "disk half-light radius [arcsec]",
    }
    figure, axes = canvas(1, 3, (10.5, 3.2), sharey=True)
    for axis, (name, label) in zip(axes[0], labels.items(), strict=True):
        part = histograms[name]
        for kind, colour in (("before", "#C9CED4"), ("after", COLOURS["VAE"])):
            axis.stairs(
                part[kind], part["edges"], fill=True, color=colour, label=f"{kind} the cuts"
            )
        counts = (f"{int(part[kind].sum())} {kind}" for kind in ("before", "after"))
        axis.set_title(f"galaxies: {', '.join(counts)}", size=9)
        axis.set(xlabel=label, yscale="log", ylim=(0.7, None))
        if "radius" in name:
            axis.set(xscale="log")
    axes[0, 0].set_ylabel("galaxies in a bin")
    axes[0, 0].legend(loc="upper left")
    return figure


def losses(histories: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Total loss, reconstruction and KL, and what other parts there are, of each stage."""
    named = {stage: parts_of(records) for stage, records in histories.items() if records}
    if not named:
        raise NoData("no training has left a history (metrics.jsonl)")
    columns = max(map(len, named.values()))
    size = (2.55 * max(columns, 3), 2.7 * len(named) + 0.2)
    figure, axes = canvas(len(named), columns, size)
    for row, (stage, parts) in zip(axes, named.items(), strict=True):
        for axis in row[len(parts) :]:
            axis.set_axis_off()
        for axis, part in zip(row, parts, strict=False):
            for split, style in (("train", "-"), ("validation", "--")):
                points = curve(histories[stage], f"{split}_{part}")
                axis.plot(*points, style, color=COLOURS["VAE"], label=split, lw=1.6)
            axis.set(title=part, xlabel="step")
            axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
            _focus(axis)
        name = {"isolated": "VAE I", "blended": "VAE II"}.get(stage, stage)
        row[0].set_ylabel(f"{name}\nmean over stamps [nat]")
        row[0].legend()
    return figure


def parts_of(records: Sequence[Mapping]) -> list[str]:
    """Names of the parts of a loss, the total first."""
    names = [key.removeprefix("train_") for key in records[0] if key.startswith("train_")]
    return [n for n in FIRST if n in names] + [n for n in names if n not in FIRST]


def curve(records: Sequence[Mapping], name: str) -> tuple[list, list]:
    """Steps and values of the records in which a number is finite."""
    points = [(r["step"], r[name]) for r in records if np.isfinite(r.get(name) or np.nan)]
    return tuple(map(list, zip(*points, strict=True))) if points else ([], [])


def radial(sets: Sets, scale: float) -> Figure:
    """Mean surface brightness with radius, and the deblended light's error there.

    Args:
        sets: With truth_profile and vae_profile.
        scale: Of a pixel [arcsec].
    """
    figure, axes = canvas(
        2, len(sets), (3.7 * len(sets), 5), sharex=True, sharey="row", height_ratios=(1.5, 1)
    )
    radius = (RINGS[1:] + RINGS[:-1]) / 2 * scale
    for (top, bottom), (kind, column) in zip(axes.T, sets.items(), strict=True):
        true, found = (column[f"{m}_profile"].astype(float) for m in ("truth", "vae"))
        if not np.isfinite(true + found).any():
            raise NoData("no stamp has a light profile")
        for profile, colour, label, style in (
            (true, COLOURS["bound"], "truth", "-"),
            (found, COLOURS["VAE"], "VAE", "o"),
        ):
            mean = np.nanmean(profile, axis=0)
            with np.errstate(all="ignore"):
                top.plot(radius, flux_to_magnitude(mean), style, ms=4, color=colour, label=label)
        top.set(title=f"{kind}: mean of {len(true)} stamps")
        with np.errstate(all="ignore"):
            error = 100 * (found / true - 1)
        low, middle, high = np.nanquantile(error, (0.16, 0.5, 0.84), axis=0)
        bottom.fill_between(radius, low, high, color=COLOURS["VAE"], alpha=0.16, lw=0)
        bottom.plot(radius, middle, "o-", ms=4, color=COLOURS["VAE"])
        bottom.axhline(0, color=COLOURS["bound"], lw=0.8)
        bottom.set(xlabel="radius [arcsec]", ylim=(-60, 60))
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_ylabel(f"surface brightness\n[mag arcsec⁻², AB {MICROJANSKY_ZERO_POINT}]")
    axes[1, 0].set_ylabel("error [%]: median\nand 16-84 % of stamps")
    axes[0, 0].legend()
    return figure


def likeness(sets: Sets) -> Figure:
    """Cosine distance, MSE and SSIM of deblended light and truth, along magnitude and purity."""
    figure, axes = canvas(3, 2, (8.6, 8), sharey="row")
    for row, (name, label) in zip(axes, LIKENESS.items(), strict=True):
        for axis, along, text in zip(
            row, ("magnitude", "purity"), (MAGNITUDE, PURITY), strict=True
        ):
            said = []
            for kind, column in charts.varying(sets, along).items():
                style = {"color": SETS[kind], "label": kind}
                n = charts.band(axis, column[along], column[name], **style)
                said.append(f"{kind} {n}")
            axis.set(xlabel=text, yscale="linear" if name == "similarity" else "log")
            axis.set_title(f"stamps a bin: {', '.join(said)}", size=8, weight="normal")
        row[0].set_ylabel(label)
    axes[0, 0].legend(title="median, 16-84 %")
    return figure


def _focus(axis) -> None:
    """Limits without the steep first tenth and rare spikes, next to which nothing would be seen."""
    x, y = np.concatenate([line.get_xydata() for line in axis.lines]).T
    if len(x):
        late = y[x >= 0.1 * x.max()]
        low, high = np.quantile(late, (0, 0.85))
        margin = 0.08 * (high - low) or 1.0
        axis.set_ylim(low - margin, high + margin)
