import errno
from pathlib import Path

import numpy as np
import pytest
from astropy.wcs import WCS
from priors import SHAPE, inside, names, sources

from vaedeblend.exceptions import TphotError
from vaedeblend.image.tphot import write_priors


def test_second_run_replaces_the_first(tmp_path, rng):
    folder = tmp_path / "made" / "priors"
    write_priors(folder, segmentation=np.zeros(SHAPE, int), **sources(rng))
    write_priors(folder, **inside(rng))
    assert names(folder) == {
        *("priors.cat", "priors.fits", "stamps/mod-11.fits", "stamps/mod-7.fits")
    }
    assert [path.name for path in folder.parent.iterdir()] == ["priors"]


def fail_at(monkeypatch, wanted):
    """Every write to a file called `wanted` meets a full disk."""
    write_bytes = Path.write_bytes

    def failing(path, data):
        if path.name == wanted:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", failing)


def test_full_disk_leaves_nothing(tmp_path, rng, monkeypatch):
    fail_at(monkeypatch, "mod-7.fits")
    with pytest.raises(TphotError, match=r"priors: .* not be written .*No space left on device"):
        write_priors(tmp_path / "priors", **inside(rng))
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_earlier_priors_alone(tmp_path, rng, monkeypatch):
    write_priors(tmp_path / "priors", **sources(rng))
    before = names(tmp_path / "priors")
    fail_at(monkeypatch, "mod-7.fits")
    with pytest.raises(TphotError, match="No space left"):
        write_priors(tmp_path / "priors", **inside(rng))
    assert names(tmp_path / "priors") == before
    assert [path.name for path in tmp_path.iterdir()] == ["priors"]


def test_leftovers_of_a_killed_run_do_no_harm(tmp_path, rng):
    (tmp_path / "priors.partial" / "stamps").mkdir(parents=True)
    (tmp_path / "priors.partial" / "stamps" / "mod-99.fits").write_text("half")
    (tmp_path / "priors.old").mkdir()
    write_priors(tmp_path / "priors", **inside(rng))
    assert [path.name for path in tmp_path.iterdir()] == ["priors"]
    assert "stamps/mod-99.fits" not in names(tmp_path / "priors")


def test_folder_that_holds_something_else_is_not_replaced(tmp_path, rng):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TphotError, match=r"holds thesis.tex; wanted a new folder"):
        write_priors(tmp_path, **inside(rng))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_folder_below_a_file_is_an_error_with_path_and_reason(tmp_path, rng):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "priors"):
        with pytest.raises(TphotError, match=rf"{folder}: .* \(.*(Not a directory|File exists)"):
            write_priors(folder, **inside(rng))
    assert (tmp_path / "file").is_file()


def _with(index, value, dtype=float):
    def change(array):
        array = array.astype(dtype)
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("flux", lambda flux: flux[:1], "1 flux; wanted one for each of 2 ids"),
        ("positions", lambda p: np.vstack([p, p]), "4 positions; wanted one for each of 2 ids"),
        ("stamps", lambda stamps: list(stamps)[:1], "1 stamps; wanted one for each of 2"),
        ("corners", lambda corners: corners[:1], "1 corners; wanted one for each of 2"),
        ("captured", lambda _: np.ones(3), "3 captured; wanted one for each of 2"),
        ("ids", lambda _: np.array([7, 7]), "id 7 occurs 2 times; wanted unique ids"),
        ("flux", _with(1, np.nan), "id 7: flux is nan; wanted a finite number"),
        ("positions", _with((0, 1), np.inf), r"id 11: position is .*inf.*; wanted finite \(y, x\)"),
        ("stamps", _with((1, 3, slice(2)), np.nan), "id 7: stamp has 2 NaN or inf pixels; wanted"),
        ("segmentation", lambda _: np.ones((90, 60), int), r"shape \(90, 60\); .* \(60, 90\)"),
        ("wcs", lambda _: WCS(naxis=3), "WCS has 3 axes; wanted the image's 2"),
        ("template", lambda _: "mod.fits", r"'mod.fits'; wanted a file name that holds \{id\}"),
        ("template", lambda _: "../{id}.fits", "wanted a file name"),
    ],
)
def test_bad_input_is_refused_with_what_was_found_and_wanted(tmp_path, rng, name, change, message):
    given = inside(rng)
    given[name] = change(given.get(name))
    with pytest.raises(TphotError, match=message):
        write_priors(tmp_path / "priors", **given)
    assert not list(tmp_path.iterdir())


def test_a_source_cannot_have_the_id_of_the_sky(tmp_path, rng):
    given = inside(rng) | {"ids": np.array([0, 1])}
    write_priors(tmp_path / "priors", **given)
    with pytest.raises(TphotError, match="id 0 is the sky"):
        write_priors(tmp_path / "other", segmentation=np.zeros(SHAPE, int), **given)
