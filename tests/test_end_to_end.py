"""The whole path on a tiny case, through the command lines, killed on its way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from vaedeblend import catalogue, checkpoint, egg
from vaedeblend.calibration import read_calibrations
from vaedeblend.configs import euclid_vis, mixture, smooth
from vaedeblend.deblender import load_deblender

ROOT = Path(__file__).parents[1]
TINY = """
from vaedeblend.configs import BASE

def get_config():
    config = BASE.get_config()
    config.data.area = 0.1
    config.sizes.galaxies.train = 40
    config.sizes.companions = min(40, config.sizes.companions)
    config.data.n_psfs = min(4, config.data.n_psfs)
    config.calibration_field.size = min(300, config.calibration_field.size)
    for kind in config.sizes:
        tiny = {"train": 12, "validation": 8, "test": 12}
        if kind in ("isolated", "blended", "standard", "fields"):
            config.sizes[kind] = {split: tiny[split] for split in config.sizes[kind]}
    config.model.update(
        latent_dim=4,
        encoder_widths=(4, 4),
        encoder_hidden=8,
        encoder_blocks=1,
        decoder_hidden=(8,),
        flow_hidden=(8,),
        flow_couplings=4,
    )
    for stage in config.stages.values():
        stage.update(steps=STEPS, batch_size=4, log_every=2, checkpoint_every=2)
        stage.optimizer.warmup_steps = 2
    return config
"""

FROZEN = """
_free = get_config
def get_config():
    config = _free()
    for stage in config.stages.values():
        stage.optimizer.update(learning_rate=0.0)
    return config
"""
STAGES = ("isolated", "blended")


def command(script, *arguments):
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return {"args": [sys.executable, ROOT / script, *map(str, arguments)], "env": env}


def run(script, *arguments):
    return subprocess.run(
        **command(script, *arguments), capture_output=True, text=True, timeout=300
    )


def write_config(path, steps, more="", base="quick"):
    path.write_text(TINY.replace("STEPS", str(steps)).replace("BASE", base) + more)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder / "tiny.py", 40)
    done = run("train.py", "--workdir", folder / "run", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def parameters(workdir):
    return {s: checkpoint.load_params(workdir / s / "checkpoints") for s in STAGES}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_two_bands_take_the_whole_path(tmp_path):
    table = egg.catalogue(0.1, seed=0)
    for name in ("flux_bulge", "flux_disk"):
        table[name] = np.repeat(table[name], 2, axis=1) * [1.0, 1.5]
    table.meta["bands"] = ("euclid-vis", "euclid-nisp-h")
    catalogue.write(table, tmp_path / "two.fits")
    more = f"""
_one_band = get_config
def get_config():
    config = _one_band()
    config.data.source = {str(tmp_path / "two.fits")!r}
    config.survey.bands = {{"euclid-vis": {{}}, "euclid-nisp-h": {{"wavelength": 1770.0}}}}
    return config
