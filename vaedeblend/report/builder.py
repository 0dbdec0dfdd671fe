"""What a report is written on: figures, tables and sentences, as files and as a page.

A figure that cannot be drawn, and a sentence that lacks a number, do not stop the others: the page
says what is missing where it is.
"""

import logging
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from astropy.table import Table
from matplotlib.figure import Figure

from vaedeblend.exceptions import NoData
from vaedeblend.io import html
from vaedeblend.io.html import cell, lookup, say
from vaedeblend.report.figures import style

STYLE = """
section{border-top:1px solid var(--rule);margin-top:2.2rem;break-before:auto}
section h2{margin-top:1rem}figure{margin:1.1rem 0 1.4rem}figure p{margin-top:.35rem}
h3{font-size:1rem;color:var(--ink);font-weight:600;margin:1.2rem 0 .3rem}
img{border:0;display:block;height:auto}.wide{overflow-x:auto;overflow-y:hidden}
.missing{border-left:3px solid #d55e00;padding:.2rem 0 .2rem .8rem;margin:.8rem 0}
.first{display:grid;gap:1rem 28px;grid-template-columns:repeat(3,minmax(0,1fr));align-items:start}
.first figure{margin:.2rem 0}.keys+.grid td{padding:.12rem 0 .12rem 1rem}
.keys+.grid td:first-child{padding-left:0}nav{columns:13rem;font-size:.9rem;margin:1rem 0}
nav a{display:block}a{color:var(--blue);text-decoration:none}a:hover{text-decoration:underline}
.grid{overflow-x:auto}.grid table{font-size:.92rem}.grid td,.grid th{white-space:nowrap}
tr.other td{border-bottom-color:#aeb6be}data{color:inherit}
@media(max-width:900px){.first{grid-template-columns:minmax(0,1fr)}}
@media(max-width:560px){.broad img{min-width:620px}}
@media print{nav{display:none}.wide,.grid{overflow:visible}section{break-inside:auto}}
"""

_PIXELS = 96
"""Of an inch on the page."""

_BROAD = 640
"""Width above which a figure scrolls by itself on a narrow screen [pixel]."""

log = logging.getLogger(__name__)


