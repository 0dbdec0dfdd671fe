"""Processes that train together."""

import socket
import subprocess

import jax
import numpy as np
import pytest
from tiny import command, run, write_config

from vaedeblend.exceptions import SettingsError
from vaedeblend.io import checkpoint
from vaedeblend.training import hosts
from vaedeblend.training.loop import read_records

STEPS = 4


@pytest.mark.parametrize("where", ["here", "host:1,2", "host:1,2,2", "host,0,2", "host:1,a,2"])
def test_processes_that_cannot_be_joined_are_refused(where):
    with pytest.raises(SettingsError, match="wanted auto, or HOST:PORT,INDEX,COUNT"):
        hosts.connect(where)


def test_a_process_of_its_own_is_the_first_and_waits_for_none():
    assert hosts.is_first()
    hosts.wait("nobody")


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    """Both stages, from simulation to calibration: the same command in each process."""
    config, folder = write_config(tmp_path / "tiny.py", STEPS), tmp_path / "two"
    where = f"localhost:{free_port()}"
    processes = [
        subprocess.Popen(
            **command(
                *("train.py", "--workdir", folder, "--config", config),
                *("--distributed", f"{where},{index},2"),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    said = [process.communicate(timeout=500)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "trained in" in said[0] and "trained in" not in said[1]
    data = f"--config.data_dir={folder / 'data'}"
    done = run("train.py", "--workdir", tmp_path / "one", "--config", config, data)
    assert done.returncode == 0, done.stdout + done.stderr
    for stage in ("isolated", "blended"):
        steps = [each["step"] for each in read_records(folder / stage / "metrics.jsonl")]
        assert steps == list(range(2, STEPS + 1, 2))  # one process writes
        two, one = (
            checkpoint.load_params(each / stage / "checkpoints")
            for each in (folder, tmp_path / "one")
        )
        for a, b in zip(*map(jax.tree.leaves, (two, one)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        assert (folder / stage / "calibration.json").exists()
