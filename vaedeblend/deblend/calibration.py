"""Recalibration of the flux's posterior, fitted on validation galaxies and kept with the weights.

A network's stated errors are nearly right; what remains is a factor that varies slowly with how
bright and how blended the galaxy *is found to be*, and how uncertain, and one number for the tails.
Nothing true enters. Fluxes are left as they are: a shift fitted on galaxies of a range of
magnitudes would only teach the ends of the range.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaedeblend.exceptions import CalibrationError
from vaedeblend.io.folders.digest import sealed_json, unsealed_json
from vaedeblend.io.write import write_text
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, quantile
from vaedeblend.models.vae import Observation, Posterior, background_rms

ESTIMATES = ("brightness", "purity", "noise")
"""Fields of `Calibration` on which the error's factor depends, in the order of `estimates`."""


class Calibration(NamedTuple):
    """ln of the error's factor: a sum of functions, linear between knots and constant beyond."""

    brightness: Float[np.ndarray, " knot"]
    """Estimate of ln(flux / background rms)."""
    brightness_log_scale: Float[np.ndarray, " knot"]
    purity: Float[np.ndarray, " knot"]
    """Estimate of the logit of the purity."""
    purity_log_scale: Float[np.ndarray, " knot"]
    noise: Float[np.ndarray, " knot"]
    """ln(stated error of the flux / background rms), the error as `log_error` gives it: large for
    galaxies that are large."""
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


def calibrated(
    calibration: Calibration, posterior: Posterior, observation: Observation
) -> Posterior:
    """The posterior with the width and the tails of its flux corrected."""
    log_scale = log_error_factor(calibration, estimates(posterior, observation), jnp.interp)
    log_flux = rescaled(posterior.log_flux, log_scale, calibration.log_tail[0])
    return posterior._replace(log_flux=log_flux)


def rescaled(log_flux: SinhArcsinh, log_scale, log_tail) -> SinhArcsinh:
    """The flux's posterior with its width times exp(log_scale), and its tails corrected."""
    return log_flux._replace(
        log_width=log_flux.log_width + log_scale, log_tail=log_flux.log_tail + log_tail
    )


def estimates(
    posterior: Posterior, observation: Observation
) -> tuple[Float[Array, "batch band"], ...]:
    """What corrections depend on: brightness, purity and noise, as in `Calibration`."""
    brightness = posterior.log_flux.median - jnp.log(background_rms(observation.variance))
    return brightness, posterior.purity_logit, brightness + log_error(posterior.log_flux)


def log_error(log_flux: SinhArcsinh) -> Float[Array, "*n"]:
    """Ln of the error of ln(flux), arcsinh(stated error / flux): `log_width` without a skew."""
    low, high = (jnp.exp(quantile(log_flux, z) - log_flux.median) for z in (-1.0, 1.0))
    return jnp.log(jnp.arcsinh((high - low) / 2))


def write_calibrations(calibrations: Calibrations, path: str | Path) -> None:
    """Writes a JSON file, whole or not at all."""
    lists = {
        name: {key: a.astype(float).round(5).tolist() for key, a in each._asdict().items()}
        for name, each in calibrations._asdict().items()
    }
    write_text(path, sealed_json(lists, indent=1))


def read_calibrations(path: str | Path) -> Calibrations | None:
    """The calibrations in a JSON file; None where there is no file.

    Raises:
        CalibrationError: The file holds something else.
    """
    if not Path(path).exists():
        return None
    try:
        lists = unsealed_json(Path(path).read_text())
        each = {
            name: Calibration(**{key: np.array(a, np.float32) for key, a in columns.items()})
            for name, columns in lists.items()
        }
        return Calibrations(**each)
    except (ValueError, TypeError, AttributeError) as error:
        wanted = f"{', '.join(Calibration._fields)} of {' and '.join(Calibrations._fields)}"
        raise CalibrationError(f"{path}: no calibration ({error}); wanted {wanted}") from error


def log_error_factor(calibration: Calibration, values, interpolate):
    """Ln of the error's factor at the estimates."""
    return sum(
        interpolate(value, getattr(calibration, name), getattr(calibration, f"{name}_log_scale"))
        for name, value in zip(ESTIMATES, values, strict=True)
    )
