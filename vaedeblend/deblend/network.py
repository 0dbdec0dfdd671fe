"""A trained network as a function: noisy stamps in, fluxes, errors and profiles out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaedeblend.deblend.arrays import Stamps, as_psf, as_stamps, native
from vaedeblend.deblend.calibration import (
    Calibration,
    Calibrations,
    Response,
    calibrated,
    read_calibrations,
    responded,
)
from vaedeblend.exceptions import WorkdirError
from vaedeblend.io import checkpoint
from vaedeblend.io.workdir import CHECKPOINTS, WORKDIR_PSF, find_workdir, read_trained
from vaedeblend.models.companions import (
    COMPANION_STAGES,
    Candidates,
    Companions,
    Verdicts,
    find_candidates,
)
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, draw_galaxies, quantile
from vaedeblend.models.vae import (
    N_CORE_FEATURES,
    N_PSF_FEATURES,
    VAE,
    Observation,
    Posterior,
    correlation_features,
    psf_features,
)
from vaedeblend.pixels.psf import read_native_psfs, write_native_psfs

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
    """Its light alone, noise-free: the profile at the latent's mean, times the flux as the network
    finds it, before a response corrects the total."""
    latent_mean: Float[Array, "batch latent"]
    latent_std: Float[Array, "batch latent"]
    purity: Float[Array, "batch band"]
    """Estimate of the share of the light under the galaxy's profile that is its own."""
    log_flux: SinhArcsinh
    """Posterior of ln(flux) (batch, band), which has tails: see `sinh_arcsinh.quantile`."""
    point_source_prob: Float[Array, " batch"] | None = None
    """Probability that it is a point source; None of a network that knows none."""


Deblend = Callable[..., Deblended]
"""`(image, variance, mask=None, psf=None, gain=None) -> Deblended`; see `Deblender`."""


