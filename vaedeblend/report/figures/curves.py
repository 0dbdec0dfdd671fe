"""Curves: the catalogue's cuts, the PSF, training losses, radial profiles, image similarity.

Each figure stands beside the numbers that it draws.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaedeblend.catalogues import catalogue
from vaedeblend.evaluate.table import RINGS
from vaedeblend.exceptions import NoData
from vaedeblend.report.figures.style import (
    COLOURS,
    MAGNITUDE,
    PURITY,
    SETS,
    Sets,
    canvas,
    draw_band,
    varying,
)
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, flux_to_magnitude

QUANTITIES = {
    "magnitude": MAGNITUDE,
    "bulge_half_light_radius": "bulge half-light radius [arcsec]",
    "disk_half_light_radius": "disk half-light radius [arcsec]",
}
"""Axis labels of the catalogue's columns whose histograms are drawn."""
SIMILARITIES = {
    "cosine_distance": "cosine distance",
    "mse": "MSE [μJy² / pixel²]",
    "similarity": "SSIM",
}
"""Axis labels of the columns that compare the deblended light with the truth."""
PSF_RADIUS = 0.5
"""Radius within which the PSF's light is quoted [arcsec]."""

_FIRST = ("loss", "reconstruction", "kl")
"""Parts of a loss that come first."""
_BINS = 48
_LOG_RADII = (-3.0, 1.0)
"""Ends of the histograms of radii, log10 of arcsec."""


def histograms(table: Table, cuts: Mapping[str, Sequence[float | int]]) -> dict[str, dict]:
    """Galaxies by magnitude and by radii, before and after the cuts: edges and counts.

    The end bins of the radii hold all galaxies beyond them.

    Args:
        table: Catalogue before the cuts, as `catalogue.read` returns it.
        cuts: Lower and upper limit by column, as `catalogue.select` takes them.
    """
    chosen = catalogue.select(table, cuts)
    found = {}
    for name in QUANTITIES:
        before, after = (_values(each, name) for each in (table, chosen))
        edges = np.logspace(*_LOG_RADII, _BINS + 1)
        if name == "magnitude":
            edges = np.linspace(before.min(), before.max(), _BINS + 1)
        ends = edges[[0, -1]]
        counts = (np.histogram(values.clip(*ends), edges)[0] for values in (before, after))
        found[name] = {"edges": edges} | dict(zip(("before", "after"), counts, strict=True))
    return found


