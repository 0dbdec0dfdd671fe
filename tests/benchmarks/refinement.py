"""What further iterations and a fit to the pixels gain over the network alone, and at what speed.

    python tests/benchmarks/refinement.py [--weights NAME_OR_WORKDIR] [--n N] [--seed SEED]

The companions of n isolated and n blended test stamps are found with sep; every one of them is
measured by the network, and again less its neighbours' light (an iteration of the subtraction of
neighbours). From there all members of a stamp are refined together (`refine.make_refine`), under
the unit Gaussian and under the learned flow as the latent's prior. Prints errors of the central
galaxy's flux and galaxies per second; also where a refined flux counts only if it lies within two
of the network's errors, since a companion that was not found spoils the fit of its neighbours.
Positions are found, not known; the central's is the centre.
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from vaedeblend.deblend.detect import members
from vaedeblend.deblend.network import load_deblender
from vaedeblend.deblend.refine import make_refine
from vaedeblend.deblend.sources import make_sources
from vaedeblend.deblend.sources import measure as measure_jointly
from vaedeblend.evaluate import metrics
from vaedeblend.models.vae import psf_features
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.simulate import examples
from vaedeblend.survey import Survey

SIZE, MEMBERS, ITERATIONS = 64, 4, (1, 2, 4)


def groups(index, corner):
    """Which sources are refined, the nearest to each centre, and the place of each in its group."""
    order = np.lexsort((np.hypot(*corner.T), index))
    place = np.arange(len(index)) - np.searchsorted(index[order], index[order])
    return order[place < MEMBERS], place[place < MEMBERS]


def scattered(values, group, place):
    """Values of sources on the axes of groups and members, zero where there is none."""
    padded = np.zeros((group.max() + 1, MEMBERS, *values.shape[1:]), values.dtype)
    padded[group, place] = values
    return padded


def timed(function, *arguments):
    """Result and seconds of a second call: the first compiles."""
    jax.block_until_ready(function(*arguments))
    start = time.perf_counter()
    result = jax.block_until_ready(function(*arguments))
    return result, time.perf_counter() - start


def row(table, name, method, flux, error, true, rate):
    found = metrics.summarise(metrics.relative_error(flux, true))
    values = [found[k] for k in ("bias", "sigma", "nmad", "outliers")]
    values += [metrics.coverage(flux, error, true)]
    table.add_row(name, method, *(f"{100 * v:.2f}" for v in values), f"{rate:.0f}")


def chosen(start, refined):
    """Refined fluxes and errors, where they are no more than two errors from the network's."""
    (flux, error), (other, other_error) = start, refined
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = np.abs(np.log(other / flux)) < 2 * np.arcsinh(error / flux)
    return np.where(kept, other, flux), np.where(kept, other_error, error)


def measure(table, kind, network, n, seed):
    survey = Survey()
    made = list(examples.examples(kind, "test", n, survey=survey, seed=seed, area=2.0))
    light, true = (np.stack([m[k] for m in made]) for k in ("blend", "flux"))
    true = true[:, 0].astype(float)
    image = examples.noisy(light, survey, (seed, 9))
    even = np.broadcast_to(survey.variance, image.shape).astype(np.float32)
    index, corner = members(image[..., 0], np.sqrt(even[..., 0]))
    images = PaddedImages(image, even, size=SIZE, gain=survey.gain)
    sources = make_sources(index, corner, image.shape[1:])
    jointly = partial(measure_jointly, network, images, sources)
    for iterations in ITERATIONS:
        measured, seconds = timed(partial(jointly, iterations=iterations))
        found = measured.found
        central = (corner == 0).all(axis=1)
        flux, error = (a[central, 0].astype(float) for a in (found.flux, found.flux_err))
        row(table, kind, f"iterations: {iterations}", flux, error, true, len(index) / seconds)
    kept, place = groups(index, corner)
    group, corner = index[kept], scattered(corner[kept], index[kept], place)
    present = scattered(np.ones(len(kept), bool), group, place)

    condition = np.tile(psf_features(network.psf), (n, 1))
    gain = np.tile(survey.gain, (n, 1))

    def apply(method, *arguments):
        return network.model.apply({"params": network.params}, *arguments, method=method)

    latent = jnp.asarray(found.latent_mean)
    priors = {
        "unit prior": (lambda z, c: apply("decode", z, c), latent),
        "flow prior": (
            lambda u, c: apply("decode", apply("from_base", u), c),
            apply("to_base", latent),
        ),
    }
    for name, (decode, latent) in priors.items():
        refine = make_refine(decode)
        begin = (scattered(np.asarray(a)[kept], group, place) for a in (latent, found.flux))
        result, seconds = timed(refine, image, even, gain, condition, *begin, corner, present)
        fitted = np.asarray(result.flux)[:, 0, 0].astype(float)
        fitted_error = np.sqrt(np.asarray(result.flux_covariance)[:, 0, 0, 0].astype(float))
        rate = present.sum() / seconds
        row(table, kind, f"refined, {name}", fitted, fitted_error, true, rate)
        both = chosen((flux, error), (fitted, fitted_error))
        row(table, kind, f"the same, near the network's, {name}", *both, true, rate)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    columns = ("bias", "sigma", "NMAD", "outliers", "coverage", "galaxies/s")
    table = Table("set", "method", *columns, title="relative flux error of the central galaxy [%]")
    network = load_deblender(options.weights)
    for kind in ("isolated", "blended"):
        measure(table, kind, network, options.n, options.seed)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
