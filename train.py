"""Trains the deblender.

    python train.py --workdir DIR [--config FILE.py] [--config.key=value ...]

Simulates what data it misses, trains each stage of the configuration, and keeps everything under
the working directory. Killed and started again with the same command, it goes on where it was.
With --export FOLDER the trained weights, and what a deblender needs besides, are written there.

Heavy imports stand inside the functions that need them: the processes that render galaxies import
this file anew, and need none of them.
"""

import functools
import json
import time
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
            from vaedeblend.deblender import export

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
    from vaedeblend.deblender import STAGES

    _claim(workdir, config)
    directories = build_datasets(config, workdir, console)
    for index, name in enumerate(STAGES):
        if name in config.stages:
            seed = config.seed * len(STAGES) + index
            _train_stage(config, name, seed, workdir, directories)


def _claim(workdir: Path, config) -> None:
    """Writes config.json, or compares with the one that is there."""
    from vaedeblend.deblender import WorkdirError, read_config

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


def _train_stage(config, name: str, seed: int, workdir: Path, directories: dict[str, Path]) -> None:
    import jax

    from data_builders import survey_of
    from vaedeblend import calibration, training
    from vaedeblend.deblender import default_psf, make_deblend
    from vaedeblend.model import VAE
    from vaedeblend.together import calibrate_looks

    stage, survey = config.stages[name], survey_of(config)
    model = VAE(**config.model, bands=len(survey.bands))
    mesh = training.data_mesh()
    if stage.batch_size % mesh.size:
        raise ValueError(
            f"stages.{name}.batch_size is {stage.batch_size}; "
            f"wanted a multiple of the {mesh.size} devices"
        )
    optimizer = training.make_optimizer(steps=stage.steps, **stage.optimizer)
    params = _initial_params(config, name, workdir, model)
    state = training.create_state(params, optimizer, trainable=stage.trainable, mesh=mesh)
    objective = _objective(stage, model, params)
    with console.status(f"{name}: reading galaxies"):
        gallery, n_central = _gallery(directories, config.data.n_psfs, mesh)
        validation = _validation_batches(directories[name], survey, config)
    step = training.make_step(
        objective,
        optimizer,
        _make_batch(config, stage, survey, n_central),
        trainable=stage.trainable,
        average_decay=stage.average_decay,
        seed=seed,
        mesh=mesh,
    )
    with _progress(name, stage.steps, stage.batch_size) as report:
        state = training.fit(
            state,
            step,
            gallery,
            directory=workdir / name,
            steps=stage.steps,
            log_every=stage.log_every,
            checkpoint_every=stage.checkpoint_every,
            validate=training.make_validation(objective, validation, seed=seed),
            report=report,
        )
    with console.status(f"{name}: calibrating the errors on validation galaxies"):
        kinds = [kind for kind in directories if "validation" in config.sizes[kind]]
        kinds = [name] if name == "isolated" else kinds
        batches = [b for k in kinds for b in _validation_batches(directories[k], survey, config)]
        deblend = make_deblend(model, jax.device_get(state.average), psf=default_psf(survey))
        calibrations = calibrate_looks(deblend, batches)
        if name == "blended" and config.calibration_field.size:
            of_field = _calibrate_field(deblend, survey, config)
            calibrations = calibrations._replace(field=of_field)
        calibration.write_calibrations(calibrations, workdir / name / "calibration.json")


def _objective(stage, model, params):
    """The stage's loss, of the name and the weights that its configuration gives."""
    import jax
    import jax.numpy as jnp

    from vaedeblend import objective

    makers = {
        "evidence": functools.partial(objective.evidence, model),
        "posterior": functools.partial(
            objective.posterior, model, jax.tree.map(jnp.array, params["encoder"])
        ),
    }
    if stage.objective not in makers:
        raise ValueError(f"objective is {stage.objective!r}; wanted one of {sorted(makers)}")
    return makers[stage.objective](**stage.loss)


def _make_batch(config, stage, survey, n_central: int):
    """`(key, gallery) -> Batch`: scenes of the stage, under the observation of the survey."""
    import jax
    import jax.numpy as jnp

    from vaedeblend.compose import random_scenes
    from vaedeblend.observe import observe

    scenes = functools.partial(
        random_scenes,
        n_central=n_central,
        batch_size=stage.batch_size,
        size=config.data.stamp_size,
        separation=tuple(s / survey.pixel_scale.value for s in config.data.separation),
        max_purity=config.data.max_purity,
        **stage.scenes,
    )
    noise = {"variance": jnp.asarray(survey.variance), "gain": jnp.asarray(survey.gain)}

    def make_batch(key, gallery):
        scene_key, noise_key = jax.random.split(key)
        return observe(noise_key, scenes(scene_key, gallery), **noise, **config.observation)

    return make_batch


def _initial_params(config, name: str, workdir: Path, model):
    """Random parameters, or those of the stage or workdir that `init_from` names."""
    import jax

    from vaedeblend import checkpoint, training

    source = config.stages[name].init_from
    fresh = training.init_params(model, jax.random.key(config.seed))
    if not source:
        return fresh
    inside = source in config.stages
    directory = workdir / source if inside else Path(source) / "isolated"
    params = checkpoint.load_params(directory / "checkpoints")
    found, wanted = (jax.tree.map(lambda p: p.shape, tree) for tree in (params, fresh))
    if found != wanted:
        raise checkpoint.CheckpointError(
            f"{directory}: parameters have shapes {found}; wanted this model's, {wanted}"
        )
    return params


def _gallery(directories: dict[str, Path], n_psfs: int, mesh):
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    from vaedeblend import dataset
    from vaedeblend.compose import make_gallery

    galaxies = dataset.load(directories["galaxies"], "train")
    flux = galaxies["flux_bulge"] + galaxies["flux_disk"]
    sheets = dataset.load(directories["fields"], "train") if "fields" in directories else {}
    gallery, n_central = make_gallery(
        galaxies["stamp"],
        galaxies["phase"],
        flux,
        galaxies["central"],
        galaxies["psf"][:n_psfs],
        sheets.get("sheet"),
    )
    return jax.device_put(gallery, NamedSharding(mesh, PartitionSpec())), n_central


def _validation_batches(directory: Path, survey, config):
    """The validation scenes of a set as the survey observes them."""
    import jax

    from vaedeblend import dataset
    from vaedeblend.deblender import default_psf
    from vaedeblend.observe import observe_examples
    from vaedeblend.simulation import SPLITS

    key = jax.random.fold_in(jax.random.key(config.seed), SPLITS.index("validation"))
    noise = {"variance": survey.variance, "gain": survey.gain}
    examples = dataset.load(directory, "validation")
    return observe_examples(key, examples, psf=default_psf(survey), **noise)


def _calibrate_field(deblend, survey, config):
    """On a simulated field of galaxies of all kinds."""
    import numpy as np

    from vaedeblend.field import calibrate_field
    from vaedeblend.sky import simulate_field

    data, options = config.data, config.calibration_field.to_dict()
    options |= {"source": data.source, "area": data.area if data.source else None}
    field = simulate_field(survey=survey, style=data.style, **options)
    y, x, flux = (field.truth[name].value for name in ("y", "x", "flux"))
    seen = field.image[..., 0], field.rms[..., 0], np.stack([y, x], axis=1), flux[:, 0]
    return calibrate_field(deblend, *seen, size=data.stamp_size, gain=float(survey.gain[0]))


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
