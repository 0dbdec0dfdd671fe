"""Whether a deblender's posterior is one: coverage by all that may change it, and jointly.

    python tests/benchmarks/posterior.py --weights NAME_OR_WORKDIR --workdir runs/posterior

Galaxies of the test split, of each style, are composed to scenes as those of the training, isolated
and blended alike, under the family of PSFs, noise and corruptions of the weights' configuration;
none is chosen by what the network says of it. Coverage is the share of true fluxes within the
central 68 and 95 % of the posterior, of a single look: by signal over noise, purity, FWHM of the
PSF [pixel], correlation of the noise, and style. Jointly (flux, place, size) it is tested by TARP
(Lemos et al. 2023): a region about a random point that holds a share of the posterior's samples has
to hold the truth as often. Errors are binomial ones.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from data_builders import build_datasets, survey_of
from vaedeblend.deblend.calibration import calibrated
from vaedeblend.deblend.network import load_deblender
from vaedeblend.evaluate.metrics import equal_bins, tarp
from vaedeblend.io.workdir import find_workdir, read_config
from vaedeblend.models.sinh_arcsinh import normal_score, quantile
from vaedeblend.models.vae import reparameterize
from vaedeblend.training.observe import Observing, make_batches
from vaedeblend.training.placement import load_device_library, make_composing

CREDIBLE = {68.3: 1.0, 95.4: 2.0}
"""Central intervals [%], and the z that bounds them."""
FWHM = 2.3548
"""Full width at half maximum of a Gaussian [its sigma]."""
WEIGHT = 4.0
"""Sigma of the Gaussian under which place and size are moments of the light [pixel]."""


def settings(weights, style, n):
    """The weights' configuration, with n test galaxies of a style and as many companions."""
    config = ConfigDict(read_config(find_workdir(weights)))
    config.data.style, config.data_dir = style, ""
    n -= n % config.data.n_psfs
    config.sizes = ConfigDict({"galaxies": {"test": n}, "companions": n})
    return config


def scenes(config, stage, workdir, console, batch_size, **changed):
    """The function `key -> Batch` of scenes as those of a stage of the training."""
    galaxies = build_datasets(config, workdir, console, split="test")["galaxies"]
    library, n_central = load_device_library(
        galaxies, None, n_psfs=config.data.n_psfs, split="test"
    )
    survey, data = survey_of(config), config.data
    options = {"separation": data.separation, "max_purity": data.max_purity}
    options |= config.stages[stage].scenes.to_dict() | {"field_share": 0.0, "candidates": 1}
    composing = make_composing(survey.pixel_scale.value, **options | changed)
    numbers = {"n_central": n_central, "batch_size": batch_size, "size": data.stamp_size}
    make = make_batches(survey, composing, Observing(**config.observation), **numbers)
    return jax.jit(lambda key: make(key, library))


def described(light):
    """Place and size of light: moments under a Gaussian about the stamp's centre [pixel]."""
    offset = jnp.arange(light.shape[-3]) - (light.shape[-3] - 1) / 2
    window = jnp.exp(-(offset[:, None] ** 2 + offset**2) / (2 * WEIGHT**2))
    weighed = light[..., 0] * window
    total = weighed.sum(axis=(-2, -1))
    y = (weighed.sum(axis=-1) * offset).sum(axis=-1) / total
    x = (weighed.sum(axis=-2) * offset).sum(axis=-1) / total
    square = (weighed * (offset[:, None] ** 2 + offset**2)).sum(axis=(-2, -1)) / total
    return y, x, jnp.log(jnp.clip(square - y**2 - x**2, 1e-3)) / 2


def judge(network, n_samples):
    """The function `(key, batch) -> numbers of each scene`."""
    calibration = network.calibrations and network.calibrations.first

    @jax.jit
    def each(key, batch):
        seen = batch.observation
        found = network.model.apply({"params": network.params}, seen, method="encode")
        if calibration is not None:
            found = calibrated(calibration, found, seen)

        def sample(key):
            latent, flux = jax.random.split(key)
            z = reparameterize(latent, found)
            noise = jax.random.normal(flux, batch.flux.shape)
            profile = network.model.apply({"params": network.params}, z, seen.psf, method="decode")
            return jnp.stack([quantile(found.log_flux, noise)[:, 0], *described(profile)], axis=-1)

        samples = jax.lax.map(sample, jax.random.split(key, n_samples))
        truth = jnp.stack([jnp.log(batch.flux[:, 0]), *described(batch.target)], axis=-1)
        low, high = (jnp.exp(quantile(found.log_flux, z))[:, 0] for z in (-1.0, 1.0))
        return {
            "score": normal_score(found.log_flux, jnp.log(batch.flux))[:, 0],
            "snr": 2 * batch.flux[:, 0] / (high - low),
            "purity": batch.purity[:, 0],
            "PSF": FWHM * jnp.exp(seen.psf[:, 0] / 8),
            "correlation": seen.correlation[:, 0],
            "star": batch.star,
            "samples": jnp.swapaxes(samples, 0, 1),
            "truth": truth,
        }

    return each


def numbers(weights, style, options, console):
    """Numbers of `judge` of all scenes of a style's galaxies."""
    network, config = load_deblender(weights), settings(weights, style, options.galaxies)
    make = scenes(config, "blended", options.workdir, console, options.batch)
    each = judge(network, 64)
    keys = jax.random.split(jax.random.key(options.seed), (options.n // options.batch, 2))
    parts = [jax.device_get(each(noise, make(key))) for key, noise in keys]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rows(found, style):
    """Label, range and rows of the examples of each bin."""
    galaxy = ~found["star"]
    yield style, "galaxies", np.flatnonzero(galaxy)
    yield style, "stars", np.flatnonzero(~galaxy)
    for name in ("snr", "purity", "PSF", "correlation"):
        values = found[name][galaxy]
        if not np.ptp(values):
            continue
        for some in equal_bins(values, 5):
            if len(some):
                span = f"{name} {values[some].min():.3g} to {values[some].max():.3g}"
                yield style, span, np.flatnonzero(galaxy)[some]


def show(found, style, table, seed):
    for label, span, some in rows(found, style):
        if not len(some):
            continue
        score = abs(found["score"][some])
        cells = []
        for wanted, z in CREDIBLE.items():
            share = np.mean(score < z)
            error = np.sqrt(share * (1 - share) / len(some))
            cells.append(f"{100 * share:.1f} ± {100 * error:.1f} ({wanted:.0f})")
        joint = tarp(found["samples"][some], found["truth"][some], np.random.default_rng(seed))
        within = [f"{100 * np.mean(joint < q):.1f}" for q in (0.5, 0.683, 0.954)]
        table.add_row(label, span, str(len(some)), *cells, " ".join(within))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--style", nargs="+", default=["analytic", "structured"])
    parser.add_argument("--n", type=int, default=15360, help="scenes of each style")
    parser.add_argument("--galaxies", type=int, default=6400, help="test galaxies of each style")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=Path("runs/posterior"))
    options = parser.parse_args()
    console = Console(width=160)
    joint = "TARP: truth within 50, 68.3, 95.4 %"
    table = Table("style", "scenes", "n", "coverage 68 %", "coverage 95 %", joint)
    for style in options.style:
        show(numbers(options.weights, style, options, console), style, table, options.seed)
    console.print(table)


if __name__ == "__main__":
    main()
