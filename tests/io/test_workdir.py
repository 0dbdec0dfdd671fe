import json

import numpy as np
import pytest

from vaedeblend.exceptions import FileError, WorkdirError
from vaedeblend.io import checkpoint
from vaedeblend.io.workdir import (
    check_export,
    claim,
    export,
    find_workdir,
    read_config,
    read_trained,
)

CONFIG = {"seed": 0, "model": {"depth": 3, "sizes": [1, 2]}}


def test_an_empty_folder_is_claimed(tmp_path):
    claim(tmp_path / "a" / "run", CONFIG)
    claim(tmp_path / "a" / "run", CONFIG)
    assert read_config(tmp_path / "a" / "run") == CONFIG
    assert (tmp_path / "a" / "run" / "config.json").read_text() == json.dumps(CONFIG, indent=2) + (
        "\n"
    )
    assert [each.name for each in (tmp_path / "a" / "run").iterdir()] == ["config.json"]


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    claim(tmp_path, CONFIG)
    other = {"model": {"depth": 4, "sizes": [1, 2]}, "more": 1}
    with pytest.raises(WorkdirError) as refusal:
        claim(tmp_path, other)
    said = str(refusal.value)
    assert "belongs to another configuration" in said and "sizes" not in said
    for difference in ("model.depth: 3 != 4", "more: None != 1", "seed: 0 != None"):
        assert difference in said
    assert read_config(tmp_path) == CONFIG


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file: no folder"):
        claim(tmp_path / "file", CONFIG)


def test_shipped_weights_go_by_name(tmp_path):
    assert read_config(find_workdir("euclid_vis"))["model"]
    assert find_workdir(tmp_path) == tmp_path


def test_another_training_is_exported_in_the_first_ones_place(tmp_path):
    for value in (1.0, 2.0):
        run = tmp_path / f"run{value}"
        data = {"style": "analytic+cosmos:/disk/hst#split+real:cube.fits.fz#split"}
        claim(run, CONFIG | {"data": data, "stages": {"blended": {}}})
        average = {"a": np.full(4, value, np.float32)}
        checkpoint.save_params(run / "blended" / "checkpoints", 3, average)
        with pytest.raises(WorkdirError, match="has no calibration.json; wanted a finished one"):
            export(run, tmp_path / "weights")
        (run / "blended" / "calibration.json").write_text(str(value))
        export(run, tmp_path / "weights")
        found = checkpoint.load_params(tmp_path / "weights" / "blended" / "checkpoints")
        np.testing.assert_array_equal(found["a"], average["a"])
        assert (tmp_path / "weights" / "blended" / "calibration.json").read_text() == str(value)
    style = read_config(tmp_path / "weights")["data"]["style"]
    assert style == "analytic+cosmos:hst#split+real:cube.fits.fz#split"
    for mark in (tmp_path / "weights").rglob("commit_success.txt"):
        assert str(tmp_path) not in mark.read_text()


@pytest.mark.parametrize(
    "name", ["run/data/galaxies", "field/psf.fits", "run/blended/metrics.jsonl"]
)
def test_weights_are_written_over_nothing_but_weights(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("")
    folder = tmp_path / name.split("/")[0]
    with pytest.raises(WorkdirError, match="holds .*; wanted a folder for weights alone"):
        check_export(tmp_path, folder)
    with pytest.raises(WorkdirError, match="is the workdir of the training; wanted another"):
        check_export(tmp_path / "new", tmp_path / "other" / ".." / "new")


def test_shipped_weights_may_be_replaced_and_a_killed_export_too(tmp_path):
    check_export(tmp_path, find_workdir("euclid_vis"))
    (tmp_path / "half" / "blended" / "checkpoints").mkdir(parents=True)
    (tmp_path / "half" / "psf.fits.partial").write_text("")
    check_export(tmp_path, tmp_path / "half")


@pytest.mark.parametrize(
    ("text", "said"),
    [("[1]", "holds a list; wanted"), ("{}", "has no data, model, stages, survey")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, said):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WorkdirError, match=said):
        read_trained(tmp_path)
    with pytest.raises(WorkdirError, match="config.json/config.json: not found; wanted"):
        read_trained(tmp_path / "config.json")


def test_bands_are_in_the_order_of_their_names_whatever_the_file_s(tmp_path):
    """As a training's, which has its keys so, whatever config.json made of them."""
    bands = {"vis": {}, "nir-h": {"n_exposures": 1}, "ext-g": {}}
    (tmp_path / "config.json").write_text(json.dumps({"survey": {"bands": bands}, "seed": 3}))
    found = read_config(tmp_path)
    assert list(found["survey"]["bands"].items()) == sorted(bands.items()) and found["seed"] == 3
