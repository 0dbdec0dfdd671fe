"""The trained deblender against SExtractor, on the same noisy stamps.

SExtractor is given every chance: it is told the background, its noise and the gain, and its
settings are the best of a grid on training stamps of the same kind.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend import metrics, sextractor
from vaedeblend.simulation import KINDS, SPLITS, noisy
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey

PURITY_EDGES = (0.0, 0.5, 0.8, 0.95)
MAGNITUDE_EDGES = (23.0, 23.5, 24.0, 24.5, 25.0)
_BATCH = 250
_GRID_STAMPS = 500
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
    program: str | None = None,
) -> Evaluation:
    """Deblends and measures the test scenes of each kind; errors are of the first band.

    Args:
        deblend: `(image, variance) -> Deblended` by kind, isolated or blended.
        test: Scenes by kind, as `dataset.load` returns them.
        training: The same of the training split: isolated ones, and those of each kind.
        survey: Whose noise is added.
        seed: Of the noise, which is the same at every call.
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
        summary = _summary(table, np.random.default_rng((seed, number)))
        untuned = stamps.measure(sextractor.DEFAULT, program)
        summary |= _against_default(table, untuned.flux, stamps.true)
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


def _deblend(function: Callable, image, variance: Float[np.ndarray, " band"]):
    """Deblended stamps as host arrays, batch by batch; the last one is filled up, then cut."""
    parts = []
    for start in range(0, len(image), _BATCH):
        batch = image[start : start + _BATCH]
        full = np.resize(batch, (_BATCH, *batch.shape[1:]))
        result = function(full, np.broadcast_to(variance, full.shape))
        parts.append([np.asarray(field)[: len(batch)] for field in result])
    return type(result)(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def _examples(function, stamps: _Stamps, measured, bias: float):
    """Images and the table of per-example results."""
    scenes, true = stamps.scenes, stamps.true
    deblended = _deblend(function, stamps.image, stamps.survey.variance)
    table = Table({name: scenes[name] for name in _LABELS})
    table["vae_flux"], table["vae_flux_err"] = deblended.flux, deblended.flux_err
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


def _summary(table: Table, rng: np.random.Generator) -> dict:
    column = {name: np.asarray(table[name]) for name in table.colnames}
    ours, theirs = column["vae_error"], column["sextractor_error"]
    corrected, found, galaxy = column["sextractor_corrected_error"], column["found"], column["id"]
    clean = column["failure"] == "none"
    flux, error = (column[name][:, 0].astype(float) for name in ("vae_flux", "vae_flux_err"))
    true = column["flux"][:, 0].astype(float)
    classes, counts = np.unique(column["failure"], return_counts=True)
    return {
        "n": len(table),
        "unique_galaxies": len(np.unique(galaxy)),
        "vae": metrics.summarise(ours),
        "sextractor": metrics.summarise(theirs, found),
        "sextractor_clean": metrics.summarise(theirs[clean], found[clean]),
        "sextractor_corrected": metrics.summarise(corrected, found),
        "vae_closer": float(np.mean(np.abs(ours) < np.abs(theirs))),
        "vae_closer_corrected": float(np.mean(np.abs(ours) < np.abs(corrected))),
        "vae_sigma_err": metrics.bootstrap(np.std, ours, galaxy, rng),
        "sextractor_sigma_err": metrics.bootstrap(np.std, theirs, galaxy, rng),
        "coverage68": metrics.coverage(flux, error, true),
        "coverage95": metrics.coverage(flux, error, true, 1.96),
        "median_cosine_distance": float(np.median(column["cosine_distance"])),
        "failure_classes": dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        "by_magnitude": _by(column, "magnitude", MAGNITUDE_EDGES),
        "by_purity": _by(column, "purity", PURITY_EDGES),
    }


def _against_default(table: Table, flux, true) -> dict:
    """Statistics of SExtractor with the settings it ships with, and how often the VAE is closer."""
    error = metrics.relative_error(flux, true)
    return {
        "sextractor_default": metrics.summarise(error, np.isfinite(flux)),
        "vae_closer_default": float(np.mean(np.abs(table["vae_error"]) < np.abs(error))),
    }


def _by(column: dict, name: str, edges: tuple[float, ...]) -> list[dict]:
    """Statistics of both methods in bins of a label of the first band."""
    rows = []
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (column[name][:, 0] >= low) & (column[name][:, 0] < high)
        ours = metrics.summarise(column["vae_error"][inside])
        theirs = metrics.summarise(column["sextractor_error"][inside], column["found"][inside])
        rows.append({"low": low, "high": high, "vae": ours, "sextractor": theirs})
    return rows
