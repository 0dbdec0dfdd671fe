"""A trained network as a function: noisy stamps in, fluxes, errors and profiles out."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaedeblend.deblend.calibration import Calibration, Calibrations, calibrated, read_calibrations
from vaedeblend.exceptions import WorkdirError
from vaedeblend.io import checkpoint
from vaedeblend.io.workdir import find_workdir, read_config
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, quantile
from vaedeblend.models.vae import (
    N_PSF_FEATURES,
    VAE,
    Observation,
    Posterior,
    psf_features,
    reparameterize,
)
from vaedeblend.simulate.render import default_psf
from vaedeblend.survey import make_survey

STAGES = ("isolated", "blended")
_WIDEST = 2.1
"""By how much the features of the widest PSFs trained on exceed those of the survey's own."""


class Deblended(NamedTuple):
    """The central galaxy of each stamp, in the image's units."""

    flux: Float[Array, "batch band"]
    """Total flux: the posterior's median."""
    flux_err: Float[Array, "batch band"]
    """Half the width of the central 68 % interval of the posterior."""
    image: Float[Array, "batch height width band"]
    """Its light alone, noise-free: flux times the profile at the latent's mean."""
    latent_mean: Float[Array, "batch latent"]
    latent_std: Float[Array, "batch latent"]
    purity: Float[Array, "batch band"]
    """Estimate of the share of the light under the galaxy's profile that is its own."""
    log_flux: SinhArcsinh
    """Posterior of ln(flux) (batch, band), which has tails: see `sinh_arcsinh.quantile`."""


Deblend = Callable[..., Deblended]
"""`(image, variance, mask=None, psf=None, gain=None) -> Deblended`; see `make_deblend`."""


def make_deblend(
    model: VAE,
    params: dict,
    *,
    psf: Float[np.ndarray, "side side band"],
    calibrations: Calibrations | None = None,
) -> Deblend:
    """The jitted function `(image, variance, mask, psf, gain, neighbours) -> Deblended`.

    All but the first two arguments may be left out:
        image: (batch, height, width, band), background subtracted, in any unit of flux, the galaxy
            to be measured within a pixel or so of the centre.
        variance: The same shape, of the background alone, in that unit squared; infinite where a
            pixel is to be ignored, as it is where the variance is not positive or a value is NaN.
        mask: The same shape, or without the band axis; True where a pixel is to be ignored.
        psf: (height, width, band), or one for each stamp, effective, of odd size, centred, unit
            sum; by default the one trained for.
        gain: Electrons per image unit, a number or (band,) or (batch, band). Without it the light's
            own Poisson noise is left out, and the errors are the background's alone.
        neighbours: The image's shape: light of other galaxies that has been subtracted from it.

    A stamp without a single valid pixel comes back as NaN.

    Args:
        model: The VAE.
        params: Its parameters.
        psf: The PSF where none is given.
        calibrations: Of the flux's posterior, from validation galaxies.
    """
    default = jnp.asarray(psf)
    first, again, _ = calibrations or (None, None, None)

    @jax.jit
    def deblend(image, variance, mask=None, psf=None, gain=None, neighbours=None) -> Deblended:
        told = _told(default if psf is None else psf, default)
        observation = _observation(image, variance, mask, told, gain, neighbours)
        calibration = first if neighbours is None else again
        posterior = _posterior(model, params, calibration, observation)
        profile = model.apply({"params": params}, posterior.mean, observation.psf, method="decode")
        low, flux, high = (jnp.exp(quantile(posterior.log_flux, z)) for z in (-1.0, 0.0, 1.0))
        return Deblended(
            flux,
            (high - low) / 2,
            flux[:, None, None] * profile,
            posterior.mean,
            jnp.exp(posterior.log_std),
            jax.nn.sigmoid(posterior.purity_logit),
            posterior.log_flux,
        )

    return deblend


