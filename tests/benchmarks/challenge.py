"""The challenge's stamps: the network and source-extractor on fields in its layout.

    PYTHONPATH=. python tests/benchmarks/challenge.py --folder runs/emc [--weights euclid_vis]

Cuts isolated and blended stamps of all fields of each dataset (`vaedeblend simulate --style emc`
writes such a folder), and compares fluxes with the truth catalogue's. What is isolated or blended
is decided by the list of true positions; both programs see the noisy stamps alone, the background's
rms, the PSF and the gain. SExtractor has its default settings. Most blends are mild:
`emc.census` counts how few have a purity below 0.95.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from data_builders.emc_stamps.emc_stamps_dataset_builder import build
from vaedeblend.deblend.joint import make_deblend_stamps
from vaedeblend.deblend.network import in_batches, load_deblender
from vaedeblend.euclid.emc.layout import DATASETS, field_numbers
from vaedeblend.euclid.emc.simulate import SURVEY
from vaedeblend.evaluate import sextractor
from vaedeblend.evaluate.metrics import nmad
from vaedeblend.io import dataset
from vaedeblend.survey import MICROJANSKY_ZERO_POINT

COLUMNS = ("bias", "sigma", "NMAD", "outliers", "SExtractor's sigma", "NMAD", "outliers")
COLUMNS += ("network closer", "coverage")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="in the challenge's layout")
    parser.add_argument("--weights", default="euclid_vis", help="shipped ones, or a workdir")
    parser.add_argument("--missing-truth", action="store_true", help="of galaxies is passed over")
    options = parser.parse_args()
    console = Console(width=150)
    deblend = make_deblend_stamps(load_deblender(options.weights))
    table = Table("dataset", "kind", "n", *COLUMNS, title="relative flux error [%]")
    for name in DATASETS:
        with console.status(f"{name}: stamps"):
            stamps = read(options.folder, name, options.missing_truth)
        with console.status(f"{name}: measuring {len(stamps['flux'])} stamps"):
            measured = measure(deblend, stamps)
        for kind, chosen in (("isolated", ~stamps["blended"]), ("blended", stamps["blended"])):
            cells = statistics(*(each[chosen] for each in measured))
            table.add_row(name, kind, str(chosen.sum()), *(f"{100 * c:.1f}" for c in cells))
    console.print(table)


def read(folder, name, missing_truth):
    """Stamps of all fields of a dataset."""
    splits = {"test": tuple(field_numbers(folder, name))}
    options = {"splits": splits, "missing_truth": missing_truth}
    return dataset.load(build(folder, name, data_dir=folder / "stamps", **options), "test")


def measure(deblend, stamps):
    """True flux, the network's and its error, and SExtractor's."""
    rms, gain = stamps["background_rms"][..., None], float(SURVEY.gain[0])
    image, psf = stamps["image"], stamps["psf"][0]
    variance = np.where(np.isfinite(stamps["rms"]), rms[..., None] ** 2, np.inf)
    found = in_batches(
        lambda **arrays: deblend(**arrays, psf=psf, gain=np.array([gain])),
        {"image": image, "variance": variance},
        250,
    )
    theirs = sextractor.measure_centrals(
        image[..., 0],
        np.broadcast_to(rms, image.shape[:3]),
        gain=gain,
        zero_point=MICROJANSKY_ZERO_POINT,
    )
    return tuple(
        np.asarray(each, float)
        for each in (stamps["flux"][:, 0], found.flux[:, 0], found.flux_err[:, 0], theirs.flux)
    )


def statistics(true, flux, error, theirs):
    """Of relative errors; what SExtractor misses has an error of -1."""
    ours, other = flux / true - 1, np.nan_to_num(theirs / true - 1, nan=-1.0)
    spreads = [[e.std(), nmad(e), np.mean(abs(e) > 0.5)] for e in (ours, other)]
    closer, covered = np.mean(abs(ours) < abs(other)), np.mean(abs(flux - true) < error)
    return [np.median(ours), *spreads[0], *spreads[1], closer, covered]


if __name__ == "__main__":
    main()
