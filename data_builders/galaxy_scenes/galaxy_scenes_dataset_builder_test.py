import pytest
import tensorflow_datasets as tfds

from data_builders.galaxy_scenes import galaxy_scenes_dataset_builder as builder
from vaedeblend import dataset


def _config(kind, source=""):
    options = {"seed": 3, "area": 0.03, "source": source}
    if kind == "galaxies":
        options["n_companions"] = 4
    sizes = {"train": 6, "validation": 3, "test": 3}
    return builder.SceneConfig(
        name=f"{kind}-tiny", kind=kind, sizes=sizes, options=options, processes=1
    )


@pytest.mark.parametrize("kind", ["galaxies", "isolated", "blended", "stratified"])
def test_builds_and_reads_back_without_tensorflow(tmp_path, kind):
    built = builder.Builder(config=_config(kind), data_dir=tmp_path)
    built.download_and_prepare()
    ids = {split: set(dataset.load(built.data_dir, split)["id"]) for split in built.info.splits}
    assert not (ids["train"] & ids["test"]) and not (ids["train"] & ids["validation"])
    arrays = dataset.load(built.data_dir, "train")
    assert len(arrays["id"]) == (10 if kind == "galaxies" else 6)


class GalaxyScenesTest(tfds.testing.DatasetBuilderTestCase):
    """The checks of TFDS itself, on the blended scenes."""

    DATASET_CLASS = builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["blended"]
    SPLITS = {"train": 6, "validation": 3, "test": 3}
