"""Processes that train together."""

import os
import signal
import socket
import subprocess
import time

import jax
import numpy as np
import pytest
from tiny import command, parameters, run, same, write_config

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


def test_sigterm_is_noted_and_does_at_the_end_what_it_did():
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        with hosts.preemption() as asked:
            assert not asked(1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked(2) and asked(3) and not came
        assert came == [signal.SIGTERM]
        with hosts.preemption():
            for _ in range(2):  # the second time at once
                os.kill(os.getpid(), signal.SIGTERM)
            assert len(came) == 2
        assert len(came) == 3
        with hosts.preemption() as asked:
            assert not asked(1)
        assert len(came) == 3
    finally:
        signal.signal(signal.SIGTERM, before)


LATE = """
tiny = get_config

def get_config():
    config = tiny()
    config.stages.isolated.checkpoint_every = config.stages.isolated.steps
    config.stages.blended.update(steps=4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_a_preempted_training_ends_with_a_checkpoint_and_goes_on(tmp_path, n):
    """Of several processes one is sent the signal, and all end at one step."""
    more = LATE + f"    config.data_dir = {str(tmp_path / 'data')!r}\n    return config\n"
    config, folder = write_config(tmp_path / "tiny.py", 400, more), tmp_path / "run"
    processes = together(n, "--workdir", folder, "--config", config)
    checkpoints, log = folder / "isolated" / "checkpoints", folder / "isolated" / "metrics.jsonl"
    while not read_records(log) and processes[0].poll() is None:
        time.sleep(0.02)
    processes[-1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [143] * n, said
    assert "terminated: the same command goes on" in said[0]
    step = checkpoint.latest_step(checkpoints)
    assert 0 < step < 400 and read_records(log)[-1]["step"] == step
    for each in (folder, tmp_path / "unbroken")[: 3 - n]:  # two add up otherwise than one
        done = run("train.py", "--workdir", each, "--config", config)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"resumed from step {step} of 400" in done.stdout or each != folder
    assert n > 1 or same(parameters(folder), parameters(tmp_path / "unbroken"))


def together(n, *words):
    """n processes of a training."""
    where, given = f"localhost:{free_port()}", {"stdout": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(
            **command(
                "train.py", *words, *(["--distributed", f"{where},{i},{n}"] if n > 1 else [])
            ),
            stderr=subprocess.STDOUT,
            **given,
        )
        for i in range(n)
    ]


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    """Both stages, from simulation to calibration: the same command in each process."""
    config, folder = write_config(tmp_path / "tiny.py", STEPS), tmp_path / "two"
    processes = together(2, "--workdir", folder, "--config", config)
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
