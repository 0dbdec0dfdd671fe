import gc
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend.exceptions import CheckpointError, TrainingError
from vaedeblend.io import checkpoint
from vaedeblend.io.folders.digest import SEAL
from vaedeblend.models.vae import VAE, init_params
from vaedeblend.training import loop, objectives, observe
from vaedeblend.training import scenes as compose
from vaedeblend.training.placement import Composing, make_device_library

SIZE, SIDE = 16, 32
OPTIMIZER = {"learning_rate": 1e-2, "warmup_steps": 2, "weight_decay": 1e-4, "clip_norm": 5.0}
LOSS = {
    "likelihood": "gaussian",
    "model_error": 0.03,
    "flux_error": 0.0,
    "kl_weight": 1.0,
    "kl_warmup_steps": 4,
    "kl_cycles": 1,
    "free_bits": 0.0,
    "flux_weight": 1.0,
    "centre_boost": 0.0,
    "centre_sigma": 3.0,
}
WEIGHTS = {
    "latent_weight": 1.0,
    "flux_weight": 10.0,
    "purity_weight": 1.0,
    "point_weight": 0.0,
    "cleaned_share": 0.5,
    "cleaned_from": 0,
    "cleaned_looks": 2,
}
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return make_model()


def make_model():
    return VAE(4, (4, 4), 8, 1, (8,), (8,), 4, SIZE, 1)


@pytest.fixture(scope="module")
def library():
    """Round Gaussians of many fluxes; the first half may be central galaxies."""
    return make_library()


def make_library():
    rng = np.random.default_rng(0)
    phase = rng.uniform(-0.5, 0.5, (24, 2)).astype(np.float32)
    flux = rng.uniform(100.0, 300.0, (24, 1)).astype(np.float32)
    grid = np.arange(SIDE) - (SIDE - 1) / 2
    y, x = (grid - phase[:, i, None] for i in (0, 1))
    light = np.exp(-(y[:, :, None] ** 2 + x[:, None] ** 2) / 4) / (4 * np.pi)
    stamps = (light[..., None] * flux[:, None, None]).astype(np.float32)
    psf = light[:1, 8:25, 8:25, None]
    return make_device_library(stamps, phase, flux, np.arange(24) < 12, psf)


def make_batch(key, library):
    """Of eight blends."""
    scenes = compose.random_scenes(
        key,
        library,
        Composing(max_companions=2, candidates=2, separation=(2.0, 6.0), max_purity=0.95),
        n_central=12,
        batch_size=8,
        size=SIZE,
    )
    return observe.observe(key, scenes, variance=jnp.ones(1), gain=jnp.ones(1))


def make_run(model, *, steps, trainable=("encoder", "decoder"), loss=None, **given):
    """The state before the first step, the step, and its objective."""
    mesh = loop.data_mesh()
    optimizer = loop.make_optimizer(steps=steps, **OPTIMIZER)
    params = init_params(model, jax.random.key(0))
    if "flow" in trainable:
        parts = objectives.posterior(model, jax.tree.map(jnp.array, params["encoder"]), **WEIGHTS)
    else:
        parts = objectives.evidence(model, **(LOSS | (loss or {})))
    state = loop.create_state(params, optimizer, trainable=trainable, mesh=mesh)
    given = {"average_decay": 0.9, "micro_batches": 1, "trainable": trainable} | given
    return state, loop.make_step(parts, optimizer, make_batch, seed=1, mesh=mesh, **given), parts


def fit(state, step, library, directory, steps, validate=lambda params: {"loss": 0.0}, every=2):
    return loop.fit(
        state,
        step,
        library[0],
        directory=directory,
        steps=steps,
        log_every=2,
        checkpoint_every=every,
        validate=validate,
        report=lambda at, record: None,
    )


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.mark.parametrize("part", [pytest.param("decoder", marks=SLOW), "flow"])
def test_frozen_parts_are_bitwise_unchanged_and_the_others_move(model, library, part):
    trainable = "encoder", part
    steps = {"decoder": 8, "flow": 60}[part]  # as other tests: compiled once
    state, step, _ = make_run(model, steps=steps, trainable=trainable)
    before = jax.device_get(state.params)
    for _ in range(4):
        state, _ = step(state, library[0])
    for found in (jax.device_get(state.params), jax.device_get(state.average)):
        for each in ("encoder", "decoder", "flow"):
            assert same(before[each], found[each]) == (each not in trainable)


