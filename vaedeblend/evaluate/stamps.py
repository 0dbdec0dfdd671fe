"""Test stamps of one kind with their noise, and what networks and SExtractor make of them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from astropy.table import Table

from vaedeblend.deblend.iterative import in_batches
from vaedeblend.evaluate import latents, metrics, sextractor
from vaedeblend.evaluate.fisher import Bound, flux_bound
from vaedeblend.evaluate.summary import uniformity
from vaedeblend.evaluate.table import at_quantiles
from vaedeblend.simulate.examples import noisy
from vaedeblend.simulate.render import survey_psfs
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey

QUANTILES = (0.01, 0.5, 0.9, 0.99)
"""Of the cosine distance, at which profiles are shown: best, typical, bad and worst."""

_BATCH = 250
_GRID_STAMPS = 500
_RANKED, _SAMPLES = 1000, 99
"""Stamps whose profiles' posterior is tested, and samples of each."""


class Baseline(NamedTuple):
    """SExtractor on the stamps of one kind, with its best settings and its defaults."""

    measured: sextractor.Measurement
    untuned: sextractor.Measurement
    settings: sextractor.Settings
    grid: list[dict]
    bias: float
    """Median of measured over true flux of isolated training stamps."""


class Stamps:
    """Scenes of one kind with their noise, and SExtractor on their first band."""

    def __init__(self, scenes: Mapping[str, np.ndarray], survey: Survey, seed: tuple[int, ...]):
        """Adds the noise that `seed` and the survey make."""
        self.scenes, self.survey = scenes, survey
        self.image = noisy(scenes["blend"], survey, seed)
        self.true = scenes["flux"][:, 0].astype(float)
        self.rms = float(survey.rms[0])
        self.options = {"gain": float(survey.gain[0]), "zero_point": MICROJANSKY_ZERO_POINT}

    def measure(self, settings: sextractor.Settings, program) -> sextractor.Measurement:
        """What SExtractor finds with settings."""
        image = self.image[..., 0]
        return sextractor.measure(image, self.rms, settings, program=program, **self.options)

    def deblend(self, function: Callable):
        """What a deblender returns of the stamps."""
        variance = np.broadcast_to(self.survey.variance, self.image.shape)
        arrays = {"image": self.image, "variance": variance}
        return in_batches(partial(function, gain=self.survey.gain), arrays, _BATCH)

    def images(self, table: Table, found, untuned, decode, seed: int) -> dict[str, np.ndarray]:
        """Those of `Evaluation.images`."""
        images = {
            "input": self.image,
            "truth": self.scenes["isolated"],
            "reconstruction": found.image,
        }
        if untuned is not None:
            images["segmentation"] = untuned.segmentation
        rows = at_quantiles(np.asarray(table["cosine_distance"], float), QUANTILES)
        if decode is not None and len(rows):
            chosen = jax.tree.map(lambda field: field[rows], found)
            images["sample"] = latents.draw(decode, chosen, jax.random.key(seed))
        return images

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

    def bound(self) -> Bound:
        """The Fisher bound of each stamp's flux."""
        size = self.image.shape[1]
        return flux_bound(self.scenes, self.survey, survey_psfs(self.survey, size), stamp_size=size)

    def bias(self, settings: sextractor.Settings, program) -> float:
        """Median of measured over true flux, of the stamps with a detection; 1 without any."""
        ratio = self.measure(settings, program).flux / self.true
        return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.0


def measure_baseline(
    stamps: Stamps, train: Mapping[str, Stamps], kind: str, program: str | None
) -> tuple[Baseline | None, str]:
    """What SExtractor finds on stamps; or None, and why it could not be run.

    Args:
        stamps: To be measured.
        train: Those of the same kind are what its settings are chosen on; 'isolated_bias' tell
            its bias.
        kind: Of the stamps.
        program: Its path, or 'sep'; by default whichever is found.
    """
    try:
        settings, grid = sextractor.DEFAULT, []
        if kind in train:
            settings, grid = _search(train[kind], program)
        bias = train["isolated_bias"].bias(settings, program) if "isolated_bias" in train else 1.0
        measured, untuned = (stamps.measure(s, program) for s in (settings, sextractor.DEFAULT))
        return Baseline(measured, untuned, settings, grid, bias), ""
    except (RuntimeError, OSError) as error:  # the program is missing, or gives up
        return None, str(error)


def _search(stamps: Stamps, program):
    image, true = stamps.image[:_GRID_STAMPS, ..., 0], stamps.true[:_GRID_STAMPS]
    return sextractor.search(image, true, stamps.rms, program=program, **stamps.options)
