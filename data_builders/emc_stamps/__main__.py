"""Stamps from a folder of the Euclid Morphology Challenge: `python -m data_builders.emc_stamps`."""

import argparse

from rich.console import Console
from rich.table import Table

from data_builders.emc_stamps.emc_stamps_dataset_builder import SPLITS, build, read_census
from vaedeblend.euclid.emc.layout import DATASETS


def main() -> None:
    """Cuts the stamps, and prints where they are and what became of every source."""
    parser = argparse.ArgumentParser("data_builders.emc_stamps", description=__doc__.split(":")[0])
    parser.add_argument("folder", help="that holds the challenge's files, in it or below")
    parser.add_argument("--dataset", default="realm", choices=list(DATASETS))
    parser.add_argument("--data-dir", default="runs/data", help="that holds all datasets")
    for split, numbers in SPLITS.items():
        add = {"type": int, "nargs": "*", "default": list(numbers)}
        parser.add_argument(f"--{split}", help="numbers of fields", **add)
    parser.add_argument(
        "--missing-truth", action="store_true", help="leave out galaxies of which nothing is known"
    )
    options = vars(parser.parse_args())
    splits = {split: options.pop(split) for split in SPLITS}
    splits = {split: numbers for split, numbers in splits.items() if numbers}
    console = Console()
    try:
        directory = build(**options, splits=splits)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", soft_wrap=True)
        raise SystemExit(1) from error
    console.print(f"stamps: {directory}", soft_wrap=True)
    console.print(show(read_census(directory)))


def show(counts) -> Table:
    """What became of every source, field by field and of all, as a table to be printed."""
    fields = ["all" if field == -1 else f"field {field}" for field in counts["field"]]
    shown = Table("", *fields, title="what became of every source")
    for name in counts.colnames[1:]:
        shown.add_row(name, *map(str, counts[name]))
    return shown


if __name__ == "__main__":
    main()
