"""The trained deblender against SExtractor, on the same noisy test stamps.

SExtractor is given every chance: the background, its noise and the gain are its input, and its
settings are the best of a grid on training stamps of the same kind.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from astropy.table import Table

from vaedeblend.deblend.network import in_batches
from vaedeblend.evaluate import latents, metrics, sextractor
from vaedeblend.evaluate.fisher import Bound, flux_bound
from vaedeblend.evaluate.sextractor import Baseline, Measurement, Settings
from vaedeblend.evaluate.summary import against, summarise_examples, uniformity
from vaedeblend.evaluate.table import add_latent, add_units, at_quantiles, columns, make_table
from vaedeblend.simulate.examples import KINDS, SPLITS, noisy
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey

LABELS = {"isolated": "vae_i", "blended": "vae_ii"}
"""Label of each stage's network in the columns of the table."""
QUANTILES = (0.01, 0.5, 0.9, 0.99)
"""Quantiles of the cosine distance at which profiles are shown: best, typical, bad and worst."""

_BATCH = 250
_GRID_STAMPS = 500
_RANKED, _SAMPLES = 1000, 99
"""Stamps whose profiles' posterior is tested, and samples of each."""

SceneArrays = Mapping[str, np.ndarray]
"""Arrays of the scenes of one kind by name, as `dataset.load` returns them."""


class Networks(NamedTuple):
    """A trained stage's network, and what it is compared with."""

    deblend: Mapping[str, Callable]
    """`network.Deblend` by kind of scene: isolated, blended, standard, stratified."""
    stage: str = "blended"
    """Training stage of that network."""
    others: Mapping[str, Callable] = {}
    """Further deblenders by name, such as VAE I, measured on every kind of scene."""
    sample: Callable | None = None
    """Sampler of `network.Deblender.sample`; None leaves the profiles' posterior untested."""
    decode: latents.ProfileDecoder | None = None
    """Decoder of `network.Deblender.decode`; None leaves samples and traversals out."""


class Evaluation(NamedTuple):
    """What an evaluation found; mappings are by kind of scene."""

    metrics: dict
    examples: dict[str, Table]
    """Per-example table (`table`): one row a test stamp."""
    images: dict[str, dict[str, np.ndarray]]
    """input, truth, reconstruction [uJy per pixel] and segmentation (SExtractor at its defaults)
    of each test stamp; a sample of the posterior of the stamps at `QUANTILES` of the cosine
    distance; traversals of latents."""
    grids: dict[str, list[dict]]
    """SExtractor's settings and scores on training stamps."""


def evaluate(
    networks: Networks,
    test: Mapping[str, SceneArrays],
    training: Mapping[str, SceneArrays],
    survey: Survey,
    *,
    seed: int,
    program: str | None = None,
) -> Evaluation:
    """Deblends and measures the test scenes of each kind; errors are of the first band.

    Args:
        networks: Deblenders to be evaluated; `networks.deblend` has one for each kind of `test`.
        test: Test scenes by kind.
        training: Training scenes by kind, isolated ones among them. On a kind without any,
            SExtractor has its default settings.
        survey: Survey whose noise is added.
        seed: Seed of the noise, which is the same at every call.
        program: SExtractor's path, or 'sep'; by default whichever is found.
    """
    found = Evaluation({}, {}, {}, {})
    training_sets = _training_sets(test, training, survey, seed)
    for kind, scenes in test.items():
        clock, number = _Clock(), KINDS.index(kind)
        with clock("noise"):
            stamps = StampSet(scenes, survey, (seed, SPLITS.index("test"), number))
        with clock("sextractor"):
            baseline, failure = measure_baseline(stamps, training_sets, kind, program)
        with clock("network"):
            deblended = stamps.deblend(networks.deblend[kind])
        with clock("bound"):
            bound = stamps.bound()
        with clock("table"):
            scale = survey.pixel_scale.value
            table = make_table(kind, stamps.scenes, deblended, bound, baseline, scale)
            summary = summarise_examples(table, np.random.default_rng((seed, number)))
        add_latent(table, LABELS[networks.stage], deblended)
        if baseline:
            summary |= against(table, baseline.untuned.flux, "sextractor_default")
        with clock("other networks"):
            summary |= _measure_others(networks, table, stamps, seed)
        add_units(table)
        found.metrics[kind], found.examples[kind] = summary | _about(baseline, failure), table
        found.images[kind] = stamps.images(table, deblended, baseline, networks.decode, seed)
        found.grids[kind] = baseline.grid if baseline else []
        found.metrics[kind] |= {"seconds": clock.total(), "seconds_of": clock.seconds}
    _study_latents(found, networks.decode, seed)
    return found