def make_sample(
    model: VAE,
    params: dict,
    *,
    psf: Float[np.ndarray, "side side band"],
    calibrations: Calibrations | None = None,
) -> Callable[..., Float[Array, "sample batch height width band"]]:
    """The jitted function `(key, n, image, variance, mask=None, psf=None, gain=None) -> light`.

    It draws n images of each stamp's central galaxy from the posterior of flux and profile; the
    other arguments are those of `make_deblend`, here and there.
    """
    default = jnp.asarray(psf)
    calibration = calibrations and calibrations.first

    @functools.partial(jax.jit, static_argnums=1)
    def sample(key, n, image, variance, mask=None, psf=None, gain=None):
        told = _told(default if psf is None else psf, default)
        observation = _observation(image, variance, mask, told, gain)
        posterior = _posterior(model, params, calibration, observation)

        def one(key):
            latent_key, flux_key = jax.random.split(key)
            z = reparameterize(latent_key, posterior)
            noise = jax.random.normal(flux_key, posterior.purity_logit.shape)
            flux = jnp.exp(quantile(posterior.log_flux, noise))
            profile = model.apply({"params": params}, z, observation.psf, method="decode")
            return flux[:, None, None] * profile

        return jax.lax.map(one, jax.random.split(key, n))

    return sample


def load_deblender(name_or_workdir: str | Path, stage: str = "blended") -> Deblend:
    """The deblender that a training left in its working directory, or one that is shipped.

    Args:
        name_or_workdir: Of shipped weights ('euclid_vis'), or a workdir of `train.py`.
        stage: isolated (VAE I) or blended (VAE II).

    Raises:
        WorkdirError: There is no config.json, or it names no such stage.
        CheckpointError: The stage has no checkpoint, or a damaged one.
    """
    model, params, options = load_network(name_or_workdir, stage)
    return make_deblend(model, params, **options)


def load_network(name_or_workdir: str | Path, stage: str = "blended") -> tuple[VAE, dict, dict]:
    """Model, parameters, and the further arguments of `make_deblend` and `make_sample`.

    Arguments and errors are those of `load_deblender`.
    """
    workdir = find_workdir(name_or_workdir)
    config = read_config(workdir)
    if stage not in config["stages"]:
        raise WorkdirError(f"{workdir}: no stage {stage!r}; wanted one of {list(config['stages'])}")
    params = checkpoint.load_params(workdir / stage / "checkpoints")
    survey = make_survey(**config["survey"])
    calibrations = read_calibrations(workdir / stage / "calibration.json")
    options = {"psf": default_psf(survey), "calibrations": calibrations}
    return VAE(**config["model"], bands=len(survey.bands)), params, options


def _posterior(model: VAE, params, calibration: Calibration | None, observation) -> Posterior:
    """What the encoder says, with the errors that validation galaxies ask for."""
    posterior = model.apply({"params": params}, observation, method="encode")
    return posterior if calibration is None else calibrated(calibration, posterior, observation)


def _told(psf, default) -> Float[Array, "*batch feature"]:
    """What the network is told of a PSF: of one sharper than the survey's, or far wider, its like.

    Networks do not extrapolate; a PSF whose image is cut off has too little light in its wings.
    """
    features, own = psf_features(psf), psf_features(default)
    is_width = jnp.arange(len(own)) % N_PSF_FEATURES < N_PSF_FEATURES - 2
    return jnp.where(is_width, jnp.clip(features, own, own + _WIDEST), features)


def _observation(image, variance, mask, features, gain, neighbours=None) -> Observation:
    """What the network is shown of the caller's arrays."""
    image, variance = jnp.asarray(image), jnp.broadcast_to(variance, image.shape)
    n, bands = image.shape[0], image.shape[-1]
    if mask is not None:
        mask = mask if mask.ndim == image.ndim else mask[..., None]
        variance = jnp.where(mask, jnp.inf, variance)
    variance = jnp.where(jnp.isfinite(image) & (variance > 0), variance, jnp.inf)
    image = jnp.where(jnp.isfinite(variance), image, 0.0)
    gain = jnp.broadcast_to(jnp.inf if gain is None else jnp.asarray(gain), (n, bands))
    if neighbours is None:
        neighbours = jnp.zeros_like(image)
    neighbours = jnp.where(jnp.isfinite(variance), neighbours, 0.0)
    features = jnp.broadcast_to(features, (n, features.shape[-1]))
    return Observation(image, variance, gain, features, neighbours)
