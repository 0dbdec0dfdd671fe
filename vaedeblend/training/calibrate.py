"""Fits a deblender's calibrations on validation galaxies, of stamps and of a whole field.

What is fitted, and how it is applied, stands in `deblend.calibration`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float
from scipy.special import logit

from vaedeblend.deblend.calibration import (
    ESTIMATES,
    Calibration,
    Calibrations,
    log_error,
    log_error_factor,
    rescaled,
    write_calibrations,
)
from vaedeblend.deblend.field import find_sources
from vaedeblend.deblend.joint import make_deblend_stamps
from vaedeblend.deblend.network import Deblend
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, normal_score
from vaedeblend.models.vae import background_rms
from vaedeblend.pixels.matching import match
from vaedeblend.simulate.fields import simulate_field
from vaedeblend.training.observe import Batch

_BINS = 8
_ROUNDS = 4
"""Bins of an estimate, and rounds of fitting all three estimates in turn."""
_SIXTY_EIGHT = 0.6827
_FEWEST = 10
"""Galaxies from which a bin is corrected; a network without purity leaves bins of it empty."""

_KNOTS = np.arange(_BINS, dtype=np.float32), np.zeros(_BINS, np.float32)
_NOTHING = Calibration(*3 * _KNOTS, np.zeros(1, np.float32))
"""A calibration that changes nothing."""
_TAILS = np.linspace(-0.6, 0.6, 121)
"""Changes of ln d that are tried."""
_NINETY_FIVE, _WITHIN = 0.95, 1.96
"""Share of a standard normal variable within so many standard deviations."""


def calibrate_stage(
    path: Path, deblend: Deblend, batches: Sequence[Batch], field: dict | None, *, stamp_size: int
) -> None:
    """Fits the calibrations of a stage's deblender and writes them.

    Args:
        path: File that takes the calibrations.
        deblend: Deblender without a calibration.
        batches: Validation galaxies under the survey's own PSF and depth.
        field: Keywords of `simulate_field` for a field of galaxies of all kinds, on which sources
            of whole images are calibrated; None for the stamps' calibration there, too.
        stamp_size: Side of the stamps that `deblend` takes [pixel].

    Raises:
        CalibrationError: The network's fluxes or errors are not finite.
    """
    calibrations = calibrate_iterations(deblend, batches)
    if field is not None:
        made = simulate_field(**field)
        y, x, flux = (made.truth[name].value for name in ("y", "x", "flux"))
        of_field = calibrate_field(
            deblend,
            made.image[..., 0],
            made.rms[..., 0],
            np.stack([y, x], axis=1),
            flux[:, 0],
            size=stamp_size,
            gain=float(field["survey"].gain[0]),
        )
        calibrations = calibrations._replace(field=of_field)
    write_calibrations(calibrations, path)


def calibrate_iterations(deblend: Deblend, batches: Sequence[Batch]) -> Calibrations:
    """Calibrations of a deblender's first iteration of neighbour subtraction, and of its last.

    Args:
        deblend: Deblender without a calibration.
        batches: Validation galaxies under the survey's own PSF and depth.
    """
    again = calibrate_stamps(make_deblend_stamps(deblend), batches)
    return Calibrations(calibrate_stamps(deblend, batches), again, again)


def calibrate_stamps(deblend: Callable, batches: Sequence[Batch]) -> Calibration:
    """Calibration of a deblender on batches of validation galaxies; bands count alike.

    Args:
        deblend: Deblender without a calibration.
        batches: Validation galaxies under the survey's own PSF and depth.
    """
    truth, found, rms = [], [], []
    for batch in batches:
        seen = batch.observation
        found.append(deblend(np.asarray(seen.image), np.asarray(seen.variance), gain=seen.gain))
        truth.append(batch.flux)
        rms.append(background_rms(seen.variance))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    return calibrate_fluxes(np.concatenate(truth), joined, np.concatenate(rms))


def calibrate_field(
    deblend: Deblend,
    image: Float[np.ndarray, "height width"],
    rms: Float[np.ndarray, "height width"],
    position: Float[np.ndarray, "n 2"],
    flux: Float[np.ndarray, " n"],
    *,
    size: int,
    gain: float | None,
) -> Calibration:
    """Calibration of a deblender on what it finds in a field, its detections' faults included.

    Args:
        deblend: Deblender of one band without a calibration.
        image: Field, background subtracted.
        rms: Background noise; infinite where a pixel is ignored.
        position: True (y, x) of all sources [pixel].
        flux: True fluxes of all sources, in the image's unit.
        size: Side of the stamps that `deblend` takes [pixel].
        gain: Electrons per image unit.
    """
    _, sources, _ = find_sources(deblend, image, rms, size=size, gain=gain)
    if not len(sources.index):
        return _NOTHING
    row = match(position, flux, sources.positions(size))
    # A binned source has an error of its own beside the network's: see `image.measure`.
    true = np.flatnonzero((row >= 0) & (sources.binning == 1)[row])
    found = jax.tree.map(lambda a: a[row[true]], sources.found)
    noise = np.full(len(true), float(np.median(rms)))
    hidden = sources.hidden_error[row[true]]
    return calibrate_fluxes(flux[true], found, noise, beside=hidden)


def calibrate_fluxes(truth, found, rms, *, beside=0.0) -> Calibration:
    """Calibration of a deblender's results for galaxies of known flux; of few, none.

    Args:
        truth: True flux (n, band).
        found: `Deblended`, in the unit of `truth`.
        rms: Background noise (n, band), in the unit of `truth`.
        beside: Relative error that is added to the network's in quadrature (n, band).
    """
    said = found.flux, found.flux_err, found.purity
    beside = np.broadcast_to(beside, np.shape(truth))
    each = [np.asarray(a, float).ravel() for a in (truth, *said, rms, beside, *found.log_flux)]
    measured = np.isfinite(each[1]) & (each[2] > 0)  # what is not believed has no flux
    truth, flux, error, purity, rms, beside, *stated = (a[measured] for a in each)
    if len(truth) < _FEWEST:
        return _NOTHING
    values = {"brightness": np.log(flux / rms), "purity": logit(purity.clip(1e-6, 1 - 1e-6))}
    residual, beside = np.log(truth / flux), np.arcsinh(beside)
    own = _without(residual, beside)
    found_scale = fit_calibration(own, np.arcsinh(error / flux), **values)
    stated = SinhArcsinh(*stated)
    seen = (*values.values(), values["brightness"] + np.asarray(log_error(stated)))
    log_scale = log_error_factor(found_scale, seen, np.interp)
    own = _without(residual, _WITHIN * beside)
    return found_scale._replace(log_tail=_fit_tail(stated, log_scale, np.log(flux) + own))


def _without(residual, error) -> Float[np.ndarray, " n"]:
    """Residuals that lie within s where the given ones lie within s and an error in quadrature."""
    return np.sign(residual) * np.sqrt((np.square(residual) - np.square(error)).clip(0))


def fit_calibration(
    residual: Float[np.ndarray, " n"],
    std: Float[np.ndarray, " n"],
    brightness: Float[np.ndarray, " n"],
    purity: Float[np.ndarray, " n"],
) -> Calibration:
    """Calibration under which 68 % of validation galaxies lie within one standard deviation.

    In each bin of each estimate, in turn and four times over, the factor brings the 68 % quantile
    of the standardised residuals to one (bins of equal count).

    Args:
        residual: ln(true flux) - mean of ln(flux).
        std: The posterior's standard deviation of ln(flux).
        brightness: Estimate of ln(flux / background rms).
        purity: Estimate of the logit of the purity.
    """
    z = np.abs(residual / std)
    values = brightness, purity, brightness + np.log(std)
    zeros = np.zeros(_BINS)
    found = Calibration(*(a for value in values for a in (_knots(value), zeros)), np.zeros(1))
    for _ in range(_ROUNDS):
        for name, value in zip(ESTIMATES, values, strict=True):
            scaled = z / np.exp(log_error_factor(found, values, np.interp))
            bins = np.searchsorted(np.quantile(value, np.linspace(0, 1, _BINS + 1)[1:-1]), value)
            change = np.array([_missing(scaled[bins == b]) for b in range(_BINS)])
            key = f"{name}_log_scale"
            found = found._replace(**{key: getattr(found, key) + change})
    return Calibration(*(np.asarray(a, np.float32) for a in found))


def _fit_tail(stated: SinhArcsinh, log_scale, log_truth) -> Float[np.ndarray, " one"]:
    """Change of ln d by which the central 95 % interval holds that share; the 68 % one stays."""
    scores = (normal_score(rescaled(stated, log_scale, t), log_truth) for t in _TAILS)
    covered = np.array([np.mean(np.abs(np.asarray(z)) < _WITHIN) for z in scores])
    return _TAILS[[np.argmin(np.abs(covered - _NINETY_FIVE))]].astype(np.float32)


def _missing(z) -> float:
    """Ln of the factor that brings the 68 % quantile of |z| to one; not below a hundredth."""
    return np.log(np.quantile(z, _SIXTY_EIGHT).clip(0.01)) if len(z) >= _FEWEST else 0.0


def _knots(value) -> Float[np.ndarray, " knot"]:
    """Medians of bins of equal count."""
    middle = (np.arange(_BINS) + 0.5) / _BINS
    return np.quantile(value, middle).astype(np.float32)
