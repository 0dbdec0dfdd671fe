"""Trains the deblender, or a generator of galaxies.

    python train.py --workdir DIR [--config FILE.py] [--config.key=value ...]

Simulates what data it misses, trains each stage of the configuration, and keeps everything under
the working directory. Killed and started again with the same command, it goes on where it was.
With --export FOLDER the trained weights, and what a deblender needs besides, are written there.

Heavy imports stand inside the functions that need them: the processes that render galaxies import
this file anew, and need none of them.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.io.folders.jobs import locked
from vaedeblend.io.progress import complain, progress, run_command
from vaedeblend.io.workdir import claim, export, refuse_another


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """A configuration is read; one that cannot be, or cannot be set so, is one line."""
    try:
        yield
    except Exception as error:  # a user's file may raise anything
        why = " ".join(str(error).split())
        complain(Console(stderr=True), f"--config: {type(error).__name__}: {why}")
        raise SystemExit(1) from None


_QUICK = str(Path(__file__).parent / "vaedeblend" / "configs" / "quick.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Takes data, checkpoints, metrics and the report.")
_EXPORT = flags.DEFINE_string("export", None, "Folder that takes the trained weights alone.")
with _reading():
    _CONFIG = config_flags.DEFINE_config_file("config", _QUICK, "Python file with get_config().")

console = Console()


def main(argv):
    """Command line; errors of the user's input end the program with one line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    raise SystemExit(run_command(_run))


def _run() -> None:
    with locked(_WORKDIR.value) as workdir:
        train(_CONFIG.value, workdir)
        if _EXPORT.value:
            export(workdir, _EXPORT.value)


def train(config, workdir: Path) -> None:
    """Trains every stage of a configuration into `workdir`.

    Raises:
        WorkdirError: The directory holds another configuration.
        ValueError: Input that cannot be used: each names itself.
    """
    from data_builders import build_datasets

    start, trainers = time.monotonic(), _trainers(config)
    refuse_another(workdir, _plain(config))
    _check(trainers, config)
    directories = build_datasets(config, workdir, console)
    for name, trainer in trainers.items():
        seed = config.seed * len(trainer.STAGES) + trainer.STAGES.index(name)
        _train_stage(trainer, config, name, seed, workdir, directories)
    minutes = (time.monotonic() - start) / 60
    console.print(f"trained in {minutes:.1f} min; next: python eval.py --workdir {workdir}")


def _trainers(config) -> dict:
    """Module of `vaedeblend.training` that trains each stage of the configuration, in order."""
    from vaedeblend.training.trainers import companions, deblender, generator

    found, kinds = set(config.stages), [(deblender, companions), (generator,)]
    for kind in kinds:
        trainers = {stage: trainer for trainer in kind for stage in trainer.STAGES}
        if found <= set(trainers):
            return {stage: trainer for stage, trainer in trainers.items() if stage in found}
    wanted = ", or of ".join(str([s for each in kind for s in each.STAGES]) for kind in kinds)
    raise VaedeblendError(f"stages are {sorted(found)}; wanted some of {wanted}")


def _check(trainers, config) -> None:
    """Refuses what cannot be trained with, before anything is simulated or written."""
    import jax

    from vaedeblend.simulate.galaxies.styles import find_style, of_split
    from vaedeblend.training.stages import check_stage

    find_style(of_split(config.data.style, "train"))
    for name, stage in config.stages.items():
        check_stage(name, stage, jax.device_count())
    try:
        for trainer in set(trainers.values()):
            trainer.check(config)
    except TypeError as error:  # a key that a part of the training does not have, or lacks
        raise VaedeblendError(f"configuration: {error}") from error


def _plain(config) -> dict:
    return json.loads(config.to_json_best_effort())


def _train_stage(trainer, config, name: str, seed: int, workdir: Path, directories) -> None:
    import jax

    from vaedeblend.io import checkpoint
    from vaedeblend.training import loop

    stage, mesh = config.stages[name], loop.data_mesh()
    optimizer = loop.make_optimizer(steps=stage.steps, **stage.optimizer)
    with console.status(f"{name}: reading galaxies"):
        task = trainer.prepare(config, name, workdir, directories, mesh)
    state = loop.create_state(task.params, optimizer, trainable=stage.trainable, mesh=mesh)
    step = loop.make_step(
        task.objective,
        optimizer,
        task.make_batch,
        trainable=stage.trainable,
        average_decay=stage.average_decay,
        seed=seed,
        mesh=mesh,
    )
    claim(workdir, _plain(config))  # now that all of it has been used
    if done := checkpoint.latest_step(workdir / name / "checkpoints"):
        console.print(f"{name}: resumed from step {done} of {stage.steps}")
    with progress(console) as report:
        state = loop.fit(
            state,
            step,
            task.library,
            directory=workdir / name,
            steps=stage.steps,
            log_every=stage.log_every,
            checkpoint_every=stage.checkpoint_every,
            validate=loop.make_validation(task.objective, task.validation, seed=seed),
            report=_reporter(report, name, stage),
        )
    with console.status(f"{name}: finishing"):
        task.finish(jax.device_get(state.average))


def _reporter(report, name: str, stage):
    """The function `(step, record)` that shows a training's losses and throughput."""
    what, last = f"training {name}", None
    report(what, 0, stage.steps, "compiling")

    def each(step: int, record) -> None:
        nonlocal last
        now, rate = time.monotonic(), ""
        if last:
            rate = f"{(step - last[0]) * stage.batch_size / (now - last[1]):.0f} stamps/s"
        last = step, now
        losses = f"loss {record['train_loss']:.2f}, validation {record['validation_loss']:.2f}"
        report(what, step, stage.steps, f"{losses} {rate} (of {stage.steps} steps)")

    return each


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main, flags_parser=_reading()(app.parse_flags_with_usage))
