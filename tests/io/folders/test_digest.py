import os

import pytest

from vaedeblend.io.folders.digest import (
    SEAL,
    damaged_file,
    digest_file,
    kept_while_unchanged,
    seal,
    sealed_json,
    unsealed_json,
)


def test_a_sealed_folder_names_what_was_damaged(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"content")
    assert damaged_file(tmp_path) is None  # nothing is known of it
    seal(tmp_path)
    assert damaged_file(tmp_path) is None
    (tmp_path / "inner" / "a").write_bytes(b"contend")
    assert damaged_file(tmp_path) == "inner/a"
    (tmp_path / "inner" / "a").unlink()
    assert damaged_file(tmp_path) == "inner/a"
    (tmp_path / SEAL).write_text("{")
    assert damaged_file(tmp_path) == SEAL


def test_digests_are_of_contents_alone(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"content")
    os.utime(tmp_path / "a" / "file", (0, 0))
    assert digest_file(tmp_path / "a") == digest_file(tmp_path / "b")
    assert digest_file(tmp_path / "a" / "file") == digest_file(tmp_path / "b" / "file")


def test_a_digest_holds_what_lies_behind_a_link(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "file").write_bytes(b"content")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    before = digest_file(tmp_path / "a")
    (tmp_path / "b" / "file").write_bytes(b"contend")
    assert digest_file(tmp_path / "a") != before


def test_sealed_json_is_what_was_written():
    text = sealed_json({"a": [1.5, None], "b": {"c": "d"}})
    assert unsealed_json(text) == {"a": [1.5, None], "b": {"c": "d"}}
    assert unsealed_json('{"a": 1}') == {"a": 1}  # of a version that sealed nothing
    for damaged in (text.replace("1.5", "1.4"), text[:-5], "[1]"):
        with pytest.raises(ValueError):
            unsealed_json(damaged)


def test_a_changed_file_is_read_again(tmp_path):
    read = kept_while_unchanged(maxsize=2)(lambda path: path.read_text())
    path = tmp_path / "catalogue"
    for text in ("old", "newer"):
        path.write_text(text)
        assert read(path) == read(path) == text
