"""The queue of tiles: retries, failures that end no survey, clusters as files describe them."""

import logging
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fitsfolder import header
from matched import gaussian
from surveyed import cut_tiles, stub

from vaedeblend.exceptions import FileError, SurveyError
from vaedeblend.image.surveys import engine, hats, run, shards
from vaedeblend.image.surveys.engine import Workers, connected, run_tasks
from vaedeblend.image.surveys.status import said_of
from vaedeblend.image.surveys.work import measure_survey_tile

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of dask's own threads and sockets

TRIED = {}


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as made,
    ):
        yield made


def work(task):
    """Fails as its name says, of a full disk at the first two attempts alone."""
    TRIED[task] = TRIED.get(task, 0) + 1
    if task == "disk" and TRIED[task] < 3:
        raise FileError("shard: could not be written (No space left on device)")
    if task == "input":
        raise SurveyError("t.fits: no celestial WCS; wanted one")
    if task == "bug":
        raise KeyError("flux")
    return task


def test_what_a_moment_spoilt_is_done_again_and_the_rest_goes_on(client, monkeypatch):
    monkeypatch.setattr(engine, "_BACK_OFF", 0.01)
    TRIED.clear()
    shown, names = [], ["good", "disk", "input", "bug"]
    report = lambda *each: shown.append(each)  # noqa: E731
    found = run_tasks(client, work, {each: each for each in names}, report=report)
    found = {each.name: each for each in found}
    assert found["good"].result == "good" and found["disk"].result == "disk"
    assert found["disk"].attempts == 3 and TRIED["input"] == TRIED["bug"] == 1
    assert found["input"].sentence == "t.fits: no celestial WCS; wanted one"
    assert found["bug"].sentence.startswith("unexpected KeyError")
    assert shown[0] == ("tasks", 0, 4) and shown[-1] == ("tasks", 4, 4)
    TRIED.clear()
    (only,) = run_tasks(client, work, {"disk": "disk"}, attempts=2)
    assert "No space left" in only.sentence and only.attempts == 2


