"""Settings of a training that cannot be: refused before any galaxy is drawn, by their keys."""

from collections.abc import Collection
from types import ModuleType

import jax
import numpy as np

from vaedeblend.exceptions import CheckpointError, VaedeblendError
from vaedeblend.io.workdir import find_trained
from vaedeblend.pixels.psf import psf_sampling
from vaedeblend.survey import make_survey
from vaedeblend.training.scenes import check_companions
from vaedeblend.training.trainers import companions, deblender, generator

_KINDS = (deblender, companions), (generator,)
"""Trainers of one training."""
_DTYPES = "float32", "bfloat16"
"""Types in which networks compute while they are trained."""
_RANGES = "separation", "companion_magnitude", "psf_fwhm", "coadd_exposures", "psf_sides"
"""Keys of the data that hold two ends."""


def find_trainers(stages: Collection[str]) -> dict[str, ModuleType]:
    """Module of `trainers` that trains each stage, in the order of the training.

    Raises:
        VaedeblendError: There is none.
    """
    found = set(stages)
    for kind in _KINDS:
        trainers = {stage: trainer for trainer in kind for stage in trainer.STAGES}
        if found <= set(trainers):
            return {stage: trainer for stage, trainer in trainers.items() if stage in found}
    wanted = ", or of ".join(str([s for each in kind for s in each.STAGES]) for kind in _KINDS)
    raise VaedeblendError(f"stages are {sorted(found)}; wanted some of {wanted}")


def check_settings(config) -> None:
    """Refuses a configuration that cannot be trained with.

    Args:
        config: ConfigDict with the keys of `configs.quick`.

    Raises:
        VaedeblendError: A value is none of those that there are, or does not go with another.
    """
    from vaedeblend.simulate.galaxies.styles import find_style, of_split  # GalSim

    trainers = find_trainers(config.stages)
    find_style(of_split(config.data.style, "train"))
    try:
        check_data(config)
        for name, stage in config.stages.items():
            check_stage(name, stage, jax.device_count())
        for trainer in set(trainers.values()):
            trainer.check(config)
    except TypeError as error:  # a key that a part of the training does not have, or lacks
        raise VaedeblendError(f"configuration: {error}") from error


def assumed(config) -> list[str]:
    """What is taken for true of a training's input that does not say it, a sentence each.

    Raises:
        PsfError: The PSF of a band cannot be read.
    """
    survey = make_survey(**config.survey.to_dict())
    scale = survey.pixel_scale.value
    files = [band.psf for band in survey.bands if band.psf]
    return [
        f"{path}: no sampling in its header (PIXSCALE or a WCS); taken as that of the survey's "
        f"pixels, {scale:g} arcsec"
        for path in files
        if not psf_sampling(path, None, scale)[1]
    ]


def check_stage(name: str, stage, devices: int) -> None:
    """Refuses settings of a stage that cannot be trained with, before any data are made.

    Raises:
        VaedeblendError: Numbers of steps, or a batch's stamps, do not go together.
    """
    steps, warmup, key = stage.steps, stage.optimizer.warmup_steps, f"stages.{name}"
    if steps and not 0 <= warmup < steps:
        raise VaedeblendError(
            f"{key}.steps is {steps} and {key}.optimizer.warmup_steps {warmup}; "
            "wanted more steps than those of the warm-up"
        )
    for each in ("log_every", "checkpoint_every", "batch_size", "micro_batches"):
        if stage[each] < 1:
            raise VaedeblendError(f"{key}.{each} is {stage[each]}; wanted at least 1")
    if stage.checkpoint_every % stage.log_every:
        raise VaedeblendError(
            f"{key}.checkpoint_every is {stage.checkpoint_every}; "
            f"wanted a multiple of log_every, {stage.log_every}"
        )
    if stage.batch_size % (devices * stage.micro_batches):
        parts = f"{stage.micro_batches} micro_batches of " if stage.micro_batches > 1 else ""
        raise VaedeblendError(
            f"{key}.batch_size is {stage.batch_size}; "
            f"wanted a multiple of the {parts}{devices} devices"
        )
    if not 0 <= stage.optimizer.learning_rate < np.inf:
        found = stage.optimizer.learning_rate
        raise VaedeblendError(f"{key}.optimizer.learning_rate is {found}; wanted 0 or above")
    if not 0 <= stage.average_decay < 1:
        raise VaedeblendError(f"{key}.average_decay is {stage.average_decay}; wanted 0 to below 1")
    _check_shares(f"{key}.scenes", stage.get("scenes", {}))
    _check_shares(f"{key}.loss", stage.get("loss", {}))
    if stage.get("scenes", {}).get("candidates", 1) < 1:
        found = stage.scenes.candidates
        raise VaedeblendError(f"{key}.scenes.candidates is {found}; wanted at least 1")
    dtype = stage.get("compute_dtype", _DTYPES[0])
    if dtype not in _DTYPES:
        raise VaedeblendError(f"{key}.compute_dtype is {dtype!r}; wanted one of {_DTYPES}")