def test_non_finite_gradients_cost_a_step_and_not_the_training(model, library):
    state, step, _ = make_run(model, steps=8)
    implausible = library[0]._replace(stamps=jnp.full_like(library[0].stamps, jnp.nan))
    state, _ = step(state, library[0])  # at a learning rate of zero
    for each in (library[0], implausible, library[0]):
        before = jax.device_get(state.params)
        state, metrics = step(state, each)
        assert np.isfinite(metrics["loss"]) == (each is not implausible)
        assert same(before, state.params) == (each is implausible)
        for tree in (state.params, state.average, state.optimizer):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_training_stops_at_its_last_good_checkpoint(model, library, tmp_path):
    state, step, *_ = make_run(model, steps=60)
    fit(state, step, library, tmp_path, 4)
    good = checkpoint.load_params(tmp_path / "checkpoints")
    broken = library[0]._replace(stamps=jnp.full_like(library[0].stamps, jnp.nan))
    state, step, *_ = make_run(model, steps=60)
    with pytest.raises(TrainingError, match="10 steps in a row up to step 14 .* step 4 is kept"):
        fit(state, step, (broken,), tmp_path, 60)
    assert checkpoint.latest_step(tmp_path / "checkpoints") == 4
    assert same(good, checkpoint.load_params(tmp_path / "checkpoints"))


@pytest.fixture(scope="module")
def followed(model, library):
    """Parameters and their average after each of eight steps."""
    state, step, _ = make_run(model, steps=8, average_decay=0.4)
    found = []
    for _ in range(8):
        state, _ = step(state, library[0])
        found.append(jax.device_get((state.params, state.average)))
    return found


def test_average_is_the_exponential_one_that_forgets_its_beginning(followed):
    leaves = [[np.asarray(p, float) for p in jax.tree.leaves(params)] for params, _ in followed]
    expected = [np.zeros_like(p) for p in leaves[0]]
    for t, (now, (_, average)) in enumerate(zip(leaves, followed, strict=True), 1):
        decay = min(0.4, 1 - 10 / (t + 9))
        expected = [decay * e + (1 - decay) * p for e, p in zip(expected, now, strict=True)]
        for e, found in zip(expected, jax.tree.leaves(average), strict=True):
            np.testing.assert_allclose(found, e, atol=1e-6)


def test_a_young_average_is_of_the_last_tenth_of_the_steps(followed):
    """Step k of all so far has the weight k (k + 1) ... (k + 8): nine in ten lie late."""
    weight = np.array([np.prod(np.arange(k, k + 9, dtype=float)) for k in range(1, 7)])
    six = [jax.tree.leaves(params) for params, _ in followed[:6]]
    for *each, average in zip(*six, jax.tree.leaves(followed[5][1]), strict=True):
        expected = np.average(np.stack(each), axis=0, weights=weight)
        np.testing.assert_allclose(average, expected, atol=1e-6)


def test_average_without_decay_is_the_latest_parameters(model, library):
    state, step, _ = make_run(model, steps=4, average_decay=0.0)
    for _ in range(2):
        state, _ = step(state, library[0])
    jax.tree.map(
        lambda p, a: np.testing.assert_allclose(a, p, atol=1e-7), state.params, state.average
    )


def test_average_is_what_is_validated_and_kept(model, library, tmp_path):
    seen = []

    def validate(params):
        seen.append(jax.device_get(params))
        return {}

    state, step, _ = make_run(model, steps=8)
    state = fit(state, step, library, tmp_path, 4, validate)
    kept = checkpoint.load_params(tmp_path / "checkpoints")
    assert same(kept, state.average) and same(kept, seen[-1])
    assert not same(kept["encoder"], state.params["encoder"])


