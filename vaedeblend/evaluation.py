"""The trained deblender against SExtractor, on the same noisy stamps.

SExtractor is given every chance: it is told the background, its noise and the gain, and its
settings are the best of a grid on training stamps of the same kind.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from astropy.table import Table
from scipy import stats

from vaedeblend import metrics, sextractor
from vaedeblend.bound import flux_bound
from vaedeblend.looks import in_batches
from vaedeblend.render import survey_psfs
from vaedeblend.simulation import KINDS, SPLITS, noisy
from vaedeblend.summary import against, summarise_examples, uniformity
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey
from vaedeblend.tails import normal_score

_BATCH = 250
_GRID_STAMPS = 500
_RANKED, _SAMPLES = 1000, 99
"""Stamps whose profiles' posterior is tested, and samples of each."""
_UNITS = {"flux": "uJy", "flux_err": "uJy", "magnitude": "mag", "mse": "uJy2"}
_LABELS = ("id", "magnitude", "flux", "purity", "bm_1", "flux_ratio", "n_companions")


class Evaluation(NamedTuple):
    """What an evaluation found; mappings are by kind of scene."""

    metrics: dict
    examples: dict[str, Table]
    """One row a test stamp."""
    images: dict[str, dict[str, np.ndarray]]
    """input, truth, reconstruction [uJy per pixel] and segmentation of each test stamp."""
    grids: dict[str, list[dict]]
    """SExtractor's settings and scores on training stamps."""


def evaluate(
    deblend: Mapping[str, Callable],
    test: Mapping[str, Mapping[str, np.ndarray]],
    training: Mapping[str, Mapping[str, np.ndarray]],
    survey: Survey,
    *,
    seed: int,
    others: Mapping[str, Callable] | None = None,
    sample: Callable | None = None,
    program: str | None = None,
) -> Evaluation:
    """Deblends and measures the test scenes of each kind; errors are of the first band.

    Args:
        deblend: `deblender.Deblend` by kind: isolated, blended, standard, stratified.
        test: Scenes by kind, as `dataset.load` returns them.
        training: The same of the training split: isolated ones, and those of each kind.
        survey: Whose noise is added.
        seed: Of the noise, which is the same at every call.
        others: Further deblenders by name, such as VAE I, measured on every kind of scene.
        sample: See `deblender.make_sample`; the profiles' posterior is tested where there is one.
        program: SExtractor's path, or 'sep'; by default whichever is found.
    """
    found = Evaluation({}, {}, {}, {})
    isolated = _Stamps(training["isolated"], survey, (seed, SPLITS.index("train"), 0))
    for kind, function in deblend.items():
        start = time.monotonic()
        number = KINDS.index(kind)
        train = _Stamps(training[kind], survey, (seed, SPLITS.index("train"), number))
        stamps = _Stamps(test[kind], survey, (seed, SPLITS.index("test"), number))
        settings, grid = _search(train, program)
        measured = stamps.measure(settings, program)
        bias = isolated.bias(settings, program)
        images, table = _examples(function, stamps, measured, bias)
        summary = summarise_examples(table, np.random.default_rng((seed, number)))
        untuned = stamps.measure(sextractor.DEFAULT, program)
        summary |= against(table, untuned.flux, "sextractor_default")
        for name, other in (others or {}).items():
            summary |= against(table, stamps.deblend(other).flux[:, 0].astype(float), name)
        if sample is not None:
            summary["size_ranks"] = stamps.size_ranks(sample, seed)
        summary["sextractor_settings"] = settings._asdict()
        summary["sextractor_training_bias"] = bias - 1
        summary["program"] = measured.program
        summary["seconds"] = round(time.monotonic() - start, 1)
        found.metrics[kind], found.examples[kind] = summary, table
        found.images[kind], found.grids[kind] = images, grid
    return found


