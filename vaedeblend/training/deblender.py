"""Trains the stages of a deblender: VAE I on isolated galaxies, VAE II on blends."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vaedeblend.deblend import calibration
from vaedeblend.deblend.network import STAGES, make_deblend
from vaedeblend.exceptions import VaedeblendError
from vaedeblend.io import dataset
from vaedeblend.models.vae import VAE
from vaedeblend.simulate.examples import SPLITS
from vaedeblend.simulate.fields import simulate_field
from vaedeblend.simulate.render import default_psf
from vaedeblend.survey import make_survey
from vaedeblend.training import loop, objectives
from vaedeblend.training.calibrate import calibrate_field, calibrate_iterations
from vaedeblend.training.observe import observe, observe_examples
from vaedeblend.training.placement import Composing, make_device_library
from vaedeblend.training.scenes import random_scenes
from vaedeblend.training.stages import Task, initial_params

__all__ = ["STAGES", "prepare"]


def prepare(config, name: str, workdir: Path, directories: dict[str, Path], mesh) -> Task:
    """A stage of a configuration: scenes composed of the galaxies of the training set."""
    stage, survey = config.stages[name], make_survey(**config.survey.to_dict())
    model = VAE(**config.model, bands=len(survey.bands))
    fresh = functools.partial(loop.init_params, model, jax.random.key(config.seed))
    params = initial_params(fresh, stage.init_from, config, workdir, stage.renewed)
    source = stage.get("teacher")
    teacher = initial_params(fresh, source, config, workdir) if source else params
    params = params | {part: teacher[part] for part in set(teacher) - set(stage.trainable)}
    library, n_central = _library(directories, config.data.n_psfs, mesh)
    return Task(
        params,
        _objective(stage, model, teacher),
        library,
        _make_batch(config, stage, survey, n_central),
        _validation_batches(directories[name], survey, config),
        functools.partial(_calibrate, config, name, workdir, directories, model),
    )


def _calibrate(config, name: str, workdir: Path, directories, model, params) -> None:
    """Writes what the errors are to be multiplied by, from validation galaxies."""
    survey = make_survey(**config.survey.to_dict())
    kinds = [kind for kind in directories if "validation" in config.sizes[kind]]
    kinds = [name] if name == "isolated" else kinds
    batches = [b for k in kinds for b in _validation_batches(directories[k], survey, config)]
    deblend = make_deblend(model, params, psf=default_psf(survey))
    calibrations = calibrate_iterations(deblend, batches)
    if name == "blended" and config.calibration_field.size:
        of_field = _calibrate_field(deblend, survey, config)
        calibrations = calibrations._replace(field=of_field)
    calibration.write_calibrations(calibrations, workdir / name / "calibration.json")


def _objective(stage, model, teacher):
    """The stage's loss, of the name and the weights that its configuration gives."""
    makers = {
        "evidence": functools.partial(objectives.evidence, model),
        "posterior": functools.partial(
            objectives.posterior, model, jax.tree.map(jnp.array, teacher["encoder"])
        ),
    }
    if stage.objective not in makers:
        raise VaedeblendError(f"objective is {stage.objective!r}; wanted one of {sorted(makers)}")
    return makers[stage.objective](**stage.loss)


def _make_batch(config, stage, survey, n_central: int):
    """`(key, library) -> Batch`: scenes of the stage, under the observation of the survey."""
    composing = Composing(
        separation=tuple(s / survey.pixel_scale.value for s in config.data.separation),
        max_purity=config.data.max_purity,
        **stage.scenes,
    )
    scenes = functools.partial(
        random_scenes,
        composing=composing,
        n_central=n_central,
        batch_size=stage.batch_size,
        size=config.data.stamp_size,
    )
    noise = {"variance": jnp.asarray(survey.variance), "gain": jnp.asarray(survey.gain)}

    def make_batch(key, library):
        scene_key, noise_key = jax.random.split(key)
        return observe(noise_key, scenes(scene_key, library), **noise, **config.observation)

    return make_batch


def _library(directories: dict[str, Path], n_psfs: int, mesh):
    galaxies = dataset.load(directories["galaxies"], "train")
    flux = galaxies["flux_bulge"] + galaxies["flux_disk"]
    sheets = dataset.load(directories["fields"], "train") if "fields" in directories else {}
    library, n_central = make_device_library(
        galaxies["stamp"],
        galaxies["phase"],
        flux,
        galaxies["central"],
        galaxies["psf"][:n_psfs],
        sheets.get("sheet"),
    )
    return jax.device_put(library, NamedSharding(mesh, PartitionSpec())), n_central


def _validation_batches(directory: Path, survey, config):
    """The validation scenes of a set as the survey observes them."""
    key = jax.random.fold_in(jax.random.key(config.seed), SPLITS.index("validation"))
    noise = {"variance": survey.variance, "gain": survey.gain}
    examples = dataset.load(directory, "validation")
    return observe_examples(key, examples, psf=default_psf(survey), **noise)


def _calibrate_field(deblend, survey, config):
    """On a simulated field of galaxies of all kinds."""
    data, options = config.data, config.calibration_field.to_dict()
    options |= {"source": data.source, "area": data.area if data.source else None}
    field = simulate_field(survey=survey, style=data.style, **options)
    y, x, flux = (field.truth[name].value for name in ("y", "x", "flux"))
    seen = field.image[..., 0], field.rms[..., 0], np.stack([y, x], axis=1), flux[:, 0]
    return calibrate_field(deblend, *seen, size=data.stamp_size, gain=float(survey.gain[0]))