"""
    config = write_config(tmp_path / "two.py", 4, more)
    for script, extra in (("train.py", ("--config", config)), ("eval.py", ())):
        done = run(script, "--workdir", tmp_path / "run", *extra)
        assert done.returncode == 0, done.stdout + done.stderr
    deblended = load_deblender(tmp_path / "run")(np.ones((1, 64, 64, 2)), np.ones((1, 64, 64, 2)))
    assert deblended.flux.shape == (1, 2) and deblended.image.shape == (1, 64, 64, 2)


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_recipe_of_the_shipped_weights_takes_the_whole_path(tmp_path):
    """Several PSFs, populations, fields, standard scenes, and all that ails an image."""
    area = "\n_tiny = get_config\ndef get_config():\n    c = _tiny(); c.data.area = 0.5; return c\n"
    config = write_config(tmp_path / "shipped.py", 4, area, base="smooth")
    export = ("--config", config, "--export", tmp_path / "weights")
    for script, extra in (("train.py", export), ("eval.py", ())):
        done = run(script, "--workdir", tmp_path / "run", *extra)
        assert done.returncode == 0, done.stdout + done.stderr
    for stage in ("isolated", "blended"):
        found = read_calibrations(tmp_path / "run" / stage / "calibration.json")
        params = checkpoint.load_params(tmp_path / "run" / stage / "checkpoints")
        assert found is not None and finite(found) and finite(params)
    metrics = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    kinds = ["isolated", "blended", "standard"]
    assert list(metrics) == [*kinds, "data", "training", "timing"]
    metrics = {kind: metrics[kind] for kind in kinds}
    assert all("vae_i" in found and "one_look" in found for found in metrics.values())
    assert all(found["bound"]["rms_free"] > 0 for found in metrics.values())
    stamps = np.ones((2, 64, 64, 1))
    deblended = [load_deblender(tmp_path / f)(stamps, stamps) for f in ("run", "weights")]
    assert same(*deblended) and finite(deblended)


def test_the_two_stages_in_workdirs_of_their_own(tmp_path):
    for stage in ("isolated", "blended"):
        config = write_config(tmp_path / f"{stage}.py", 4, base=stage)
        arguments = ("--workdir", tmp_path / stage, "--config", config)
        if stage == "blended":
            arguments += (
                f"--config.stages.blended.init_from={tmp_path / 'isolated' / 'isolated'}",
            )
        for script, extra in (("train.py", arguments[2:]), ("eval.py", ())):
            done = run(script, "--workdir", tmp_path / stage, *extra)
            assert done.returncode == 0, done.stdout + done.stderr
        metrics = json.loads((tmp_path / stage / "report" / "metrics.json").read_text())
        assert set(metrics) - {"data", "training", "timing"} == {"isolated", stage}
    first, second = (
        checkpoint.load_params(tmp_path / stage / stage / "checkpoints")["decoder"]
        for stage in ("isolated", "blended")
    )
    assert same(first, second)


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
    assert done.returncode == 1 and "nothing/isolated" in done.stdout.replace("\n", "")


def test_recipes_start_where_the_one_before_ends():
    first, then, last = (each.get_config() for each in (smooth, mixture, euclid_vis))
    assert first.model.to_dict() == then.model.to_dict() == last.model.to_dict()
    assert {name: stage.init_from for name, stage in then.stages.items()} == {
        stage: f"runs/smooth/{stage}" for stage in first.stages
    }
    assert then.stages.blended.teacher == "isolated"
    assert list(last.stages) == ["blended"] and not last.stages.blended.teacher
    assert last.stages.blended.init_from == "runs/mixture/blended"


def test_second_stage_keeps_the_first_ones_decoder(trained):
    stages = parameters(trained / "run")
    assert same(stages["isolated"]["decoder"], stages["blended"]["decoder"])
    assert not same(stages["isolated"]["encoder"], stages["blended"]["encoder"])


def steps_saved(checkpoints):
    """Steps of the checkpoints that are whole: those being written have longer names."""
    return [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]


@pytest.mark.parametrize("stage", ["isolated", "blended"])
def test_killed_in_a_stage_and_started_again_it_ends_the_same(trained, tmp_path, stage):
    arguments = ("--workdir", tmp_path / "run", "--config", trained / "tiny.py")
    arguments += (f"--config.data_dir={trained / 'run' / 'data'}",)
    process = subprocess.Popen(**command("train.py", *arguments), stdout=subprocess.DEVNULL)
    finished = tmp_path / "run" / stage / "checkpoints"
    deadline = time.monotonic() + 120
    while not steps_saved(finished) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    steps = steps_saved(finished)
    assert steps and max(steps) < 40, "the kill came too late to prove anything"
    again = run("train.py", *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert same(parameters(tmp_path / "run"), parameters(trained / "run"))


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


def test_weights_are_tested_on_galaxies_of_another_style(trained, tmp_path):
    options = ("--weights", trained / "run", "--workdir", tmp_path)
    done = run("eval.py", *options, "--style", "structured")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Test galaxies are of the style structured" in (
        (tmp_path / "report" / "index.html").read_text()
    )
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["isolated"]["n"] == 12 and len(list(tmp_path.glob("data/*/isolated-*"))) == 1
    done = run("eval.py", *options, "--style", "baroque")
    assert done.returncode == 1 and "wanted one of" in done.stdout


def test_workdir_of_another_config_is_refused(trained):
    done = run(
        "train.py", "--workdir", trained / "run", "--config", trained / "tiny.py", "--config.seed=5"
    )
    assert done.returncode == 1
    assert "belongs to another configuration (seed: 0 != 5)" in done.stdout


def test_misspelt_keys_are_refused(trained, tmp_path):
    done = run("train.py", "--workdir", tmp_path / "w", "--config.model.latent_dmi=3")
    assert done.returncode != 0 and "latent_dmi" in done.stderr + done.stdout
    more = "\n_get = get_config\ndef get_config():\n    c = _get(); c.model.depth = 3; return c\n"
    config = write_config(tmp_path / "wrong.py", 4, more)
    arguments = (f"--config.data_dir={trained / 'run' / 'data'}",)
    done = run("train.py", "--workdir", tmp_path / "v", "--config", config, *arguments)
    assert done.returncode != 0 and "depth" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.isolated.objective=evidenze", "objective is 'evidenze'; wanted one of"),
        ("stages.isolated.scenes.field_share=0.5", "the gallery has no sheets of sky"),
        ("stages.isolated.loss.likelihood=cauchy", "likelihood is 'cauchy'; wanted one of"),
    ],
)
def test_settings_that_cannot_be_used_are_named(trained, tmp_path, change, message):
    data = f"--config.data_dir={trained / 'run' / 'data'}"
    arguments = ("--config", trained / "tiny.py", data, f"--config.{change}")
    done = run("train.py", "--workdir", tmp_path / "w", *arguments)
    assert done.returncode == 1 and message in done.stdout, done.stdout + done.stderr


def test_misspelt_observation_is_refused(trained, tmp_path):
    arguments = ("--workdir", tmp_path / "w", "--config", trained / "tiny.py")
    done = run("train.py", *arguments, "--config.observation.sky_shaer=0.1")
    assert done.returncode != 0 and "sky_shaer" in done.stderr + done.stdout


def test_damaged_dataset_is_named(trained, tmp_path):
    config = write_config(tmp_path / "tiny.py", 4)
    arguments = ("--workdir", tmp_path / "w", "--config", config)
    assert run("train.py", *arguments).returncode == 0
    files = list((tmp_path / "w" / "data").rglob("*isolated*/**/*test.array_record*"))
    for file in files:
        file.write_bytes(file.read_bytes()[:-200])
    done = run("eval.py", "--workdir", tmp_path / "w")
    assert files and done.returncode == 1
    assert "split 'test' is damaged" in done.stdout


def test_evaluating_what_is_no_workdir_is_an_error(tmp_path):
    done = run("eval.py", "--workdir", tmp_path)
    assert done.returncode == 1 and "wanted the workdir of a training" in done.stdout


def test_missing_catalogue_is_named(tmp_path):
    config = write_config(tmp_path / "tiny.py", 4)
    missing = tmp_path / "none.fits"
    done = run(
        "train.py",
        "--workdir",
        tmp_path / "w",
        "--config",
        config,
        f"--config.data.source={missing}",
    )
    assert done.returncode == 1 and "none.fits" in done.stdout
