"""The trained deblender against SExtractor, on the same noisy stamps.

SExtractor is given every chance: it is told the background, its noise and the gain, and its
settings are the best of a grid on training stamps of the same kind.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table, vstack

from vaedeblend.evaluate import latents, metrics
from vaedeblend.evaluate.stamps import Baseline, Stamps, measure_baseline
from vaedeblend.evaluate.summary import against, summarise_examples
from vaedeblend.evaluate.table import add_units, columns, make_table
from vaedeblend.io.html import write_whole
from vaedeblend.simulate.examples import KINDS, SPLITS
from vaedeblend.survey import Survey

LABELS = {"isolated": "vae_i", "blended": "vae_ii"}
"""Of each stage's network in the columns of the table."""


class Evaluation(NamedTuple):
    """What an evaluation found; mappings are by kind of scene."""

    metrics: dict
    examples: dict[str, Table]
    """One row a test stamp; see `examples`."""
    images: dict[str, dict[str, np.ndarray]]
    """input, truth, reconstruction [uJy per pixel] and segmentation (SExtractor at
    its defaults) of each test stamp; a sample of
    the posterior of those at `stamps.QUANTILES` of the cosine distance; traversals of latents."""
    grids: dict[str, list[dict]]
    """SExtractor's settings and scores on training stamps."""


def evaluate(
    deblend: Mapping[str, Callable],
    test: Mapping[str, Mapping[str, np.ndarray]],
    training: Mapping[str, Mapping[str, np.ndarray]],
    survey: Survey,
    *,
    seed: int,
    stage: str = "blended",
    others: Mapping[str, Callable] | None = None,
    sample: Callable | None = None,
    decode: latents.Decode | None = None,
    program: str | None = None,
) -> Evaluation:
    """Deblends and measures the test scenes of each kind; errors are of the first band.

    Args:
        deblend: `network.Deblend` by kind: isolated, blended, standard, stratified.
        test: Scenes by kind, as `dataset.load` returns them.
        training: The same of the training split: isolated ones, and those of each kind. A kind
            without any has SExtractor at its defaults.
        survey: Whose noise is added.
        seed: Of the noise, which is the same at every call.
        stage: Of the training whose network `deblend` is.
        others: Further deblenders by name, such as VAE I, measured on every kind of scene.
        sample: See `network.make_sample`; the profiles' posterior is tested where there is one.
        decode: See `latents.make_decode`; samples are shown where there is one.
        program: SExtractor's path, or 'sep'; by default whichever is found.
    """
    found = Evaluation({}, {}, {}, {})
    train = {
        kind: Stamps(each, survey, (seed, SPLITS.index("train"), KINDS.index(kind)))
        for kind, each in training.items()
        if kind in {"isolated", *deblend}
    }
    if "isolated" in train:  # its noise does not depend on which kind of scene is isolated
        train["isolated_bias"] = Stamps(
            training["isolated"], survey, (seed, SPLITS.index("train"), 0)
        )
    for kind, function in deblend.items():
        clock, number = _Clock(), KINDS.index(kind)
        with clock("noise"):
            stamps = Stamps(test[kind], survey, (seed, SPLITS.index("test"), number))
        with clock("sextractor"):
            baseline, failure = measure_baseline(stamps, train, kind, program)
        with clock("network"):
            deblended = stamps.deblend(function)
        with clock("bound"):
            bound = stamps.bound()
        measured, untuned = baseline[:2] if baseline else (None, None)
        bias = baseline.bias if baseline else 1.0
        with clock("table"):
            options = {"bias": bias, "pixel_scale": survey.pixel_scale.value}
            table = make_table(kind, stamps.scenes, deblended, measured, untuned, bound, **options)
            summary = summarise_examples(table, np.random.default_rng((seed, number)))
        _add_latent(table, LABELS[stage], deblended)
        if baseline:
            summary |= against(table, untuned.flux, "sextractor_default")
        with clock("other networks"):
            for name, other in (others or {}).items():
                summary |= _add_other(table, name, stamps.deblend(other))
            if sample is not None:
                summary["size_ranks"] = stamps.size_ranks(sample, seed)
        add_units(table)
        summary |= _about(baseline, failure)
        found.metrics[kind], found.examples[kind] = summary, table
        found.images[kind] = stamps.images(table, deblended, untuned, decode, seed)
        found.grids[kind] = baseline.grid if baseline else []
        summary["seconds"], summary["seconds_of"] = clock.total(), clock.seconds
    _study_latents(found, decode, seed)
    return found


