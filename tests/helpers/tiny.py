"""Tiny configurations, and train.py and eval.py run on them."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

from vaedeblend.cli import main
from vaedeblend.io import checkpoint

ROOT = Path(__file__).parents[2]
TINY = """
from vaedeblend.ROOM import BASE

def get_config():
    config = BASE.get_config()
    config.data.area = 0.1
    config.sizes.galaxies.train = 24  # with the companions 64: one process renders them
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

STAGES = ("isolated", "blended")


def command(script, *arguments):
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    env["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # as in conftest: compiling is most of the time
    return {"args": [sys.executable, ROOT / script, *map(str, arguments)], "env": env}


def run(script, *arguments):
    return subprocess.run(
        **command(script, *arguments), capture_output=True, text=True, timeout=300
    )


def answer(name, *arguments):
    """What a command says and returns in this process, which has imported everything."""
    words, said, complained = [name, *map(str, arguments)], io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # ml_collections', of its loader
        status = main(words)
    return subprocess.CompletedProcess(words, status, said.getvalue(), complained.getvalue())


def write_config(path, steps, more="", base="quick"):
    room, _, name = f"configs.{base}".rpartition(".")
    text = TINY.replace("STEPS", str(steps)).replace("ROOM", room).replace("BASE", name)
    path.write_text(text + more)
    return path


def parameters(workdir):
    return {s: checkpoint.load_params(workdir / s / "checkpoints") for s in STAGES}


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))
