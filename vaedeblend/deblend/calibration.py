"""Recalibration of the flux's posterior, fitted on validation galaxies and kept with the weights.

A network's stated errors are nearly right; what remains is a factor that varies slowly with how
bright and how blended the galaxy *is found to be*, and how uncertain, and one number for the tails.
Nothing true enters. Fluxes are left as they are: a shift fitted on galaxies of a range of
magnitudes would only teach the ends of the range.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import logit

from vaedeblend.models.sinh_arcsinh import SinhArcsinh, normal_score
from vaedeblend.models.vae import Observation, Posterior, background_rms
from vaedeblend.training.observe import Batch

_BINS = 8
_ROUNDS = 4
_SIXTY_EIGHT = 0.6827
_ESTIMATES = ("brightness", "purity", "noise")
_FEWEST = 10
"""Galaxies from which a bin is corrected; a network without purity leaves bins of it empty."""

_TAILS = np.linspace(-0.6, 0.6, 121)
_NINETY_FIVE, _WITHIN = 0.95, 1.96


class Calibration(NamedTuple):
    """ln of the error's factor: a sum of functions, linear between knots and constant beyond."""

    brightness: Float[np.ndarray, " knot"]
    """Estimate of ln(flux / background rms)."""
    brightness_log_scale: Float[np.ndarray, " knot"]
    purity: Float[np.ndarray, " knot"]
    """Estimate of the logit of the purity."""
    purity_log_scale: Float[np.ndarray, " knot"]
    noise: Float[np.ndarray, " knot"]
    """ln(stated error of the flux / background rms): large for galaxies that are large."""
    noise_log_scale: Float[np.ndarray, " knot"]
    log_tail: Float[np.ndarray, " one"]
    """What is added to the posterior's: a single number, for all galaxies."""


class Calibrations(NamedTuple):
    """A network's, by what it is shown."""

    first: Calibration
    """Of stamps as they are."""
    again: Calibration
    """Of stamps less their neighbours' light."""
    field: Calibration
    """Of sources of an image: their neighbours' light, and the faults of their detection."""

    def of_fields(self) -> "Calibrations":
        """Those of a deblender that is shown the sources of an image."""
        return self._replace(first=self.field, again=self.field)


class CalibrationError(ValueError):
    """A calibration.json that is damaged or of another version."""


def calibrated(
    calibration: Calibration, posterior: Posterior, observation: Observation
) -> Posterior:
    """The posterior with the width and the tails of its flux corrected."""
    log_scale = _log_scale(calibration, estimates(posterior, observation), jnp.interp)
    log_flux = _corrected(posterior.log_flux, log_scale, calibration.log_tail[0])
    return posterior._replace(log_flux=log_flux)


def _corrected(log_flux: SinhArcsinh, log_scale, log_tail) -> SinhArcsinh:
    return log_flux._replace(
        log_width=log_flux.log_width + log_scale, log_tail=log_flux.log_tail + log_tail
    )


def estimates(
    posterior: Posterior, observation: Observation
) -> tuple[Float[Array, "batch band"], ...]:
    """What corrections depend on: brightness, purity and noise, as in `Calibration`."""
    brightness = posterior.log_flux.median - jnp.log(background_rms(observation.variance))
    return brightness, posterior.purity_logit, brightness + posterior.log_flux.log_width


def calibrate(deblend: Callable, batches: Sequence[Batch]) -> Calibration:
    """The calibration of a deblender on batches of validation galaxies; bands count alike.

    Args:
        deblend: As `network.make_deblend` returns it, without a calibration.
        batches: As the survey's own PSF and depth show them.
    """
    truth, found, rms = [], [], []
    for batch in batches:
        seen = batch.observation
        found.append(deblend(np.asarray(seen.image), np.asarray(seen.variance), gain=seen.gain))
        truth.append(batch.flux)
        rms.append(background_rms(seen.variance))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    return calibrate_fluxes(np.concatenate(truth), joined, np.concatenate(rms))


