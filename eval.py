"""Evaluates a training: `python eval.py --workdir DIR`.

Restores each stage's latest checkpoint, deblends the test split, measures the same noisy stamps
with SExtractor, prints the table and writes DIR/report: metrics.json, per-example tables, figures.
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict
from rich.console import Console

_WORKDIR = flags.DEFINE_string("workdir", None, "Of a training.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the test noise.")

console = Console()


def main(argv):
    """Command line; errors of the user's input end the program with one line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    try:
        evaluate(Path(_WORKDIR.value), _SEED.value)
    except ValueError as error:  # every error of this package that the user can mend is one
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from error


def evaluate(workdir: Path, seed: int) -> None:
    """Writes workdir/report and prints its table.

    Raises:
        WorkdirError: Not the workdir of a training.
        CheckpointError: A stage is not trained.
        DatasetError: A dataset is damaged.
    """
    from data_builders import build_datasets, survey_of
    from vaedeblend import dataset, evaluation, report, training
    from vaedeblend.deblender import (
        STAGES,
        load_deblender,
        load_network,
        make_sample,
        read_config,
    )

    config = ConfigDict(read_config(workdir))
    stages = [name for name in STAGES if name in config.stages]
    deblenders = {name: load_deblender(workdir, name) for name in stages}
    model, params, options = load_network(workdir, stages[-1])
    directories = build_datasets(config, workdir, console)
    sets = [
        kind for kind, sizes in config.sizes.items() if kind != "companions" and "test" in sizes
    ]
    with console.status("deblending the test stamps and measuring them with SExtractor"):
        result = evaluation.evaluate(
            {kind: deblenders[stages[-1]] for kind in sets},
            {kind: dataset.load(directories[kind], "test") for kind in sets},
            {kind: dataset.load(directories[kind], "train") for kind in {"isolated", *sets}},
            survey_of(config),
            seed=seed,
            first_stage=deblenders["isolated"] if len(stages) > 1 else None,
            sample=make_sample(model, params, **options),
        )
    folder = workdir / "report"
    evaluation.write(result, folder)
    histories = {name: training.read_records(workdir / name / "metrics.jsonl") for name in stages}
    report.save_figures(folder, result, histories)
    console.print(report.results_table(result.metrics))
    console.print(f"report: {folder}")


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main)
