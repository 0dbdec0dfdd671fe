"""A trained network as a function: noisy stamps in, fluxes, errors and profiles out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaedeblend import checkpoint
from vaedeblend.model import VAE

STAGES = ("isolated", "blended")


class WorkdirError(ValueError):
    """A working directory that is not what it was taken for."""


class Deblended(NamedTuple):
    """The central galaxy of each stamp, in the image's units."""

    flux: Float[Array, "batch band"]
    """Total flux: the posterior's median."""
    flux_err: Float[Array, "batch band"]
    """Half the width of the central 68 % interval of the posterior, a log-normal."""
    image: Float[Array, "batch height width band"]
    """Its light alone, noise-free: flux times the profile at the latent's mean."""
    latent_mean: Float[Array, "batch latent"]
    latent_std: Float[Array, "batch latent"]


Deblend = Callable[[Array, Array], Deblended]


def make_deblend(model: VAE, params: dict) -> Deblend:
    """The jitted function `(image, variance) -> Deblended` on (batch, height, width, band)."""

    @jax.jit
    def deblend(image, variance) -> Deblended:
        posterior = model.apply({"params": params}, image, variance, method="encode")
        profile = model.apply({"params": params}, posterior.mean, method="decode")
        flux = jnp.exp(posterior.log_flux)
        return Deblended(
            flux,
            flux * jnp.sinh(jnp.exp(posterior.log_flux_log_std)),
            flux[:, None, None] * profile,
            posterior.mean,
            jnp.exp(posterior.log_std),
        )

    return deblend


def load_deblender(workdir: str | Path, stage: str = "blended") -> Deblend:
    """The deblender that a training left in its working directory.

    Args:
        workdir: Of `train.py`.
        stage: isolated (VAE I) or blended (VAE II).

    Raises:
        WorkdirError: There is no config.json, or it names no such stage.
        CheckpointError: The stage has no checkpoint, or a damaged one.
    """
    config = read_config(workdir)
    if stage not in config["stages"]:
        raise WorkdirError(f"{workdir}: no stage {stage!r}; wanted one of {list(config['stages'])}")
    params = checkpoint.load_params(Path(workdir) / stage / "checkpoints")
    return make_deblend(VAE(**config["model"], bands=len(config["survey"]["bands"])), params)


def read_config(workdir: str | Path) -> dict:
    """The configuration with which a working directory was trained.

    Raises:
        WorkdirError: There is none, or it cannot be read.
    """
    path = Path(workdir) / "config.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WorkdirError(f"{path}: not found; wanted the workdir of a training") from error
    except json.JSONDecodeError as error:
        raise WorkdirError(f"{path}: not valid JSON ({error})") from error
