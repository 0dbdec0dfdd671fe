"""What train.py and eval.py write, what they refuse, and how they go on where they were killed."""

import json
import re
import shutil
import signal
import subprocess
import time
from functools import partial

import jax
import numpy as np
import pytest
from tiny import STAGES, answer, command, parameters, run, same, write_config

FROZEN = """
_free = get_config
def get_config():
    config = _free()
    for stage in config.stages.values():
        stage.optimizer.update(learning_rate=0.0)
    return config
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder / "tiny.py", 40)
    done = run("train.py", "--workdir", folder / "run", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_fine_tuning_starts_from_what_was_trained(trained, tmp_path):
    """At a learning rate of zero it also ends there."""
    source, config = trained / "run", write_config(tmp_path / "tiny.py", 4, FROZEN)
    starts = (f"--config.stages.{s}.init_from={source / 'blended'}" for s in STAGES)
    changes = "--config.stages.blended.teacher=isolated", "--config.data.style=sersic+structured"
    arguments = "--workdir", tmp_path / "run", "--config", config, *starts, *changes
    done = run("train.py", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    start, tuned = parameters(source)["blended"], parameters(tmp_path / "run")
    for stage in STAGES:  # but for the rounding of the average
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), tuned[stage], start)
    lost = f"--config.stages.isolated.init_from={tmp_path / 'nothing' / 'isolated'}"
    done = run("train.py", *arguments[:4], lost, "--workdir", tmp_path / "other")
    assert done.returncode == 1 and "nothing/isolated" in done.stderr.replace("\n", "")


def test_second_stage_keeps_the_first_ones_decoder(trained):
    stages = parameters(trained / "run")
    assert same(stages["isolated"]["decoder"], stages["blended"]["decoder"])
    assert not same(stages["isolated"]["encoder"], stages["blended"]["encoder"])


def steps_saved(checkpoints):
    """Steps of the checkpoints that are whole: those being written have longer names."""
    return [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["isolated", "blended"])
def test_killed_in_a_stage_and_started_again_it_ends_the_same(trained, tmp_path, stage):
    arguments = ("--workdir", tmp_path / "run", "--config", trained / "tiny.py")
    arguments += (f"--config.data_dir={trained / 'run' / 'data'}",)
    process = subprocess.Popen(**command("train.py", *arguments), stdout=subprocess.DEVNULL)
    finished = tmp_path / "run" / stage / "checkpoints"
    wait_for(lambda: steps_saved(finished))
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = steps_saved(finished)
    assert steps and max(steps) < 40, "the kill came too late to prove anything"
    again = run("train.py", *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{stage}: resumed from step {max(steps)} of 40" in again.stdout
    assert f"next: vaedeblend evaluate --workdir {tmp_path / 'run'}" in again.stdout
    assert same(parameters(tmp_path / "run"), parameters(trained / "run"))


@pytest.mark.slow
def test_ctrl_c_ends_a_training_in_a_line(trained, tmp_path, ctrl_c):
    arguments = ("--workdir", tmp_path / "run", "--config", trained / "tiny.py")
    arguments += (f"--config.data_dir={trained / 'run' / 'data'}",)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(**command("train.py", *arguments), **pipes)
    wait_for(lambda: steps_saved(tmp_path / "run" / "isolated" / "checkpoints"))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == "interrupted: the same command goes on\n", said


@pytest.mark.slow
def test_an_evaluation_may_be_of_few_stamps(trained):
    shutil.copytree(trained / "run", trained / "few")
    done = run("eval.py", "--workdir", trained / "few", "--limit", "9")
    assert done.returncode == 0, done.stdout + done.stderr
    report = trained / "few" / "report"
    metrics = json.loads((report / "metrics.json").read_text())
    assert all(metrics[kind]["n"] == 9 for kind in STAGES)
    assert "Each set has 9 stamps at most" in (report / "index.html").read_text()
    last = done.stdout.splitlines()[-1]
    wanted = f"next: vaedeblend deblend IMAGE.fits --weights {trained / 'few'} --out RESULT"
    assert last == f"report: open {report / 'index.html'}; {wanted}"


@pytest.mark.slow
def test_evaluation_writes_the_contract(trained):
    done = run("eval.py", "--workdir", trained / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "time: sextractor" in done.stdout and "t-sne" in done.stdout
    page = (trained / "run" / "report" / "index.html").read_text()
    assert re.findall(r'id="part-(\d+)"', page) == [str(number) for number in range(1, 13)]
    said = "".join(re.findall(r"<p class=\"missing\">(.*?)</p>", page))
    assert "Could not" not in page and "could not" not in page, said
    metrics = json.loads((trained / "run" / "report" / "metrics.json").read_text())
    errors = {"n", "found", "bias", "sigma", "nmad", "dispersion68", "outliers", "mean_abs"}
    for kind in ("isolated", "blended"):
        found = metrics[kind]
        assert found["n"] == 12 and found["unique_galaxies"] <= 12
        for name in ("vae", "sextractor", "sextractor_clean", "sextractor_corrected"):
            assert errors <= found[name].keys()
        assert 0 <= found["vae_closer"] <= 1 and 0 <= found["vae_closer_corrected"] <= 1


@pytest.mark.slow
def test_weights_are_tested_on_galaxies_of_another_style(trained, tmp_path):
    options = ("--weights", trained / "run", "--workdir", tmp_path)
    done = run("eval.py", *options, "--style", "structured")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test galaxies are of the style structured" in (
        (tmp_path / "report" / "index.html").read_text()
    )
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["isolated"]["n"] == 12 and len(list(tmp_path.glob("data/*/isolated-*"))) == 1


def test_a_style_that_is_none_is_refused(trained, tmp_path):
    options = ("--weights", trained / "run", "--workdir", tmp_path)
    done = answer("evaluate", *options, "--style", "baroque")
    assert done.returncode == 1 and "wanted one of" in done.stderr


def test_workdir_of_another_config_is_refused(trained):
    done = answer(
        "train", "--workdir", trained / "run", "--config", trained / "tiny.py", "--config.seed=5"
    )
    assert done.returncode == 1
    assert "belongs to another configuration (seed: 0 != 5)" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config=nothere.py", "nothere.py"),
        pytest.param("--config.stages.isolated.stepz=3", "stepz", marks=pytest.mark.slow),
        ("--config.stages.isolated.steps=20", "isolated.optimizer.warmup_steps 20; wanted more"),
        pytest.param(
            *("--config.data.style=spiral", "style is 'spiral'; wanted one of"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_settings_are_checked_before_anything_is_made(tmp_path, change, message):
    done = answer("train", "--workdir", tmp_path, change)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and message in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())  # and so the corrected command is not another's


def test_misspelt_keys_are_refused(trained, tmp_path):
    done = answer("train", "--workdir", tmp_path / "w", "--config.model.latent_dmi=3")
    assert done.returncode != 0 and "latent_dmi" in done.stderr + done.stdout
    more = "\n_get = get_config\ndef get_config():\n    c = _get(); c.model.depth = 3; return c\n"
    config = write_config(tmp_path / "wrong.py", 4, more)
    arguments = (f"--config.data_dir={trained / 'run' / 'data'}",)
    done = answer("train", "--workdir", tmp_path / "v", "--config", config, *arguments)
    assert done.returncode != 0 and "depth" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.isolated.objective=evidenze", "objective is 'evidenze'; wanted one of"),
        pytest.param(
            *("stages.isolated.scenes.field_share=0.5", "the library has no sheets of sky"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("stages.isolated.loss.likelihood=cauchy", "likelihood is 'cauchy'; wanted one of"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_settings_that_cannot_be_used_are_named(trained, tmp_path, change, message):
    data = f"--config.data_dir={trained / 'run' / 'data'}"
    arguments = ("--config", trained / "tiny.py", data, f"--config.{change}")
    done = answer("train", "--workdir", tmp_path / "w", *arguments)
    assert done.returncode == 1 and message in done.stderr, done.stdout + done.stderr


def test_misspelt_observation_is_refused(trained, tmp_path):
    arguments = ("--workdir", tmp_path / "w", "--config", trained / "tiny.py")
    done = answer("train", *arguments, "--config.observation.sky_shaer=0.1")
    assert done.returncode != 0 and "sky_shaer" in done.stderr + done.stdout


def test_damaged_dataset_is_named(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "w")
    files = list((tmp_path / "w" / "data").rglob("*test.array_record*"))
    for file in files:
        file.write_bytes(file.read_bytes()[:-200])
    done = answer("evaluate", "--workdir", tmp_path / "w")
    assert files and done.returncode == 1
    assert "split 'test' is damaged" in done.stderr


def test_evaluating_what_is_no_workdir_is_an_error(tmp_path):
    done = answer("evaluate", "--workdir", tmp_path)
    assert done.returncode == 1 and "wanted the workdir of a training" in done.stderr


def test_missing_catalogue_is_named(tmp_path):
    config = write_config(tmp_path / "tiny.py", 4)
    missing = tmp_path / "none.fits"
    done = answer(
        "train",
        "--workdir",
        tmp_path / "w",
        "--config",
        config,
        f"--config.data.source={missing}",
    )
    assert done.returncode == 1 and "none.fits" in done.stderr
