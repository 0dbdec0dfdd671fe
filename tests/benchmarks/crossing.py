"""Weights on galaxies of styles that they have and have not been trained on.

    PYTHONPATH=. python tests/benchmarks/crossing.py --weights euclid_vis runs/smooth \
        --styles analytic structured --workdir runs/crossing

Deblends the isolated and the blended test set of each style, under the same noise for all weights,
and prints relative flux errors in per cent; with the whole report, `eval.py --style` does so for
one of them. The sets are those of the first weights' configuration.
"""

import argparse
from pathlib import Path

from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from data_builders import build_datasets, survey_of
from vaedeblend.deblend.joint import make_deblend_stamps
from vaedeblend.deblend.network import load_deblender
from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.evaluation import StampSet
from vaedeblend.io import dataset, workdir
from vaedeblend.simulate.examples import KINDS, SPLITS

SETS = "isolated", "blended"
COLUMNS = "bias", "sigma", "nmad", "outliers"


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="takes the test sets")
    parser.add_argument("--weights", nargs="+", required=True, help="shipped ones, or workdirs")
    parser.add_argument("--styles", nargs="+", default=["analytic", "structured"])
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    options = parser.parse_args()
    console = Console(width=120)
    config = ConfigDict(workdir.read_config(workdir.find_workdir(options.weights[0])))
    table = Table(
        "galaxies", "set", "weights", "n", *COLUMNS, "coverage", title="relative flux error [%]"
    )
    for style in options.styles:
        config.data.style = style
        config.sizes = {kind: config.sizes[kind] for kind in SETS}
        directories = build_datasets(config, options.workdir, console, split="test")
        for kind in SETS:
            words = options.seed, SPLITS.index("test"), KINDS.index(kind)
            stamps = StampSet(dataset.load(directories[kind], "test"), survey_of(config), words)
            for weights in options.weights:
                with console.status(f"{style}, {kind}: {weights}"):
                    cells = measure(stamps, make_deblend_stamps(load_deblender(weights)))
                table.add_row(style, kind, str(weights), str(len(stamps.true)), *cells)
    console.print(table)


def measure(stamps, deblend):
    """Cells of COLUMNS, and the share of true fluxes within the errors."""
    found = stamps.deblend(deblend)
    flux, sigma = (field[:, 0].astype(float) for field in (found.flux, found.flux_err))
    summary = metrics.summarise(metrics.relative_error(flux, stamps.true))
    covered = (abs(flux - stamps.true) < sigma).mean()
    return [f"{100 * number:.2f}" for number in [*(summary[c] for c in COLUMNS), covered]]


if __name__ == "__main__":
    main()
