"""Training: one jitted step for every stage, and the loop that survives being killed.

Stage I (isolated) trains encoder and decoder on single galaxies; stage II (blended) trains an
encoder on blends against stage I's frozen decoder, and the latent's prior. The stages differ in
data, objective and in which parts are trainable.

Batch and noise of a step are functions of (seed, step) alone, so that a run killed at any moment
and started again ends with the parameters of an unbroken one.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.tree_util import Partial
from jaxtyping import Array, Int
from tensorboardX import SummaryWriter

from vaedeblend.exceptions import TrainingError, VaedeblendError
from vaedeblend.io import checkpoint
from vaedeblend.io.workdir import CHECKPOINTS
from vaedeblend.io.write import append_text, prepare_folder, write_text, writing
from vaedeblend.training.hosts import is_first, preemption
from vaedeblend.training.objectives import Objective

_NON_FINITE = 10
"""Non-finite gradients in a row that are no accident: a training stops there."""


class TrainState(NamedTuple):
    """All that a step changes."""

    step: Int[Array, ""]
    params: dict
    """Parameters of the whole model: {'encoder': ..., 'decoder': ..., 'flow': ...}."""
    average: dict
    """Exponentially weighted average of the parameters over late steps, which a training keeps."""
    optimizer: optax.OptState
    """State of the optimiser of the trainable parts."""


def data_mesh() -> jax.sharding.Mesh:
    """All devices along one axis, over which batches are split."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def make_optimizer(
    *, steps: int, learning_rate: float, warmup_steps: int, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """AdamW behind a clipped gradient; the rate warms up and falls to zero along a cosine.

    A non-finite gradient is passed over: one implausible scene in millions must not cost all that
    has been learned. Many in a row are no accident: `fit` ends the training there.
    """
    last = max(steps, warmup_steps + 1)  # a stage of no steps stays where it starts
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup_steps, last)
    decay = optax.adamw(schedule, weight_decay=weight_decay)
    clipped = optax.chain(optax.clip_by_global_norm(clip_norm), decay)
    return optax.apply_if_finite(clipped, max_consecutive_errors=np.iinfo(np.int32).max)


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    make_batch: Callable,
    *,
    trainable: Sequence[str],
    average_decay: float,
    micro_batches: int,
    seed: int,
    mesh: jax.sharding.Mesh,
) -> Callable:
    """The jitted step `(state, library) -> (state, metrics)`; a batch is split over the devices.

    Args:
        objective: Function of `training.objectives`.
        optimizer: Optimiser of the trainable parts.
        make_batch: `(key, library) -> batch`, a batch as the objective takes it.
        trainable: Names of the parts that are trained; the others are left bitwise as they are.
        average_decay: Decay of the parameters' average in a step; 0 for the latest parameters.
        micro_batches: Parts of a batch that are passed through the network one after the other, in
            so much less memory; their mean gradient is the batch's.
        seed: Seed of batches, noise and latent samples.
        mesh: Devices of `data_mesh`.
    """

    @functools.partial(jax.jit, donate_argnums=1)
    def step(objective: Objective, state: TrainState, library):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        batch_key, latent_key = jax.random.split(key)
        batch = make_batch(batch_key, library)
        size = len(jax.tree.leaves(batch)[0])
        examples = batch, jax.random.split(latent_key, size)
        frozen = {part: p for part, p in state.params.items() if part not in trainable}

        def mean_loss(params, batch, keys):
            losses = objective(params | frozen, batch, keys, state.step)
            return losses["loss"].mean(), jax.tree.map(jnp.mean, losses)

        params = {part: state.params[part] for part in trainable}
        gradients = functools.partial(jax.grad(mean_loss, has_aux=True), params)
        gradient, metrics = _mean_over(gradients, examples, micro_batches, mesh)
        updates, opt_state = optimizer.update(gradient, state.optimizer, params)
        params = optax.apply_updates(params, updates)
        # A young average is of the last tenth of the steps: it forgets a random beginning.
        new = jnp.maximum(1 - average_decay, 10 / (state.step + 10))
        before = {part: state.average[part] for part in trainable}
        average = optax.incremental_update(params, before, new)
        return TrainState(state.step + 1, params | frozen, average | frozen, opt_state), metrics

    everywhere = jax.device_put(_with_arrays(objective), NamedSharding(mesh, PartitionSpec()))
    return functools.partial(step, everywhere)


def _mean_over(function: Callable, examples, n: int, mesh):
    """The mean of what a function returns for each of n parts, taken one after the other."""
    if n == 1:  # divided by one, XLA's programs for CPUs are four times as slow
        whole = NamedSharding(mesh, PartitionSpec("data"))
        return function(*jax.lax.with_sharding_constraint(examples, whole))
    parts = jax.tree.map(lambda a: a.reshape(n, len(a) // n, *a.shape[1:]), examples)
    split = NamedSharding(mesh, PartitionSpec(None, "data"))
    parts = jax.lax.with_sharding_constraint(parts, split)
    first = jax.tree.map(lambda a: a[0], parts)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(function, *first))

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(*part)), None

    total, _ = jax.lax.scan(add, zeros, parts)
    return jax.tree.map(lambda a: a / n, total)


