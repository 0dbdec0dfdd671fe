"""Stamps of a folder in the layout of the Euclid Morphology Challenge, as a TFDS dataset."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tensorflow_datasets as tfds
from astropy.table import Table

from data_builders.records import prepared, tensor
from vaedeblend.euclid.emc import census, layout
from vaedeblend.euclid.emc.layout import DATASETS
from vaedeblend.exceptions import EmcError
from vaedeblend.io.folders.digest import digest_file
from vaedeblend.io.folders.walk import files_below
from vaedeblend.pixels.blending import purity
from vaedeblend.pixels.psf import PSF_SIZE
from vaedeblend.simulate.render import resampled_psfs
from vaedeblend.survey import magnitude_to_flux

SPLITS: Mapping[str, Sequence[int]] = MappingProxyType(
    {"train": (0, 1, 2), "validation": (3,), "test": (4,)}
)
"""Fields of each split."""


@dataclasses.dataclass
class StampConfig(tfds.core.BuilderConfig):
    """What changes the bytes on disk.

    Attributes:
        dataset: Name of the dataset: ssersic, dsersic or realm.
        folder: Folder that holds the challenge's files.
        splits: Numbers of the fields of each split.
        selection: Ranges of true parameters, outside of which galaxies are left out.
        reach: Reach of light, which makes galaxies blended.
        missing_truth: Whether galaxies may lack a row of the truth catalogue.
        noise_free: Whether all fields have their light without noise, and that of galaxies alone.
    """

    dataset: str = "realm"
    folder: str = ""
    splits: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=lambda: SPLITS)
    selection: Mapping[str, tuple[float, float]] = dataclasses.field(
        default_factory=lambda: census.SELECTION
    )
    reach: census.Reach = census.Reach()
    missing_truth: bool = False
    noise_free: bool = False


class Builder(tfds.core.GeneratorBasedBuilder):
    """Noisy stamps of galaxies, isolated and blended, with what is true of them."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES = {"1.0.0": "First release.", "1.1.0": "PSFs of 65 pixels."}
    BUILDER_CONFIGS = [StampConfig(name=name, dataset=name) for name in DATASETS]

    def __init__(self, **kwargs):
        """Takes TFDS's arguments; files are array_record unless another format is asked for."""
        super().__init__(**{"file_format": "array_record", **kwargs})

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        stamp = tensor(census.STAMP_SIZE, census.STAMP_SIZE, 1)
        noise_free = {"light": stamp, "alone": stamp, "purity": tensor(1)}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": stamp,
                    "rms": stamp,
                    "background_rms": tensor(1),
                    "psf": tensor(PSF_SIZE, PSF_SIZE, 1),
                    "phase": tensor(2),
                    "position": tensor(2, dtype=np.float64),
                    "flux": tensor(1),
                    "truth": {name: tensor() for name in DATASETS[config.dataset].parameters},
                    "blended": tfds.features.Scalar(np.bool_),
                    "n_neighbours": tfds.features.Scalar(np.int32),
                    "id": tfds.features.Scalar(np.int64),
                    "field": tfds.features.Scalar(np.int32),
                    **(noise_free if config.noise_free else {}),
                }
            ),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # Nothing is downloaded.
        config = self.builder_config
        psf = resampled_psfs((layout.read_field_psf(config.folder),), layout.PIXEL_SCALE)
        fields = {
            number: _read(config, number)
            for number in sorted(number for each in config.splits.values() for number in each)
        }
        censuses = {
            number: census.take_census(field, selection=config.selection, reach=config.reach)
            for number, field in fields.items()
        }
        for split, numbers in config.splits.items():
            if not sum(len(census.used_rows(censuses[number])) for number in numbers):
                found = f"{config.folder}: no galaxy of fields {tuple(numbers)} is selected"
                raise EmcError(f"{found}; split {split!r} wanted at least one")
        table = census.tabulate(censuses)
        self.info.metadata["accounting"] = {name: table[name].tolist() for name in table.colnames}
        return {
            split: _examples([(fields[n], censuses[n]) for n in numbers], psf, config.noise_free)
            for split, numbers in config.splits.items()
        }

    def _generate_examples(self, *arguments):
        raise NotImplementedError  # splits come as iterators


