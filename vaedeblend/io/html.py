"""Pages as templates: one look for all of them, and nothing loaded from elsewhere.

A template that names what it was not given is an error, and all text is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vaedeblend.io.write import write_text

SHARED = Path(__file__).parent / "templates"
"""Folder of the templates that all pages share: page.html, and style.css within it."""


class Curve(NamedTuple):
    """Values of bins with their errors, which a page draws, and a line where they would be best."""

    title: str
    bins: list[str]
    values: list[float]
    errors: list[float]
    """Standard errors; NaN where there is none, and values NaN where nothing was measured."""
    best: float

    def range(self) -> tuple[float, float]:
        """Lowest and highest value of the drawing: a tenth beyond all that it shows."""
        shown, error = np.array(self.values), np.nan_to_num(self.errors)
        shown = np.concatenate([shown - error, shown + error, [self.best]])
        low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
        margin = 0.1 * (high - low) or 1.0
        return low - margin, high + margin

    def height(self, value: float) -> float:
        """Where a value is drawn: 0 at the drawing's lower edge, 1 at its upper one."""
        low, high = self.range()
        return (value - low) / (high - low)

    def points(self) -> list[tuple[str, float, float, float]]:
        """Bin, value, and heights of value - error and value + error; those with a value."""
        found = zip(self.bins, self.values, np.nan_to_num(self.errors).tolist(), strict=True)
        return [(name, v, self.height(v - e), self.height(v + e)) for name, v, e in found if v == v]


def templates(folder: Path) -> Environment:
    """The templates of a folder, which may extend and include the shared ones.

    Raises:
        UndefinedError: On rendering, where a template names what it was not given.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(picture=picture, number=number, share=share)
    return environment


def write_table_page(
    path: str | Path,
    *,
    title: str,
    sentences: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    links: Mapping[str, str],
    curves: Sequence[Curve] = (),
) -> None:
    """Writes a page of one table, with links to the pages that it is of, and curves before it.

    Raises:
        FileError: It cannot be written.
    """
    page = templates(SHARED).get_template("table.html")
    given = {"sentences": sentences, "columns": columns, "rows": rows, "links": links}
    given["curves"] = curves
    write_text(path, page.render(title=title, **given))


def picture(png: bytes) -> str:
    """Address of an image that holds the image itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def number(value: float | int | str | np.number, digits: int = 4) -> str:
    """Integers and texts in full, other numbers with significant digits; a dash for NaN."""
    if isinstance(value, str | int | np.integer):
        return str(value)
    text = f"{value:.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"
    return text if np.isfinite(value) else "–"


def share(fraction: float | np.number) -> str:
    """Fraction in per cent with three significant digits; a dash for NaN."""
    return f"{number(100 * fraction, 3)} %" if np.isfinite(fraction) else number(fraction)
