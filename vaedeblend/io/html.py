"""Pages as templates: one look for all of them, and nothing loaded from elsewhere.

A template that names what it was not given is an error, and all text is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vaedeblend.io.write import write_text

SHARED = Path(__file__).parent / "templates"
"""Folder of the templates that all pages share: page.html, and style.css within it."""


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
) -> None:
    """Writes a page of one table, with links to the pages that it is of.

    Raises:
        FileError: It cannot be written.
    """
    page = templates(SHARED).get_template("table.html")
    given = {"sentences": sentences, "columns": columns, "rows": rows, "links": links}
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
