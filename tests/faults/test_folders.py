"""Folders of results: shared, taken up again, left by a killed run, or full of older results."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fitsfolder import folder, network, run, sky  # noqa: F401

from vaedeblend.cli import main
from vaedeblend.evaluate.injection import inject
from vaedeblend.exceptions import FolderError
from vaedeblend.image import measure, pieces, preparation
from vaedeblend.image.tiles import Job
from vaedeblend.io.folders import jobs
from vaedeblend.io.folders.jobs import FolderWarning

HOLD = """
import sys, time
from vaedeblend.io.folders.jobs import locked
with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.fixture
def holder(tmp_path):
    """Another process that writes into tmp_path/out."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def interrupted(folder, monkeypatch, **options):
    """A run that has measured all of its tiles, and no more."""

    def stopped(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "merge", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(folder, tile=130, **options)


def measured(monkeypatch):
    """Windows that are measured from now on."""
    calls, real = [], measure.measure_field

    def counting(deblend, image, *args, **options):
        calls.append(image.shape)
        return real(deblend, image, *args, **options)

    monkeypatch.setattr(measure, "measure_field", counting)
    return calls


def test_a_second_job_is_refused_by_name_until_the_first_is_killed(folder, holder, capsys):
    arguments = ["deblend", *(str(folder / n) for n in ("image.fits",)), "--out"]
    arguments += [str(folder / "out"), "--rms", str(folder / "rms.fits")]
    assert main(arguments) == 1
    assert f"process {holder.pid} on " in capsys.readouterr().err
    assert [each.name for each in (folder / "out").iterdir()] == [jobs.LOCK]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (folder / "out" / jobs.LOCK).exists()
    assert len(run(folder)) > 50 and not (folder / "out" / jobs.LOCK).exists()


def test_an_injection_test_is_refused_where_another_job_writes(folder, holder):
    with pytest.raises(FolderError, match=f"process {holder.pid} on "):
        inject(folder / "image.fits", folder / "out", n=2, rms=folder / "rms.fits")
    assert [each.name for each in (folder / "out").iterdir()] == [jobs.LOCK]


def test_a_thread_may_lock_what_it_has_locked_and_another_may_not(tmp_path):
    refused = []

    def other():
        try:
            with jobs.locked(tmp_path):
                refused.append(False)
        except FolderError as error:
            refused.append(str(os.getpid()) in str(error))

    with jobs.locked(tmp_path), jobs.locked(tmp_path / "." / ""):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == [True] and not list(tmp_path.iterdir())


def test_without_locks_a_warning_says_so(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(jobs.fcntl, "flock", none)
    with (
        pytest.warns(FolderWarning, match="no locks on this file system"),
        jobs.locked(tmp_path),
    ):
        pass


def test_tiles_are_not_used_once_a_mask_has_other_contents(folder, monkeypatch):
    mask = np.zeros((200, 260), np.int16)
    fits.writeto(folder / "mask.fits", mask)
    interrupted(folder, monkeypatch, mask=folder / "mask.fits")
    mask[:100] = 1
    fits.writeto(folder / "mask.fits", mask, overwrite=True)
    table = run(folder, tile=130, mask=folder / "mask.fits")
    assert np.min(table["y"]) > 90  # nothing under the mask


@pytest.mark.parametrize("changed", ["mask", "rms", "psf", "catalog", "image", "weights"])
def test_a_record_holds_the_contents_of_every_input(tmp_path, changed):
    """A changed file has the same name, size and time of change."""
    paths = {name: tmp_path / name for name in ("mask", "rms", "psf", "catalog", "image")}
    for path in paths.values():
        path.write_bytes(b"content")
    paths["weights"] = tmp_path / "weights"
    trained = paths["weights"] / "blended" / "checkpoints" / "8" / "default" / "d"
    trained.mkdir(parents=True)
    (trained / "parameters").write_bytes(b"content")
    path = trained / "parameters" if changed == "weights" else paths[changed]
    inputs = [path for name, path in paths.items() if name != "weights"]
    positions = np.arange(4000.0).reshape(-1, 2)
    job = Job("image", {}, None, "out", str(paths["weights"]), {}, positions, None)
    before, stat = preparation._made_from(job, 130, inputs), path.stat()
    path.write_bytes(b"Content")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert preparation._made_from(job, 130, inputs) != before
    path.write_bytes(b"content")
    assert preparation._made_from(job._replace(folder="moved"), 130, inputs) == before
    assert preparation._made_from(job, 64, inputs) != before
    positions[999, 0] += 0.01
    assert preparation._made_from(job, 130, inputs) != before


def test_tiles_are_used_again_when_a_file_was_only_touched(folder, monkeypatch):
    interrupted(folder, monkeypatch)
    os.utime(folder / "image.fits")
    calls = measured(monkeypatch)
    run(folder, tile=130)
    assert not calls


def test_a_damaged_tile_is_named_and_measured_again(folder, monkeypatch):
    interrupted(folder, monkeypatch)
    tiles = folder / "out" / ".tiles"
    flipped = bytearray((tiles / "tile_1.fits").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tiles / "tile_1.fits").write_bytes(flipped)
    (tiles / "tile_2.fits").write_bytes((tiles / "tile_2.fits").read_bytes()[:-3000])
    calls = measured(monkeypatch)
    with pytest.warns(FolderWarning, match="tile_[12].fits: damaged; made anew"):
        table = run(folder, tile=130)
    assert len(calls) == 2
    np.testing.assert_array_equal(table["flux"], run(folder, "whole", tile=130)["flux"])


def test_a_piece_that_was_not_finished_is_not_called_damaged(tmp_path, recwarn):
    pieces, record = tmp_path / "pieces", jobs.made_from({"tile": 3}, [])
    jobs.keep_pieces(pieces, record, Path.is_dir)
    (pieces / "tile_3.fits.partial").write_text("half")
    jobs.keep_pieces(pieces, record, Path.is_dir)
    assert [path.name for path in pieces.iterdir()] == ["job.json"] and not recwarn.list


def test_pieces_stay_with_their_record_alone(tmp_path):
    """Not with another's, nor with one that is damaged."""
    pieces, record = tmp_path / "pieces", jobs.made_from({"tile": 3}, [])
    for spoil in (None, lambda text: text.replace('"3"', '"4"'), lambda text: text[:-9]):
        jobs.keep_pieces(pieces, record, Path.is_file)
        (pieces / "tile").write_text("")
        jobs.keep_pieces(pieces, record, Path.is_file)
        assert (pieces / "tile").exists()
        if spoil:
            path = pieces / "job.json"
            path.write_text(spoil(path.read_text()))
            jobs.keep_pieces(pieces, record, Path.is_file)
            assert not (pieces / "tile").exists()
    (pieces / "tile").write_text("")
    jobs.keep_pieces(pieces, jobs.made_from({"tile": 4}, []), Path.is_file)
    assert not (pieces / "tile").exists()


