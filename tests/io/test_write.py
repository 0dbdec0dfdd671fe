import errno

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vaedeblend.exceptions import FileError
from vaedeblend.io import write as module
from vaedeblend.io.write import (
    prepare_folder,
    replacing_folder,
    write_image,
    write_tables,
    write_text,
)

SHAPE = 30, 40


@pytest.fixture
def image(rng):
    return rng.normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64])
def test_image_is_written_by_rows(tmp_path, rng, dtype):
    data, path = rng.integers(0, 99, (50, 70)).astype(dtype), tmp_path / "a.fits"
    with write_image(path, data.shape, fits.Header({"BUNIT": "uJy"}), dtype) as put:
        put(data[:20])
        assert not path.exists()
        put(data[20:])
    with fits.open(path) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, data)
        assert hdus[0].header["BUNIT"] == "uJy"
    assert [each.name for each in tmp_path.iterdir()] == ["a.fits"]


def test_a_cube_is_written_image_by_image(tmp_path, rng):
    for n in (3, 0):
        cube = rng.normal(size=(n, 4, 5)).astype(np.float32)
        with write_image(tmp_path / "a.fits", cube.shape, fits.Header()) as put:
            put(cube)
        with fits.open(tmp_path / "a.fits") as hdus:
            hdus.verify("exception")
            assert hdus[0].shape == cube.shape
            assert n == 0 or np.array_equal(hdus[0].data, cube)


def test_rows_too_many_are_refused(tmp_path, image):
    wanted = pytest.raises(FileError, match="a.fits: could not be written")
    with wanted, write_image(tmp_path / "a.fits", SHAPE, fits.Header()) as put:
        put(np.concatenate([image, image]))
    assert not list(tmp_path.iterdir())


def test_missing_rows_leave_what_was_there(tmp_path, image):
    path = tmp_path / "a.fits"
    fits.writeto(path, image)
    wanted = pytest.raises(FileError, match="10 rows were given; wanted 30")
    with wanted, write_image(path, SHAPE, fits.Header()) as put:
        put(image[:10])
    np.testing.assert_array_equal(fits.getdata(path), image)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    wanted = pytest.raises(FileError, match="a.fits: could not be written.*No space")
    with wanted, write_image(tmp_path / "a.fits", SHAPE, fits.Header()):
        full()
    monkeypatch.setattr(module.fits.HDUList, "writeto", full)
    with pytest.raises(FileError, match="t.fits: could not be written.*No space"):
        write_tables(tmp_path / "t.fits", {"A": Table({"a": [1]})})
    assert not list(tmp_path.iterdir())


def test_tables_are_read_again_by_name(tmp_path):
    tables = {"ONE": Table({"a": [1.5, 2] * u.uJy}), "TWO": Table({"b": np.zeros(0, int)})}
    write_tables(tmp_path / "t.fits", tables)
    write_tables(tmp_path / "t.fits", tables)
    one, two = (Table.read(tmp_path / "t.fits", hdu=name) for name in tables)
    assert one["a"].unit == "uJy" and one["a"].tolist() == [1.5, 2] and len(two) == 0


def test_folders_are_made_or_refused(tmp_path):
    assert prepare_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match="no folder that can be written into"):
            prepare_folder(path)
    assert not list((tmp_path / "a" / "b").iterdir())


def test_texts_are_written_whole_and_in_utf8(tmp_path):
    write_text(tmp_path / "a.html", "old")
    write_text(tmp_path / "a.html", "ä")
    assert (tmp_path / "a.html").read_bytes() == "ä".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(FileError, match="none/a.html: could not be written"):
        write_text(tmp_path / "none" / "a.html", "")


def test_a_folder_takes_the_place_of_its_like_alone(tmp_path):
    for text in ("one", "two"):
        with replacing_folder(tmp_path / "a", {"t.txt"}) as partial:
            (partial / "t.txt").write_text(text)
    assert (tmp_path / "a" / "t.txt").read_text() == "two"
    with pytest.raises(ZeroDivisionError), replacing_folder(tmp_path / "a", {"t.txt"}):
        raise ZeroDivisionError
    with (
        pytest.raises(FileError, match="holds t.txt; wanted a new folder"),
        replacing_folder(tmp_path / "a", {"u.txt"}),
    ):
        pass
    assert (tmp_path / "a" / "t.txt").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
