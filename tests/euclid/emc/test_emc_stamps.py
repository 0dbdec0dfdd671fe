"""Stamps of a challenge's fields as a dataset."""

import shutil

import numpy as np
import pytest
from written import GALAXIES, SPLIT, edit

from data_builders.emc_stamps import __main__ as command
from data_builders.emc_stamps import emc_stamps_dataset_builder as builder
from vaedeblend.euclid.emc import census, simulate
from vaedeblend.euclid.emc.census import STATUSES, Reach
from vaedeblend.exceptions import EmcError
from vaedeblend.io import dataset
from vaedeblend.pixels.psf import PSF_SIZE


def test_stamps_are_built_and_accounted_for(folder, tmp_path):
    directory = builder.build(folder, "realm", data_dir=tmp_path, **SPLIT)
    table = builder.read_census(directory)
    assert table.colnames == ["field", "sources", *STATUSES]
    for number, split in enumerate(("train", "test")):
        stamps = dataset.load(directory, split)
        n = table["isolated"][number] + table["blended"][number]
        assert stamps["image"].shape == stamps["alone"].shape == (n, 64, 64, 1)
        assert stamps["blended"].sum() == table["blended"][number]
        np.testing.assert_array_equal(stamps["blended"], stamps["n_neighbours"] > 0)
        assert (stamps["field"] == number).all() and len(set(stamps["id"])) == n
        flux = 10 ** (0.4 * (23.9 - stamps["truth/mag"]))
        np.testing.assert_allclose(stamps["flux"][:, 0], flux, rtol=1e-5)
        np.testing.assert_allclose(stamps["background_rms"], simulate.SURVEY.rms[0], rtol=1e-5)
        assert stamps["psf"].shape == (n, PSF_SIZE, PSF_SIZE, 1)
        np.testing.assert_allclose(stamps["psf"].sum(axis=(1, 2)), 1, rtol=1e-4)
        assert np.isfinite(stamps["purity"]).all() and (stamps["purity"] < 1.01).all()


def test_what_is_built_is_named_by_all_that_changes_it(copy, tmp_path):
    first = builder.build(copy, "ssersic", data_dir=tmp_path, **SPLIT)
    written = first.stat().st_mtime_ns
    again = builder.build(copy, "ssersic", data_dir=tmp_path, **SPLIT)
    assert again == first and first.stat().st_mtime_ns == written
    elsewhere = shutil.copytree(copy, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert builder.build(elsewhere, "ssersic", data_dir=tmp_path, **SPLIT) == first
    wide = builder.build(copy, "ssersic", data_dir=tmp_path, reach=Reach(own=2.0), **SPLIT)
    edit(copy / GALAXIES, lambda lines: [*lines, ""])
    other = builder.build(copy, "ssersic", data_dir=tmp_path, **SPLIT)
    assert len({first, wide, other}) == 3


def test_galaxies_too_faint_for_light_alone_have_none(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder.layout, "read_alone", lambda field: {})
    directory = builder.build(folder, "ssersic", data_dir=tmp_path, **SPLIT)
    stamps = dataset.load(directory, "train")
    assert np.isnan(stamps["alone"]).all() and np.isnan(stamps["purity"]).all()
    assert np.isfinite(stamps["light"]).all()


def test_a_build_cut_off_leaves_nothing_under_its_name(folder, tmp_path, monkeypatch):
    stamps = census.census_stamps

    def dies(field, rows):
        yield from list(stamps(field, rows))[:2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(builder.census, "census_stamps", dies)
        builder.build(folder, "ssersic", data_dir=tmp_path, **SPLIT)
    assert not list(tmp_path.glob("emc_stamps/*/1.0.0"))
    directory = builder.build(folder, "ssersic", data_dir=tmp_path, **SPLIT)
    assert len(dataset.load(directory, "test")["image"])


def test_a_field_in_two_splits_is_refused(folder, tmp_path):
    with pytest.raises(EmcError, match=r"fields \[0\] are in splits twice"):
        builder.build(folder, "ssersic", data_dir=tmp_path, splits={"a": (0, 1), "b": (0,)})


def test_a_split_without_galaxies_is_refused(folder, tmp_path):
    with pytest.raises(EmcError, match=r"no galaxy of fields \(1,\) is selected; split 'a' wanted"):
        builder.build(
            folder, "ssersic", data_dir=tmp_path, splits={"a": (1,)}, selection={"mag": (1.0, 2.0)}
        )


def test_command_cuts_stamps_and_prints_what_became_of_every_source(
    folder, tmp_path, capsys, monkeypatch
):
    words = ["emc_stamps", str(folder), "--dataset", "ssersic", "--data-dir", str(tmp_path)]
    splits = ["--train", "0", "--validation", "--test", "1"]
    monkeypatch.setattr("sys.argv", [*words, *splits])
    command.main()
    said = capsys.readouterr().out
    assert all(name in said for name in STATUSES) and str(tmp_path) in said
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit, match="1"):
        command.main()
    assert "no field 2 of ssersic" in capsys.readouterr().out