@partial(jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["model"])
@dataclass(frozen=True)
class CompanionTest:
    """A trained test of companions, and a pytree of its parameters."""

    model: Companions
    params: dict = field(repr=False)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "psf", "calibrations", "covariance", "companions", "response"],
    meta_fields=["model"],
)
@dataclass(frozen=True)
class Deblender:
    """A trained network as a function of stamps, and a pytree of its parameters.

    As a pytree it is an argument of a jitted function, so that no program holds the parameters.

    Attributes:
        model: Network.
        params: Parameters of the network.
        psf: PSF where none is given: effective, of odd size, centred, unit sum.
        calibrations: Corrections of the flux's posterior, from validation galaxies.
        covariance: Autocovariance of the noise where none is given; None if white.
        companions: The test of companions of its sources; None where none has been trained.
        response: Correction of fluxes for an image's PSF and noise; None for none.
    """

    model: VAE
    params: dict = field(repr=False)
    psf: Float[np.ndarray | Array, "side side band"]
    calibrations: Calibrations | None = None
    covariance: Float[np.ndarray | Array, "lag lag band"] | None = None
    companions: CompanionTest | None = None
    response: Response | None = None

    def __call__(
        self,
        image,
        variance,
        mask=None,
        psf=None,
        gain=None,
        neighbours=None,
        correlation=None,
    ) -> Deblended:
        """The central galaxy of each stamp; NaN where a stamp has no valid pixel.

        Arrays may be as astropy reads them: of any byte order and type of number, masked, with
        units (the results are in the image's), or NDData; see `arrays.as_stamps`.

        Args:
            image: Stamps (batch, height, width, band), background subtracted, in any unit of flux,
                the galaxy to be measured within a pixel or so of the centre.
            variance: Background variance (batch, height, width, band), in that unit squared;
                infinite where a pixel is to be ignored, as it is where the variance is not
                positive or a value is NaN.
            mask: True where a pixel is to be ignored; of the image's shape, or without the bands.
            psf: Effective PSF (height, width, band) of odd size, centred, of unit sum; one for all
                stamps or one for each; by default the one that the network was trained for.
            gain: Electrons per image unit, a number or (band,) or (batch, band). Without it the
                light's own Poisson noise is left out, and the errors are the background's alone.
            neighbours: Light of other galaxies that has been subtracted from the image.
            correlation: Autocovariance of the noise (lag, lag, band), or one for each stamp, whose
                sum is 1 and whose middle is lag 0, as of `coadds.noise_autocorrelation`; by default
                the deblender's own, or pixels are independent. The variance is that of independent
                pixels all the same, whose sums over large apertures are as noisy.

        Raises:
            StampError: A shape, a unit or a PSF is not what is wanted.
        """
        stamps = self._stamps(image, variance, mask, psf, gain, neighbours)
        if not len(stamps.image):  # of no length are no programs: one dark stamp's, cut
            return jax.tree.map(lambda a: a[:0], self(self._dark(), 1.0))
        return _deblend(self, *stamps, native(correlation))

    def sample(
        self, key, n: int, image, variance, mask=None, psf=None, gain=None
    ) -> Float[Array, "sample batch height width band"]:
        """Images of each stamp's central galaxy, from the posterior of flux and profile.

        Args:
            key: Random key.
            n: Number of images of each galaxy.
            image: Stamps, as for a call; the further arguments are those of a call, too.
            variance: Background variance.
            mask: True where a pixel is to be ignored.
            psf: Effective PSF.
            gain: Electrons per image unit.

        Raises:
            StampError: A shape, a unit or a PSF is not what is wanted.
        """
        *stamps, _ = self._stamps(image, variance, mask, psf, gain)
        if not len(stamps[0]):
            return self.sample(key, n, self._dark(), 1.0)[:, :0]
        return _sample(self, key, n, *stamps)

    def decode(
        self, latent: Float[np.ndarray | Array, "batch latent"], psf=None
    ) -> Float[Array, "batch height width band"]:
        """Profiles of unit flux as a network draws them from latents.

        Args:
            latent: Latents of galaxies, such as `Deblended.latent_mean`.
            psf: Effective PSF, one or one of each; by default the network's own.

        Raises:
            StampError: The PSF is not what is wanted.
        """
        return _decode(self, native(latent), as_psf(psf, len(latent), self.model.bands))

    def judge(
        self, image, variance, light, purity, neighbours, psf=None, gain=None
    ) -> tuple[Candidates, Verdicts]:
        """Candidates for companions of sources that have been measured, and what they are.

        Args:
            image: Stamps (batch, height, width, band), less the light of known neighbours.
            variance: Background variance, infinite where a pixel is to be ignored.
            light: The light that was found of each source.
            purity: The purity that was found of it (batch, band).
            neighbours: The light that was subtracted.
            psf: Effective PSF, one or one of each stamp.
            gain: Electrons per image unit.
        """
        return _judge(self, image, variance, light, purity, neighbours, psf, gain)

    def _stamps(self, *given) -> Stamps:
        return as_stamps(*given, size=self.model.stamp_size, bands=self.model.bands)

    def _dark(self) -> Float[np.ndarray, "1 size size band"]:
        side = self.model.stamp_size
        return np.zeros((1, side, side, self.model.bands), np.float32)

    def of_fields(self) -> "Deblender":
        """The deblender with the calibration of sources that a detection finds on an image."""
        return replace(self, calibrations=self.calibrations and self.calibrations.of_fields())

    def under_noise(self, covariance: Float[np.ndarray, "lag lag *band"]) -> "Deblender":
        """The deblender of noise with an autocovariance of unit sum, each band's or all's."""
        of_bands = np.reshape(covariance, (*covariance.shape[:2], -1)).astype(np.float32)
        repeats = self.model.bands // of_bands.shape[-1]
        return replace(self, covariance=of_bands.repeat(repeats, axis=-1))

    def responding(self, response: Response) -> "Deblender":
        """The deblender whose fluxes are corrected for an image's PSF and noise.

        The light that it finds stays as it is: the correction is of wings that no pixel shows.
        """
        return replace(self, response=response)


