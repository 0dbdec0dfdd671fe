"""Recalibration of the flux's posterior, fitted on validation galaxies and kept with the weights.

A network's stated errors are nearly right; what remains is a factor and a shift of each posterior
that vary slowly with how bright and how blended the galaxy *is found to be*. Nothing true enters.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaedeblend.model import VAE, Observation, Posterior, background_rms
from vaedeblend.observe import Batch

_BINS = 8
_ROUNDS = 4
_SIXTY_EIGHT = 0.6827
_FEWEST = 10
"""Galaxies from which a bin is corrected; a network without purity leaves bins of it empty."""


class Calibration(NamedTuple):
    """Corrections at knots of two estimates, linear between and constant beyond them.

    The shift [standard deviations of ln(flux)] is the sum, the factor of the standard deviation
    the exponential of the sum, of what the two estimates give.
    """

    brightness: Float[np.ndarray, " knot"]
    """Estimate of ln(flux / background rms)."""
    brightness_shift: Float[np.ndarray, " knot"]
    brightness_log_scale: Float[np.ndarray, " knot"]
    purity: Float[np.ndarray, " knot"]
    """Estimate of the logit of the purity."""
    purity_shift: Float[np.ndarray, " knot"]
    purity_log_scale: Float[np.ndarray, " knot"]


def calibrated(
    calibration: Calibration, posterior: Posterior, observation: Observation
) -> Posterior:
    """The posterior with its flux shifted and its error scaled."""
    brightness, purity = estimates(posterior, observation)
    shift, log_scale = _corrections(calibration, brightness, purity, jnp.interp)
    std = jnp.exp(posterior.log_flux_log_std)
    return posterior._replace(
        log_flux=posterior.log_flux + shift * std,
        log_flux_log_std=posterior.log_flux_log_std + log_scale,
    )


def estimates(
    posterior: Posterior, observation: Observation
) -> tuple[Float[Array, "batch band"], Float[Array, "batch band"]]:
    """What corrections depend on: ln(flux / background rms) and the logit of the purity."""
    unit = background_rms(observation.variance)
    return posterior.log_flux - jnp.log(unit), posterior.purity_logit


def calibrate(model: VAE, params: dict, batches: Sequence[Batch]) -> Calibration:
    """The calibration of a network on batches of validation galaxies; bands count alike."""

    @jax.jit
    def find(batch: Batch):
        posterior = model.apply({"params": params}, batch.observation, method="encode")
        residual = jnp.log(batch.flux) - posterior.log_flux
        std = jnp.exp(posterior.log_flux_log_std)
        return residual, std, *estimates(posterior, batch.observation)

    found = zip(*(jax.device_get(find(batch)) for batch in batches), strict=True)
    return fit_calibration(*(np.concatenate([a.ravel() for a in arrays]) for arrays in found))


def fit_calibration(
    residual: Float[np.ndarray, " n"],
    std: Float[np.ndarray, " n"],
    brightness: Float[np.ndarray, " n"],
    purity: Float[np.ndarray, " n"],
) -> Calibration:
    """The calibration under which 68 % of validation galaxies lie within one standard deviation.

    In each bin of either estimate, in turn and four times over, the shift centres the residuals'
    median and the factor brings their 68 % quantile to one (bins of equal count).

    Args:
        residual: ln(true flux) - mean of ln(flux).
        std: The posterior's standard deviation of ln(flux).
        brightness: See `estimates`, as for `purity`.
        purity: Of the first band.
    """
    knots = {"brightness": _knots(brightness), "purity": _knots(purity)}
    zeros = np.zeros(_BINS, np.float32)
    found = Calibration(knots["brightness"], zeros, zeros, knots["purity"], zeros, zeros)
    for _ in range(_ROUNDS):
        for name, value in (("brightness", brightness), ("purity", purity)):
            shift, log_scale = _corrections(found, brightness, purity, np.interp)
            z = (residual / std - shift) / np.exp(log_scale)
            bins = np.searchsorted(np.quantile(value, np.linspace(0, 1, _BINS + 1)[1:-1]), value)
            each = [_correction(z[bins == b], log_scale[bins == b]) for b in range(_BINS)]
            shifts, log_scales = np.transpose(each)
            found = found._replace(
                **{
                    f"{name}_shift": getattr(found, f"{name}_shift") + shifts,
                    f"{name}_log_scale": getattr(found, f"{name}_log_scale") + log_scales,
                }
            )
    return Calibration(*(np.asarray(a, np.float32) for a in found))


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Writes a JSON file, whole or not at all."""
    partial = Path(path).with_suffix(".partial")
    lists = {name: a.astype(float).round(5).tolist() for name, a in calibration._asdict().items()}
    partial.write_text(json.dumps(lists, indent=1) + "\n")
    partial.rename(path)


def read_calibration(path: str | Path) -> Calibration | None:
    """The calibration in a JSON file; None where there is no file."""
    if not Path(path).exists():
        return None
    lists = json.loads(Path(path).read_text())
    return Calibration(**{name: np.array(a, np.float32) for name, a in lists.items()})


def _correction(z, log_scale) -> tuple[float, float]:
    """Shift, in units of the network's own standard deviation, and ln(factor) of one bin."""
    if len(z) < _FEWEST:
        return 0.0, 0.0
    median = np.median(z)
    spread = np.quantile(np.abs(z - median), _SIXTY_EIGHT)
    return np.exp(log_scale.mean()) * median, np.log(spread)


def _knots(value) -> Float[np.ndarray, " knot"]:
    """Medians of bins of equal count."""
    middle = (np.arange(_BINS) + 0.5) / _BINS
    return np.quantile(value, middle).astype(np.float32)


def _corrections(calibration: Calibration, brightness, purity, interpolate):
    """Shift and ln(factor) at the estimates."""
    b, p = calibration.brightness, calibration.purity
    return (
        interpolate(brightness, b, calibration.brightness_shift)
        + interpolate(purity, p, calibration.purity_shift),
        interpolate(brightness, b, calibration.brightness_log_scale)
        + interpolate(purity, p, calibration.purity_log_scale),
    )
