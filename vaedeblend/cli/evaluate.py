"""`vaedeblend evaluate`, which is eval.py: networks on stamps of known truth, beside SExtractor.

The network and SExtractor measure the same noisy stamps. What is missing (a stage, a set, a
training's history, SExtractor) is said in the report, which goes on without it; a test set that is
damaged makes the exit status 1.
"""

import argparse
import contextlib
import json
import time
from pathlib import Path

from vaedeblend.cli.console import console, show_error

_NOT_ANALYTIC = (
    "Test galaxies are of the style {}; the Fisher bound is that of analytic ones in their place."
)
_LIMITED = "Each set has {} stamps at most, as --limit asked for."


def add_evaluate(add) -> None:
    """Adds the command's arguments to its parser."""
    add.add_argument("--workdir", required=True, help="workdir of a training; takes the report")
    add.add_argument(
        "--weights", help="shipped weights or a workdir, in place of the workdir's own"
    )
    add.add_argument("--style", help="style of the test galaxies, in place of the training's")
    add.add_argument("--compare", help="workdir whose report is set beside this one")
    add.add_argument("--seed", type=int, default=0, help="seed of the test noise")
    add.add_argument("--limit", type=_stamps, help="most stamps of each set; all if not given")


def _stamps(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text}; wanted at least 1 stamp of each set")
    return int(text)


def evaluate_command(*, workdir: str, weights: str | None, limit: int | None, **options) -> int:
    """`vaedeblend evaluate`: see `evaluate_weights`; 1 where a test set cannot be read."""
    from vaedeblend.io.workdir import find_workdir

    folder = Path(workdir)
    return int(
        not evaluate_weights(folder, find_workdir(weights or folder), limit=limit, **options)
    )


def evaluate_weights(
    workdir: Path,
    weights: Path,
    *,
    seed: int = 0,
    style: str | None = None,
    compare: str | None = None,
    limit: int | None = None,
) -> bool:
    """Writes workdir/report on what was trained in `weights`, and prints its table.

    Args:
        workdir: Folder whose test data are used, and made where they are missing.
        weights: Workdir of the training.
        seed: Seed of the test noise.
        style: Style of the test galaxies; by default the training's.
        compare: Workdir whose report is set beside this one.
        limit: Most stamps of each set; all by default.

    Returns:
        Whether all sets of test stamps could be read.

    Raises:
        WorkdirError: Not the workdir of a training.
        CheckpointError: No stage is trained.
        DatasetError: No dataset can be read.
    """
    from ml_collections import ConfigDict

    from data_builders import build_datasets, survey_of
    from vaedeblend.evaluate import evaluation, results
    from vaedeblend.io.workdir import read_config
    from vaedeblend.report import report, study
    from vaedeblend.report.origin import make_setting
    from vaedeblend.report.subject import load_networks, load_scenes

    start, config = time.monotonic(), ConfigDict(read_config(weights))
    config.data.style = style or config.data.get("style", "analytic")
    compared = study.read_compared(compare) if compare else None
    networks, missing = load_networks(weights, config.stages)
    notes, folder, few = list(missing), workdir / "report", ""
    if config.data.style != "analytic":
        notes.append(_NOT_ANALYTIC.format(config.data.style))
    if limit is not None:
        whole, config.sizes = _tested(config.sizes), _limited(config.sizes, limit)
        if (left := _tested(config.sizes)) < whole:
            notes.append(_LIMITED.format(limit))
            few = _few(left, whole, _reported(folder))
    directories = build_datasets(config, workdir, console, split="test")
    test, training, damage = load_scenes(directories)
    for said in (*missing, *damage):
        show_error(said)
    with console.status("deblending the test stamps and measuring them with SExtractor"):
        result = evaluation.evaluate(networks, test, training, survey_of(config), seed=seed)
    results.write_evaluation(result, folder)
    console.print(results.results_table(result.metrics))
    with console.status("drawing the report"):
        setting = make_setting(config, weights, workdir)
        spent = time.monotonic() - start
        setting = setting._replace(notes=[*notes, *setting.notes, *damage], seconds=spent)
        timing = report.write_report(folder, result, setting, compared)["timing"]
    spent = (f"{name.replace('_', '-')} {seconds:.0f} s" for name, seconds in timing.items())
    console.print(f"time: {', '.join(spent)}", highlight=False)
    if few:
        console.print(few, soft_wrap=True)
    console.print(_next(folder, weights), soft_wrap=True)
    return not damage


def _limited(sizes, limit: int) -> dict[str, dict[str, int]]:
    """Sizes of small sets that are simulated in the place of whole ones."""
    tested = {kind: splits for kind, splits in sizes.items() if kind != "companions"}
    return {
        kind: {split: min(splits[split], limit) for split in ("train", "test") if split in splits}
        for kind, splits in tested.items()
        if "test" in splits
    }


def _tested(sizes) -> int:
    """Number of the test stamps of all sets."""
    return sum(splits.get("test", 0) for kind, splits in sizes.items() if kind != "companions")


def _reported(folder: Path) -> int:
    """Number of the stamps of the report that a folder holds; 0 without one that can be read."""
    with contextlib.suppress(OSError, ValueError):
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return sum(each.get("n", 0) for each in metrics.values())
    return 0


def _few(left: int, whole: int, before: int) -> str:
    """What a report lacks that --limit has made small, and what it stands in the place of."""
    replaced = f", and replaces one of {before}" if before > left else ""
    return f"limit: the report is of {left} of {whole} test stamps{replaced}"


def _next(folder: Path, weights: Path) -> str:
    """What to open now, and what these weights are for."""
    from vaedeblend.io.workdir import WEIGHTS

    name = weights.name if weights.parent == WEIGHTS else weights
    again = f"vaedeblend deblend IMAGE.fits --weights {name} --out RESULT"
    return f"report: open {folder / 'index.html'}; next: {again}"
