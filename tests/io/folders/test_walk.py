"""Files below a folder, wherever they lie."""

import pytest

from vaedeblend.io.folders.walk import files_below


@pytest.fixture
def folder(tmp_path):
    """A folder with one in it, and one elsewhere that it links to."""
    for name in ("in/a/1.fits", "in/a/2.txt", "in/0.fits", "out/deep/3.fits"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    return tmp_path / "in"


def test_links_to_folders_are_followed(folder):
    found = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    assert found == ["0.fits", "a/1.fits", "a/2.txt", "link/deep/3.fits"]
    assert [path.name for path in files_below(folder, "*.fits")] == ["0.fits", "1.fits", "3.fits"]
    assert files_below(folder / "nothing") == []


def test_no_folder_is_entered_twice(folder):
    before = files_below(folder)
    (folder / "a" / "around").symlink_to(folder)
    (folder.parent / "out" / "back").symlink_to(folder / "a")
    (folder / "A").symlink_to(folder / "a")  # the folder itself comes before its links
    assert files_below(folder) == before