def histogram_table(found: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    """Histograms as one table: quantity, low, high, before, after."""
    parts = {"quantity": [], "low": [], "high": [], "before": [], "after": []}
    for name, each in found.items():
        parts["quantity"] += [name] * len(each["before"])
        columns = (each["edges"][:-1], each["edges"][1:], each["before"], each["after"])
        for key, values in zip(("low", "high", "before", "after"), columns, strict=True):
            parts[key] += values.tolist()
    return Table(parts)


def selection(table: Table | None, cuts: Mapping[str, Sequence[float | int]]) -> Figure:
    """Draws magnitudes and radii of the catalogue before and after the cuts.

    Args:
        table: Catalogue before the cuts, where it could be read.
        cuts: Lower and upper limit by column.

    Raises:
        NoData: There is no catalogue.
    """
    if table is None:
        raise NoData("the catalogue before the cuts could not be read")
    found = histograms(table, cuts)
    figure, axes = canvas(1, 3, (10.5, 3.2), sharey=True)
    for axis, (name, label) in zip(axes[0], QUANTITIES.items(), strict=True):
        part = found[name]
        for kind, colour in (("before", "#C9CED4"), ("after", COLOURS["network"])):
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


def _values(table: Table, name: str) -> np.ndarray:
    if name == "magnitude":
        return catalogue.magnitude(table)
    return np.asarray(table[name].to_value("arcsec"))


def psf_table(image: Float[np.ndarray, "side side"], scale: float) -> tuple[Table, dict]:
    """The PSF's mean light in rings one pixel wide, the light within them, and its widths [arcsec].

    Args:
        image: Effective PSF, of unit sum and odd side.
        scale: Pixel scale of the image [arcsec].
    """
    offset = np.arange(image.shape[0]) - image.shape[0] // 2
    radius = np.hypot(offset[:, None], offset).ravel() * scale
    order = np.argsort(radius, kind="stable")
    enclosed = np.cumsum(image.ravel()[order])
    edges = (np.arange(image.shape[0] // 2 + 1) + 0.5) * scale
    ring = np.searchsorted(edges, radius)
    inside = ring < len(edges)
    count = np.bincount(ring[inside], minlength=len(edges))
    light = np.bincount(ring[inside], image.ravel()[inside], minlength=len(edges)) / count
    middle = np.bincount(ring[inside], radius[inside], minlength=len(edges)) / count
    within = enclosed[np.searchsorted(radius[order], edges, side="right") - 1]
    table = Table({"radius": middle, "profile": light / image.max(), "edge": edges})
    table["enclosed"] = within
    # Between pixels as a Gaussian would run: straight in the squared radius.
    half = np.interp(np.log(2), -np.log(np.maximum(table["profile"], 1e-30)), middle**2)
    numbers = {"fwhm": float(2 * np.sqrt(half)), "within": _within(radius, image, PSF_RADIUS)}
    numbers["radius"] = PSF_RADIUS
    return table, numbers


def _within(radius, image, limit: float) -> float:
    return float(image.ravel()[radius <= limit].sum())


def training_numbers(records: Sequence[Mapping]) -> dict:
    """First, last and least losses of a stage, and validation less training at its end."""
    if not records:
        return {}
    first, last = records[0], records[-1]
    numbers = {"steps": last["step"], "records": len(records)}
    for split in ("train", "validation"):
        numbers[f"first_{split}"] = first.get(f"{split}_loss")
        numbers[f"last_{split}"] = last.get(f"{split}_loss")
        losses = [r.get(f"{split}_loss") for r in records]
        known = [
            (loss, r["step"]) for loss, r in zip(losses, records, strict=True) if _finite(loss)
        ]
        if known:
            numbers[f"least_{split}"], numbers[f"least_{split}_step"] = min(known)
    if _finite(numbers["last_train"]) and _finite(numbers["last_validation"]):
        numbers["gap"] = numbers["last_validation"] - numbers["last_train"]
    return numbers


def history_table(records: Sequence[Mapping]) -> Table:
    """A stage's history as a table; NaN where a record lacks a number."""
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = {name: [_or_nan(record.get(name)) for record in records] for name in names}
    return Table(rows)


def losses(histories: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Draws the total loss and its parts along the training, a row a stage."""
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
                points = _curve(histories[stage], f"{split}_{part}")
                axis.plot(*points, style, color=COLOURS["network"], label=split, lw=1.6)
            axis.set(title=part, xlabel="step")
            axis.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
            _focus(axis)
        name = {"isolated": "VAE I", "blended": "VAE II"}.get(stage, stage)
        row[0].set_ylabel(f"{name}\nmean over stamps [nat]")
        row[0].legend()
    return figure


def parts_of(records: Sequence[Mapping]) -> list[str]:
    """Names of the total loss and of its parts, the total first."""
    names = [key.removeprefix("train_") for key in records[0] if key.startswith("train_")]
    return [n for n in _FIRST if n in names] + [n for n in names if n not in _FIRST]


def _curve(records: Sequence[Mapping], name: str) -> tuple[list, list]:
    """Steps and values of the records in which a number is finite."""
    points = [(r["step"], r[name]) for r in records if np.isfinite(r.get(name) or np.nan)]
    return tuple(map(list, zip(*points, strict=True))) if points else ([], [])


def _focus(axis: Axes) -> None:
    """Sets limits without the steep first tenth and rare spikes, which would hide all else."""
    x, y = np.concatenate([line.get_xydata() for line in axis.lines]).T
    if len(x):
        late = y[x >= 0.1 * x.max()]
        low, high = np.quantile(late, (0, 0.85))
        margin = 0.08 * (high - low) or 1.0
        axis.set_ylim(low - margin, high + margin)


def radial(sets: Sets, scale: float) -> Figure:
    """Draws the mean surface brightness with radius, and the deblended light's error there.

    Args:
        sets: Tables with the columns truth_profile and vae_profile.
        scale: Pixel scale [arcsec].
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
            (found, COLOURS["network"], "network", "o"),
        ):
            mean = np.nanmean(profile, axis=0)
            with np.errstate(all="ignore"):
                top.plot(radius, flux_to_magnitude(mean), style, ms=4, color=colour, label=label)
        top.set(title=f"{kind}: mean of {len(true)} stamps")
        with np.errstate(all="ignore"):
            error = 100 * (found / true - 1)
        low, middle, high = np.nanquantile(error, (0.16, 0.5, 0.84), axis=0)
        bottom.fill_between(radius, low, high, color=COLOURS["network"], alpha=0.16, lw=0)
        bottom.plot(radius, middle, "o-", ms=4, color=COLOURS["network"])
        bottom.axhline(0, color=COLOURS["bound"], lw=0.8)
        bottom.set(xlabel="radius [arcsec]", ylim=(-60, 60))
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_ylabel(f"surface brightness\n[mag arcsec⁻², AB {MICROJANSKY_ZERO_POINT}]")
    axes[1, 0].set_ylabel("error [%]: median\nand 16-84 % of stamps")
    axes[0, 0].legend()
    return figure


def image_similarity(sets: Sets) -> Figure:
    """Draws cosine distance, MSE and SSIM of deblended light and truth, by magnitude and purity."""
    figure, axes = canvas(3, 2, (8.6, 8), sharey="row")
    for row, (name, label) in zip(axes, SIMILARITIES.items(), strict=True):
        for axis, along, text in zip(
            row, ("magnitude", "purity"), (MAGNITUDE, PURITY), strict=True
        ):
            said = []
            for kind, column in varying(sets, along).items():
                style = {"color": SETS[kind], "label": kind}
                n = draw_band(axis, column[along], column[name], **style)
                said.append(f"{kind} {n}")
            axis.set(xlabel=text, yscale="linear" if name == "similarity" else "log")
            axis.set_title(f"stamps a bin: {', '.join(said)}", size=8, weight="normal")
        row[0].set_ylabel(label)
    axes[0, 0].legend(title="median, 16-84 %")
    return figure


def _finite(value) -> bool:
    return value is not None and bool(np.isfinite(value))


def _or_nan(value):
    return np.nan if value is None else value
