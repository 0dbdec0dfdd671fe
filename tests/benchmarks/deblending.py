"""Stamps per second: the network against source-extractor, on the same stamps and cores.

    python tests/benchmarks/deblending.py [--weights NAME_OR_WORKDIR] [--n N] [--cores K]

Both are held to the same cores. The network's time runs from noisy stamps in memory to flux, error,
profile and purity there; source-extractor's is that of its process alone, on the stamps as one
mosaic that lies on disk already, to its catalogue and segmentation map. Batches of several sizes
and half and twice the stamps show how the cost grows.
"""

import argparse
import os
import time
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

SIZE = 64


def network_rate(deblend, image, variance, gain, batch_size):
    """Stamps per second, after a first batch that compiles."""

    def run(stamps):
        for start in range(0, len(stamps), batch_size):
            part = stamps[start : start + batch_size]
            result = deblend(part, np.broadcast_to(variance, part.shape), gain=gain)
            for field in result:
                np.asarray(field)

    run(image[:batch_size])
    start = time.perf_counter()
    run(image)
    return len(image) / (time.perf_counter() - start)


def sextractor_rate(image, survey, settings):
    """Stamps per second of the program's own process."""
    from vaedeblend.evaluate import sextractor
    from vaedeblend.survey import MICROJANSKY_ZERO_POINT

    seconds = []
    call = sextractor._call

    def timed(*arguments, **options):
        start = time.perf_counter()
        result = call(*arguments, **options)
        seconds.append(time.perf_counter() - start)
        return result

    with mock.patch.object(sextractor, "_call", timed):
        known = {"gain": float(survey.gain[0]), "zero_point": MICROJANSKY_ZERO_POINT}
        measured = sextractor.measure_centrals(
            image[..., 0], float(survey.rms[0]), settings, **known
        )
    if not measured.program.startswith("SExtractor"):
        raise SystemExit(f"the baseline is {measured.program}; wanted source-extractor")
    return len(image) / max(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # Before JAX starts its threads, which stay on the cores that they find.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])

    from vaedeblend.deblend.network import load_deblender
    from vaedeblend.evaluate import sextractor
    from vaedeblend.simulate import examples
    from vaedeblend.survey import Survey

    survey, deblend = Survey(), load_deblender(options.weights)
    made = examples.examples(
        "standard", "test", options.n, survey=survey, seed=options.seed, area=2.0
    )
    image = examples.noisy(np.stack([m["blend"] for m in made]), survey, (options.seed, 9))
    table = Table("what", "stamps/s", "ratio", title=f"{options.cores} core(s)")
    theirs = sextractor_rate(image, survey, sextractor.DEFAULT)
    table.add_row("source-extractor, its defaults", f"{theirs:.0f}", "1")
    for batch_size in (50, 250, 1000):
        ours = network_rate(deblend, image, survey.variance, survey.gain, batch_size)
        table.add_row(f"network, {batch_size} a batch", f"{ours:.0f}", f"{ours / theirs:.2f}")
    for share, name in ((0.5, "half"), (0.25, "a quarter")):
        part = image[: int(share * len(image))]
        ours = network_rate(deblend, part, survey.variance, survey.gain, 250)
        table.add_row(f"network, {name} of the stamps", f"{ours:.0f}", f"{ours / theirs:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