def create_state(params: dict, optimizer, *, trainable: Sequence[str], mesh) -> TrainState:
    """The state before the first step, a copy on every device."""
    if unknown := sorted(set(trainable) - set(params)):
        raise VaedeblendError(f"trainable: no part {unknown[0]!r}; wanted some of {sorted(params)}")
    optimized = optimizer.init({part: params[part] for part in trainable})
    average = jax.tree.map(jnp.array, params)  # of its own: the step donates its input
    state = TrainState(jnp.zeros((), int), params, average, optimized)
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def fit(
    state: TrainState,
    step: Callable,
    library,
    *,
    directory: str | Path,
    steps: int,
    log_every: int,
    checkpoint_every: int,
    validate: Callable[[dict], Mapping[str, float]],
    report: Callable[[int, Mapping[str, float | int]], None],
) -> TrainState:
    """Trains up to `steps`, from the latest checkpoint where there is one.

    SIGTERM, as of a job that is preempted, ends it at the next record, with a checkpoint of it.

    Args:
        state: State before the first step.
        step: Step of `make_step`.
        library: Arrays from which batches are composed.
        directory: Folder of the stage, which takes checkpoints/, metrics.jsonl and TensorBoard's
            events.
        steps: Steps after which the training ends.
        log_every: Steps between records of metrics.jsonl.
        checkpoint_every: Steps between checkpoints; a multiple of `log_every`.
        validate: `params -> metrics` on validation scenes.
        report: Function called with the step and its latest record.

    Raises:
        CheckpointError: The latest checkpoint is damaged.
        FileError: A file cannot be written.
        TrainingError: Gradients are not finite any more; the checkpoints are of the time before.
        VaedeblendError: `checkpoint_every` is no multiple of `log_every`.
    """
    if checkpoint_every % log_every:
        raise VaedeblendError(
            f"checkpoint_every is {checkpoint_every}; wanted a multiple of log_every, {log_every}"
        )
    directory = Path(directory)
    with preemption() as asked, checkpoint.open_manager(directory / CHECKPOINTS) as manager:
        restored = checkpoint.restore(manager, state)
        state = state if restored is None else restored
        done = int(state.step)
        if steps == 0:
            checkpoint.save_state(manager, 0, state)
        with _logs(directory, done) as log:
            for latest, record, ends in _records(state, step, library, steps, log_every, asked):
                state, at = latest, record["step"]
                passed = _check_finite(state, directory, manager)
                record |= {f"validation_{k}": v for k, v in validate(state.average).items()}
                log(record)
                report(at, record)
                if ((at % checkpoint_every == 0 or ends) and not passed) or at == steps:
                    checkpoint.save_state(manager, at, state)
                if ends:
                    break
    return state


def _check_finite(state: TrainState, directory: Path, manager) -> int:
    """Steps in a row that have just been passed over; ends a training that learns no more."""
    lost = int(state.optimizer.notfinite_count)
    finite = all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    if finite and lost < _NON_FINITE:
        return lost
    checkpoint.finish(manager)
    latest = manager.latest_step()
    what = f"the gradients of {lost} steps in a row" if finite else "parameters"
    kept = (
        "there is no checkpoint" if latest is None else f"the checkpoint of step {latest} is kept"
    )
    raise TrainingError(
        f"{directory}: {what} up to step {int(state.step)} are not finite; {kept}; "
        "wanted a lower learning_rate or clip_norm, or other galaxies"
    )


def make_validation(objective: Objective, batches: Sequence, *, seed: int) -> Callable:
    """`params -> metrics`: means over fixed scenes, each batch with a key of its own."""
    late = jnp.int32(2**30)
    jitted = jax.jit(lambda objective, *arguments: objective(*arguments, late))
    parts = functools.partial(jitted, _with_arrays(objective))

    def validate(params) -> dict[str, float]:
        keys = jax.random.split(jax.random.key(seed), len(batches))
        each = [jax.device_get(parts(params, b, k)) for b, k in zip(batches, keys, strict=True)]
        return {name: float(np.concatenate([e[name] for e in each]).mean()) for name in each[0]}

    return validate


def _with_arrays(objective: Objective) -> Partial:
    """An objective as a tree of the arrays that it holds, which may be none."""
    return objective if isinstance(objective, Partial) else Partial(objective)


def _records(
    state, step, library, steps, log_every, asked
) -> Iterator[tuple[TrainState, dict, bool]]:
    """Yields after every `log_every` steps the mean metrics, and whether it is asked to end."""
    sums, n, ends = None, 0, False
    for at in range(int(state.step) + 1, steps + 1):
        state, metrics = step(state, library)
        sums = metrics if sums is None else jax.tree.map(jnp.add, sums, metrics)
        n += 1
        ends |= asked(at)
        if at % log_every == 0 or at == steps:
            means = {f"train_{name}": float(value) / n for name, value in sums.items()}
            yield state, {"step": at} | means, ends
            sums, n = None, 0


@contextlib.contextmanager
def _logs(directory: Path, done: int) -> Iterator[Callable[[Mapping[str, float | int]], None]]:
    """Function that keeps a record in metrics.jsonl and TensorBoard's events, from a step on."""
    if not is_first():
        yield lambda record: None
        return
    path = directory / "metrics.jsonl"
    _truncate(path, done)
    with (
        writing(directory / "tensorboard"),
        SummaryWriter(str(directory / "tensorboard"), purge_step=done) as board,
    ):

        def log(record: Mapping[str, float | int]) -> None:
            append_text(path, json.dumps(record) + "\n")
            for name, value in record.items():
                if name != "step":
                    board.add_scalar(name.replace("_", "/", 1), value, record["step"])

        yield log


def read_records(path: str | Path) -> list[dict]:
    """Records of a metrics.jsonl; a last line cut short by a kill is left out."""
    path = Path(path)
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def _truncate(path: Path, step: int) -> None:
    """Drops records of steps that a restored run will take again."""
    kept = [record for record in read_records(path) if record["step"] <= step]
    prepare_folder(path.parent)
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
