"""Throughput of simulation and training, as ratios within one run.

    python tests/benchmarks/throughput.py [--galaxies N] [--steps N]

Prints one table: scenes per second of the builder's way (each galaxy rendered once, scenes composed
from the library) against a plain loop that renders every galaxy of every scene it tries; training
stamps per second of both stages; and the share of a step that composing its scenes takes.
"""

import argparse
import functools
import os
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from vaedeblend.catalogues import catalogue, egg
from vaedeblend.catalogues.galaxies import make_galaxies
from vaedeblend.configs import quick
from vaedeblend.models.vae import VAE, init_params
from vaedeblend.pixels import blending
from vaedeblend.simulate import examples as simulation
from vaedeblend.simulate import library
from vaedeblend.simulate import scenes as scene
from vaedeblend.simulate.render import make_draw, survey_psfs
from vaedeblend.survey import Survey
from vaedeblend.training import loop
from vaedeblend.training import scenes as compose
from vaedeblend.training.objectives import evidence, posterior
from vaedeblend.training.observe import observe
from vaedeblend.training.placement import Composing, make_device_library

SIZE, SEPARATION = 64, (3.0, 30.0)


def plain_loop(survey, psfs, centrals, companions, seconds):
    """Scenes per second of one process that draws every galaxy of every scene anew."""
    draw = make_draw(psfs, size=SIZE, pixel_scale=survey.pixel_scale.value)
    rng = np.random.default_rng(0)
    kept, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        stamps = [draw(centrals.take(rng.integers(len(centrals.flux))), rng.uniform(-0.5, 0.5, 2))]
        for _ in range(rng.integers(1, 4)):
            radius = np.sqrt(rng.uniform(SEPARATION[0] ** 2, SEPARATION[1] ** 2))
            angle = rng.uniform(0, 2 * np.pi)
            galaxy = companions.take(rng.integers(len(companions.flux)))
            stamps.append(draw(galaxy, (radius * np.sin(angle), radius * np.cos(angle))))
        kept += blending.purity(np.stack(stamps))[0] < blending.BLENDED_PURITY
    return kept / (time.perf_counter() - start)


def builder(survey, n, processes):
    """Scenes per second of the builder, its library included."""
    start = time.perf_counter()
    examples = simulation.examples(
        "blended", "train", n, survey=survey, seed=0, area=0.5, processes=processes
    )
    made = sum(1 for _ in examples)
    return made / (time.perf_counter() - start)


def accuracy(survey, psfs, galaxies, ids):
    """Largest relative flux difference of composed stamps from directly drawn ones."""
    made = library.render_library(
        galaxies.take(slice(0, 100)),
        ids[:100],
        np.ones(100, bool),
        seed=(0,),
        psfs=(psfs,),
        size=simulation.LIBRARY_SIZE,
        pixel_scale=survey.pixel_scale.value,
    )
    draw = make_draw(psfs, size=SIZE, pixel_scale=survey.pixel_scale.value)
    errors = []
    for i in range(100):
        drawn = scene.Scene(np.array([i]), np.array([[5, -7]]), np.ones(1))
        composed = scene.compose(made, drawn, SIZE)[0].sum(dtype=float)
        direct = draw(made.galaxies.take(i), scene.positions(made, drawn)[0]).sum(dtype=float)
        errors.append(abs(composed / direct - 1))
    return max(errors)


def steps_per_second(step, state, library, n):
    state, _ = step(state, library)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(n):
        state, _ = step(state, library)
    jax.block_until_ready(state)
    return n / (time.perf_counter() - start)


def composed(survey, n_central, stage):
    """`(key, library) -> Batch` of a stage, as train.py makes it."""
    scenes = functools.partial(
        compose.random_scenes,
        composing=Composing(separation=SEPARATION, max_purity=0.95, **stage.scenes),
        n_central=n_central,
        batch_size=stage.batch_size,
        size=SIZE,
    )

    def make_batch(key, library):
        scene_key, noise_key = jax.random.split(key)
        return observe(
            noise_key, scenes(scene_key, library), variance=survey.variance, gain=survey.gain
        )

    return make_batch


