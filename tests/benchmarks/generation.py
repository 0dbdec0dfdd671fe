"""Generated galaxies a second, on one core and in one process.

    python tests/benchmarks/generation.py --workdir runs/flowvae [--galaxies N]

Prints one table: from condition to stamp (latent, flow, decoder), from stamp to light on the sky
(frame measured and put right), both together as the style does it, and, for comparison, a style
without a network; then asked against measured flux, half-light radius and axis ratio.
"""

import argparse
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from vaedeblend.catalogues import egg
from vaedeblend.catalogues.galaxies import make_galaxies
from vaedeblend.simulate.galaxies import canonical
from vaedeblend.simulate.galaxies.profiles import dominant_shape, half_light_radius
from vaedeblend.simulate.galaxies.styles import find_style

_FINE = 20
"""Pixels in a half-light radius of the images that are measured."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--galaxies", type=int, default=500)
    options = parser.parse_args()
    galaxies = make_galaxies(egg.sample(0.1, np.random.default_rng(1), 25.0))
    chosen = [galaxies.take(i) for i in range(options.galaxies)]
    speed(chosen, f"generator:{options.workdir}")
    fidelity(chosen, find_style(f"generator:{options.workdir}"))


def speed(galaxies, name: str) -> None:
    """Prints galaxies a second, of wall clock and of the processor's time."""
    style = find_style(name)
    style(galaxies[0], (0,))
    light = [style(each, (1, i)) for i, each in enumerate(galaxies[:100])]
    stamps = [
        canonical.canonical_stamp(each, galaxy)
        for each, galaxy in zip(light, galaxies, strict=False)
    ]
    stamps = [stamps[i % len(stamps)] for i in range(len(galaxies))]
    table = Table("galaxies a second", "wall clock", "processor")
    steps = {
        f"style {name}": lambda i, each: style(each, (1, i)),
        "of which: frame measured, put on the sky": lambda i, each: canonical.place_on_sky(
            stamps[i], half_light_radius(each), *dominant_shape(each)
        ),
        "of which: frame measured": lambda i, each: canonical.measure_frame(stamps[i]),
        "style structured": lambda i, each: find_style("structured")(each, (1, i)),
    }
    for label, step in steps.items():
        wall, processor = time.perf_counter(), time.process_time()
        for i, each in enumerate(galaxies):
            step(i, each)
        spent = time.perf_counter() - wall, time.process_time() - processor
        table.add_row(label, *(f"{len(galaxies) / seconds:.0f}" for seconds in spent))
    Console().print(table)


def fidelity(galaxies, style) -> None:
    """Prints relative errors of what was asked for, on fine images before any PSF."""
    rows = []
    for i, galaxy in enumerate(galaxies):
        (light,) = style(galaxy, (1, i))
        radius, (ratio, _) = half_light_radius(galaxy), dominant_shape(galaxy)
        side, scale = 14 * _FINE, radius / _FINE
        image = light.drawImage(nx=side, ny=side, scale=scale, method="no_pixel").array
        frame = canonical.measure_frame(image.clip(0), _FINE)
        low, high = np.linalg.eigvalsh(frame.plane)
        flux = image.sum() / float(galaxy.flux[0])
        rows.append([flux, 1 / low / _FINE, low / high / ratio])
    errors = np.array(rows) - 1
    table = Table("measured / asked - 1", "median", "median |e|", "90 % of |e|", "largest |e|")
    for label, error in zip(("flux", "half-light radius", "axis ratio"), errors.T, strict=True):
        numbers = np.median(error), *np.quantile(abs(error), [0.5, 0.9, 1.0])
        table.add_row(label, *(f"{number:.2%}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()