def test_a_stage_of_no_steps_keeps_what_it_starts_from(model, library, tmp_path):
    state, step, _ = make_run(model, steps=0)
    start = jax.device_get(state.params)
    for _ in range(2):  # and again, when the command is given again
        fit(state, step, library, tmp_path, 0)
    assert same(checkpoint.load_params(tmp_path / "checkpoints"), start)


@pytest.mark.parametrize("likelihood", ["gaussian", pytest.param("poisson", marks=SLOW)])
def test_loss_falls(model, library, likelihood):
    state, step, parts = make_run(model, steps=60, loss={"likelihood": likelihood})
    batch = jax.jit(make_batch)(jax.random.key(9), library[0])
    validate = loop.make_validation(parts, [batch], seed=0)
    before = validate(state.params)["loss"]
    for _ in range(60):
        state, _ = step(state, library[0])
    assert validate(state.params)["loss"] < 0.9 * before
    assert validate(state.average)["loss"] < 0.9 * before


def test_loss_of_the_second_stage_falls(model, library):
    state, step, parts = make_run(model, steps=60, trainable=("encoder", "flow"))
    batch = jax.jit(make_batch)(jax.random.key(9), library[0])
    validate = loop.make_validation(parts, [batch], seed=0)
    before = validate(state.params)
    for _ in range(60):
        state, _ = step(state, library[0])
    after = validate(state.average)
    assert all(after[part] < before[part] for part in ("loss", "flux", "purity", "prior"))


def test_validation_is_the_mean_over_examples_not_batches(model, library):
    state, _, parts = make_run(model, steps=8)
    batch = jax.jit(make_batch)(jax.random.key(9), library[0])
    parts = lambda params, batch, key, step: {"loss": batch.flux[:, 0]}  # noqa: E731
    few = jax.tree.map(lambda a: a[:2], batch)
    validate = loop.make_validation(parts, [batch, few], seed=0)
    flux = np.concatenate([batch.flux[:, 0], few.flux[:, 0]])
    assert validate(state.params)["loss"] == pytest.approx(flux.mean(), rel=1e-6)


@pytest.mark.parametrize("part", ["decoder", pytest.param("flow", marks=SLOW)])
def test_batches_in_parts_train_as_whole_ones_do(model, library, monkeypatch, part):
    trainable = "encoder", part
    monkeypatch.setitem(WEIGHTS, "cleaned_looks", 1)
    found = []
    for parts in (1, 4):
        state, step, _ = make_run(model, steps=60, trainable=trainable, micro_batches=parts)
        before = jax.device_get(state.params)
        for _ in range(5):
            state, metrics = step(state, library[0])
        found.append((state.params, state.average, metrics))
        assert not same(before, state.params)
    for whole, divided in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(divided, whole, rtol=1e-5, atol=1e-5)


def test_step_is_traced_once(model, library):
    state, step, _ = make_run(model, steps=8)
    for _ in range(3):
        state, _ = step(state, library[0])
    assert step.func._cache_size() == 1