def test_a_cluster_is_what_its_file_says(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(
        'class = "distributed.LocalCluster"\n[options]\nn_workers = 1\nprocesses = false\n'
        'dashboard_address = ":0"\n'
    )
    with connected(Workers(cluster=str(path))) as client:
        assert client.submit(os.getpid).result() == os.getpid()
        assert client.run(lambda: "xla" in os.environ.get("XLA_FLAGS", ""))
    path.write_text('class = "NoCluster"\n')
    with pytest.raises(SurveyError, match="no cluster"), connected(Workers(cluster=str(path))):
        pass


def test_what_goes_well_in_the_queue_is_not_logged(monkeypatch):
    logger, said = logging.getLogger("distributed"), []
    logger.setLevel(logging.INFO)  # as dask has it
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", said.append)
    monkeypatch.setattr(logger, "handlers", [handler])
    with connected(Workers(1)) as client:
        assert client.submit(abs, -1).result() == 1
    assert not said


def recipe(path, jobs):
    """The docs' cluster of Slurm, with another number of jobs."""
    text = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()
    written = text.split("```toml\n")[1].split("```")[0]
    assert written.count("jobs = 40") == 1
    path.write_text(written.replace("jobs = 40", f"jobs = {jobs}"))
    return Workers(cluster=str(path))


def test_the_job_of_a_slurm_cluster_is_as_in_the_docs(tmp_path):
    pytest.importorskip("dask_jobqueue")
    with connected(recipe(tmp_path / "slurm.toml", 0)) as client:
        script = client.cluster.job_script()
    assert "#SBATCH" in script and "--nthreads 1" in script and "JAX_COMPILATION" in script


SBATCH = """#!/bin/sh
cp "$1" "$1.job" # as Slurm does: the script is gone when the job begins
setsid bash "$1.job" >"$1.log" 2>&1 &
echo $! >>{jobs}
echo "Submitted batch job $!"
"""
"""Slurm's command, with this machine in the place of a queue and its nodes."""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's commands, and the file of the jobs that they have begun."""
    folder, jobs = tmp_path / "bin", tmp_path / "jobs"
    folder.mkdir()
    cancel = '#!/bin/sh\nfor job in "$@"; do kill -- -"$job"; done\n'
    for name, text in (("sbatch", SBATCH.format(jobs=jobs)), ("scancel", cancel)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    helpers = Path(__file__).parents[2] / "helpers"
    monkeypatch.setenv("PYTHONPATH", f"{helpers.parents[1]}{os.pathsep}{helpers}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return jobs


@pytest.mark.slow
def test_a_survey_runs_in_the_jobs_of_the_docs_recipe(tmp_path, slurm, monkeypatch):
    """The recipe as it stands, through `sbatch`: two jobs measure four tiles, and end with it."""
    pytest.importorskip("dask_jobqueue")
    image = np.random.default_rng(0).normal(size=(100, 120)).astype(np.float32)
    cut_tiles(tmp_path / "in", image, np.ones_like(image), header(), size=60, reach=20)
    monkeypatch.setattr(run, "measure_survey_tile", partial(measure_survey_tile, measure=stub))
    monkeypatch.setattr(hats, "write_catalogue", lambda *_: True)
    workers, given = recipe(tmp_path / "slurm.toml", 2), [f"{tmp_path}/in/t*.fits"]
    states = run.run_survey(tmp_path / "out", given, workers=workers)
    assert [each.state for each in states] == 4 * ["done"], states
    jobs = [int(line) for line in slurm.read_text().split()]
    assert len(jobs) == 2
    for _ in range(100):
        if not any(Path(f"/proc/{job}").exists() for job in jobs):
            return
        time.sleep(0.1)
    raise AssertionError(f"{jobs} outlive the survey")


@pytest.mark.slow
def test_a_survey_ends_in_a_catalogue_though_a_tile_fails(tmp_path, client, monkeypatch):
    lsdb = pytest.importorskip("lsdb")
    image = np.random.default_rng(0).normal(size=(100, 120)).astype(np.float32)
    cut_tiles(tmp_path / "in", image, np.ones_like(image), header(), size=60, reach=20)
    (tmp_path / "in" / "t11.fits").write_bytes(b"SIMPLE  =")
    monkeypatch.setattr(run, "measure_survey_tile", partial(measure_survey_tile, measure=stub))
    monkeypatch.setattr(run, "connected", lambda workers: _context(client))
    said, given = [], [f"{tmp_path}/in/t*.fits"]
    states = run.run_survey(tmp_path / "out", given, say=said.append)
    assert [each.state for each in states] == ["done", "done", "done", "failed"]
    assert "t11.fits" in states[-1].sentence
    catalogue = lsdb.open_catalog(tmp_path / "out" / "catalogue")
    assert len(catalogue.compute()) == 3
    row = catalogue.compute().iloc[0]
    assert len(catalogue.cone_search(row["ra"], row["dec"], 1.0).compute()) == 1
    before = {p.name: p.read_bytes() for p in (tmp_path / "out" / shards.SHARDS).glob("*.parquet")}
    run.run_survey(tmp_path / "out", retry=True, say=said.append)  # the same, of the last time
    after = {p.name: p.read_bytes() for p in (tmp_path / "out" / shards.SHARDS).glob("*.parquet")}
    assert before == after and "0 of 3 tiles to measure" in said


def test_a_tile_that_lost_a_product_is_named_and_the_rest_is_done(tmp_path, client, monkeypatch):
    """Before the first call, and between two of them: nothing is assumed in the place of it."""
    image = np.random.default_rng(0).normal(size=(100, 120)).astype(np.float32)
    cut_tiles(tmp_path / "in", image, np.ones_like(image), header(), size=60, reach=20)
    for name in ("t00", "t01", "t10", "t11"):
        psf = gaussian(16, 16, (33, 33)).astype(np.float32)
        fits.writeto(tmp_path / "in" / f"{name}_psf.fits", psf)
    monkeypatch.setattr(run, "measure_survey_tile", partial(measure_survey_tile, measure=stub))
    monkeypatch.setattr(run, "connected", lambda workers: _context(client))
    monkeypatch.setattr(hats, "write_catalogue", lambda *_: True)
    (tmp_path / "in" / "t01_rms.fits").unlink()
    out, given = tmp_path / "out", [f"{tmp_path}/in/t*.fits"]
    states = {each.name: each for each in run.run_survey(out, given)}
    assert [states[name].state for name in sorted(states)] == ["done", "failed", "done", "done"]
    assert states["t01"].sentence.endswith(
        "t01.fits: no rms beside it; wanted what most of the 4 tiles have"
    )
    (tmp_path / "in" / "t10_psf.fits").unlink()
    states = {each.name: each for each in run.run_survey(out)}
    assert [name for name in states if states[name].state == "failed"] == ["t01", "t10"]
    assert any("tile t10" in said and "no psf" in said for said in said_of(run.survey_status(out)))


class _context:
    def __init__(self, client):
        self.client = client

    def __enter__(self):
        return self.client

    def __exit__(self, *_):
        return None


@pytest.mark.slow
def test_a_survey_killed_at_random_moments_ends_as_an_unbroken_one(tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "survey.py"
    env = os.environ | {"PYTHONPATH": str(script.parents[2])}
    words = [sys.executable, script, "kills", tmp_path, "--n", "2", "--tiles", "4"]
    done = subprocess.run([*map(str, words)], env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and "the same files" in done.stdout, done.stdout + done.stderr