def test_results_of_an_earlier_run_do_not_stay(folder):
    run(folder, rms=None, tphot=True)
    assert {"background.fits", "rms.fits", "tphot"} <= {p.name for p in (folder / "out").iterdir()}
    run(folder)
    names = {"catalog", "stamps", "model", "residual", "segmentation"}
    found = {each.name for each in (folder / "out").iterdir()}
    assert found == {
        "index.html",
        "sources.reg",
        "summary.json",
        *(f"{name}.fits" for name in names),
    }


def test_files_of_others_stay_and_are_named(folder):
    (folder / "out" / "tphot").mkdir(parents=True)
    (folder / "out" / "tphot" / "mine.txt").write_text("mine")
    shutil.copy(folder / "rms.fits", folder / "out" / "rms.fits")
    with pytest.warns(FolderWarning) as warned:
        run(folder)
    said = " ".join(str(each.message) for each in warned)
    assert "rms.fits: was there before" in said and "tphot: was there before" in said
    assert (folder / "out" / "tphot" / "mine.txt").exists() and (
        folder / "out" / "rms.fits"
    ).exists()


def test_an_rms_that_was_estimated_before_may_be_given(folder):
    run(folder, rms=None)
    run(folder, rms=folder / "out" / "rms.fits")
    assert (folder / "out" / "rms.fits").exists()
    assert not (folder / "out" / "background.fits").exists()


def test_a_terminated_command_says_so_and_goes_on(folder, monkeypatch, capsys):
    arguments = ["deblend", str(folder / "image.fits"), "--rms", str(folder / "rms.fits")]
    arguments += ["--out", str(folder / "out"), "--tile", "130"]
    before, real = signal.getsignal(signal.SIGTERM), pieces.merge

    def terminated(*args):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr(pieces, "merge", terminated)
    assert main(arguments) == 143
    said = capsys.readouterr().err
    assert said.strip() == "terminated: the same command goes on"
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(pieces, "merge", real)
    calls = measured(monkeypatch)
    assert main(arguments) == 0 and not calls
