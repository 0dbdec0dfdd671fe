"""What the residual of a band tells: how much its noise scatters, and what VIS does not show."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float
from scipy import fft
from scipy.ndimage import maximum_filter

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


def sky_and_unseen(
    forms: Sequence[Float[np.ndarray, "_ _"]], residual: Residual
) -> tuple[Float[np.ndarray, "k form"], Table]:
    """What is left on the sky of the core, and where.

    Args:
        forms: What is fitted, of odd sizes: a point's light, and wider ones.
        residual: The window.

    Returns:
        Fluxes over their errors of each form, evenly over the core, NaN where sources have light;
        and peaks, as points: y and x on the window, flux and flux_err.
    """
    inner = residual.inner
    places = np.zeros_like(inner)
    step = max(len(forms[0]) // 3, int(np.sqrt(inner.size / _SKIES)))
    places[::step, ::step] = True
    columns, unseen = [], None
    for fitted in _fits(forms, residual):
        dark = np.abs(fitted.light) < _DARK
        columns.append(np.where(dark, fitted.ratio, np.nan)[places & inner])
        if unseen is None:
            unseen = _peaks(fitted, len(forms[0]) // 3, inner)
    return np.stack(columns, axis=1), unseen


def _peaks(fitted: _Fitted, width: int, inner) -> Table:
    """Highest of the pixels of a box, where that is clear."""
    ratio = np.nan_to_num(fitted.ratio)
    peak = (ratio == maximum_filter(ratio, width)) & (ratio > _SEEN) & inner
    at = np.nonzero(peak & (ratio > _SHARE * np.abs(fitted.light)))
    y, x = (axis.astype(float) for axis in at)
    return Table({"y": y, "x": x, "flux": (ratio * fitted.error)[at], "flux_err": fitted.error[at]})


def _fits(forms, residual: Residual) -> Iterator[_Fitted]:
    """Each form, fitted about each pixel."""
    weight, height = residual.weight, residual.weight.shape
    shape = [fft.next_fast_len(n + max(map(len, forms)) - 1, real=True) for n in height]
    images = weight > 0, weight, weight * residual.image, weight * residual.model
    transfers = [fft.rfft2(image.astype(float), shape) for image in images]
    for form in forms:
        half = len(form) // 2
        own = tuple(slice(half, half + n) for n in height)
        shapes = [fft.rfft2(each[::-1, ::-1], shape) for each in (form, form**2)]
        covered, norm, left, light = (
            fft.irfft2(transfer * shapes[k], shape)[own]
            for transfer, k in zip(transfers, (0, 1, 0, 0), strict=True)
        )
        known = (covered > 0.99 * form.sum()) & (norm > 0)
        error = 1 / np.sqrt(np.where(known, norm, np.nan))
        yield _Fitted(left * error, light * error, error)