class Sheet:
    """Collects the figures and tables of a report in a folder, and the numbers that it quotes."""

    def __init__(self, folder: Path, numbers: Mapping):
        """Makes the folders of figures and tables.

        Args:
            folder: Of the report.
            numbers: What metrics.json holds.
        """
        self.folder, self.numbers, self.seconds = folder, numbers, 0.0
        for name in ("figures", "tables"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def figure(
        self, name: str, title: str, draw: Callable[[], Figure], *sentences: str, base: str = ""
    ) -> str:
        """A figure with its title and what to see in it, as HTML; also NAME.png and NAME.pdf.

        Args:
            name: Of its files.
            title: What it shows.
            draw: Returns the figure; NoData is said on the page.
            sentences: Of `html.say`.
            base: The same.
        """
        start, place = time.monotonic(), self.folder / "figures"
        for stale in place.glob(f"{name}.p??"):
            stale.unlink()
        try:
            drawn = style.draw_figure(draw)
            png = style.save_figure(drawn, place, name)
        except NoData as reason:
            return _missing(title, f"Not drawn: {reason}.")
        except Exception as error:  # one figure that fails must not cost the others
            log.exception("figure %s", name)
            return _missing(title, f"Could not be drawn ({type(error).__name__}: {error}).")
        finally:
            self.seconds += time.monotonic() - start
        width, height = (round(_PIXELS * inch) for inch in drawn.get_size_inches())
        links = "".join(f' <a href="figures/{name}.{kind}">{kind}</a>' for kind in ("png", "pdf"))
        kind = "wide broad" if width > _BROAD else "wide"
        return f"""<figure id="{name}"><h3>{escape(title)}</h3><div class="{kind}">
<img alt="{escape(title)}" width="{width}" height="{height}" style="max-width:{width}px"
src="{html.picture(png)}"></div>{self.words(*sentences, base=base)}
<span class="soft">{links}</span></figure>"""

    def guarded(self, title: str, make: Callable[[], list[str]]) -> list[str]:
        """The blocks of a part, or what went wrong with it."""
        try:
            return make()
        except Exception as error:  # one part that fails must not cost the others
            log.exception("part %s", title)
            reason = f"This part could not be made ({type(error).__name__}: {error})."
            return [_missing("", reason)]

    def words(self, *sentences: str, base: str = "") -> str:
        """A paragraph of the sentences whose numbers are known."""
        known = filter(None, (say(each, self.numbers, base) for each in sentences))
        said = " ".join(known).replace(" <b>", "<br><b>")
        missing = '<p class="soft">Too few stamps for numbers.</p>' if sentences else ""
        return f"<p>{said}</p>" if said else missing

    def missing(self, what: str) -> str:
        """Says that a part lacks something."""
        return _missing("", what)

    def table(
        self,
        name: str,
        head: Mapping[str, str],
        rows: Sequence[tuple[str, str]],
        *,
        first: str = "",
    ) -> str:
        """A table of numbers as HTML; also NAME.ecsv and NAME.csv.

        Args:
            name: Of its files.
            head: Title of each column, and its 'path:form' below a row's base.
            rows: First cell and base of each row; a row without any number is left out.
            first: Title of the first column.
        """
        fields = {title: _split(path) for title, path in head.items()}
        known = [
            (label, base)
            for label, base in rows
            if any(self._value(base, path) is not None for path, _ in fields.values())
        ]
        if not known:
            return _missing("", f"Table {name}: no numbers.")
        columns = {first or "row": [label for label, _ in known]} | {
            title: [self._value(base, path) for _, base in known]
            for title, (path, _) in fields.items()
        }
        self.save(name, Table({k: _filled(v) for k, v in columns.items()}))
        cells = [
            [escape(label)]
            + [cell(self.numbers, _at(base, path), f) for path, f in fields.values()]
            for label, base in known
        ]
        head_cells = [first, *map(escape, fields)]
        return f'<div class="grid">{html.table(head_cells, cells)}</div>'

    def beside(self, name: str, lines: Sequence[tuple[str, str, str]]) -> str:
        """What another source says beside our numbers; also NAME.ecsv and NAME.csv.

        Args:
            name: Of its files.
            lines: What it is, what the other source says, and the path of our number.
        """
        head, known = ("result", "the talk", "this project"), []
        for what, said, path in lines:
            value = self.lookup(path)
            form = "%" if isinstance(value, float) else ""
            known.append((what, said, cell(self.numbers, path, form), value))
        columns = dict(zip(head, zip(*(line[:2] for line in known), strict=True), strict=False))
        ours = [float("nan") if value is None else float(value) for *_, value in known]
        self.save(name, Table({k: list(v) for k, v in columns.items()} | {head[2]: ours}))
        cells = [(escape(what), escape(said), ours) for what, said, ours, _ in known]
        return f'<div class="grid">{html.table(head, cells)}</div>'

    def lookup(self, path: str):
        """The number at a path, None where there is none."""
        return lookup(self.numbers, path)

    def save(self, name: str, table: Table) -> None:
        """Writes a table as NAME.ecsv and NAME.csv."""
        for kind in ("ecsv", "csv"):
            table.write(self.folder / "tables" / f"{name}.{kind}", overwrite=True)

    def _value(self, base: str, path: str):
        return lookup(self.numbers, _at(base, path))


def section(number: int, title: str, *blocks: str) -> str:
    """A part of the report."""
    return (
        f'<section id="part-{number}"><h2>{number}. {escape(title)}</h2>{"".join(blocks)}</section>'
    )


def _at(base: str, path: str) -> str:
    """A path below a base, or beside it: '../bound' of 'blended/vae' is 'blended/bound'."""
    return posixpath.normpath(f"{base}/{path}")


def _missing(title: str, reason: str) -> str:
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f'{heading}<p class="missing">{escape(reason)}</p>'


def _split(path: str) -> tuple[str, str]:
    path, _, form = path.partition(":")
    return path, form


def _filled(values: list) -> list:
    """NaN for numbers that are missing."""
    texts = any(isinstance(value, str) for value in values)
    return [("" if texts else float("nan")) if value is None else value for value in values]
