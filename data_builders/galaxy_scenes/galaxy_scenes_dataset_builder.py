"""Simulated galaxies, isolated and blended, with labels, as a TFDS dataset."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tensorflow_datasets as tfds

from data_builders.records import check_sizes, prepared, seen, tensor
from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import SettingsError
from vaedeblend.io.parallel import available_cores
from vaedeblend.pixels.coadds import LARGEST_LAG
from vaedeblend.pixels.psf import PSF_SIZE
from vaedeblend.simulate import examples as simulation
from vaedeblend.survey import Survey

_SIZES = MappingProxyType(
    {
        "galaxies": {"train": 8000, "validation": 500, "test": 500},
        "isolated": {"train": 500, "validation": 500, "test": 4000},
        "blended": {"train": 500, "validation": 500, "test": 4000},
        "stratified": {"train": 500, "validation": 500, "test": 4000},
        "standard": {"train": 500, "validation": 500, "test": 4000},
        "fields": {"train": 256, "validation": 32, "test": 32},
    }
)


@dataclasses.dataclass
class SceneConfig(tfds.core.BuilderConfig):
    """What changes the bytes on disk.

    Attributes:
        kind: Kind of example (`examples.KINDS`).
        sizes: Examples a split; of kind galaxies, central galaxies a split.
        survey: Bands, depth and PSF.
        options: Further keyword arguments of `examples.examples`.
        processes: Processes that render side by side; changes no byte.
    """

    kind: str = "galaxies"
    sizes: Mapping[str, int] | None = None
    survey: Survey = dataclasses.field(default_factory=Survey)
    options: Mapping = dataclasses.field(default_factory=lambda: {"seed": 0})
    processes: int = dataclasses.field(default_factory=available_cores)


def _default_config(kind: str) -> SceneConfig:
    options = {"seed": 0, "n_companions": 8000} if kind == "galaxies" else {"seed": 0}
    return SceneConfig(name=kind, kind=kind, sizes=_SIZES[kind], options=options)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Noise-free stamps: single galaxies, scenes beside their central galaxy, or sheets of sky."""

    VERSION = tfds.core.Version("1.5.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "Kinds standard and fields; the PSF of each example of kind galaxies.",
        "1.2.0": "The autocorrelation of the noise of each example of kind galaxies.",
        "1.3.0": "PSFs of 65 pixels, whose sum is the share of the light that they hold.",
        "1.4.0": "Structured galaxies fitted to real ones.",
        "1.5.0": "Real galaxies without neighbours, and deconvolved no further than is seen.",
    }
    BUILDER_CONFIGS = [_default_config(kind) for kind in simulation.KINDS]

    _on_beam = False

    def __init__(self, **kwargs):
        """Takes TFDS's arguments; files are array_record unless another format is asked for."""
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        special = {"galaxies": _galaxy_features, "fields": _field_features}
        features = special.get(config.kind, _scene_features)
        return self.dataset_info_from_configs(features=features(config), disable_shuffling=True)

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in self.builder_config.sizes}

    def download_and_prepare(self, *, download_config=None, **options):
        """Builds the dataset: with Beam, where the configuration names its options or a runner."""
        given = download_config
        self._on_beam = given is not None and bool(given.beam_options or given.beam_runner)
        super().download_and_prepare(download_config=download_config, **options)

    def _generate_examples(self, split):
        config = self.builder_config
        n, options = config.sizes[split], {"survey": config.survey, **config.options}
        if self._on_beam:
            from data_builders.spread import spread  # Beam

            prepare = functools.partial(
                simulation.prepare_examples, config.kind, split, n, **options
            )
            companions = options.get("n_companions", 0) if config.kind == "galaxies" else 0
            return spread(prepare, n + companions)
        options["processes"] = config.processes
        return enumerate(simulation.examples(config.kind, split, n, **options))


def build(
    kind: str,
    *,
    sizes: Mapping[str, int],
    survey: Survey,
    data_dir: str | Path,
    beam: Sequence[str] = (),
    **options,
) -> Path:
    """Directory of the dataset of these options; it is built first where it is missing.

    Its name holds a digest of all that changes its bytes, so that no run takes another's data for
    its own. A build that is cut off leaves nothing under that name.

    Args:
        kind: Kind of example (`examples.KINDS`).
        sizes: Examples a split.
        survey: Bands, depth and PSF.
        data_dir: Folder that holds all datasets.
        beam: Options of Apache Beam's pipeline, as of its command line, in the place of processes;
            they change no example.
        options: Further keyword arguments of `examples.examples`.

    Raises:
        SettingsError: There is no such kind, split or size.
    """
    if kind not in simulation.KINDS:
        raise SettingsError(f"kind is {kind!r}; wanted one of {', '.join(simulation.KINDS)}")
    check_sizes(sizes)
    processes = options.pop("processes", available_cores())
    files = seen(options, *(band.psf for band in survey.bands))
    content = (kind, sorted(sizes.items()), survey, sorted(options.items()), files)
    name = f"{kind}-{hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"
    config = SceneConfig(name, kind=kind, sizes=sizes, survey=survey, options=options)
    config.processes = processes
    return prepared(lambda: Builder(config=config, data_dir=data_dir), beam)


def _parameters(bands: int, *lead: int) -> dict:
    names = Galaxies._fields
    return {n: tensor(*lead, bands) if "flux" in n else tensor(*lead) for n in names}


def _psf(bands: int):
    return tensor(PSF_SIZE, PSF_SIZE, bands)


def _galaxy_features(config: SceneConfig) -> tfds.features.FeaturesDict:
    bands = len(config.survey.bands)
    side = simulation.LIBRARY_SIZE
    return tfds.features.FeaturesDict(
        {
            "stamp": tensor(side, side, bands, dtype=np.float16),
            "psf": _psf(bands),
            "correlation": tensor(2 * LARGEST_LAG + 1, 2 * LARGEST_LAG + 1, bands),
            "phase": tensor(2),
            "central": tfds.features.Scalar(np.bool_),
            "id": tfds.features.Scalar(np.int64),
            **_parameters(bands),
        }
    )


def _field_features(config: SceneConfig) -> tfds.features.FeaturesDict:
    bands = len(config.survey.bands)
    side = simulation.FIELD_SIZE
    return tfds.features.FeaturesDict(
        {"sheet": tensor(side, side, bands, dtype=np.float16), "psf": _psf(bands)}
    )


def _scene_features(config: SceneConfig) -> tfds.features.FeaturesDict:
    bands = len(config.survey.bands)
    side = config.options.get("stamp_size", 64)
    sources = 1 + config.options.get("max_companions", 3)
    labels = ("flux", "magnitude", "purity", "bm_1", "flux_ratio")
    return tfds.features.FeaturesDict(
        {
            "blend": tensor(side, side, bands),
            "isolated": tensor(side, side, bands),
            **{name: tensor(bands) for name in labels},
            "n_companions": tfds.features.Scalar(np.int32),
            "id": tfds.features.Scalar(np.int64),
            "sources": {
                "id": tensor(sources, dtype=np.int64),
                "position": tensor(sources, 2),
                **_parameters(bands, sources),
            },
        }
    )
