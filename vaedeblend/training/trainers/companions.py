"""Trains the test of companions of a deblender that has been trained."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax

from vaedeblend.deblend.network import STAGES as DEBLENDER_STAGES
from vaedeblend.deblend.network import CompanionTest, load_deblender
from vaedeblend.models.companions import COMPANION_STAGES as STAGES
from vaedeblend.models.companions import Companions, init_companions
from vaedeblend.models.vae import N_CORRELATION_FEATURES, N_PSF_FEATURES, VAE
from vaedeblend.survey import Survey, make_survey
from vaedeblend.training import verdicts
from vaedeblend.training.observe import Observing, make_batches
from vaedeblend.training.placement import Composing, load_device_library, make_composing
from vaedeblend.training.stages import (
    Task,
    check_start,
    choose_objective,
    initial_params,
    on_every_device,
)
from vaedeblend.training.trainers.deblender import calibrate

__all__ = ["STAGES", "check", "prepare"]

_VALIDATION = 8
"""Batches of validation scenes."""


def check(config) -> None:
    """Makes of a configuration what needs no data, to refuse what cannot be used.

    Raises:
        TypeError: A key is misspelt, or missing.
        ValueError: A value is none of those that there are.
    """
    survey = make_survey(**config.survey.to_dict())
    deblender = VAE(**config.model, bands=len(survey.bands))
    model = Companions(**config.companions)
    Observing(**config.observation)
    for stage in (config.stages[name] for name in STAGES):
        check_start(_fresh(config, model, deblender), stage, config.stages)
        _composing(stage.scenes, survey)
        _objective(stage, model, deblender, {})


def prepare(config, name: str, workdir: Path, directories: dict[str, Path], mesh) -> Task:
    """The stage of a configuration: scenes composed of the galaxies of the training set."""
    stage, survey = config.stages[name], make_survey(**config.survey.to_dict())
    deblender = load_deblender(workdir)
    model = Companions(**config.companions)
    fresh = _fresh(config, model, deblender.model)
    params = initial_params(fresh, stage.init_from, config.stages, workdir, stage.renewed)
    parts = {split: _library(config, directories, split) for split in ("train", "validation")}
    batches = {split: _batches(config, stage, survey, n) for split, (_, n) in parts.items()}
    library, held_back = (on_every_device(each, mesh) for each, _ in parts.values())
    keys = jax.random.split(jax.random.key(config.seed + 1), _VALIDATION)
    validation = [jax.jit(batches["validation"])(key, held_back) for key in keys]
    return Task(
        params,
        _objective(stage, model, deblender.model, deblender.params),
        library,
        batches["train"],
        validation,
        functools.partial(_recalibrate, config, workdir, directories, deblender, model),
    )


def _recalibrate(config, workdir: Path, directories, deblender, model, params) -> None:
    """Calibrates the deblender anew: which sources it finds is what the test says now."""
    test = CompanionTest(model, params["companions"])
    tested = dataclasses.replace(deblender, companions=test)
    calibrate(config, DEBLENDER_STAGES[-1], workdir, directories, tested)


def _library(config, directories: dict[str, Path], split: str):
    galaxies = directories["galaxies"]
    return load_device_library(galaxies, None, n_psfs=config.data.n_psfs, split=split)


def _batches(config, stage, survey: Survey, n_central: int):
    numbers = {"n_central": n_central, "batch_size": stage.batch_size}
    scenes, observing = _composing(stage.scenes, survey), Observing(**config.observation)
    return make_batches(survey, scenes, observing, size=config.data.stamp_size, **numbers)


def _fresh(config, model: Companions, deblender: VAE) -> Callable[[], dict]:
    """The function that makes random parameters, of what the deblender is given."""
    bands, size = deblender.bands, deblender.stamp_size
    numbers = {"psf": N_PSF_FEATURES * bands, "correlation": N_CORRELATION_FEATURES * bands}
    numbers |= {"size": size, "bands": bands}
    key = jax.random.key(config.seed)
    return lambda: {"companions": init_companions(model, key, **numbers)}


def _objective(stage, model: Companions, deblender, params):
    makers = {"verdicts": functools.partial(verdicts.verdict_losses, model, deblender, params)}
    return choose_objective(makers, stage)


def _composing(scenes, survey: Survey) -> Composing:
    """Settings of a stage's scenes."""
    return make_composing(survey.pixel_scale.value, **scenes)