def write(evaluation: Evaluation, folder: str | Path) -> None:
    """Writes metrics.json, examples.fits and sextractor_grid_{kind}.ecsv into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, rows in evaluation.grids.items():
        if rows:
            Table(rows=rows).write(folder / f"sextractor_grid_{kind}.ecsv", overwrite=True)
    if tables := list(evaluation.examples.values()):
        joined = vstack(tables).filled(np.nan) if len(tables) > 1 else tables[0]
        joined.write(folder / "examples.fits", overwrite=True)
    write_metrics(evaluation.metrics, folder)


def write_metrics(metrics: Mapping, folder: str | Path) -> None:
    """Writes metrics.json into a folder, whole or not at all."""
    text = json.dumps(strict(metrics), indent=2, allow_nan=False) + "\n"
    write_whole(Path(folder) / "metrics.json", text)


class _Clock:
    """Seconds that each kind of work took."""

    def __init__(self):
        self.start, self.seconds = time.monotonic(), {}

    @contextlib.contextmanager
    def __call__(self, name: str):
        start = time.monotonic()
        yield
        spent = self.seconds.get(name, 0.0) + time.monotonic() - start
        self.seconds[name] = round(spent, 2)

    def total(self) -> float:
        return round(time.monotonic() - self.start, 1)


def strict(value):
    """The same metrics with None for numbers that JSON has not: NaN and the infinities."""
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, dict):
        return {key: strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _about(baseline: Baseline | None, failure: str) -> dict:
    if baseline is None:
        return {"program": "none", "sextractor_failure": failure}
    return {
        "sextractor_settings": baseline.settings._asdict(),
        "sextractor_training_bias": baseline.bias - 1,
        "program": baseline.measured.program,
    }


def _add_other(table: Table, name: str, found) -> dict:
    """Another network's fluxes and latents as columns; its statistics."""
    flux = found.flux[:, 0].astype(float)
    true = np.asarray(table["flux"])[:, 0].astype(float)
    table[f"{name}_flux"], table[f"{name}_error"] = flux, metrics.relative_error(flux, true)
    if name in LABELS.values():
        _add_latent(table, name, found)
    return against(table, flux, name)


def _add_latent(table: Table, label: str, found) -> None:
    table[f"{label}_latent_mean"] = np.asarray(found.latent_mean)
    table[f"{label}_latent_std"] = np.asarray(found.latent_std)


def latent_sets(tables: Mapping[str, Table]) -> dict[str, str]:
    """Set on which each network's latent space is looked at: VAE I's isolated, VAE II's blended."""
    wanted = {"vae_i": ("isolated",), "vae_ii": ("blended", "standard", "stratified", "isolated")}
    return {
        label: next(kind for kind in kinds if kind in tables)
        for label, kinds in wanted.items()
        if any(k in tables and f"{label}_latent_mean" in tables[k].colnames for k in kinds)
    }


def _study_latents(found: Evaluation, decode, seed: int) -> None:
    """Adds what the latent spaces hold to metrics, tables and images."""
    for label, kind in latent_sets(found.examples).items():
        table, clock = found.examples[kind], _Clock()
        column = columns(table)
        mean, std = (column[f"{label}_latent_{name}"] for name in ("mean", "std"))
        with clock("t-SNE"):
            numbers, place, images = latents.study(mean, std, column, decode, seed)
        table[f"{label}_tsne"] = place
        found.metrics[kind][f"{label}_latent"] = numbers | {
            "embedded": int(np.isfinite(place[:, 0]).sum())
        }
        if images is not None:
            found.images[kind][f"{label}_traversals"] = images
        found.metrics[kind]["seconds_of"] |= {f"t-SNE of {label}": clock.total()}
