"""How well the test of companions tells another source from a knot: completeness and calibration.

    python tests/benchmarks/companions.py --weights WORKDIR --workdir runs/companions

Test galaxies of each style, single ones and pairs, are composed as those of the training, under the
family of PSFs, noise and corruptions of the weights' configuration; no companion is known before.
The threshold on `p_companion` is the one that one single galaxy in a hundred passes, none of whose
candidates is another source. Completeness is the share of companions on one of whose candidates the
probability is higher, by separation; of those no fainter than a fifth of the galaxy, and brighter
than 10 times their photons' noise in a PSF's width. Calibration is the share of true ones among the
candidates (and of sources that hide one) to which a probability was given.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
from posterior import scenes, settings
from rich.console import Console
from rich.table import Table

from vaedeblend.deblend.network import load_deblender
from vaedeblend.models.companions import find_candidates
from vaedeblend.training.objectives import light_of
from vaedeblend.training.verdicts import what_is_true

FALSE_ALARMS = 0.01
EDGES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
"""Separations [pixel]."""
FAINTEST, SIGNIFICANT = 0.2, 10.0
"""Companions that count: flux [that of the galaxy], and signal over noise in a PSF's width."""
WIDTH = 3.5
"""Root of the area of a matched filter for a point source of VIS [pixel]."""


def judge(network):
    """The function `batch -> numbers of each scene and candidate`."""
    model, test = network.model, network.companions

    @jax.jit
    def each(batch):
        seen = batch.observation
        found, light = light_of(model, network.params, seen)
        candidates = find_candidates(seen, light)
        purity = jax.nn.sigmoid(found.purity_logit)
        said = test.model.apply({"params": test.params}, seen, light, purity, candidates)
        truth = what_is_true(batch._replace(found=batch.found & False), candidates)
        rms = jax.numpy.sqrt(seen.variance[:, ::8, ::8].min(axis=(1, 2, 3)))
        return {
            "p": jax.nn.sigmoid(said.logit),
            "real": candidates.real,
            "true": truth.companion > 0,
            "p_blend": jax.nn.sigmoid(said.blend_logit),
            "blend": truth.blend > 0,
            "apart": jax.numpy.linalg.norm(batch.position[:, 0], axis=-1),
            "flux": batch.companion_flux[:, 0],
            "ratio": batch.companion_flux[:, 0] / batch.flux[:, 0],
            "significance": batch.companion_flux[:, 0] / rms / WIDTH,
        }

    return each


def numbers(network, style, options, console):
    """Numbers of `judge` of all scenes of a style's galaxies."""
    config = settings(options.weights, style, options.galaxies)
    setting = options.workdir, console, options.batch
    make, each = scenes(config, "companions", *setting, max_companions=1), judge(network)
    keys = jax.random.split(jax.random.key(options.seed), options.n // options.batch)
    parts = [jax.device_get(each(make(key))) for key in keys]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def share(yes):
    """A share of some, and its error [%]."""
    if not len(yes):
        return "-"
    mean = np.mean(yes)
    return f"{100 * mean:.1f} ± {100 * np.sqrt(mean * (1 - mean) / len(yes)):.1f} ({len(yes)})"


def completeness(found, style, table):
    p = np.where(found["real"], found["p"], 0)
    single = found["flux"] == 0
    threshold = np.quantile(p[single].max(axis=1), 1 - FALSE_ALARMS)
    counts = ~single & (found["ratio"] > FAINTEST) & (found["significance"] > SIGNIFICANT)
    best = np.where(found["true"], p, 0).max(axis=1)
    bins = [counts & (found["apart"] >= a) & (found["apart"] < b) for a, b in pairwise(EDGES)]
    table.add_row(style, f"{threshold:.3f}", *(share(best[some] > threshold) for some in bins))
    alarms = share(p[single].max(axis=1) > 0.5)
    table.add_row(f"{style}, alarms {alarms}", "0.5", *(share(best[some] > 0.5) for some in bins))


def calibration(found, style, table):
    real = found["real"]
    for name, p, true in (
        ("p_companion", found["p"][real], found["true"][real]),
        ("blend_prob", found["p_blend"], found["blend"]),
    ):
        cells = []
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            some = (p >= low) & (p < low + 0.2 + (low == 0.8))
            cells.append(f"{100 * p[some].mean():.1f}: {share(true[some])}" if some.any() else "-")
        table.add_row(style, name, *cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", required=True, help="workdir of a training with such a test")
    parser.add_argument("--style", nargs="+", default=["analytic", "structured"])
    parser.add_argument("--n", type=int, default=15360, help="scenes of each style")
    parser.add_argument("--galaxies", type=int, default=6400, help="test galaxies of each style")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=Path("runs/companions"))
    options = parser.parse_args()
    console, network = Console(width=180), load_deblender(options.weights)
    spans = [f"{a:g} to {b:g} px" for a, b in pairwise(EDGES)]
    complete = Table("style", "threshold", *spans, title="completeness [%]")
    probable = Table("style", "what", *5 * ["said: true [%]"], title="calibration")
    for style in options.style:
        found = numbers(network, style, options, console)
        completeness(found, style, complete)
        calibration(found, style, probable)
    console.print(complete)
    console.print(probable)


if __name__ == "__main__":
    main()
