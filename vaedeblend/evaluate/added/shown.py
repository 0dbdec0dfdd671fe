"""How well added sources were found again: a table in bins, with errors, as page and as JSON."""

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.table import Table

from vaedeblend.evaluate import metrics
from vaedeblend.io.html import Curve, write_table_page
from vaedeblend.io.write import write_text

PAGE, NUMBERS = "injection.html", "injection.json"
"""Names of what is written."""
TITLE = "Injected galaxies: how well they are found and measured [%]"

_PURITY = 0, 0.5, 0.8, 0.9, 1 + 1e-6
_DRAWS, _SEED = 300, 5
"""Draws of the bootstrap, and their seed."""
_COVERED = "flux_found", "flux_err", "flux"
_ERRORS = "found", "bias", "nmad", "coverage"
"""Columns that have an error."""
_SCATTERS = "sigma", "nmad", "coverage"
"""Columns that one source says nothing of."""
_DRAWN = {
    "found": ("Found, by true magnitude [%]", 100.0),
    "bias": ("Bias, by true magnitude [%]", 0.0),
    "nmad": ("NMAD, by true magnitude [%]", 0.0),
    "coverage": ("Coverage, by true magnitude [%]", 68.3),
}
"""Columns that are drawn: title, and where the best would be."""


def summarise(table: Table) -> Table:
    """Completeness, bias, scatter, outliers and coverage in bins of magnitude and of purity [%].

    Columns NAME_err are the standard errors, by drawing the added sources anew. Stars have rows of
    their own.
    """
    star = np.asarray(table["star"], bool)
    galaxies, points = table[~star], table[star]
    pure = galaxies[np.asarray(galaxies["purity"]) >= _PURITY[-2]]
    parts = {"all": galaxies} | _bins(galaxies, "mag") | _bins(galaxies, "purity", _PURITY)
    parts |= _bins(pure, "mag", word="pure") | _bins(points, "mag", word="star")
    return Table([_row(name, part) for name, part in parts.items()])


def account(table: Table, wanted: int) -> list[str]:
    """What the rows of `summarise` count, and how many galaxies decide.

    Args:
        table: One row an added source.
        wanted: Number of sources that were to be added.
    """
    n, found = len(table), int(np.sum(table["found"]))
    wrong = int(np.sum(np.abs(np.asarray(table["error"])[np.asarray(table["found"])]) > 0.5))
    runs = len(set(table["seed"].tolist()))
    left = f" {wanted - n} had no place that is not beside a bright source." * (wanted > n)
    return [
        f"{found} of {n} injected galaxies were found, {wrong} of these with a flux that is wrong "
        f"by more than half: sigma is theirs, nmad that of all others. They lay on {runs} "
        f"image{'s' * (runs > 1)}.{left}",
        "Magnitudes are true ones, purities as estimated: those that were not found have none, and "
        "stand in no row of purity; pure are those of 0.9 or more. found is a share of all, "
        "everything else of those found; bias is their median; coverage is how often flux_err "
        "holds the true flux, 68.3 if errors are honest. Behind ± stand bootstrap's errors.",
    ]


def as_rows(summary: Table) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a summary as texts: numbers with their errors."""
    names = [name for name in summary.colnames if not name.endswith("_err")]
    rows = [[_cell(row, name, summary.colnames) for name in names] for row in summary]
    return names, rows


def write_shown(
    out: Path, table: Table, said: list[str], about: Mapping, links: Mapping[str, str]
) -> None:
    """Writes injection.html and injection.json.

    Args:
        out: Folder of both.
        table: One row an added source.
        said: Sentences about it.
        about: Further items of the JSON.
        links: Pages about the images, and their names.
    """
    summary = summarise(table)
    columns, rows = as_rows(summary)
    given = {"columns": columns, "rows": rows, "sentences": said, "links": links}
    given["curves"] = _curves(summary)
    write_table_page(out / PAGE, title=TITLE, **given)
    numbers = [{name: _plain(row[name]) for name in summary.colnames} for row in summary]
    write_text(out / NUMBERS, json.dumps({**about, "said": said, "rows": numbers}, indent=1) + "\n")


def _curves(summary: Table) -> list[Curve]:
    """Curves of the galaxies in bins of magnitude."""
    bins = summary[[name.startswith("mag ") for name in summary["bin"]]]
    names = [name.removeprefix("mag ") for name in bins["bin"]]
    return [
        Curve(title, names, bins[key].tolist(), bins[f"{key}_err"].tolist(), best)
        for key, (title, best) in _DRAWN.items()
    ]


def _bins(table: Table, name: str, edges=None, word: str | None = None) -> dict[str, Table]:
    """Parts of a table in bins of a column, by default of one magnitude."""
    values = np.asarray(table[name], float)
    if edges is None:
        if not len(values):
            return {}
        edges = np.arange(np.floor(values.min()), np.ceil(values.max()) + 1)
    return {
        f"{word or name} {start:g}-{stop:g}": table[(values >= start) & (values < stop)]
        for start, stop in pairwise(edges)
    }


def _row(name: str, part: Table) -> dict:
    got = part[np.asarray(part["found"], bool)]
    error, inside = np.asarray(got["error"], float), _inside(got)
    row = {"bin": name, "n": len(part)}
    for key, values, statistic in (
        ("found", np.asarray(part["found"], float), np.mean),
        ("bias", error, np.median),
        ("sigma", error, np.std),
        ("nmad", error, metrics.nmad),
        ("outliers", np.abs(error) > metrics.OUTLIER, np.mean),
        ("coverage", inside, np.mean),
    ):
        known = len(values) >= (2 if key in _SCATTERS else 1)
        row[key] = 100 * float(statistic(values)) if known else np.nan
        if key in _ERRORS:
            row[f"{key}_err"] = 100 * _spread(statistic, values)
    return row


def _inside(got: Table):
    """Whether the error of each source holds its true flux."""
    found, error, true = (np.asarray(got[name], float) for name in _COVERED)
    return np.abs(found - true) <= error


def _spread(statistic: Callable, values) -> float:
    """Standard error of a statistic, by drawing the values anew."""
    if len(values) < 2:
        return np.nan
    draws = np.random.default_rng(_SEED).integers(len(values), size=(_DRAWS, len(values)))
    return float(np.std([statistic(values[draw]) for draw in draws]))


def _cell(row, name: str, columns: list[str]) -> str:
    value = row[name]
    if isinstance(value, str | int | np.integer):
        return str(value)
    if not np.isfinite(value):
        return ""
    error = row[f"{name}_err"] if f"{name}_err" in columns else np.nan
    return f"{value:.1f}±{error:.1f}" if np.isfinite(error) else f"{value:.1f}"


def _plain(value):
    """A value as JSON has it; None for NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
