"""Results of an evaluation: the console's table of flux errors, and files of all the rest."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import astropy.table
import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from vaedeblend.evaluate.evaluation import Evaluation
from vaedeblend.io.write import prepare_folder, write_table, write_text

ROWS = {
    "network": "vae",
    "SExtractor": "sextractor",
    "  no failures": "sextractor_clean",
    "  bias removed": "sextractor_corrected",
    "  its defaults": "sextractor_default",
    "network, one iteration": "one_look",
    "VAE I": "vae_i",
}
"""Names of the methods and their keys in the metrics of a kind of scene."""
CLOSER = {
    "one_look": "vae_closer_one_look",
    "vae_i": "vae_closer_vae_i",
    "sextractor": "vae_closer",
    "sextractor_corrected": "vae_closer_corrected",
    "sextractor_default": "vae_closer_default",
}
"""Keys of how often the network is closer than a method."""
ERROR_STATISTICS = {
    "bias": "bias",
    "sigma": "sigma",
    "NMAD": "nmad",
    "outliers": "outliers",
    "mean |e|": "mean_abs",
}


class Row(NamedTuple):
    """A method on a kind of scene, and where in the metrics its numbers are."""

    kind: str
    label: str
    errors: str
    """Path of its `metrics.summarise`."""
    closer: str
    """Path of how often the network is closer; empty for the network itself."""


def full_name(label: str) -> str:
    """Name of a method, where its row does not stand below SExtractor's."""
    return f"SExtractor, {label.strip()}" if label.startswith(" ") else label


def rows(metrics: Mapping[str, Mapping]) -> Iterator[Row]:
    """The methods that each kind of scene has numbers of."""
    for kind, summary in metrics.items():
        for label, key in ROWS.items():
            if summary.get(key) and summary[key]["n"] is not None:
                closer = f"{kind}/{CLOSER[key]}" if key in CLOSER else ""
                yield Row(kind, label, f"{kind}/{key}", closer)


def results_table(metrics: Mapping[str, Mapping]) -> Table:
    """Relative flux errors of the central galaxy, method by method, in per cent."""
    programs = ", ".join(sorted({each["program"] for each in metrics.values()}))
    table = Table(
        title=f"relative flux error [%] of the central galaxy; baseline {programs}",
        title_justify="left",
        box=SIMPLE,
        padding=0,
    )
    table.add_column("set", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for name in ("n", "found", *ERROR_STATISTICS, "network closer"):
        table.add_column(name, justify="right")
    last = None
    for row in rows(metrics):
        if last not in (None, row.kind):
            table.add_section()
        last, errors = row.kind, metrics[row.kind][row.errors.split("/")[1]]
        values = [errors[name] for name in ERROR_STATISTICS.values()]
        values.append(metrics[row.kind][row.closer.split("/")[1]] if row.closer else None)
        cells = ["" if v is None else f"{100 * v:.1f}" for v in values]
        table.add_row(row.kind, row.label, str(errors["n"]), str(errors["found"]), *cells)
    table.add_section()
    return table


def write_evaluation(evaluation: Evaluation, folder: str | Path) -> None:
    """Writes metrics.json, examples.fits and sextractor_grid_{kind}.ecsv into a folder.

    Raises:
        FileError: A file cannot be written.
    """
    folder = prepare_folder(folder)
    for kind, rows in evaluation.grids.items():
        if rows:
            write_table(folder / f"sextractor_grid_{kind}.ecsv", astropy.table.Table(rows=rows))
    if tables := list(evaluation.examples.values()):
        joined = astropy.table.vstack(tables).filled(np.nan) if len(tables) > 1 else tables[0]
        write_table(folder / "examples.fits", joined)
    write_metrics(evaluation.metrics, folder)


def write_metrics(metrics: Mapping, folder: str | Path) -> None:
    """Writes metrics.json into a folder, whole or not at all."""
    text = json.dumps(strict(metrics), indent=2, allow_nan=False) + "\n"
    write_text(Path(folder) / "metrics.json", text)


def strict(value):
    """Metrics with None in place of numbers that JSON does not have: NaN and the infinities."""
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, dict):
        return {key: strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
