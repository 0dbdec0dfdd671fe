"""The network against scarlet2 (Sampson+ 2024) on the same blends: accuracy and time.

    python3 -m venv runs/scarlet2 && runs/scarlet2/bin/pip install scarlet2
    python tests/benchmarks/scarlet.py --python runs/scarlet2/bin/python [--weights NAME] [--n N]

scarlet2 lives in an environment of its own. It is given the true number and positions of the
galaxies, the PSF and the variance, and fits a non-parametric, positive image and a flux to each
galaxy, as its quick-start guide does, in one band and without a prior; the network is given
the centre of one galaxy, and finds the others. Times are those of the fits alone, on the
same cores.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np


def fit_all(path):
    """Runs in scarlet2's environment: fluxes of the central galaxies, and seconds a blend."""
    from scarlet_scenes import fit_scene

    blends = np.load(path)
    flux, seconds = [], []
    for image, positions, n in zip(blends["image"], blends["positions"], blends["n"], strict=True):
        start = time.perf_counter()
        fluxes, _ = fit_scene(image, positions[:n], blends["psf"], float(blends["variance"]))
        flux.append(fluxes[0])
        seconds.append(time.perf_counter() - start)
    np.savez(path, flux=flux, seconds=seconds)


def _blends(n, seed):
    from vaedeblend.simulate import examples
    from vaedeblend.survey import Survey, stamp_centre

    survey = Survey()
    made = list(examples.examples("blended", "test", n, survey=survey, seed=seed, area=2.0))
    image = examples.noisy(np.stack([m["blend"] for m in made]), survey, (seed, 9))
    positions = stamp_centre(image.shape[1]) + np.stack([m["sources"]["position"] for m in made])
    n_sources = np.array([1 + m["n_companions"] for m in made])
    flux = np.array([m["flux"][0] for m in made], float)
    return survey, image, positions, n_sources, flux


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", help="of an environment that has scarlet2")
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        fit_all(options.fit)
    else:
        compare(options)


def compare(options):
    """Prints the table."""
    from rich.console import Console
    from rich.table import Table

    from vaedeblend.deblend.joint import make_deblend_stamps
    from vaedeblend.deblend.network import load_deblender
    from vaedeblend.evaluate import metrics
    from vaedeblend.simulate.render import default_psf

    survey, image, positions, n_sources, true = _blends(options.n, options.seed)
    network = load_deblender(options.weights)
    variance = np.broadcast_to(survey.variance, image.shape)
    rows = {}
    for name, deblend in {
        "network, one iteration": network,
        "network, four iterations": make_deblend_stamps(network),
    }.items():
        deblend(image, variance, gain=survey.gain)
        start = time.perf_counter()
        flux = np.asarray(deblend(image, variance, gain=survey.gain).flux)[:, 0]
        rows[name] = flux.astype(float), (time.perf_counter() - start) / options.n
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "blends.npz"
        np.savez(
            path,
            image=image[..., 0],
            positions=positions,
            n=n_sources,
            psf=default_psf(survey)[..., 0],
            variance=survey.variance[0],
        )
        subprocess.run([options.python, __file__, "--fit", path], check=True)
        fits = np.load(path)
        rows["scarlet2"] = fits["flux"], float(np.median(fits["seconds"][1:]))
    columns = ("bias", "sigma", "NMAD", "outliers", "ms a blend")
    table = Table("method", *columns, title=f"{options.n} blends: relative flux error [%]")
    for name, (flux, seconds) in rows.items():
        found = metrics.summarise(metrics.relative_error(flux, true))
        values = [100 * found[k] for k in ("bias", "sigma", "nmad", "outliers")]
        table.add_row(name, *(f"{v:.1f}" for v in values), f"{1e3 * seconds:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