def build(
    folder: str | Path,
    dataset: str,
    *,
    data_dir: str | Path,
    splits: Mapping[str, Sequence[int]] = SPLITS,
    selection: Mapping[str, tuple[float, float]] = census.SELECTION,
    reach: census.Reach = census.Reach(),  # noqa: B008
    missing_truth: bool = False,
) -> Path:
    """Directory of the stamps of a folder; they are cut first where they are missing.

    Its name holds a digest of the options, and of name, size and time of the folder's files. A
    build that is cut off leaves nothing under that name.

    Args:
        folder: Folder that holds the challenge's files.
        dataset: Name of the dataset: ssersic, dsersic or realm.
        data_dir: Folder that holds all datasets.
        splits: Numbers of the fields of each split.
        selection: Ranges of true parameters, outside of which galaxies are left out.
        reach: Reach of light, which makes galaxies blended.
        missing_truth: Whether galaxies may lack a row of the truth catalogue.

    Raises:
        EmcError: The folder does not hold what the layout wants, a field is in two splits, or a
            split holds no galaxy.
    """
    options = {
        "dataset": dataset,
        "folder": str(Path(folder).resolve()),
        "splits": {split: tuple(each) for split, each in splits.items()},
        "selection": dict(selection),
        "reach": reach,
        "missing_truth": missing_truth,
    }
    config = StampConfig(name=dataset, **options)
    config.noise_free = _noise_free(config)
    del options["folder"]  # which counts as what it holds, wherever that lies
    seen = [(p.name, digest_file(p)) for p in _files(folder)]
    digest = hashlib.sha256(repr((sorted(options.items()), seen)).encode()).hexdigest()
    config.name = f"{dataset}-{digest[:12]}"
    return prepared(lambda: Builder(config=config, data_dir=data_dir))


def read_census(directory: str | Path) -> Table:
    """What became of every source of the fields of a built dataset; see `census.tabulate`."""
    metadata = json.loads((Path(directory) / "metadata.json").read_text())
    return Table(metadata["accounting"])


def _files(folder) -> Iterator[Path]:
    return (p for p in files_below(folder) if p.suffix in (".fits", ".list"))


def _read(config: StampConfig, number: int) -> layout.EmcField:
    return layout.read_field(
        config.folder, config.dataset, number, missing_truth=config.missing_truth
    )


def _noise_free(config: StampConfig) -> bool:
    """Whether all fields have the files of this project's own."""
    numbers = [number for each in config.splits.values() for number in each]
    if twice := {number for number in numbers if numbers.count(number) > 1}:
        raise EmcError(f"fields {sorted(twice)} are in splits twice; wanted each in one")
    fields = [_read(config, number) for number in numbers]
    return all({"light", "alone"} <= field.files.keys() for field in fields)


def _examples(fields, psf, noise_free: bool) -> Iterator[tuple[int, dict]]:
    key = 0
    for field, counted in fields:
        phase, alone = census.phases(field), layout.read_alone(field)
        for stamp in census.census_stamps(field, census.used_rows(counted)):
            example = _example(field, counted, stamp, phase[stamp.row]) | {"psf": psf}
            if noise_free:
                example |= _labels(stamp, alone.get(int(field.id[stamp.row])))
            yield key, example
            key += 1


def _example(field: layout.EmcField, counted, stamp: census.Stamp, phase) -> dict:
    row = stamp.row
    return {
        "image": stamp.image[..., None],
        "rms": stamp.rms[..., None],
        "background_rms": np.percentile(stamp.rms, [10]).astype(np.float32),
        "phase": phase.astype(np.float32),
        "position": field.position[row],
        "flux": magnitude_to_flux(field.truth["mag"][[row]]).astype(np.float32),
        "truth": {name: np.float32(values[row]) for name, values in field.truth.items()},
        "blended": census.STATUSES[counted.status[row]] == "blended",
        "n_neighbours": counted.n_neighbours[row],
        "id": field.id[row],
        "field": field.number,
    }


def _labels(stamp: census.Stamp, alone) -> dict:
    """Labels of the noise-free light; NaN for a galaxy whose light alone is not there."""
    own = np.full(stamp.image.shape, np.nan, np.float32) if alone is None else alone
    members = np.stack([own, stamp.light - own])[..., None]
    labels = {"light": stamp.light[..., None], "alone": own[..., None]}
    return labels | {"purity": purity(members).astype(np.float32)}
