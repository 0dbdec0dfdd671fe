import gc
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend import checkpoint, compose, training
from vaedeblend.model import VAE

SIZE, SIDE = 16, 32
OPTIMIZER = {"learning_rate": 1e-2, "warmup_steps": 2, "weight_decay": 1e-4, "clip_norm": 5.0}
LOSS = {
    "likelihood": "gaussian",
    "kl_weight": 1.0,
    "kl_warmup_steps": 4,
    "flux_weight": 1.0,
    "centre_boost": 0.0,
    "centre_sigma": 3.0,
}


@pytest.fixture(scope="module")
def model():
    return VAE(4, (4, 4), 8, (8,), SIZE, 1)


@pytest.fixture(scope="module")
def gallery():
    """Round Gaussians of many fluxes; the first half may be central galaxies."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(-0.5, 0.5, (24, 2)).astype(np.float32)
    flux = rng.uniform(100.0, 300.0, (24, 1)).astype(np.float32)
    grid = np.arange(SIDE) - (SIDE - 1) / 2
    y, x = (grid - phase[:, i, None] for i in (0, 1))
    light = np.exp(-(y[:, :, None] ** 2 + x[:, None] ** 2) / 4) / (4 * np.pi)
    stamps = (light[..., None] * flux[:, None, None]).astype(np.float32)
    return compose.make_gallery(stamps, phase, flux, np.arange(24) < 12)


def make_run(model, gallery, *, steps, trainable=("encoder", "decoder"), loss=None, params=None):
    mesh = training.data_mesh()
    optimizer = training.make_optimizer(steps=steps, **OPTIMIZER)
    params = training.init_params(model, jax.random.key(0)) if params is None else params
    state = training.create_state(params, optimizer, trainable=trainable, mesh=mesh)
    ones = jnp.ones(1)
    parts = training.make_loss(model, gain=ones, background=ones, **(LOSS | (loss or {})))

    def make_batch(key, gallery_arrays):
        return compose.random_batch(
            key,
            gallery_arrays,
            n_central=gallery[1],
            batch_size=8,
            size=SIZE,
            variance=ones,
            gain=ones,
            max_companions=2,
            separation=(2.0, 6.0),
            max_purity=0.95,
            candidates=2,
        )

    step = training.make_step(parts, optimizer, make_batch, trainable=trainable, seed=1, mesh=mesh)
    return state, step, parts, make_batch


def fit(state, step, gallery, directory, steps):
    return training.fit(
        state,
        step,
        gallery[0],
        directory=directory,
        steps=steps,
        log_every=2,
        checkpoint_every=2,
        validate=lambda params: {"loss": 0.0},
        report=lambda at, record: None,
    )


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_frozen_decoder_is_bitwise_unchanged_and_the_encoder_moves(model, gallery):
    state, step, *_ = make_run(model, gallery, steps=4, trainable=("encoder",))
    before = jax.device_get(state.params)
    for _ in range(4):
        state, _ = step(state, gallery[0])
    after = jax.device_get(state.params)
    assert same(before["decoder"], after["decoder"])
    assert not same(before["encoder"], after["encoder"])


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_loss_falls(model, gallery, likelihood):
    state, step, parts, make_batch = make_run(
        model, gallery, steps=60, loss={"likelihood": likelihood}
    )
    batch = make_batch(jax.random.key(9), gallery[0])
    validate = training.make_validation(parts, [batch], seed=0)
    before = validate(state.params)["loss"]
    for _ in range(60):
        state, _ = step(state, gallery[0])
    assert validate(state.params)["loss"] < 0.9 * before


def test_step_is_traced_once(model, gallery):
    state, step, *_ = make_run(model, gallery, steps=4)
    for _ in range(3):
        state, _ = step(state, gallery[0])
    assert step._cache_size() == 1


def test_loss_parts_are_one_number_per_example(model, gallery):
    state, _, parts, make_batch = make_run(model, gallery, steps=4)
    batch = make_batch(jax.random.key(0), gallery[0])
    for part in parts(state.params, batch, jax.random.key(1), 0).values():
        assert part.shape == (8,)


def test_kl_warms_up(model, gallery):
    state, _, parts, make_batch = make_run(model, gallery, steps=4, loss={"flux_weight": 0.0})
    batch = make_batch(jax.random.key(0), gallery[0])
    batch = batch._replace(image=batch.image * 3)
    moved = jax.tree.map(lambda p: p + 0.1, state.params)
    early, late = (parts(moved, batch, jax.random.key(1), at) for at in (0, 100))
    np.testing.assert_allclose(late["loss"], late["reconstruction"] + late["kl"], rtol=1e-5)
    np.testing.assert_allclose(early["loss"], early["reconstruction"] + early["kl"] / 4, rtol=1e-5)


def test_unknown_likelihood_is_refused(model):
    ones = jnp.ones(1)
    with pytest.raises(ValueError, match="likelihood is 'cauchy'; wanted one of"):
        training.make_loss(model, gain=ones, background=ones, **(LOSS | {"likelihood": "cauchy"}))


def test_resumed_run_is_bitwise_the_unbroken_one(model, gallery, tmp_path):
    state, step, *_ = make_run(model, gallery, steps=8)
    whole = fit(state, step, gallery, tmp_path / "whole", 8)
    state, step, *_ = make_run(model, gallery, steps=8)
    fit(state, step, gallery, tmp_path / "broken", 4)
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train_loss": 1.0}\n{"step": 8, "tr')  # as a kill leaves it
    state, step, *_ = make_run(model, gallery, steps=8)
    resumed = fit(state, step, gallery, tmp_path / "broken", 8)
    assert same(whole.params, resumed.params)
    records = [
        training.read_records(tmp_path / run / "metrics.jsonl") for run in ("whole", "broken")
    ]
    assert records[0] == records[1]
    assert [record["step"] for record in records[0]] == [2, 4, 6, 8]


def test_checkpoints_fall_on_records(model, gallery, tmp_path):
    state, step, *_ = make_run(model, gallery, steps=4)
    with pytest.raises(
        ValueError, match="checkpoint_every is 3; wanted a multiple of log_every, 2"
    ):
        training.fit(
            state,
            step,
            gallery[0],
            directory=tmp_path,
            steps=2,
            log_every=2,
            checkpoint_every=3,
            validate=lambda params: {},
            report=print,
        )


# tensorstore's other readers fail after the event loop of the first one has closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_checkpoint_is_named(model, gallery, tmp_path):
    state, step, *_ = make_run(model, gallery, steps=4)
    fit(state, step, gallery, tmp_path, 2)
    for file in (tmp_path / "checkpoints" / "2" / "default").rglob("*"):
        if file.is_file() and "metadata" not in file.name.lower():
            file.write_bytes(b"damage")
    with pytest.raises(checkpoint.CheckpointError, match="checkpoint of step 2 cannot be restored"):
        checkpoint.load_params(tmp_path / "checkpoints")
    state, step, *_ = make_run(model, gallery, steps=4)
    with pytest.raises(checkpoint.CheckpointError, match="checkpoint of step 2 cannot be restored"):
        fit(state, step, gallery, tmp_path, 4)
    gc.collect()  # while their warnings are still this test's


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="no checkpoint there"):
        checkpoint.load_params(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(checkpoint.CheckpointError, match="holds no finished checkpoint"):
        checkpoint.load_params(tmp_path / "empty")


SHARDED = """
import numpy as np, jax, sys
sys.path.insert(0, {tests!r})
import test_training as t
from vaedeblend import compose
model = t.VAE(4, (4, 4), 8, (8,), t.SIZE, 1)
gallery = t.gallery.__wrapped__()
state, step, *_ = t.make_run(model, gallery, steps=3)
for _ in range(3):
    state, metrics = step(state, gallery[0])
print(jax.device_count(), float(metrics["loss"]))
"""


def test_two_devices_train_as_one_does():
    losses = {}
    for n in (1, 2):
        env = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={n}"}
        out = subprocess.run(
            [sys.executable, "-c", SHARDED.format(tests=str(Path(__file__).parent))],
            env=env | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert int(out[-2]) == n
        losses[n] = float(out[-1])
    assert losses[1] == pytest.approx(losses[2], rel=1e-4)
