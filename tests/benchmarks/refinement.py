"""Does fitting the pixels improve on the network, and at what speed?

    python tests/benchmarks/refinement.py [--weights NAME_OR_WORKDIR] [--n N] [--seed SEED]

The companions of n isolated and n blended test stamps are found with sep, the network is asked for
every one of them, and all members of a stamp are refined together (`refine.make_refine`), under the
unit Gaussian and under the learned flow as the latent's prior. Prints errors of the central
galaxy's flux and galaxies per second; also where a refined flux counts only if it lies within two
of the network's errors, since a companion that was not found spoils the fit of its neighbours.
Positions are found, not known; the central's is the centre.
"""

import argparse
import time

import jax
import numpy as np
import sep
from rich.console import Console
from rich.table import Table

from vaedeblend import metrics, simulation
from vaedeblend.deblender import load_network, make_deblend
from vaedeblend.model import psf_features
from vaedeblend.refine import make_refine
from vaedeblend.survey import Survey, stamp_centre

SIZE, MEMBERS = 64, 4
NEAR = 2.5
"""Detections nearer to the centre than this are the central galaxy [pixel]."""


def detections(image, rms):
    """Corners of the stamps of a group's members, central galaxy first."""
    centre = stamp_centre(SIZE)
    found = sep.extract(image.astype(np.float64), 1.5, err=rms, deblend_cont=1e-4, minarea=4)
    offsets = np.stack([found["y"], found["x"]], axis=1).reshape(-1, 2) - centre
    others = offsets[np.hypot(*offsets.T) > NEAR]
    brightest = np.argsort(np.hypot(*others.T))[: MEMBERS - 1]
    return np.concatenate([np.zeros((1, 2)), np.rint(others[brightest])]).astype(int)


def groups(images, rms):
    """Corners and presence of every stamp's members, padded."""
    corner = np.zeros((len(images), MEMBERS, 2), int)
    present = np.zeros((len(images), MEMBERS), bool)
    for i, image in enumerate(images):
        members = detections(image[..., 0], rms)
        corner[i, : len(members)], present[i, : len(members)] = members, True
    return corner, present


def crops(images, variance, corner, present):
    """Stamps about each member; beyond the group's frame there are no valid pixels."""
    pad = [(0, 0), (SIZE, SIZE), (SIZE, SIZE), (0, 0)]
    images = np.pad(images, pad)
    variances = np.pad(
        np.broadcast_to(variance, images[:, SIZE:-SIZE, SIZE:-SIZE].shape),
        pad,
        constant_values=np.inf,
    )
    where = np.argwhere(present)
    cut = [
        np.stack(
            [
                a[i, y : y + SIZE, x : x + SIZE]
                for (i, _), (y, x) in zip(where, SIZE + corner[present], strict=True)
            ]
        )
        for a in (images, variances)
    ]
    return cut


def scattered(values, present):
    """Values of present members on the padded axes."""
    padded = np.zeros((*present.shape, values.shape[-1]), np.float32)
    padded[present] = values
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
    model, params, options = network
    survey = Survey()
    made = list(simulation.examples(kind, "test", n, survey=survey, seed=seed, area=2.0))
    light, true = (np.stack([m[k] for m in made]) for k in ("blend", "flux"))
    true = true[:, 0].astype(float)
    image = simulation.noisy(light, survey, (seed, 9))
    corner, present = groups(image, float(survey.rms[0]))
    cut, variance = crops(image, survey.variance, corner, present)
    deblend = make_deblend(model, params, **options)
    start, seconds = timed(lambda i, v: deblend(i, v, gain=survey.gain), cut, variance)
    central = np.flatnonzero(np.argwhere(present)[:, 1] == 0)
    flux, error = (np.asarray(a)[central, 0].astype(float) for a in (start.flux, start.flux_err))
    row(table, kind, "network", flux, error, true, len(cut) / seconds)

    condition = np.tile(psf_features(options["psf"]), (n, 1))
    gain = np.tile(survey.gain, (n, 1))
    even = np.broadcast_to(survey.variance, image.shape).astype(np.float32)

    def apply(method, *arguments):
        return model.apply({"params": params}, *arguments, method=method)

    priors = {
        "unit prior": (lambda z, c: apply("decode", z, c), start.latent_mean),
        "flow prior": (
            lambda u, c: apply("decode", apply("from_base", u), c),
            apply("to_base", start.latent_mean),
        ),
    }
    for name, (decode, latent) in priors.items():
        refine = make_refine(decode)
        members = (scattered(np.asarray(a), present) for a in (latent, start.flux))
        result, seconds = timed(refine, image, even, gain, condition, *members, corner, present)
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
    network = load_network(options.weights)
    for kind in ("isolated", "blended"):
        measure(table, kind, network, options.n, options.seed)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
