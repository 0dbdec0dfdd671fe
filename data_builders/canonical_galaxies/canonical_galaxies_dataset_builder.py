"""Galaxies in their rest frame, from which a generator learns, as a TFDS dataset."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from data_builders.records import check_sizes, prepared, seen, tensor
from vaedeblend.io.parallel import available_cores
from vaedeblend.simulate.examples import canonical_galaxies
from vaedeblend.simulate.galaxies.canonical import CONDITIONS, SIDE
from vaedeblend.survey import Survey


@dataclasses.dataclass
class CanonicalConfig(tfds.core.BuilderConfig):
    """What changes the bytes on disk.

    Attributes:
        sizes: Galaxies a split.
        survey: Survey that names the bands.
        options: Further keyword arguments of `examples.canonical_galaxies`.
        processes: Processes that draw side by side; changes no byte.
    """

    sizes: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 16000, "validation": 1000, "test": 1000}
    )
    survey: Survey = dataclasses.field(default_factory=Survey)
    options: Mapping = dataclasses.field(default_factory=lambda: {"seed": 0})
    processes: int = dataclasses.field(default_factory=available_cores)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Canonical stamps and their conditions."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "1.1.0": "Structured galaxies fitted to real ones.",
    }
    BUILDER_CONFIGS = [CanonicalConfig(name="structured")]

    def __init__(self, **kwargs):
        """Takes TFDS's arguments; files are array_record unless another format is asked for."""
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "stamp": tensor(SIDE, SIDE, dtype=np.float16),
            "condition": tensor(len(CONDITIONS)),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing is downloaded.
        return {split: self._generate_examples(split) for split in self.builder_config.sizes}

    def _generate_examples(self, split):
        config = self.builder_config
        examples = canonical_galaxies(
            split,
            config.sizes[split],
            survey=config.survey,
            processes=config.processes,
            **config.options,
        )
        yield from enumerate(examples)


def build(*, sizes: Mapping[str, int], survey: Survey, data_dir: str | Path, **options) -> Path:
    """Directory of the dataset of these options; it is built first where it is missing.

    Its name holds a digest of all that changes its bytes, so that no run takes another's data for
    its own; of what lies at a style's path and of the catalogue, the content. A build that is cut
    off leaves nothing under that name.

    Args:
        sizes: Galaxies a split.
        survey: Survey that names the bands.
        data_dir: Folder that holds all datasets.
        options: Further keyword arguments of `examples.canonical_galaxies`.

    Raises:
        SettingsError: There is no such split or size.
    """
    check_sizes(sizes)
    processes = options.pop("processes", available_cores())
    content = (sorted(sizes.items()), survey.band_names, sorted(options.items()), seen(options))
    name = f"canonical-{hashlib.sha256(repr(content).encode()).hexdigest()[:12]}"
    config = CanonicalConfig(name, sizes=sizes, survey=survey, options=options)
    config.processes = processes
    return prepared(lambda: Builder(config=config, data_dir=data_dir))