def test_resumed_run_is_bitwise_the_unbroken_one(model, library, tmp_path):
    state, step, *_ = make_run(model, steps=8)
    whole = fit(state, step, library, tmp_path / "whole", 8)
    state, step, *_ = make_run(model, steps=8)
    fit(state, step, library, tmp_path / "broken", 4)
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "train_loss": 1.0}\n{"step": 8, "tr')  # as a kill leaves it
    state, step, *_ = make_run(model, steps=8)
    resumed = fit(state, step, library, tmp_path / "broken", 8)
    assert same(whole.params, resumed.params) and same(whole.average, resumed.average)
    records = [loop.read_records(tmp_path / run / "metrics.jsonl") for run in ("whole", "broken")]
    assert records[0] == records[1]
    assert [record["step"] for record in records[0]] == [2, 4, 6, 8]


def test_checkpoints_fall_on_records(model, library, tmp_path):
    state, step, *_ = make_run(model, steps=8)
    with pytest.raises(
        ValueError, match="checkpoint_every is 3; wanted a multiple of log_every, 2"
    ):
        fit(state, step, library, tmp_path, 2, every=3)


def largest(folder):
    files = (each for each in folder.rglob("*") if each.is_file() and each.name != SEAL)
    return max(files, key=lambda each: each.stat().st_size)


def test_a_flipped_bit_in_a_checkpoint_is_named(model, library, tmp_path):
    state, step, *_ = make_run(model, steps=8)
    fit(state, step, library, tmp_path, 4)
    flipped = largest(tmp_path / "checkpoints" / "4")
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 4
    flipped.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"step 4 cannot be restored .*{flipped.name}"):
        checkpoint.load_params(tmp_path / "checkpoints")
    state, step, *_ = make_run(model, steps=8)
    with pytest.raises(CheckpointError, match="without .*checkpoints/4 the one before is"):
        fit(state, step, library, tmp_path, 6)
    shutil.rmtree(tmp_path / "checkpoints" / "4")  # as it says
    assert checkpoint.latest_step(tmp_path / "checkpoints") == 2


# tensorstore's other readers fail after the event loop of the first one has closed.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_checkpoint_of_an_older_version_is_named(model, library, tmp_path):
    state, step, *_ = make_run(model, steps=8)
    fit(state, step, library, tmp_path, 2)
    (tmp_path / "checkpoints" / "2" / SEAL).unlink()
    for file in (tmp_path / "checkpoints" / "2" / "default").rglob("*"):
        if file.is_file() and "metadata" not in file.name.lower():
            file.write_bytes(b"damage")
    with pytest.raises(CheckpointError, match="checkpoint of step 2 cannot be restored"):
        checkpoint.load_params(tmp_path / "checkpoints")
    for _ in range(4):  # reads that were under way end late: while they are still this test's
        gc.collect()
        time.sleep(0.5)


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint there"):
        checkpoint.load_params(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no finished checkpoint"):
        checkpoint.load_params(tmp_path / "empty")


SHARDED = """
import jax, sys
sys.path.insert(0, {tests!r})
import test_loop as t
library = t.make_library()
state, step, _ = t.make_run(t.make_model(), steps=8)
t.fit(state, step, library, {folder!r}, {steps})
print(jax.device_count())
"""


def fit_on_devices(n, folder, steps):
    code = SHARDED.format(tests=str(Path(__file__).parent), folder=str(folder), steps=steps)
    env = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={n}"}
    out = subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    assert int(out.stdout.split()[-1]) == n


def losses(folder):
    return [each["train_loss"] for each in loop.read_records(folder / "metrics.jsonl")]


@pytest.mark.slow
def test_two_devices_train_as_one_does_and_one_goes_on(model, library, tmp_path):
    fit_on_devices(2, tmp_path / "two", 4)
    params = checkpoint.load_params(tmp_path / "two" / "checkpoints")
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(params))
    for folder, steps in (("one", 4), ("two", 8)):
        state, step, _ = make_run(model, steps=8)
        state = fit(state, step, library, tmp_path / folder, steps)
        assert int(state.step) == steps
    one, two = (losses(tmp_path / folder) for folder in ("one", "two"))
    assert len(two) == 4 and one == pytest.approx(two[:2], rel=1e-4)


@pytest.mark.slow
def test_four_devices_go_on_as_two(tmp_path):
    fit_on_devices(4, tmp_path, 4)
    fit_on_devices(2, tmp_path, 6)
    assert [r["step"] for r in loop.read_records(tmp_path / "metrics.jsonl")] == [2, 4, 6]
    assert checkpoint.latest_step(tmp_path / "checkpoints") == 6


def test_reading_parameters_writes_nothing(model, library, tmp_path):
    state, step, *_ = make_run(model, steps=8)
    fit(state, step, library, tmp_path, 2)
    before = sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*"))
    checkpoint.load_params(tmp_path / "checkpoints")
    assert sorted((each, each.stat().st_mtime_ns) for each in tmp_path.rglob("*")) == before