class StampSet:
    """Stamps of one kind of scene with their noise."""

    def __init__(self, scenes: SceneArrays, survey: Survey, seed: tuple[int, ...]):
        """Adds the noise that `seed` and the survey make."""
        self.scenes, self.survey = scenes, survey
        self.image = noisy(scenes["blend"], survey, seed)
        self.true = scenes["flux"][:, 0].astype(float)
        self.rms = float(survey.rms[0])
        self.options = {"gain": float(survey.gain[0]), "zero_point": MICROJANSKY_ZERO_POINT}

    def measure(self, settings: Settings, program: str | None) -> Measurement:
        """SExtractor's measurement of the first band."""
        image = self.image[..., 0]
        options = {"program": program, **self.options}
        return sextractor.measure_centrals(image, self.rms, settings, **options)

    def deblend(self, function: Callable):
        """A deblender's results, `network.Deblended`."""
        variance = np.broadcast_to(self.survey.variance, self.image.shape)
        arrays = {"image": self.image, "variance": variance}
        return in_batches(partial(function, gain=self.survey.gain), arrays, _BATCH)

    def images(
        self, table: Table, found, baseline: Baseline | None, decode, seed: int
    ) -> dict[str, np.ndarray]:
        """Images of `Evaluation.images` but for the traversals."""
        images = {
            "input": self.image,
            "truth": self.scenes["isolated"],
            "reconstruction": found.image,
        }
        if baseline is not None:
            images["segmentation"] = baseline.untuned.segmentation
        rows = at_quantiles(np.asarray(table["cosine_distance"], float), QUANTILES)
        if decode is not None and len(rows):
            images["sample"] = latents.draw_light(decode, found, rows, jax.random.key(seed))
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
        return flux_bound(self.scenes, self.survey, stamp_size=self.image.shape[1])

    def bias(self, settings: Settings, program: str | None) -> float:
        """Median of measured over true flux, of the stamps with a detection; 1 without any."""
        ratio = self.measure(settings, program).flux / self.true
        return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.0

    def search(self, program: str | None) -> tuple[Settings, list[dict]]:
        """SExtractor's best settings on the first 500 stamps, and the scores of all."""
        image, true = self.image[:_GRID_STAMPS, ..., 0], self.true[:_GRID_STAMPS]
        options = {"program": program, **self.options}
        return sextractor.search_settings(image, true, self.rms, **options)


def measure_baseline(
    stamps: StampSet, training: Mapping[str, StampSet], kind: str, program: str | None
) -> tuple[Baseline | None, str]:
    """SExtractor's measurements of stamps; or None, and why SExtractor could not be run.

    Args:
        stamps: Stamps to be measured.
        training: Training stamps by kind: SExtractor's settings are chosen on those of `kind`, and
            its bias is measured on 'isolated_bias'.
        kind: Kind of scene of the stamps.
        program: SExtractor's path, or 'sep'; by default whichever is found.
    """
    try:
        settings, grid = sextractor.DEFAULT, []
        if kind in training:
            settings, grid = training[kind].search(program)
        unbiased = training.get("isolated_bias")
        bias = unbiased.bias(settings, program) if unbiased else 1.0
        measured, untuned = (stamps.measure(s, program) for s in (settings, sextractor.DEFAULT))
        return Baseline(measured, untuned, settings, grid, bias), ""
    except (RuntimeError, OSError) as error:  # the program is missing, or gives up
        return None, str(error)


def _training_sets(kinds, training: Mapping[str, SceneArrays], survey: Survey, seed: int):
    """Training stamps of the kinds that are evaluated and of isolated galaxies."""
    split = SPLITS.index("train")
    sets = {
        kind: StampSet(scenes, survey, (seed, split, KINDS.index(kind)))
        for kind, scenes in training.items()
        if kind in {"isolated", *kinds}
    }
    if "isolated" in sets:  # its noise does not depend on which kind of scene is isolated
        sets["isolated_bias"] = StampSet(training["isolated"], survey, (seed, split, 0))
    return sets


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


def _about(baseline: Baseline | None, failure: str) -> dict:
    """SExtractor's program, settings and bias, or why it could not be run."""
    if baseline is None:
        return {"program": "none", "sextractor_failure": failure}
    return {
        "sextractor_settings": baseline.settings._asdict(),
        "sextractor_training_bias": baseline.bias - 1,
        "program": baseline.measured.program,
    }


def _measure_others(networks: Networks, table: Table, stamps: StampSet, seed: int) -> dict:
    """Statistics of the other networks and of posterior samples; their columns go to the table."""
    summary = {}
    for name, deblend in networks.others.items():
        found = stamps.deblend(deblend)
        flux = found.flux[:, 0].astype(float)
        error = metrics.relative_error(flux, np.asarray(table["flux"])[:, 0].astype(float))
        table[f"{name}_flux"], table[f"{name}_error"] = flux, error
        if name in LABELS.values():
            add_latent(table, name, found)
        summary |= against(table, flux, name)
    if networks.sample is not None:
        summary["size_ranks"] = stamps.size_ranks(networks.sample, seed)
    return summary


def latent_sets(tables: Mapping[str, Table]) -> dict[str, str]:
    """Set on which each network's latents are studied: VAE I's isolated, VAE II's blended."""
    wanted = {"vae_i": ("isolated",), "vae_ii": ("blended", "standard", "stratified", "isolated")}
    return {
        label: next(kind for kind in kinds if kind in tables)
        for label, kinds in wanted.items()
        if any(k in tables and f"{label}_latent_mean" in tables[k].colnames for k in kinds)
    }


def _study_latents(found: Evaluation, decode, seed: int) -> None:
    """Adds statistics of the latent spaces to metrics, tables and images."""
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
