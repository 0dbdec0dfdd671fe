"""What each choice of the recipe gains, at equal wall time.

    PYTHONPATH=. python tests/benchmarks/ablation.py --workdir runs/ablation [--minutes M]

Each row changes the quick recipe in one respect. Its steps are as many as fit into M minutes, a
third of them for stage I, by the speed measured at the start of the row on the idle machine; seeds
change parameters, batches and noise, not the galaxies. Errors are those of validation scenes, since
they are there to choose by. A row that is done is not run again.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
import throughput
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from data_builders import build_datasets, survey_of
from vaedeblend.cli.train import train
from vaedeblend.configs import quick
from vaedeblend.deblend.joint import make_deblend_stamps
from vaedeblend.deblend.network import load_deblender
from vaedeblend.evaluate import metrics
from vaedeblend.io import dataset
from vaedeblend.simulate import examples

SHARES = {"isolated": 1 / 3, "blended": 2 / 3}
"""Share of the wall time, by stage."""

ROWS = {
    "the quick recipe": {},
    "latent of 8": {"model.latent_dim": 8},
    "encoder of half the width": {
        "model.encoder_widths": (16, 32, 32),
        "model.encoder_hidden": 128,
    },
    "Poisson likelihood": {"stages.isolated.loss.likelihood": "poisson"},
    "centre weighted five times": {"stages.isolated.loss.centre_boost": 4.0},
    "KL with free bits (0.1 nat)": {"stages.isolated.loss.free_bits": 0.1},
    "no averaging of weights": {f"stages.{s}.average_decay": 0.0 for s in ("isolated", "blended")},
    "evidence bound on blends (the talk's)": {
        "stages.blended.objective": "evidence",
        "stages.blended.trainable": ("encoder",),
        "stages.blended.loss": quick.isolated_stage(steps=1)["loss"],
    },
}


def configuration(changes, seed, options):
    """The quick recipe with a row's changes, its data shared between rows of a seed."""
    config = quick.get_config()
    config.seed, config.data_dir = seed, str(options.workdir / "data")
    for key, value in changes.items():
        *path, name = key.split(".")
        part = config
        for each in path:
            part = part[each]
        with part.unlocked():
            part[name] = ConfigDict(value) if isinstance(value, dict) else value
    rates = throughput.training_rates(survey_of(config), config, 300, 30)
    for name, share in SHARES.items():
        stage = config.stages[name]
        stage.steps = int(60 * options.minutes * share * rates[name] / stage.batch_size)
        if stage.loss.get("kl_warmup_steps"):
            stage.loss.kl_warmup_steps = stage.steps // 2
        if stage.loss.get("cleaned_from"):
            stage.loss.cleaned_from = 2 * stage.steps // 5
    return config


def errors(deblend, scenes, survey):
    """Relative flux errors, coverage and profiles of validation scenes."""
    image = examples.noisy(scenes["blend"], survey, (0, 77))
    parts = [
        deblend(
            image[i : i + 250],
            np.broadcast_to(survey.variance, image[i : i + 250].shape),
            gain=survey.gain,
        )
        for i in range(0, len(image), 250)
    ]
    flux, error, light = (np.concatenate([np.asarray(p[i]) for p in parts]) for i in range(3))
    flux, error, true = (a[:, 0].astype(float) for a in (flux, error, scenes["flux"]))
    found = metrics.summarise(metrics.relative_error(flux, true))
    return {
        "sigma": found["sigma"],
        "nmad": found["nmad"],
        "coverage": metrics.coverage(flux, error, true),
        "cosine": float(np.median(metrics.cosine_distance(light, scenes["isolated"]))),
    }


def run(name, changes, seed, options, console):
    """Scores of one row and seed, trained where they are not there yet."""
    workdir = options.workdir / "-".join([*name.replace("(", "").split(), str(seed)])
    path = workdir / "scores.json"
    if not path.exists():
        config = configuration(changes, seed, options)
        train(config, workdir)
        survey, deblend = survey_of(config), make_deblend_stamps(load_deblender(workdir))
        directories = build_datasets(config, workdir, console)
        scores = {"steps": {stage: config.stages[stage].steps for stage in SHARES}}
        for kind in SHARES:
            scores[kind] = errors(deblend, dataset.load(directories[kind], "validation"), survey)
        path.write_text(json.dumps(scores, indent=2) + "\n")
        jax.clear_caches()
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()

    console = Console(width=140)
    columns = [f"{kind}: {what}" for kind in SHARES for what in ("sigma", "NMAD", "coverage")]
    table = Table("changed", *columns, "cosine distance", title="mean and half range of seeds [%]")
    for name, changes in ROWS.items():
        found = [run(name, changes, seed, options, console) for seed in range(options.seeds)]
        keys = [(kind, what) for kind in SHARES for what in ("sigma", "nmad", "coverage")]
        keys += [("blended", "cosine")]
        values = 100 * np.array([[scores[kind][what] for kind, what in keys] for scores in found])
        means, spreads = values.mean(axis=0), np.ptp(values, axis=0) / 2
        cells = [f"{m:.2f} +- {s:.2f}" for m, s in zip(means, spreads, strict=True)]
        table.add_row(name, *cells)
        console.print(table)


if __name__ == "__main__":
    main()
