"""Recalibration of the flux's posterior, on validation galaxies, and for an image's PSF and noise.

A network's stated errors are nearly right; what remains is a factor that varies slowly with how
bright and how blended the galaxy *is found to be*, and how uncertain, and one number for the tails.
Nothing true enters. Fluxes are left as they are: a shift fitted on galaxies of a range of
magnitudes would only teach the ends of the range. That is kept with the weights.

Under another PSF a network finds too much or too little light where no pixel tells, in the wings
beyond a galaxy's core. What it makes of bright sources of known flux under an image's own PSF and
noise, a `Response`, corrects the fluxes of that image.
"""

from pathlib import Path
from typing import NamedTuple

import jax
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


class Response(NamedTuple):
    """What a network makes of isolated sources of known flux under an image's PSF and noise."""

    galaxies: Float[np.ndarray, " 3"]
    """ln(true / found flux) of galaxies: its value, and its slopes along ln(flux / background rms)
    and ln(stated error / background rms), about the `middle` of both."""
    middle: Float[np.ndarray, " 2"]
    """Means of the two over the galaxies."""
    low: Float[np.ndarray, " 2"]
    """Least of each; below, and above `high`, nothing is extrapolated."""
    high: Float[np.ndarray, " 2"]
    stars: Float[np.ndarray, ""]
    """ln(true / found flux) of point sources."""
    sky: Float[np.ndarray, " 3"]
    """ln of the area whose even light is taken for a source's [pixel], by the same terms."""


def responded(response: Response, posterior: Posterior, observation: Observation) -> Posterior:
    """The posterior with its fluxes, not its widths in ln(flux), corrected for an image's PSF.

    A source that may be a point source is corrected by the mean of both, weighed by probability.
    """
    brightness, _, noise = estimates(posterior, observation)
    seen = jnp.stack([brightness, noise], axis=-1)
    away = jnp.clip(seen, response.low, response.high) - response.middle
    shift = response.galaxies[0] + away @ response.galaxies[1:]
    if posterior.point_logit is not None:
        shift += jax.nn.sigmoid(posterior.point_logit)[:, None] * (response.stars - shift)
    log_flux = posterior.log_flux._replace(median=posterior.log_flux.median + shift)
    return posterior._replace(log_flux=log_flux)


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
    """Writes a JSON file, whole or not at all.

    Raises:
        CalibrationError: A number is not finite: the network's fluxes or errors were not.
    """
    if not all(np.isfinite(a).all() for a in jax.tree.leaves(calibrations)):
        wanted = "wanted a training that converged: a lower learning rate, another start"
        raise CalibrationError(f"{path}: fluxes or errors of the network are not finite; {wanted}")
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
