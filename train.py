"""Trains the deblender, or a generator of galaxies.

    python train.py --workdir DIR [--config FILE.py] [--config.key=value ...]

Simulates what data it misses, trains each stage of the configuration, and keeps everything under
the working directory. Killed and started again with the same command, it goes on where it was.
With --export FOLDER the trained weights, and what a deblender needs besides, are written there.

Heavy imports stand inside the functions that need them: the processes that render galaxies import
this file anew, and need none of them.
"""

import json
import time
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vaedeblend.exceptions import VaedeblendError, WorkdirError

_QUICK = str(Path(__file__).parent / "vaedeblend" / "configs" / "quick.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "Takes data, checkpoints, metrics and the report.")
_EXPORT = flags.DEFINE_string("export", None, "Folder that takes the trained weights alone.")
_CONFIG = config_flags.DEFINE_config_file("config", _QUICK, "Python file with get_config().")

console = Console()


def main(argv):
    """Command line; errors of the user's input end the program with one line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    try:
        train(_CONFIG.value, Path(_WORKDIR.value))
        if _EXPORT.value:
            from vaedeblend.deblend.network import export

            export(_WORKDIR.value, _EXPORT.value)
    except ValueError as error:  # every error of this package that the user can mend is one
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from error


def train(config, workdir: Path) -> None:
    """Trains every stage of a configuration into `workdir`.

    Raises:
        WorkdirError: The directory holds another configuration.
        ValueError: Input that cannot be used: each names itself.
    """
    from data_builders import build_datasets

    trainer = _trainer(config)
    _claim(workdir, config)
    directories = build_datasets(config, workdir, console)
    for index, name in enumerate(trainer.STAGES):
        if name in config.stages:
            seed = config.seed * len(trainer.STAGES) + index
            _train_stage(trainer, config, name, seed, workdir, directories)


def _claim(workdir: Path, config) -> None:
    """Writes config.json, or compares with the one that is there."""
    from vaedeblend.io.workdir import read_config

    path, wanted = workdir / "config.json", json.loads(config.to_json_best_effort())
    if path.exists():
        found, wanted = _leaves(read_config(workdir)), _leaves(wanted)
        keys = sorted(k for k in found | wanted if found.get(k) != wanted.get(k))
        if keys:
            differences = ", ".join(f"{k}: {found.get(k)} != {wanted.get(k)}" for k in keys)
            raise WorkdirError(f"{path}: belongs to another configuration ({differences})")
        return
    workdir.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".partial").write_text(json.dumps(wanted, indent=2) + "\n")
    path.with_suffix(".partial").rename(path)


def _leaves(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        inside = isinstance(value, dict)
        flat |= _leaves(value, f"{prefix}{key}.") if inside else {prefix + key: value}
    return flat


def _trainer(config):
    """The module of `vaedeblend.trainers` whose stages the configuration has."""
    from vaedeblend.training import deblender, generator

    for trainer in (deblender, generator):
        if set(config.stages) <= set(trainer.STAGES):
            return trainer
    raise VaedeblendError(
        f"stages are {sorted(config.stages)}; "
        f"wanted some of {list(deblender.STAGES)}, or of {list(generator.STAGES)}"
    )


def _train_stage(trainer, config, name: str, seed: int, workdir: Path, directories) -> None:
    import jax

    from vaedeblend.training import loop

    stage, mesh = config.stages[name], loop.data_mesh()
    if stage.batch_size % mesh.size:
        raise VaedeblendError(
            f"stages.{name}.batch_size is {stage.batch_size}; "
            f"wanted a multiple of the {mesh.size} devices"
        )
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
    with _progress(name, stage.steps, stage.batch_size) as report:
        state = loop.fit(
            state,
            step,
            task.library,
            directory=workdir / name,
            steps=stage.steps,
            log_every=stage.log_every,
            checkpoint_every=stage.checkpoint_every,
            validate=loop.make_validation(task.objective, task.validation, seed=seed),
            report=report,
        )
    with console.status(f"{name}: finishing"):
        task.finish(jax.device_get(state.average))


class _progress:
    """A bar with throughput, time left and the latest losses."""

    def __init__(self, name: str, steps: int, batch_size: int):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task(f"training {name}", total=steps, note="compiling")
        self.batch_size, self.last = batch_size, None

    def __enter__(self):
        self.bar.start()
        return self.report

    def __exit__(self, *exception):
        self.bar.stop()

    def report(self, step: int, record) -> None:
        now = time.monotonic()
        rate = ""
        if self.last:
            rate = f"{(step - self.last[0]) * self.batch_size / (now - self.last[1]):.0f} stamps/s"
        self.last = step, now
        losses = f"loss {record['train_loss']:.2f}, validation {record['validation_loss']:.2f}"
        self.bar.update(self.task, completed=step, note=f"{losses} {rate}")
        if not console.is_terminal:
            console.print(f"{self.bar.tasks[0].description}: step {step}: {losses} {rate}")


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main)
