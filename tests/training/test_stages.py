"""Where a stage's parameters start."""

import numpy as np
import pytest

from vaedeblend.exceptions import CheckpointError
from vaedeblend.io import checkpoint
from vaedeblend.training.stages import initial_params

STAGES = ("first", "second")


def params(value, latent=3):
    """Of an encoder of two layers and a decoder."""
    heads = {name: {"kernel": np.full(latent, value)} for name in ("Dense_1", "Dense_10")}
    encoder = {"Dense_0": {"kernel": np.full(2, value)}} | heads
    return {"encoder": encoder, "decoder": {"kernel": np.full(latent, value)}}


@pytest.fixture
def workdir(tmp_path):
    checkpoint.save_params(tmp_path / "first" / "checkpoints", 1, params(1.0))
    return tmp_path


def start(workdir, latent=3, source="first", renewed=()):
    return initial_params(lambda: params(0.0, latent), source, STAGES, workdir, renewed)


def test_parameters_are_random_without_a_source_and_those_of_a_stage_with_one(workdir):
    assert start(workdir, source="")["encoder"]["Dense_0"]["kernel"][0] == 0
    for source in ("first", str(workdir / "first")):
        assert start(workdir, source=source)["encoder"]["Dense_0"]["kernel"][0] == 1


def test_renewed_layers_alone_start_at_random_and_may_have_another_shape(workdir):
    found = start(workdir, renewed=("encoder/Dense_1", "decoder"))
    ones = {name: float(layer["kernel"][0]) for name, layer in found["encoder"].items()}
    assert ones == {"Dense_0": 1, "Dense_1": 0, "Dense_10": 1}
    assert found["decoder"]["kernel"][0] == 0
    found = start(workdir, latent=5, renewed=("encoder/Dense_1", "encoder/Dense_10", "decoder"))
    assert found["encoder"]["Dense_1"]["kernel"].shape == (5,)
    assert found["encoder"]["Dense_0"]["kernel"][0] == 1


def test_shapes_that_differ_and_layers_that_are_not_there_are_errors(workdir):
    with pytest.raises(CheckpointError, match=r"first: .*shapes, as .*\(3,\).*wanted.*\(5,\)"):
        start(workdir, latent=5, renewed=("decoder",))
    with pytest.raises(ValueError, match="renewed: no 'encoder/Dense'; wanted .*encoder/Dense_0"):
        start(workdir, renewed=("encoder/Dense",))


def test_what_a_layer_is_given_besides_counts_for_nothing_at_first(workdir, rng):
    trained = {"encoder": {"kernel": rng.normal(size=(3, 2)), "bias": np.ones(2)}}
    checkpoint.save_params(workdir / "second" / "checkpoints", 1, trained)
    fresh = {"encoder": {"kernel": np.ones((5, 2)), "bias": np.zeros(2)}}
    found = initial_params(lambda: fresh, "second", STAGES, workdir)["encoder"]
    given = rng.normal(size=(4, 5))
    wanted = given[:, :3] @ trained["encoder"]["kernel"]
    np.testing.assert_allclose(given @ found["kernel"], wanted)
    np.testing.assert_array_equal(found["bias"], 1)
    for shape in ((2, 2), (5, 3)):
        other = {"encoder": {"kernel": np.ones(shape), "bias": np.zeros(2)}}
        with pytest.raises(CheckpointError, match="wanted this model's"):
            initial_params(lambda other=other: other, "second", STAGES, workdir)
