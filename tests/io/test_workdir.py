import json

import pytest

from vaedeblend.exceptions import FileError, WorkdirError
from vaedeblend.io.workdir import claim, find_workdir, read_config

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