def training_rates(survey, config, n_galaxies, n_steps):
    """Stamps per second of a configuration's stages, composing scenes and on a fixed batch."""
    examples = simulation.examples(
        "galaxies", "train", n_galaxies, n_companions=n_galaxies, survey=survey, seed=0, area=0.5
    )
    arrays = list(examples)
    columns = (np.stack([e[name] for e in arrays]) for name in ("stamp", "phase"))
    flux = np.stack([e["flux_bulge"] + e["flux_disk"] for e in arrays])
    central = np.array([e["central"] for e in arrays])
    library, n_central = make_device_library(*columns, flux, central, arrays[0]["psf"][None])
    model = VAE(**config.model, bands=1)
    mesh = loop.data_mesh()
    params = init_params(model, jax.random.key(0))
    teacher = jax.tree.map(jnp.copy, params["encoder"])
    rates = {}
    for name, stage in config.stages.items():
        make_batch = composed(survey, n_central, stage)
        fixed = jax.jit(make_batch)(jax.random.key(0), library)
        makers = {"evidence": evidence, "posterior": functools.partial(posterior, teacher=teacher)}
        late = {"cleaned_from": 0} if "cleaned_from" in stage.loss else {}  # late steps are slower
        loss = makers[stage.objective](model, **stage.loss.to_dict() | late)
        optimizer = loop.make_optimizer(steps=stage.steps, **stage.optimizer)
        # The fixed batch is an argument: as a constant XLA would compute part of the step once.
        variants = (
            (name, make_batch, library),
            (f"{name}, fixed batch", lambda key, batch: batch, fixed),
        )
        for label, make, source in variants:
            step = loop.make_step(
                loss,
                optimizer,
                make,
                trainable=stage.trainable,
                average_decay=stage.average_decay,
                micro_batches=stage.micro_batches,
                seed=0,
                mesh=mesh,
            )
            fresh = jax.tree.map(jnp.copy, params)
            state = loop.create_state(fresh, optimizer, trainable=stage.trainable, mesh=mesh)
            rates[label] = steps_per_second(step, state, source, n_steps) * stage.batch_size
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--scenes", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()

    survey = Survey()
    psfs = survey_psfs(survey, SIZE)
    table = egg.catalogue(0.5, seed=0)
    chosen = catalogue.select(table, catalogue.TALK_SELECTION)
    galaxies = make_galaxies(chosen)
    others = make_galaxies(catalogue.select(table, {"magnitude": (21.0, 26.0)}))
    processes = os.cpu_count() or 1

    rows = Table("what", "per second", "ratio", title="Throughput")
    plain = plain_loop(survey, psfs, galaxies, others, 20)
    built = builder(survey, options.scenes, processes)
    rows.add_row("blended scenes, plain GalSim loop, 1 process", f"{plain:.0f}", "1")
    rows.add_row(
        f"blended scenes, builder, {processes} processes", f"{built:.0f}", f"{built / plain:.1f}"
    )
    rates = training_rates(survey, quick.get_config(), options.galaxies, options.steps)
    for name in ("isolated", "blended"):
        bare = rates[f"{name}, fixed batch"]
        rows.add_row(f"training stamps, {name}, fixed batch", f"{bare:.0f}", "1")
        rows.add_row(
            f"training stamps, {name}, composed", f"{rates[name]:.0f}", f"{rates[name] / bare:.3f}"
        )
    console = Console()
    console.print(rows)
    worst = accuracy(survey, psfs, galaxies, np.asarray(chosen["id"]))
    console.print(f"flux of composed against drawn stamps: within {worst:.1e} of it")


if __name__ == "__main__":
    main()