@jax.jit
def _deblend(
    network: Deblender, image, variance, mask, psf, gain, neighbours, correlation
) -> Deblended:
    given = mask, psf, gain, neighbours, correlation
    observation = _observation(network, image, variance, *given)
    first, again, _ = network.calibrations or (None, None, None)
    posterior = _posterior(network, first if neighbours is None else again, observation)
    profile = network.decode(posterior.mean, psf)
    light = jnp.exp(posterior.log_flux.median)[:, None, None] * profile
    if network.response is not None:
        posterior = responded(network.response, posterior, observation)
    low, flux, high = (jnp.exp(quantile(posterior.log_flux, z)) for z in (-1.0, 0.0, 1.0))
    return Deblended(
        flux,
        (high - low) / 2,
        light,
        posterior.mean,
        jnp.exp(posterior.log_std),
        jax.nn.sigmoid(posterior.purity_logit),
        posterior.log_flux,
        None if posterior.point_logit is None else jax.nn.sigmoid(posterior.point_logit),
    )


@jax.jit
def _judge(network: Deblender, image, variance, light, purity, neighbours, psf, gain):
    seen = _observation(network, image, variance, None, psf, gain, neighbours)
    candidates, test = find_candidates(seen, light), network.companions
    return candidates, test.model.apply({"params": test.params}, seen, light, purity, candidates)


@partial(jax.jit, static_argnames="n")
def _sample(network: Deblender, key, n: int, image, variance, mask, psf, gain):
    found = _deblend(network, image, variance, mask, psf, gain, None, None)
    decode = partial(network.decode, psf=psf)
    known = found.latent_mean, found.latent_std, found.log_flux
    keys = jax.random.split(key, n)
    return jax.lax.map(lambda each: draw_galaxies(decode, *known, each)[1], keys)


@jax.jit
def _decode(network: Deblender, z, psf) -> Float[Array, "batch height width band"]:
    condition = _psf_condition(network.psf if psf is None else psf, network.psf)
    condition = jnp.broadcast_to(condition, (len(z), condition.shape[-1]))
    return network.model.apply({"params": network.params}, z, condition, method="decode")


def in_batches(deblend: Deblend, arrays: dict[str, np.ndarray | None], size: int) -> Deblended:
    """Results for batches of one size, so that the deblender compiles once; host arrays.

    The last batch is filled up, and its result cut.

    Args:
        deblend: Function of stamps.
        arrays: Arguments by name, one row a stamp; None is left out.
        size: Stamps in a batch.
    """
    parts = []
    arrays = {name: a for name, a in arrays.items() if a is not None}
    for start in range(0, len(arrays["image"]), size):
        batch = {name: a[start : start + size] for name, a in arrays.items()}
        result = deblend(**{name: np.resize(a, (size, *a.shape[1:])) for name, a in batch.items()})
        parts.append(jax.device_get(result))
    n = len(arrays["image"])
    return jax.tree.map(lambda *fields: np.concatenate(fields)[:n], *parts)


def load_deblender(name_or_workdir: str | Path, stage: str = "blended") -> Deblender:
    """The deblender that a training left in its working directory, or one that is shipped.

    Args:
        name_or_workdir: Name of shipped weights ('euclid_vis'), or a workdir of `train.py`.
        stage: isolated (VAE I) or blended (VAE II).

    Raises:
        WorkdirError: There is no config.json or psf.fits, or no such stage.
        CheckpointError: The stage has no checkpoint, or a damaged one.
    """
    workdir = find_workdir(name_or_workdir)
    config = read_trained(workdir)
    if stage not in config["stages"]:
        raise WorkdirError(f"{workdir}: no stage {stage!r}; wanted one of {list(config['stages'])}")
    psf = workdir / WORKDIR_PSF
    if not psf.exists():
        raise WorkdirError(f"{psf}: not found; wanted the PSF that train.py writes when it resumes")
    return Deblender(
        make_model(config["model"], len(config["survey"]["bands"])),
        jax.device_put(checkpoint.load_params(workdir / stage / CHECKPOINTS)),
        read_native_psfs(psf, config["survey"]["pixel_scale"]),
        read_calibrations(workdir / stage / "calibration.json"),
        companions=_load_companions(workdir, config) if stage == STAGES[-1] else None,
    )