def calibrate_fluxes(truth, found, rms) -> Calibration:
    """The calibration of what a deblender says of galaxies of known flux; of few, none.

    Args:
        truth: True flux (n, band).
        found: The deblender's result.
        rms: Of the background, of the flux's shape.
    """
    said = found.flux, found.flux_err, found.purity
    truth, flux, error, purity, rms = (np.asarray(a, float).ravel() for a in (truth, *said, rms))
    if len(truth) < _FEWEST:
        nothing = np.arange(_BINS, dtype=np.float32), np.zeros(_BINS, np.float32)
        return Calibration(*3 * nothing, np.zeros(1, np.float32))
    values = {"brightness": np.log(flux / rms), "purity": logit(purity.clip(1e-6, 1 - 1e-6))}
    found_scale = fit_calibration(np.log(truth / flux), np.arcsinh(error / flux), **values)
    stated = SinhArcsinh(*(np.asarray(a, float).ravel() for a in found.log_flux))
    seen = (*values.values(), values["brightness"] + stated.log_width)
    log_scale = _log_scale(found_scale, seen, np.interp)
    return found_scale._replace(log_tail=_fit_tail(stated, log_scale, np.log(truth)))


def _fit_tail(stated: SinhArcsinh, log_scale, log_truth) -> Float[np.ndarray, " one"]:
    """What brings the central 95 % interval to hold the truth so often; the 68 % one stays."""
    scores = (normal_score(_corrected(stated, log_scale, t), log_truth) for t in _TAILS)
    covered = np.array([np.mean(np.abs(np.asarray(z)) < _WITHIN) for z in scores])
    return _TAILS[[np.argmin(np.abs(covered - _NINETY_FIVE))]].astype(np.float32)


def fit_calibration(
    residual: Float[np.ndarray, " n"],
    std: Float[np.ndarray, " n"],
    brightness: Float[np.ndarray, " n"],
    purity: Float[np.ndarray, " n"],
) -> Calibration:
    """The calibration under which 68 % of validation galaxies lie within one standard deviation.

    In each bin of each estimate, in turn and four times over, the factor brings the 68 % quantile
    of the standardised residuals to one (bins of equal count).

    Args:
        residual: ln(true flux) - mean of ln(flux).
        std: The posterior's standard deviation of ln(flux).
        brightness: See `estimates`, as for `purity`.
        purity: The same.
    """
    z = np.abs(residual / std)
    values = brightness, purity, brightness + np.log(std)
    zeros = np.zeros(_BINS)
    found = Calibration(*(a for value in values for a in (_knots(value), zeros)), np.zeros(1))
    for _ in range(_ROUNDS):
        for name, value in zip(_ESTIMATES, values, strict=True):
            scaled = z / np.exp(_log_scale(found, values, np.interp))
            bins = np.searchsorted(np.quantile(value, np.linspace(0, 1, _BINS + 1)[1:-1]), value)
            change = np.array([_missing(scaled[bins == b]) for b in range(_BINS)])
            key = f"{name}_log_scale"
            found = found._replace(**{key: getattr(found, key) + change})
    return Calibration(*(np.asarray(a, np.float32) for a in found))


def write_calibrations(calibrations: Calibrations, path: str | Path) -> None:
    """Writes a JSON file, whole or not at all."""
    partial = Path(path).with_suffix(".partial")
    lists = {
        name: {key: a.astype(float).round(5).tolist() for key, a in each._asdict().items()}
        for name, each in calibrations._asdict().items()
    }
    partial.write_text(json.dumps(lists, indent=1) + "\n")
    partial.rename(path)


def read_calibrations(path: str | Path) -> Calibrations | None:
    """The calibrations in a JSON file; None where there is no file.

    Raises:
        CalibrationError: The file holds something else.
    """
    if not Path(path).exists():
        return None
    try:
        lists = json.loads(Path(path).read_text())
        each = {
            name: Calibration(**{key: np.array(a, np.float32) for key, a in columns.items()})
            for name, columns in lists.items()
        }
        return Calibrations(**each)
    except (ValueError, TypeError, AttributeError) as error:
        wanted = f"{', '.join(Calibration._fields)} of {' and '.join(Calibrations._fields)}"
        raise CalibrationError(f"{path}: no calibration ({error}); wanted {wanted}") from error


def _missing(z) -> float:
    """Ln of the factor that brings the 68 % quantile of |z| to one."""
    return np.log(np.quantile(z, _SIXTY_EIGHT)) if len(z) >= _FEWEST else 0.0


def _knots(value) -> Float[np.ndarray, " knot"]:
    """Medians of bins of equal count."""
    middle = (np.arange(_BINS) + 0.5) / _BINS
    return np.quantile(value, middle).astype(np.float32)


def _log_scale(calibration: Calibration, values, interpolate):
    """Ln of the error's factor at the estimates."""
    return sum(
        interpolate(value, getattr(calibration, name), getattr(calibration, f"{name}_log_scale"))
        for name, value in zip(_ESTIMATES, values, strict=True)
    )
