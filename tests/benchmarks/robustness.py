"""What real images do to a deblender's fluxes: masks, edges, other depths, other PSFs.

    python tests/benchmarks/robustness.py [--weights NAME_OR_WORKDIR] [--n N] [--seed SEED]

Prints one table over n isolated galaxies of the talk's selection, from the test split: bias
(median) and scatter of the relative flux error, the mean stated error, and how often
flux +- flux_err holds the truth. Under the masks lies a value of a thousand times the noise.
"""

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from vaedeblend.deblend.network import load_deblender
from vaedeblend.evaluate import metrics
from vaedeblend.simulate import examples
from vaedeblend.survey import Survey

SIZE = 64
PSF_EDGES = (0.15, 0.17, 0.19, 0.22, 0.25)


def stamps(kind, n, seed, **options):
    """Examples of the test split, stacked."""
    made = list(examples.examples(kind, "test", n, survey=Survey(), seed=seed, area=2.0, **options))
    return {name: np.stack([each[name] for each in made]) for name in made[0] if name != "sources"}


def noisy(light, rng, *, rms=1.0, gain=1.0, white=None):
    """Images of light at `rms` and `gain` times the survey's."""
    survey = Survey()
    variance = survey.variance * rms**2
    white = rng.standard_normal(light.shape) if white is None else white
    sigma = np.sqrt(variance + light.clip(0) / (survey.gain * gain))
    return (light + sigma * white).astype(np.float32), np.broadcast_to(variance, light.shape)


def conditions(light, rng):
    """Name -> arguments of a deblender."""
    gain = Survey().gain
    image, variance = noisy(light, rng)
    masks = {name: np.zeros(light.shape[1:3], bool) for name in ("column", "ray", "edge")}
    masks["column"][:, SIZE // 2] = True
    masks["edge"][:, SIZE // 2 + 1 :] = True
    for step in range(12):
        masks["ray"][
            SIZE // 2 - 6 + step, SIZE // 2 + 2 + step // 3 : SIZE // 2 + 4 + step // 3
        ] = True
    cases = {"as it should be": {"image": image, "variance": variance, "gain": gain}}
    names = {
        "masked column through the centre": "column",
        "masked cosmic ray beside it": "ray",
        "half of the stamp off the image": "edge",
    }
    for name, key in names.items():
        mask = np.broadcast_to(masks[key], image.shape[:3])
        spoilt = np.where(mask[..., None], 1e3 * np.sqrt(variance), image).astype(np.float32)
        cases[name] = {"image": spoilt, "variance": variance, "mask": mask, "gain": gain}
    for name, rms in {"one exposure": 2.0, "six times the exposures": 6**-0.5}.items():
        image, variance = noisy(light, rng, rms=rms, gain=rms**-2)
        cases[name] = {"image": image, "variance": variance, "gain": gain / rms**2}
    image, variance = noisy(light, rng, gain=np.inf)
    cases["no Poisson noise, no gain"] = {"image": image, "variance": variance}
    image, variance = noisy(light, rng)
    offset = 0.05 * np.sqrt(variance)
    cases["sky 5 % of the rms too high"] = {
        "image": image + offset,
        "variance": variance,
        "gain": gain,
    }
    white = rng.standard_normal(light.shape)
    mixed = (white + np.roll(white, 1, 1)) / 2**0.5
    image, variance = noisy(light, rng, white=(mixed + np.roll(mixed, 1, 2)) / 2**0.5)
    cases["noise resampled by half a pixel"] = {"image": image, "variance": variance, "gain": gain}
    half = np.where(np.arange(SIZE) < SIZE // 2, 1.0, 2.0)[None, None, :, None]
    image, variance = noisy(light, rng, rms=half)
    cases["half of the stamp at twice the rms"] = {
        "image": image,
        "variance": variance,
        "gain": gain,
    }
    return cases


def row(table, name, result, true):
    flux, error = (np.asarray(a)[:, 0].astype(float) for a in (result.flux, result.flux_err))
    found = metrics.summarise(metrics.relative_error(flux, true))
    values = (found["bias"], found["sigma"], found["nmad"], np.mean(error / flux))
    covered = metrics.coverage(flux, error, true)
    table.add_row(name, str(len(true)), *(f"{100 * v:.1f}" for v in (*values, covered)))


def psf_rows(table, deblend, n, seed):
    """Galaxies under a family of PSFs; the network is conditioned on each one's image, or not."""
    survey, rng = Survey(), np.random.default_rng(seed)
    for low, high in zip(PSF_EDGES, PSF_EDGES[1:], strict=False):
        made = stamps(
            "galaxies",
            n,
            seed,
            n_psfs=8,
            psf_fwhm=(low, high),
            psf_default_share=0.0,
            n_companions=0,
        )
        margin = (examples.LIBRARY_SIZE - SIZE) // 2
        light = made["stamp"][:, margin:-margin, margin:-margin].astype(np.float32)
        image, variance = noisy(light, rng)
        true = (made["flux_bulge"] + made["flux_disk"])[:, 0].astype(float)
        for given in (True, False):
            parts = [
                deblend(
                    image[i::8],
                    variance[i::8],
                    psf=made["psf"][i] if given else None,
                    gain=survey.gain,
                )
                for i in range(1, 8)
            ]
            joined = type(parts[0])(*(np.concatenate(each) for each in zip(*parts, strict=True)))
            name = f"PSF of {low:.2f}-{high:.2f} arcsec, " + ("given" if given else "not given")
            row(table, name, joined, np.concatenate([true[i::8] for i in range(1, 8)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="euclid_vis")
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    deblend = load_deblender(options.weights)
    rng = np.random.default_rng(options.seed)
    columns = ("n", "bias", "sigma", "NMAD", "mean error", "coverage")
    table = Table("condition", *columns, title="relative flux error of isolated galaxies [%]")
    made = stamps("isolated", options.n, options.seed)
    true = made["flux"][:, 0].astype(float)
    for name, arguments in conditions(made["blend"], rng).items():
        row(table, name, deblend(**arguments), true)
    psf_rows(table, deblend, options.n // 8 * 8, options.seed)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
