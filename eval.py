"""Evaluates a training, or shipped weights.

    python eval.py --workdir DIR [--weights NAME]

Deblends the test split, measures the same noisy stamps with SExtractor, prints the table and writes
DIR/report: metrics.json, per-example tables, figures. What is evaluated is the training of DIR, or
the weights of that name, whose test data DIR then takes.
"""

from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict
from rich.console import Console

_WORKDIR = flags.DEFINE_string("workdir", None, "Of a training; takes the report.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Shipped weights; else the workdir's own.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the test noise.")

console = Console()


def main(argv):
    """Command line; errors of the user's input end the program with one line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    from vaedeblend.deblender import find_workdir

    logging.set_verbosity(logging.WARNING)
    try:
        workdir = Path(_WORKDIR.value)
        evaluate(workdir, find_workdir(_WEIGHTS.value or workdir), _SEED.value)
    except ValueError as error:  # every error of this package that the user can mend is one
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from error


def evaluate(workdir: Path, weights: Path, seed: int) -> None:
    """Writes workdir/report on what was trained in `weights`, and prints its table.

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
        make_deblend,
        make_sample,
        read_config,
    )
    from vaedeblend.together import make_deblend_stamps

    config = ConfigDict(read_config(weights))
    stages = [name for name in STAGES if name in config.stages]
    model, params, options = load_network(weights, stages[-1])
    one_look = make_deblend(model, params, **options)
    others = {"one_look": one_look}
    if len(stages) > 1:
        others["vae_i"] = load_deblender(weights, "isolated")
    directories = build_datasets(config, workdir, console, split="test")
    with console.status("deblending the test stamps and measuring them with SExtractor"):
        result = evaluation.evaluate(
            dict.fromkeys(directories, make_deblend_stamps(one_look)),
            {kind: dataset.load(directories[kind], "test") for kind in directories},
            {kind: dataset.load(directories[kind], "train") for kind in directories},
            survey_of(config),
            seed=seed,
            others=others,
            sample=make_sample(model, params, **options),
        )
    folder = workdir / "report"
    evaluation.write(result, folder)
    histories = {name: training.read_records(weights / name / "metrics.jsonl") for name in stages}
    report.save_figures(folder, result, histories)
    console.print(report.results_table(result.metrics))
    console.print(f"report: {folder}")


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main)
