"""What a report is written on: figures and tables as files, and sections as templates.

A figure or a section that fails does not stop the others: the page says what is missing where it
is missing.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from astropy.table import Table
from markupsafe import Markup

from vaedeblend.exceptions import NoData
from vaedeblend.io.html import templates
from vaedeblend.io.write import prepare_folder, write_table
from vaedeblend.report.figures.style import DrawFigure, draw_figure, save_figure
from vaedeblend.report.quoted import (
    Quoted,
    TableColumn,
    decimals,
    is_measured,
    percent,
    quote,
    written,
)
from vaedeblend.report.study import Study

TEMPLATES = Path(__file__).parent / "templates"
"""Folder of the report's templates."""

_PIXELS = 96
"""Pixels of an inch on the page."""

log = logging.getLogger(__name__)


class Drawn(NamedTuple):
    """A figure for the page, or the reason why it is not there."""

    name: str
    png: bytes = b""
    width: int = 0
    """Width on the page [pixel]."""
    height: int = 0
    """Height on the page [pixel]."""
    missing: str = ""


class Grid(NamedTuple):
    """A table for the page."""

    name: str
    head: list[str]
    rows: list[list[str]]
    """Label and cells of each row; none where there are no numbers."""


class Section(NamedTuple):
    """A section of the page, or the reason why it is not there."""

    title: str
    body: Markup = Markup("")
    missing: str = ""


class Builder:
    """Collects the figures and tables of a report in a folder, and fills in its templates."""

    def __init__(self, folder: Path, study: Study, numbers: dict):
        """Makes the folders of figures and tables.

        Args:
            folder: Folder of the report.
            study: What the report draws from.
            numbers: Content of metrics.json.
        """
        self.folder, self.study, self.numbers = folder, study, {}
        self.quoted, self.figures, self.tables = {}, {}, {}
        for name in ("figures", "tables"):
            prepare_folder(folder / name)
        for key, value in numbers.items():
            self.add(key, value)
        self._environment = templates(TEMPLATES)
        self._environment.filters.update(percent=percent, decimals=decimals)
        self._environment.tests["measured"] = is_measured

    def add(self, key: str, value: Any) -> None:
        """Adds numbers to metrics.json under a key of its own."""
        self.numbers[key], self.quoted[key] = value, quote(value, key)

    @property
    def sets(self) -> dict[str, dict]:
        """Quoted numbers by kind of scene."""
        return {kind: self.quoted[kind] for kind in self.study.sets}

    def figure(self, name: str, draw: DrawFigure) -> None:
        """Draws a figure for the page; also NAME.png and NAME.pdf.

        Args:
            name: Name of its files, and of the figure in the templates.
            draw: Function that returns the figure; its NoData is said on the page.
        """
        place = self.folder / "figures"
        for earlier in place.glob(f"{name}.p??"):
            earlier.unlink()
        try:
            drawn = draw_figure(draw)
            png = save_figure(drawn, place, name)
        except NoData as reason:
            self.figures[name] = Drawn(name, missing=f"Not drawn: {reason}.")
        except Exception as error:  # one figure that fails must not cost the others
            log.exception("figure %s", name)
            reason = f"Could not be drawn ({type(error).__name__}: {error})."
            self.figures[name] = Drawn(name, missing=reason)
        else:
            size = (round(_PIXELS * inch) for inch in drawn.get_size_inches())
            self.figures[name] = Drawn(name, png, *size)

    def table(
        self, name: str, first: str, columns: Sequence[TableColumn], rows: Iterable[tuple[str, Any]]
    ) -> None:
        """Makes a table of numbers for the page; also NAME.ecsv and NAME.csv.

        Args:
            name: Name of its files, and of the table in the templates.
            first: Title of the first column.
            columns: All further columns.
            rows: Label of each row and what it is about; a row without any value is left out.
        """
        cells = [(label, [c.value(about) for c in columns]) for label, about in rows]
        cells = [(label, row) for label, row in cells if any(map(_known, row))]
        titles = [first, *(column.title for column in columns)]
        if cells:
            labels, found = zip(*cells, strict=True)
            values = [list(labels), *(_filled(each) for each in zip(*found, strict=True))]
            self.save(name, Table(dict(zip(titles, values, strict=True))))
        shown = [
            [label, *(_cell(each, c) for each, c in zip(row, columns, strict=True))]
            for label, row in cells
        ]
        self.tables[name] = Grid(name, titles, shown)

    def save(self, name: str, table: Table) -> None:
        """Writes a table as NAME.ecsv and NAME.csv."""
        for kind in ("ecsv", "csv"):
            write_table(self.folder / "tables" / f"{name}.{kind}", table)

    def render(self, template: str, **context) -> Markup:
        """Fills in a template with the sets' numbers, figures and tables, and what else is given.

        Raises:
            UndefinedError: The template names what is not there.
        """
        given = {"sets": self.sets, "figures": self.figures, "tables": self.tables}
        return Markup(self._environment.get_template(template).render(given | context))

    def section(self, title: str, make: Callable[["Builder"], Markup]) -> Section:
        """A section as a function makes it, or what went wrong with it."""
        try:
            return Section(title, make(self))
        except Exception as error:  # one section that fails must not cost the others
            log.exception("section %s", title)
            reason = f"This part could not be made ({type(error).__name__}: {error})."
            return Section(title, missing=reason)


def _known(cell: Quoted | str) -> bool:
    return isinstance(cell, str) or is_measured(cell)


def _cell(cell: Quoted | str, column: TableColumn) -> str:
    return cell if isinstance(cell, str) else (column.form or written)(cell)


def _filled(cells: Sequence[Quoted | str]) -> list:
    """Values of a column, with NaN, or no text, for those that are missing."""
    values = [cell if isinstance(cell, str) else cell.value for cell in cells]
    nothing = "" if any(isinstance(value, str) for value in values) else float("nan")
    return [nothing if value is None else value for value in values]
