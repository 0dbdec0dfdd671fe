"""The results table: flux errors of every method on every kind of scene, for console and page."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rich.box import SIMPLE
from rich.table import Table

ROWS = {
    "VAE": "vae",
    "SExtractor": "sextractor",
    "  no failures": "sextractor_clean",
    "  bias removed": "sextractor_corrected",
    "  its defaults": "sextractor_default",
    "network, one look": "one_look",
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
STATISTICS = {
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
    """Of a method, where its row does not stand below SExtractor's."""
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
    for name in ("n", "found", *STATISTICS, "VAE closer"):
        table.add_column(name, justify="right")
    last = None
    for row in rows(metrics):
        if last not in (None, row.kind):
            table.add_section()
        last, errors = row.kind, metrics[row.kind][row.errors.split("/")[1]]
        values = [errors[name] for name in STATISTICS.values()]
        values.append(metrics[row.kind][row.closer.split("/")[1]] if row.closer else None)
        cells = ["" if v is None else f"{100 * v:.1f}" for v in values]
        table.add_row(row.kind, row.label, str(errors["n"]), str(errors["found"]), *cells)
    table.add_section()
    return table