def write(evaluation: Evaluation, folder: str | Path) -> None:
    """Writes metrics.json, examples_{kind}.fits and sextractor_grid_{kind}.ecsv into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, table in evaluation.examples.items():
        table.write(folder / f"examples_{kind}.fits", overwrite=True)
        grid = Table(rows=evaluation.grids[kind])
        grid.write(folder / f"sextractor_grid_{kind}.ecsv", overwrite=True)
    partial = folder / "metrics.json.partial"
    partial.write_text(json.dumps(_strict(evaluation.metrics), indent=2, allow_nan=False) + "\n")
    partial.rename(folder / "metrics.json")


class _Stamps:
    """Scenes of one kind with their noise, and SExtractor on their first band."""

    def __init__(self, scenes: Mapping[str, np.ndarray], survey: Survey, seed: tuple[int, ...]):
        self.scenes, self.survey = scenes, survey
        self.image = noisy(scenes["blend"], survey, seed)
        self.true = scenes["flux"][:, 0].astype(float)
        self.rms = float(survey.rms[0])
        self.options = {"gain": float(survey.gain[0]), "zero_point": MICROJANSKY_ZERO_POINT}

    def measure(self, settings: sextractor.Settings, program) -> sextractor.Measurement:
        image = self.image[..., 0]
        return sextractor.measure(image, self.rms, settings, program=program, **self.options)

    def deblend(self, function: Callable):
        """What a deblender returns of the stamps."""
        variance = np.broadcast_to(self.survey.variance, self.image.shape)
        arrays = {"image": self.image, "variance": variance}
        return in_batches(partial(function, gain=self.survey.gain), arrays, _BATCH)

    def size_ranks(self, sample: Callable, seed: int) -> dict:
        """Ranks of the true sizes of galaxies among those of posterior samples of their light."""
        image = self.image[:_RANKED]
        key = jax.random.key(seed)
        light = [
            np.asarray(
                sample(jax.random.fold_in(key, i), _SAMPLES, part, variance, gain=self.survey.gain)
            )
            for i, part in enumerate(np.array_split(image, max(len(image) // 100, 1)))
            for variance in [np.broadcast_to(self.survey.variance, part.shape)]
        ]
        sizes = np.concatenate([metrics.weighted_size(each) for each in light], axis=1)
        true = metrics.weighted_size(self.scenes["isolated"][:_RANKED])
        return uniformity(metrics.ranks(sizes, true))

    def bound(self):
        """The Fisher bound of each stamp's flux."""
        size = self.image.shape[1]
        return flux_bound(self.scenes, self.survey, survey_psfs(self.survey, size), stamp_size=size)

    def bias(self, settings: sextractor.Settings, program) -> float:
        """Median of measured over true flux, of the stamps with a detection; 1 without any."""
        ratio = self.measure(settings, program).flux / self.true
        return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.0


def _strict(value):
    """The same metrics with None for numbers that JSON has not: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: _strict(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_strict(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _search(stamps: _Stamps, program):
    image, true = stamps.image[:_GRID_STAMPS, ..., 0], stamps.true[:_GRID_STAMPS]
    return sextractor.search(image, true, stamps.rms, program=program, **stamps.options)


def _examples(function, stamps: _Stamps, measured, bias: float):
    """Images and the table of per-example results."""
    scenes, true = stamps.scenes, stamps.true
    deblended, bound = stamps.deblend(function), stamps.bound()
    table = Table({name: scenes[name] for name in _LABELS})
    table["vae_flux"], table["vae_flux_err"] = deblended.flux, deblended.flux_err
    score = normal_score(deblended.log_flux, np.log(scenes["flux"]))
    table["vae_pit"] = stats.norm.cdf(score)
    table["vae_purity"] = deblended.purity
    table["bound_free"], table["bound_prior"] = bound.free, bound.prior
    table["vae_error"] = metrics.relative_error(deblended.flux[:, 0].astype(float), true)
    table["sextractor_flux"] = measured.flux
    table["sextractor_flux_err"] = measured.flux_err
    table["sextractor_error"] = metrics.relative_error(measured.flux, true)
    table["sextractor_corrected_error"] = metrics.relative_error(measured.flux / bias, true)
    table["found"], table["n_objects"] = np.isfinite(measured.flux), measured.n_objects
    table["failure"] = metrics.failure_class(
        np.asarray(table["sextractor_error"]), measured.n_objects, np.asarray(table["found"])
    )
    table["cosine_distance"] = metrics.cosine_distance(deblended.image, scenes["isolated"])
    table["mse"] = metrics.mean_squared_error(deblended.image, scenes["isolated"])
    for name in table.colnames:
        table[name].unit = _UNITS.get(name.split("_", 1)[-1], _UNITS.get(name))
    images = {
        "input": stamps.image,
        "truth": scenes["isolated"],
        "reconstruction": deblended.image,
        "segmentation": measured.segmentation,
    }
    return images, table
