"""Simulated scenes, and deblenders that know their truth."""

import numpy as np

from vaedeblend.deblend.network import Deblended
from vaedeblend.models.sinh_arcsinh import SinhArcsinh
from vaedeblend.simulate import examples
from vaedeblend.survey import Survey

KINDS = ("isolated", "blended")


def certain(flux, image, purity):
    """A result with an error of 5 %, and a posterior without tails."""
    nothing = np.zeros_like(flux)
    log_flux = SinhArcsinh(np.log(flux), np.log(0.05) + nothing, nothing, nothing)
    latent = image.mean(axis=(1, 2))[:, :1] * np.arange(1.0, 4.0)
    return Deblended(flux, 0.05 * flux, image, latent, 0.1 + 0 * latent, purity, log_flux)


def make_scenes():
    def stacked(kind, split):
        made = examples.examples(kind, split, 24, survey=Survey(), seed=1, area=0.1)
        flat = [
            {name: e[name] for name in e if name != "sources"}
            | {f"sources/{name}": values for name, values in e["sources"].items()}
            for e in made
        ]
        return {name: np.stack([e[name] for e in flat]) for name in flat[0]}

    return {split: {k: stacked(k, split) for k in KINDS} for split in ("train", "test")}


def oracle(scenes):
    """Deblenders that know the truth of the test scenes, whatever they are shown."""

    def make(kind):
        truth = scenes["test"][kind]

        def deblend(image, variance, gain):
            assert image.shape == variance.shape and gain.shape == image.shape[-1:]
            rows = np.resize(np.arange(len(truth["flux"])), len(image))
            flux, purity = truth["flux"][rows], truth["purity"][rows]
            return certain(flux, truth["isolated"][rows], purity)

        return deblend

    return {kind: make(kind) for kind in KINDS}
