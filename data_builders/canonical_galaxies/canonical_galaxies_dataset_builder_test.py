import functools

import numpy as np
import pytest

from data_builders.canonical_galaxies import canonical_galaxies_dataset_builder as builder
from vaedeblend.exceptions import SettingsError, StyleError
from vaedeblend.io import dataset
from vaedeblend.survey import Survey

OPTIONS = {"seed": 3, "area": 0.03, "magnitude": (20.0, 24.0), "style": "sersic"}


def test_is_built_once_under_a_name_of_all_that_changes_it(tmp_path):
    make = functools.partial(builder.build, data_dir=tmp_path, survey=Survey(), processes=1)
    sizes = {"train": 4, "test": 2}
    first = make(sizes=sizes, **OPTIONS)
    written = first.stat().st_mtime_ns
    assert make(sizes=sizes, **OPTIONS) == first and first.stat().st_mtime_ns == written
    assert make(sizes=sizes, **OPTIONS | {"style": "analytic"}) != first
    train, test = (dataset.load(first, split) for split in sizes)
    assert train["stamp"].shape == (4, 64, 64) and train["condition"].shape == (4, 4)
    assert not np.isin(train["condition"], test["condition"]).any()


def test_datasets_keep_the_names_that_earlier_versions_gave(tmp_path, monkeypatch):
    monkeypatch.setattr(builder.Builder, "download_and_prepare", lambda self: None)
    sizes = {"train": 4, "test": 2}
    made = builder.build(sizes=sizes, survey=Survey(), data_dir=tmp_path, **OPTIONS)
    assert made == tmp_path / "canonical_galaxies" / "canonical-be503851a1ec" / "1.1.0"


def test_splits_that_there_are_not_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="split is 'training'; wanted one of train"):
        builder.build(sizes={"training": 2}, survey=Survey(), data_dir=tmp_path, **OPTIONS)


def test_a_style_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(StyleError, match="watercolour"):
        builder.build(
            sizes={"train": 2},
            survey=Survey(),
            data_dir=tmp_path,
            processes=2,
            **OPTIONS | {"style": "watercolour"},
        )
    assert not list(tmp_path.glob("canonical_galaxies/*/[0-9]*"))