def _check_shares(key: str, settings) -> None:
    """Refuses a share that is none."""
    for name, value in settings.items():
        if name.endswith("_share") and not 0 <= value <= 1:
            raise VaedeblendError(f"{key}.{name} is {value:g}; wanted a share from 0 to 1")


def check_data(config) -> None:
    """Refuses settings of the data that no training can be made of.

    Raises:
        VaedeblendError: Two settings do not go together.
        CheckpointError: A stage starts from what is not there.
    """
    data, model = config.data, config.model
    ranges = {name: data[name] for name in _RANGES if name in data}
    ranges |= {f"selection.{name}": ends for name, ends in data.get("selection", {}).items()}
    _check_shares("data", data)
    _check_shares("observation", config.get("observation", {}))
    least = {"seed": (config.seed, 0), "data.n_psfs": (data.get("n_psfs", 1), 1)}
    least["model.latent_dim"] = model.get("latent_dim", 2), 2  # halves of which the prior couples
    for name, (found, wanted) in least.items():
        if found < wanted:
            raise VaedeblendError(f"{name} is {found}; wanted at least {wanted}")
    for name, (low, high) in ranges.items():
        if low > high:
            raise VaedeblendError(f"data.{name} is ({low:g}, {high:g}); wanted the lower end first")
    if "stamp_size" in model and model.stamp_size != data.stamp_size:
        raise VaedeblendError(
            f"data.stamp_size is {data.stamp_size} and model.stamp_size {model.stamp_size}; "
            "wanted one size"
        )
    side, bands = config.get("calibration_field", {}).get("size", 0), config.survey.bands
    if side and len(bands) > 1:
        found = f"calibration_field.size is {side} with {len(bands)} bands"
        raise VaedeblendError(f"{found}; wanted 0, or weights of one band")
    kind = "canonical" if "canonical" in config.sizes else "galaxies"
    n, key = config.sizes[kind].train, f"sizes.{kind}.train"
    wanted = {f"stages.{name}.batch_size": s.batch_size for name, s in config.stages.items()}
    for name, least in (wanted | {"data.n_psfs": data.get("n_psfs", 1)}).items():
        if least > n:
            raise VaedeblendError(f"{name} is {least} and {key} {n}; wanted at least as many there")
    if "companions" in config.stages and not config.sizes.galaxies.get("validation"):
        raise VaedeblendError(
            "sizes.galaxies.validation is missing; wanted galaxies for the validation of "
            "stages.companions"
        )
    _check_separations(config)
    order = [*find_trainers(config.stages)]
    for i, name in enumerate(order):
        _check_sources(f"stages.{name}", config.stages[name], order[:i])


def _check_separations(config) -> None:
    """Refuses companions that are farther away than the stamps of the training's library hold."""
    scale = make_survey(**config.survey.to_dict()).pixel_scale.value
    for name, stage in config.stages.items():
        scenes, key = stage.get("scenes", {}), "data.separation"
        if scenes.get("max_companions"):
            key = f"stages.{name}.scenes.separation" if "separation" in scenes else key
            _, farthest = scenes.get("separation", config.data.separation)
            check_companions(key, farthest, scale, config.data.stamp_size)


def _check_sources(key: str, stage, stages) -> None:
    """Refuses what a stage starts from, if it is none of the stages before it and not there."""
    for role in ("init_from", "teacher"):
        source = stage.get(role)
        if source and source not in stages and not find_trained(source).exists():
            raise CheckpointError(
                f"{key}.{role} is {source!r}, and there is no {find_trained(source)}; wanted one "
                f"of the stages {sorted(stages)}, or WORKDIR/STAGE of another training"
            )