def _load_companions(workdir: Path, config: dict) -> CompanionTest | None:
    """The test of companions of a training that has one; None before it is trained."""
    (name,) = COMPANION_STAGES
    trained = workdir / name / CHECKPOINTS
    if name not in config["stages"] or not checkpoint.latest_step(trained):
        return None
    options = {key: tuple(widths) for key, widths in config["companions"].items()}
    params = checkpoint.load_params(trained)["companions"]
    return CompanionTest(Companions(**options), jax.device_put(params))


def write_psf(
    workdir: str | Path, psf: Float[np.ndarray, "side side band"], pixel_scale: float
) -> None:
    """Writes psf.fits, the PSF of `load_deblender`, beside a workdir's config.json.

    Args:
        workdir: Working directory of a training.
        psf: PSF that the networks are trained for, at the survey's pixels.
        pixel_scale: Side of those pixels [arcsec].

    Raises:
        FileError: It cannot be written.
    """
    write_native_psfs(Path(workdir) / WORKDIR_PSF, psf, pixel_scale)


def make_model(options: dict, bands: int) -> VAE:
    """The network of a configuration.

    Args:
        options: Fields of `VAE` but for the number of bands; lists stand for tuples.
        bands: Number of bands.
    """
    fixed = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in options.items()}
    return VAE(**fixed, bands=bands)


def _posterior(network: Deblender, calibration: Calibration | None, observation) -> Posterior:
    """The encoder's posterior, with the errors that validation galaxies ask for."""
    posterior = network.model.apply({"params": network.params}, observation, method="encode")
    return posterior if calibration is None else calibrated(calibration, posterior, observation)


def _psf_condition(psf, default) -> Float[Array, "*batch feature"]:
    """Numbers of a PSF on which the network is conditioned, widths within those trained on.

    Networks do not extrapolate; a PSF whose image is cut off has too little light in its wings.
    """
    features, own = psf_features(psf), psf_features(default)
    number = jnp.arange(len(own))
    is_core = number < len(own) // N_PSF_FEATURES * N_CORE_FEATURES
    is_width = is_core & (number % N_CORE_FEATURES < N_CORE_FEATURES - 2)
    return jnp.where(is_width, jnp.clip(features, own, own + _WIDEST), features)


def _observation(
    network: Deblender, image, variance, mask, psf, gain, neighbours=None, correlation=None
) -> Observation:
    """What the network is given of the caller's arrays."""
    image, variance = jnp.asarray(image), jnp.broadcast_to(variance, image.shape)
    n, bands = image.shape[0], image.shape[-1]
    if mask is not None:
        variance = jnp.where(mask, jnp.inf, variance)
    variance = jnp.where(jnp.isfinite(image) & (variance > 0), variance, jnp.inf)
    image = jnp.where(jnp.isfinite(variance), image, 0.0)
    gain = jnp.broadcast_to(jnp.inf if gain is None else jnp.asarray(gain), (n, bands))
    if neighbours is None:
        neighbours = jnp.zeros_like(image)
    neighbours = jnp.where(jnp.isfinite(variance), neighbours, 0.0)
    condition = _psf_condition(network.psf if psf is None else psf, network.psf)
    condition = jnp.broadcast_to(condition, (n, condition.shape[-1]))
    correlation = network.covariance if correlation is None else correlation
    correlation = jnp.ones((1, 1, bands)) if correlation is None else jnp.asarray(correlation)
    numbers = correlation_features(correlation)
    numbers = jnp.broadcast_to(numbers, (n, numbers.shape[-1]))
    return Observation(image, variance, gain, condition, neighbours, numbers)
