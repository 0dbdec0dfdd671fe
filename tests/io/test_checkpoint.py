import signal

import numpy as np
import orbax.checkpoint as ocp
import pytest

from vaedeblend.io import checkpoint

STATE = {"average": {"kernel": np.ones((8, 8), np.float32)}}


def test_a_checkpoint_is_written_before_ctrl_c_ends_the_rest(tmp_path, monkeypatch, ctrl_c):
    """Orbax's event loops, interrupted, complain on stderr when they are collected."""

    def save(manager, *args, **options):
        signal.raise_signal(signal.SIGINT)
        return written(manager, *args, **options)

    written = ocp.CheckpointManager.save
    monkeypatch.setattr(ocp.CheckpointManager, "save", save)
    with pytest.raises(KeyboardInterrupt), checkpoint.open_manager(tmp_path) as manager:
        checkpoint.save_state(manager, 1, STATE)
    assert checkpoint.latest_step(tmp_path) == 1
    np.testing.assert_array_equal(checkpoint.load_params(tmp_path)["kernel"], 1)
