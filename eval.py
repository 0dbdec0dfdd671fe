"""Evaluates a training, or shipped weights.

    python eval.py --workdir DIR [--weights NAME] [--style STYLE] [--compare DIR2]

Deblends the test split, measures the same noisy stamps with SExtractor, prints the table and writes
DIR/report: index.html with all figures, these as PNG and PDF, tables, metrics.json and the
per-example table. What is evaluated is the training of DIR, or the weights of that name, whose test
data DIR then takes. With --style its galaxies are drawn in another way than those of the training.
The report of DIR2, evaluated before, is set beside it.

What is missing (a stage, a set, a training's history, SExtractor) is said in the report, which goes
on without it; a test set that is damaged makes the exit status 1.
"""

import time
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict
from rich.console import Console

from vaedeblend.exceptions import CatalogueError, CheckpointError, DatasetError
from vaedeblend.io.progress import complain, run_command

_WORKDIR = flags.DEFINE_string("workdir", None, "Workdir of a training; takes the report.")
_WEIGHTS = flags.DEFINE_string(
    "weights", None, "Shipped weights or a workdir; else the workdir's own."
)
_STYLE = flags.DEFINE_string("style", None, "Style of the test galaxies; else the training's.")
_COMPARE = flags.DEFINE_string("compare", None, "Workdir whose report is set beside this one.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the test noise.")

_NOT_ANALYTIC = (
    "Test galaxies are of the style {}; the Fisher bound is that of analytic ones in their place."
)

console, errors = Console(), Console(stderr=True)


def main(argv):
    """Command line; errors of the user's input end the program with one line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    raise SystemExit(run_command(_run))


def _run() -> int:
    """Exit status: 1 where a set of test stamps cannot be read."""
    from vaedeblend.io.workdir import find_workdir

    workdir = Path(_WORKDIR.value)
    weights = find_workdir(_WEIGHTS.value or workdir)
    return int(not evaluate(workdir, weights, _SEED.value, _STYLE.value, _COMPARE.value))


def evaluate(
    workdir: Path,
    weights: Path,
    seed: int,
    style: str | None = None,
    compare: str | None = None,
) -> bool:
    """Writes workdir/report on what was trained in `weights`, and prints its table.

    Returns:
        Whether all sets of test stamps could be read.

    Raises:
        WorkdirError: Not the workdir of a training.
        CheckpointError: No stage is trained.
        DatasetError: No dataset can be read.
    """
    from data_builders import build_datasets, survey_of
    from vaedeblend.evaluate import evaluation, results
    from vaedeblend.io.workdir import read_config
    from vaedeblend.report import report, study

    start, config = time.monotonic(), ConfigDict(read_config(weights))
    config.data.style = style or config.data.get("style", "analytic")
    compared = study.read_compared(compare) if compare else None
    networks, notes = _networks(weights, config)
    if config.data.style != "analytic":
        notes.append(_NOT_ANALYTIC.format(config.data.style))
    directories = build_datasets(config, workdir, console, split="test")
    test, training, damage = _scenes(directories)
    with console.status("deblending the test stamps and measuring them with SExtractor"):
        result = evaluation.evaluate(networks, test, training, survey_of(config), seed=seed)
    folder = workdir / "report"
    results.write_evaluation(result, folder)
    console.print(results.results_table(result.metrics))
    with console.status("drawing the report"):
        setting = _setting(config, weights, workdir, [*notes, *damage], time.monotonic() - start)
        timing = report.write_report(folder, result, setting, compared)["timing"]
    spent = (f"{name.replace('_', '-')} {seconds:.0f} s" for name, seconds in timing.items())
    console.print(f"time: {', '.join(spent)}", highlight=False)
    console.print(f"report: {folder / 'index.html'}", soft_wrap=True)
    return not damage


def _networks(weights: Path, config) -> tuple:
    """Networks of the trained stages (`evaluation.Networks`), and notes of stages that miss."""
    from vaedeblend.deblend.joint import make_deblend_stamps
    from vaedeblend.deblend.network import STAGES, load_deblender
    from vaedeblend.evaluate.evaluation import Networks
    from vaedeblend.evaluate.latents import make_decode
    from vaedeblend.simulate.examples import KINDS

    loaded, notes, failure = {}, [], None
    for stage in (name for name in STAGES if name in config.stages):
        try:
            loaded[stage] = load_deblender(weights, stage)
        except CheckpointError as error:
            failure = error
            notes.append(f"Stage {stage} is not trained: {error}")
            complain(errors, error)
    if not loaded:
        raise failure or CheckpointError(f"{weights}: no stage is configured; wanted {STAGES}")
    stage = list(loaded)[-1]
    network = loaded[stage]
    others = {"one_look": network}  # one iteration; the name is that of columns and metrics
    if stage != "isolated" and "isolated" in loaded:
        others["vae_i"] = loaded["isolated"]
    networks = Networks(
        deblend=dict.fromkeys(KINDS, make_deblend_stamps(network)),
        stage=stage,
        others=others,
        sample=network.sample,
        decode=make_decode(network.model, network.params, network.psf),
    )
    return networks, notes


def _scenes(directories: dict[str, Path]) -> tuple[dict, dict, list[str]]:
    """Test and training scenes of the sets that can be read, and what is wrong with the others."""
    from vaedeblend.io import dataset

    test, training, damage, failure = {}, {}, [], None
    for kind, directory in directories.items():
        try:
            test[kind] = dataset.load(directory, "test")
        except DatasetError as error:
            failure = error
            damage.append(f"The set {kind} cannot be read: {error}")
            complain(errors, error)
            continue
        try:
            training[kind] = dataset.load(directory, "train")
        except DatasetError as error:
            damage.append(f"SExtractor has its default settings on the set {kind}: {error}")
            complain(errors, error)
    if not test:
        raise failure or DatasetError("no set of test stamps is configured")
    return test, training, damage


def _setting(config, weights: Path, workdir: Path, notes: list[str], seconds: float):
    """What the report says of where its numbers come from."""
    from data_builders import survey_of
    from vaedeblend.catalogues.sampling import population
    from vaedeblend.deblend.network import STAGES
    from vaedeblend.report import study
    from vaedeblend.simulate.render import survey_psfs
    from vaedeblend.training import loop

    survey, data = survey_of(config), config.data
    try:
        catalog = population(data.source, data.area, data.seed, survey.band_names)
    except CatalogueError as error:
        catalog, notes = None, [*notes, f"The catalogue cannot be read: {error}"]
    return study.Setting(
        title=weights.name if weights != workdir else workdir.resolve().name,
        histories={s: loop.read_records(weights / s / "metrics.jsonl") for s in STAGES},
        catalog=catalog,
        data=data.to_dict(),
        psf=survey_psfs(survey, data.stamp_size)[0],
        scale=survey.pixel_scale.value,
        notes=notes,
        seconds=seconds,
    )


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main)
