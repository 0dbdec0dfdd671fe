"""What the residual of a band tells: how much its noise scatters, and what VIS does not show."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

_SKIES = 4000
"""Places on the sky at which a piece's noise is sampled, at most."""
_DARK = 0.5
"""Largest flux of all sources over a point's error where the sky is."""
_SEEN, _SHARE = 4.0, 0.5
"""Least flux over its error of what may be a source that VIS lacks, and least share of the light of
all other sources there: what bright ones leave is none."""


class Residual(NamedTuple):
    """The window of a piece, less all sources and the background."""

    image: Float[np.ndarray, "h w"]
    weight: Float[np.ndarray, "h w"]
    """Inverse variance; 0 where a pixel does not count."""
    model: Float[np.ndarray, "h w"]
    """Light of all sources."""
    inner: Bool[np.ndarray, "h w"]
    """Valid pixels of the piece's core."""


class _Fitted(NamedTuple):
    """A form fitted about each pixel."""

    ratio: Float[np.ndarray, "h w"]
    """Flux over its error; NaN where there are no data."""
    light: Float[np.ndarray, "h w"]
    """The same of the model."""
    error: Float[np.ndarray, "h w"]


def sky_fluxes(
    forms: Sequence[Float[np.ndarray, "_ _"]], residual: Residual
) -> Float[np.ndarray, "k form"]:
    """Fluxes over their errors of each form on the sky of the core, evenly over it.

    Args:
        forms: What is fitted, of odd sizes.
        residual: The window. Where its sources have light the result is NaN.
    """
    inner = residual.inner
    places = np.zeros_like(inner)
    step = max(len(forms[0]) // 3, int(np.sqrt(inner.size / _SKIES)))
    places[::step, ::step] = True
    columns = []
    for form in forms:
        fitted = _fit(form, residual)
        dark = np.abs(fitted.light) < _DARK
        columns.append(np.where(dark, fitted.ratio, np.nan)[places & inner])
    return np.stack(columns, axis=1)


def unseen_sources(form: Float[np.ndarray, "_ _"], residual: Residual) -> Table:
    """Peaks of the residual on the core, as points: y and x on the window, flux and flux_err.

    Args:
        form: A point's light, of an odd size.
        residual: The window.
    """
    fitted = _fit(form, residual)
    ratio = np.nan_to_num(fitted.ratio)
    peak = (ratio == maximum_filter(ratio, len(form) // 3)) & (ratio > _SEEN) & residual.inner
    at = np.nonzero(peak & (ratio > _SHARE * np.abs(fitted.light)))
    y, x = (axis.astype(float) for axis in at)
    return Table({"y": y, "x": x, "flux": (ratio * fitted.error)[at], "flux_err": fitted.error[at]})


def _fit(form, residual: Residual) -> _Fitted:
    flipped, weight = form[::-1, ::-1], residual.weight
    norm = fftconvolve(weight, flipped**2, "same")
    covered = fftconvolve((weight > 0).astype(float), flipped, "same") > 0.99 * form.sum()
    known = covered & (norm > 0)
    error = 1 / np.sqrt(np.where(known, norm, np.nan))
    ratio, light = (
        fftconvolve(weight * each, flipped, "same") * error
        for each in (residual.image, residual.model)
    )
    return _Fitted(ratio, light, error)
