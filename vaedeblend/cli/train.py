"""`vaedeblend train`, which is train.py: simulates what data it misses, and trains each stage.

Everything is kept under the working directory. Killed and started again with the same command, it
goes on where it was.
"""

import json
import shlex
import time
from pathlib import Path

from vaedeblend.cli.console import console, progress_bars
from vaedeblend.cli.reading.configuration import read_training

_DEFAULT = Path(__file__).parents[1] / "configs" / "fine_tuned.py"


def add_train(add) -> None:
    """Adds the command's arguments to its parser."""
    add.add_argument(
        "--workdir", required=True, help="folder of data, checkpoints, metrics and the report"
    )
    add.add_argument(
        "--config",
        help="Python file with get_config(), whose values --config.KEY=VALUE sets; that of the "
        "shipped weights' fine-tuning if not given",
    )
    add.add_argument("--export", help="folder that takes the trained weights alone")
    add.add_argument(
        "--distributed",
        help="several processes train together, each of which is given this command: auto on a "
        "cluster that JAX knows, or HOST:PORT,INDEX,COUNT",
    )


def train_command(
    *,
    workdir: str,
    config: str | None,
    export: str | None,
    distributed: str | None,
    overrides: list[str],
) -> None:
    """`vaedeblend train`: see `train`."""
    settings = read_training(config or str(_DEFAULT), overrides)
    _settle_logging()
    from vaedeblend.io import workdir as workdirs
    from vaedeblend.io.folders.jobs import locked
    from vaedeblend.io.write import prepare_folder
    from vaedeblend.training import hosts

    if export:
        workdirs.check_export(workdir, export)
        prepare_folder(export)
    if distributed:
        hosts.connect(distributed)
    if not hosts.is_first():
        console.quiet = True
        train(settings, Path(workdir))
        return
    with locked(workdir) as folder:
        train(settings, folder)
        if export:
            workdirs.export(folder, export)


def _settle_logging() -> None:
    """What orbax logs of its waits is for those who ask for more: errors are raised as well."""
    from absl import logging

    logging.set_verbosity(logging.WARNING if console.verbose else logging.FATAL)


def train(config, workdir: Path) -> None:
    """Trains every stage of a configuration into `workdir`.

    Args:
        config: ConfigDict with the keys of `configs.quick`.
        workdir: Folder that takes data, checkpoints and metrics.

    Raises:
        WorkdirError: The directory holds another configuration.
        ValueError: Input that cannot be used: each names itself.
    """
    from data_builders import build_datasets
    from vaedeblend.io.workdir import refuse_another
    from vaedeblend.training import hosts
    from vaedeblend.training.settings import assumed, check_settings, find_trainers

    start = time.monotonic()
    refuse_another(workdir, _plain(config))
    check_settings(config)
    for said in assumed(config):
        console.print(said, markup=False, soft_wrap=True)
    directories = hosts.first_of_all(lambda: build_datasets(config, workdir, console), "data")
    for name, trainer in find_trainers(config.stages).items():
        seed = config.seed * len(trainer.STAGES) + trainer.STAGES.index(name)
        _train_stage(trainer, config, name, seed, workdir, directories)
    minutes = (time.monotonic() - start) / 60
    following = f"vaedeblend evaluate --workdir {shlex.quote(str(workdir))}"
    console.print(f"trained in {minutes:.1f} min; next: {following}", soft_wrap=True)


def _plain(config) -> dict:
    return json.loads(config.to_json_best_effort())


def _train_stage(trainer, config, name: str, seed: int, workdir: Path, directories) -> None:
    import jax

    from vaedeblend.io import checkpoint
    from vaedeblend.io.workdir import CHECKPOINTS, claim
    from vaedeblend.training import hosts, loop

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
        micro_batches=stage.micro_batches,
        seed=seed,
        mesh=mesh,
    )
    if hosts.is_first():
        claim(workdir, _plain(config))  # now that all of it has been used
    done = checkpoint.latest_step(workdir / name / CHECKPOINTS) or 0
    if done:
        console.print(f"{name}: resumed from step {done} of {stage.steps}")
    with progress_bars() as report:
        state = loop.fit(
            state,
            step,
            task.library,
            directory=workdir / name,
            steps=stage.steps,
            log_every=stage.log_every,
            checkpoint_every=stage.checkpoint_every,
            validate=loop.make_validation(task.objective, task.validation, seed=seed),
            report=_reporter(report, name, stage, done),
        )
    if hosts.is_first():
        with console.status(f"{name}: finishing"):
            task.finish(jax.device_get(state.average))
    hosts.wait(f"{name} is finished")


def _reporter(report, name: str, stage, done: int):
    """The function `(step, record)` that shows a training's losses and throughput."""
    what, last = f"training {name}", None
    report(what, done, stage.steps, "compiling" if done < stage.steps else "")

    def each(step: int, record) -> None:
        nonlocal last
        now, rate = time.monotonic(), ""
        if last:
            rate = f"{(step - last[0]) * stage.batch_size / (now - last[1]):.0f} stamps/s"
        last = step, now
        losses = f"loss {record['train_loss']:.2f}, validation {record['validation_loss']:.2f}"
        report(what, step, stage.steps, f"{losses} {rate} (of {stage.steps} steps)")

    return each
