"""What went in: the catalogue before and after its cuts, the PSF, and the training's history."""

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.catalogues import catalogue

QUANTITIES = ("magnitude", "bulge_half_light_radius", "disk_half_light_radius")
RADIUS = 0.5
"""Within which the PSF's light is quoted [arcsec]."""

_BINS = 48
_LOG_RADII = (-3.0, 1.0)
"""Ends of the histograms of radii, log10 of arcsec."""


def histograms(table: Table, cuts: Mapping[str, Sequence[float | int]]) -> dict[str, dict]:
    """Galaxies by magnitude and radii, before and after the cuts: edges and counts.

    The end bins of the radii hold all beyond.

    Args:
        table: Of `catalogue.read`.
        cuts: Of `catalogue.select`.
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


def as_table(found: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    """Histograms as one table: quantity, low, high, before, after."""
    parts = {"quantity": [], "low": [], "high": [], "before": [], "after": []}
    for name, each in found.items():
        parts["quantity"] += [name] * len(each["before"])
        columns = (each["edges"][:-1], each["edges"][1:], each["before"], each["after"])
        for key, values in zip(("low", "high", "before", "after"), columns, strict=True):
            parts[key] += values.tolist()
    return Table(parts)


def psf_table(image: Float[np.ndarray, "side side"], scale: float) -> tuple[Table, dict]:
    """The PSF's mean light in rings a pixel wide, the light within, and its widths [arcsec].

    Args:
        image: Of unit sum and odd size.
        scale: Of its pixels [arcsec].
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
    numbers = {"fwhm": float(2 * np.sqrt(half)), "within": _within(radius, image, RADIUS)}
    numbers["radius"] = RADIUS
    return table, numbers


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


def _values(table: Table, name: str) -> np.ndarray:
    if name == "magnitude":
        return catalogue.magnitude(table)
    return np.asarray(table[name].to_value("arcsec"))


def _within(radius, image, limit: float) -> float:
    return float(image.ravel()[radius <= limit].sum())


def _finite(value) -> bool:
    return value is not None and bool(np.isfinite(value))


def _or_nan(value):
    return np.nan if value is None else value
