"""Sources on a page: what is said of each, in words, as a row of the table and as a circle."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from vaedeblend.image.page.signs import LETTERS
from vaedeblend.io.html import number

MOST_MARKS = 2000
"""Most sources that are marked on the image, and have a row of the table: the brightest."""
CLEAR = 5.0
"""Least flux over its error of a blend that is shown."""
PAGE_COLUMNS = ("id", "x", "y", "ra", "dec", "flux", "flux_err", "mag", "mag_err", "purity")
PAGE_COLUMNS += ("n_neighbours", "chi2", "flags")
"""Columns of the catalogue that a page needs."""

_HARDEST = 12

SourceColumns = Mapping[str, np.ndarray]
"""Columns of the catalogue as floats; NaN where they are masked."""


class Label(NamedTuple):
    """Place of a source's number on the image [image pixel], y downwards."""

    x: str
    y: str
    before: bool
    """Whether the text ends at x."""


class Mark(NamedTuple):
    """A circle on a source, in pixels of the image with y downwards."""

    id: int
    x: str
    y: str
    radius: str
    flagged: bool
    said: str
    label: Label | None
    """Where its number stands; None for a source without a panel."""


def hardest_blends(table: Table) -> list[int]:
    """Rows of the sources of lowest purity, of those that stand clear of the noise."""
    clear = np.asarray(table["flux"] > CLEAR * table["flux_err"])
    purity = np.where(clear, table["purity"], np.inf)
    return [int(i) for i in np.argsort(purity)[:_HARDEST] if np.isfinite(purity[i])]


def as_sources(table: Table) -> SourceColumns:
    """Columns of a catalogue that a page needs."""
    columns = {name: np.ma.asarray(table[name].value, float) for name in PAGE_COLUMNS}
    return {name: np.ma.filled(column, np.nan) for name, column in columns.items()}


def brightest(sources: SourceColumns) -> list[int]:
    """Rows of the brightest sources that have a place, in the order of their flux."""
    order = np.argsort(-np.nan_to_num(sources["flux"], nan=-np.inf), kind="stable")
    return order[np.isfinite(sources["x"] + sources["y"])[order]][:MOST_MARKS].tolist()


def names_of(mask: float, flags: Mapping[int, tuple[str, str]]) -> str:
    """Names of the bits that are set."""
    bits = [1 << k for k in range(32) if mask > 0 and int(mask) >> k & 1]
    return ", ".join(flags.get(bit, (f"bit {bit}",))[0] for bit in bits)


def describe_sources(sources: SourceColumns, unit: str, flags: Mapping) -> list[dict[str, str]]:
    """What is said of each source, by quantity."""
    names = "flux", "flux_err", "mag", "mag_err", "purity", "n_neighbours", "chi2", "flags"
    facts, columns = [], [sources[name].tolist() for name in names]
    for flux, flux_err, mag, mag_err, purity, neighbours, chi2, mask in zip(*columns, strict=True):
        fact = {"mag": f"{number(mag)} ± {number(mag_err, 2)}"}
        fact["flux"] = f"{number(flux)} ± {number(flux_err, 2)} {unit}".rstrip()
        fact |= {"purity": number(purity, 3), "neighbours": number(neighbours)}
        named = names_of(mask, flags) or "none"
        facts.append(fact | {"χ²": number(chi2, 3), "flags": named})
    return facts


def table_rows(sources: SourceColumns, unit: str, flags: Mapping) -> dict[str, list]:
    """Titles of the columns and rows of the table of the brightest sources, brightest first."""
    with np.errstate(all="ignore"):
        snr = sources["flux"] / sources["flux_err"]
    shown = {
        "id": (sources["id"], 0),
        "x": (sources["x"], 1),
        "y": (sources["y"], 1),
        "ra [deg]": (sources["ra"], 5),
        "dec [deg]": (sources["dec"], 5),
        "mag": (sources["mag"], 3),
        f"flux [{unit}]" if unit else "flux": (sources["flux"], None),
        "flux / error": (snr, 1),
        "purity": (sources["purity"], 3),
        "neighbours": (sources["n_neighbours"], 0),
        "χ²": (sources["chi2"], 2),
    }
    rows = [
        [*(_cell(values[i], digits) for values, digits in shown.values())]
        + [names_of(sources["flags"][i], flags)]
        for i in brightest(sources)
    ]
    return {"columns": [*shown, "flags"], "rows": rows}


def make_marks(
    sources: SourceColumns,
    facts: Sequence[Mapping],
    shape: tuple[int, int],
    panels: Collection[int],
) -> list[Mark]:
    """Circles on the brightest sources; those that a panel shows also have a number.

    Args:
        sources: All sources.
        facts: What is said of each.
        shape: Height and width of the image [pixel].
        panels: Ids of the sources that a panel shows.
    """
    height, width = shape
    order = brightest(sources)
    radius = np.clip(0.2 * np.sqrt(width * height / (1 + len(order))), width / 150, width / 60)
    marks = []
    for rank, i in enumerate(order):
        each, r = int(sources["id"][i]), radius * (1.3 - 0.6 * rank / len(order))
        x, y = sources["x"][i] + 0.5, height - sources["y"][i] - 0.5
        said = "; ".join(f"{k} {facts[i][k]}" for k in ("mag", "flux", "purity", "flags"))
        label = None
        if each in panels:
            before = bool(x > 0.85 * width)
            top = max(y - r, width / LETTERS)
            label = Label(f"{x - r if before else x + r:.2f}", f"{top:.2f}", before)
        flagged = bool(sources["flags"][i] > 0)
        place = (f"{x:.2f}", f"{y:.2f}", f"{r:.3g}")
        marks.append(Mark(each, *place, flagged, f"id {each}; {said}", label))
    return marks


def _cell(value: float, digits: int | None) -> str:
    """A number with so many digits behind the point; four significant ones for None."""
    if digits is None or not np.isfinite(value):
        return number(value)
    return f"{value:.{digits}f}"
