"""Trains the stages of a deblender: VAE I on isolated galaxies, VAE II on blends."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from vaedeblend.deblend.network import STAGES, Deblender, write_psf
from vaedeblend.models.vae import VAE, init_params
from vaedeblend.simulate.render import default_psf
from vaedeblend.survey import Survey, make_survey
from vaedeblend.training import objectives
from vaedeblend.training.calibrate import calibrate_stage
from vaedeblend.training.observe import Observing, make_batches, observe_validation
from vaedeblend.training.placement import Composing, load_device_library, make_composing
from vaedeblend.training.stages import (
    Task,
    check_start,
    choose_objective,
    initial_params,
    on_every_device,
)

__all__ = ["STAGES", "check", "prepare"]

_LIBRARIES = "galaxies", "fields"
"""Kinds of data of which scenes are composed."""


def check(config) -> None:
    """Makes of a configuration what needs no data, to refuse what cannot be used.

    Raises:
        TypeError: A key is misspelt, or missing.
        ValueError: A value is none of those that there are.
    """
    survey = make_survey(**config.survey.to_dict())
    model = VAE(**config.model, bands=len(survey.bands))
    Observing(**config.observation)
    fresh = functools.partial(init_params, model, jax.random.key(config.seed))
    for stage in (config.stages[name] for name in STAGES if name in config.stages):
        check_start(fresh, stage, config.stages)
        stage_composing(config.data, stage.scenes, survey)
        _objective(stage, model, {"encoder": {}})


def prepare(config, name: str, workdir: Path, directories: dict[str, Path], mesh) -> Task:
    """A stage of a configuration: scenes composed of the galaxies of the training set."""
    stage, survey = config.stages[name], make_survey(**config.survey.to_dict())
    write_psf(workdir, default_psf(survey), survey.pixel_scale.value)
    model = VAE(**config.model, bands=len(survey.bands))
    params, teacher = _initial_params(config, stage, model, workdir)
    library, n_central = load_device_library(
        directories["galaxies"], directories.get("fields"), n_psfs=config.data.n_psfs
    )
    make_batch = make_batches(
        survey,
        stage_composing(config.data, stage.scenes, survey),
        Observing(**config.observation),
        n_central=n_central,
        batch_size=stage.batch_size,
        size=config.data.stamp_size,
    )
    return Task(
        params,
        _objective(stage, model, teacher),
        on_every_device(library, mesh),
        make_batch,
        observe_validation(directories[name], survey, kind=name, seed=config.seed),
        lambda params: calibrate(
            config, name, workdir, directories, Deblender(model, params, default_psf(survey))
        ),
    )


def _initial_params(config, stage, model: VAE, workdir: Path) -> tuple[dict, dict]:
    """Parameters before the first step, and those of the stage's teacher, whose rest is kept."""
    fresh = functools.partial(init_params, model, jax.random.key(config.seed))
    params = initial_params(fresh, stage.init_from, config.stages, workdir, stage.renewed)
    source = stage.get("teacher")
    teacher = initial_params(fresh, source, config.stages, workdir) if source else params
    kept = {part: teacher[part] for part in set(teacher) - set(stage.trainable)}
    return params | kept, teacher


def _objective(stage, model: VAE, teacher: dict) -> objectives.Objective:
    """The stage's loss, of a model that computes in the stage's type."""
    model = model.clone(dtype=stage.compute_dtype)
    encoder = jax.tree.map(jnp.array, teacher["encoder"])
    makers = {
        "evidence": functools.partial(objectives.evidence, model),
        "posterior": functools.partial(objectives.posterior, model, encoder),
    }
    return choose_objective(makers, stage)


def stage_composing(data, scenes, survey: Survey) -> Composing:
    """Settings of a stage's scenes."""
    settings = {"separation": data.separation, "max_purity": data.max_purity, **scenes}
    return make_composing(survey.pixel_scale.value, **settings)


def calibrate(config, name: str, workdir: Path, directories, deblender: Deblender) -> None:
    """Fits and writes the calibration of a trained stage's flux errors, on validation galaxies.

    Args:
        config: ConfigDict of the training.
        name: The stage.
        workdir: Working directory of the training.
        directories: Datasets, by kind.
        deblender: The stage's deblender, with a test of companions if it has one.
    """
    survey, field = make_survey(**config.survey.to_dict()), None
    scenes = [kind for kind in directories if kind not in _LIBRARIES]
    kinds = [kind for kind in scenes if "validation" in config.sizes[kind]]
    kinds = [name] if name == "isolated" else kinds
    batches = [
        batch
        for kind in kinds
        for batch in observe_validation(directories[kind], survey, kind=kind, seed=config.seed)
    ]
    if name == "blended" and config.calibration_field.size:
        field = _field_options(config, survey)
    path = workdir / name / "calibration.json"
    uncalibrated = dataclasses.replace(deblender, calibrations=None)
    calibrate_stage(path, uncalibrated, batches, field, stamp_size=config.data.stamp_size)


def _field_options(config, survey: Survey) -> dict:
    """Keywords of the simulated field that whole images' errors are calibrated on."""
    data = config.data
    return {
        "survey": survey,
        "style": data.style,
        "source": data.source,
        "area": data.area if data.source else None,
        "split": ("validation", data.seed),
        **config.calibration_field.to_dict(),
    }
