"""What each choice of the recipe gains, at equal wall time.

    PYTHONPATH=. python tests/benchmarks/ablation.py --workdir runs/ablation [--minutes M]

Each row changes the quick recipe in one respect; the last two are of another kind of network, a
direct regression of the central galaxy's image (`regression`), which states no errors. Its steps
are as many as fit into M minutes, a third of them for stage I, by the speed measured at the start
of the row on the idle machine; seeds change parameters, batches and noise, not the galaxies. Errors
are those of validation scenes, since they are there to choose by. A row that is done is not run
again.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
import regression
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
REGRESSIONS = {
    "direct regression of the image": 0.0,
    "direct regression, with an adversary": regression.ADVERSARY,
}
"""Weight of the adversary, by row."""


def configuration(changes, seed, options):
    """The quick recipe with a row's changes, its data shared between rows."""
    config = quick.get_config()
    config.seed, config.data_dir = seed, str(options.workdir / "data")
    for key, value in changes.items():
        *path, name = key.split(".")
        part = config
        for each in path:
            part = part[each]
        with part.unlocked():
            part[name] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def set_steps(config, minutes):
    """Gives both stages as many steps as fit into a time, and what depends on their number."""
    rates = throughput.training_rates(survey_of(config), config, 300, 30)
    for name, share in SHARES.items():
        stage = config.stages[name]
        stage.steps = int(60 * minutes * share * rates[name] / stage.batch_size)
        if stage.loss.get("kl_warmup_steps"):
            stage.loss.kl_warmup_steps = stage.steps // 2
        if stage.loss.get("cleaned_from"):
            stage.loss.cleaned_from = 2 * stage.steps // 5


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
        "bias": found["bias"],
        "sigma": found["sigma"],
        "nmad": found["nmad"],
        "coverage": metrics.coverage(flux, error, true) if np.isfinite(error).all() else np.nan,
        "cosine": float(np.median(metrics.cosine_distance(light, scenes["isolated"]))),
    }


def trained(name, config, workdir, options, console):
    """The deblender of a row, and the steps that it was trained for."""
    survey = survey_of(config)
    if name in REGRESSIONS:
        galaxies = build_datasets(config, workdir, console)["galaxies"]
        numbers = {"weight": REGRESSIONS[name], "minutes": options.minutes}
        deblend, steps = regression.train(config, survey, galaxies, **numbers)
        return deblend, {"isolated": 0, "blended": steps}
    set_steps(config, options.minutes)
    train(config, workdir)
    steps = {stage: config.stages[stage].steps for stage in SHARES}
    return make_deblend_stamps(load_deblender(workdir)), steps


def run(name, seed, options, console):
    """Scores of one row and seed, trained where they are not there yet."""
    workdir = options.workdir / "-".join([*name.replace("(", "").split(), str(seed)])
    path = workdir / "scores.json"
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        config = configuration(ROWS.get(name, {}), seed, options)
        deblend, steps = trained(name, config, workdir, options, console)
        directories, scores = build_datasets(config, workdir, console), {"steps": steps}
        for kind in SHARES:
            scenes = dataset.load(directories[kind], "validation")
            scores[kind] = errors(deblend, scenes, survey_of(config))
        path.write_text(json.dumps(scores, indent=2) + "\n")
        jax.clear_caches()
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[*ROWS, *REGRESSIONS], metavar="ROW")
    options = parser.parse_args()

    console = Console(width=200)
    scores = "bias", "sigma", "nmad", "coverage"
    columns = [f"{kind}: {what}" for kind in SHARES for what in scores]
    columns = "changed", "steps I, II", *columns, "cosine distance"
    table = Table(*columns, title="mean and half range of seeds [%]")
    for name in options.only:
        found = [run(name, seed, options, console) for seed in range(options.seeds)]
        keys = [(kind, what) for kind in SHARES for what in scores]
        keys += [("blended", "cosine")]
        values = 100 * np.array([[each[kind][what] for kind, what in keys] for each in found])
        means, spreads = values.mean(axis=0), np.ptp(values, axis=0) / 2
        cells = [
            f"{mean:.2f} +- {spread:.2f}" if np.isfinite(mean) else "-"
            for mean, spread in zip(means, spreads, strict=True)
        ]
        steps = [", ".join(map(str, each["steps"].values())) for each in found]
        table.add_row(name, " / ".join(steps), *cells)
        console.print(table)


if __name__ == "__main__":
    main()
