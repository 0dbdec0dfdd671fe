"""Galaxies that share pixels, measured together, and those that they hide found.

All galaxies of an image are looked at, several times over, each less its neighbours' light. What
then stands out of the residual was hidden by a brighter galaxy: it joins the others, and all are
looked at again.
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from vaedeblend.deblend import missed
from vaedeblend.deblend.detect import members
from vaedeblend.deblend.iterative import light_of, measure
from vaedeblend.deblend.network import Deblend, Deblended
from vaedeblend.pixels.shapes import measure_shapes
from vaedeblend.pixels.stamps import Frames
from vaedeblend.survey import stamp_centre

_SURE = 2.5
"""Flux of a source found on the residual that is believed, in units of its error."""

_LARGEST = {1: 7.0, 2: 5.0}
"""Half-light radius from which on a galaxy is better seen on pixels twice as large, by binning
[pixel of the stamp]."""
_INNER, _OUTER = (10, 20), (24, 32)
"""Rings of a stamp [pixel]: a galaxy whose profile is too small leaves light in the inner one."""
_LEFT, _LEFT_SURE, _LEFT_FROM = 0.05, 4.0, 300.0
"""Such light that is too much, as a share of the flux and over its error; and the flux from which
on it is looked for [background rms]."""


class Sources(NamedTuple):
    """Galaxies of one or several images, as they are found at the last look."""

    index: Int[np.ndarray, " source"]
    """Image of each."""
    corner: Int[np.ndarray, "source 2"]
    """(y, x) of the first pixel of each stamp, which may reach out of the image."""
    found: Deblended
    binning: Int[np.ndarray, " source"]
    """Of each stamp; see `pixels.stamps`."""
    hidden: Bool[np.ndarray, " source"]
    """Found behind others: on the sharpened image, or on the residual."""


def find_and_measure(
    deblend: Deblend,
    frames: Frames,
    index: Int[np.ndarray, " source"],
    corner: Int[np.ndarray, "source 2"],
    *,
    passes: int = 2,
    fixed: Bool[np.ndarray, " source"] | None = None,
    **options,
) -> Sources:
    """Measures sources, then those that they hid, until nothing new stands out.

    Close companions are found on the sharpened image, others on the residual: both with more doubt
    where a first look has left much of a galaxy's light in the residual, which then has arms and
    knots. Those of either that are measured to be hardly there are forgotten, and their neighbours
    measured again without them.

    A galaxy that turns out to be too large for its stamp is measured anew on a binned one. The
    blend moves the centres of its detections: a galaxy whose light turns out to lie beside its
    stamp's central pixel is measured anew on a stamp a pixel further.

    Args:
        deblend: See `network.make_deblend`.
        frames: The images.
        index: See `Sources`.
        corner: The same.
        passes: Searches of the residual, at most; 0 for none, nor of the sharpened image.
        fixed: Sources whose stamps stay where they are.
        **options: Of `measure`.
    """
    n = len(index)
    binning = np.ones(len(index), int)
    look = partial(measure, deblend, frames, **options)
    found = look(index, corner)
    while (large := _large(frames, index, corner, binning, found)).any():
        binning = np.where(large, 2 * binning, binning)
        found = look(index, corner, binning=binning, found=found, stale=large)
    free = np.ones(len(index), bool)
    free[:n] = True if fixed is None else ~fixed
    for search in (missed.close, *passes * [missed.hidden]) if passes else ():
        shift = _shift(found, binning) * free[:, None]
        at, new = search(frames, index, corner, binning, found)
        stale = np.concatenate([shift.any(axis=1), np.ones(len(at), bool)])
        if not stale.any():
            if search is missed.hidden:
                break  # another search would find nothing, either
            continue
        index, corner = np.concatenate([index, at]), np.concatenate([corner + shift, new])
        binning, free = (np.concatenate([a, np.ones(len(at), a.dtype)]) for a in (binning, free))
        found = look(index, corner, binning=binning, found=found, stale=stale)
    hidden = np.arange(len(index)) >= n
    no_error = found.flux_err == 0  # beside pixels far brighter than any trained on
    doubtful = hidden & (no_error | (found.flux < _SURE * found.flux_err)).all(axis=1)
    if doubtful.any():
        near = cKDTree(frames.apart(index, corner))
        touched = near.query_ball_point(near.data[doubtful], frames.size / 2, p=np.inf)
        stale = np.isin(np.arange(len(index)), np.concatenate(touched))[~doubtful]
        index, corner, binning, hidden = (a[~doubtful] for a in (index, corner, binning, hidden))
        known = jax.tree.map(lambda a: a[~doubtful], found)
        found = look(index, corner, binning=binning, found=known, stale=stale)
    return Sources(index, corner, found, binning, hidden)


def _large(frames: Frames, index, corner, binning, found: Deblended) -> Bool[np.ndarray, " source"]:
    """Whether the light is too large for its stamp, and may be seen from farther away.

    Half of it lies outside of a circle, or the network's profile leaves too much in the residual.
    """
    large = 2 * binning <= frames.most
    if large.any():
        size, bands = found.image.shape[-2:]
        radius = _radius(size)[..., None].repeat(bands, axis=-1).ravel()
        limits = *_LARGEST.values(), np.inf
        circles = np.stack([radius < limit for limit in limits], axis=1, dtype=np.float32)
        *within, total = (found.image.reshape(-1, radius.size) @ circles).T
        half = [(binning == n) & (w < total / 2) for n, w in zip(_LARGEST, within, strict=True)]
        large &= (total > 0) & np.any(half, axis=0) | _left(frames, index, corner, binning, found)
    return large


def _left(frames: Frames, index, corner, binning, found: Deblended) -> Bool[np.ndarray, " source"]:
    """Whether the residual about a galaxy fades outwards, as the galaxy's own light does.

    Medians of rings in the first band: companions hardly move them, and an even sky not at all. A
    galaxy beside a brighter one does not count, whose light it may be, nor one on a binned stamp,
    which reaches far enough for others' light.
    """
    rms = np.sqrt(np.min(frames.variance))
    place, flux = frames.apart(index, corner), np.nan_to_num(found.flux[:, 0])
    rows = np.flatnonzero((binning == 1) & (flux > _LEFT_FROM * rms))
    near = cKDTree(place).query_ball_point(place[rows], frames.size, p=np.inf)
    rows = rows[[flux[others].max() == flux[i] for i, others in zip(rows, near, strict=True)]]
    model = frames.paste(light_of(found), index, corner, binning)
    at = index[rows], corner[rows], binning[rows]
    residual, variance = frames.cut(frames.image - model, *at), frames.noise(*at)
    radius = _radius(frames.size) * 64 / frames.size
    inner, outer = ((radius >= low) & (radius < high) for low, high in (_INNER, _OUTER))
    left = np.zeros(len(index), bool)
    for i, light, noise in zip(rows, residual[..., 0], variance[..., 0], strict=True):
        error = 1.2533 * np.sqrt(np.median(noise) * (1 / inner.sum() + 1 / outer.sum()))
        least = max(_LEFT * flux[i] / inner.sum(), _LEFT_SURE * error)
        left[i] = np.median(light[inner]) - np.median(light[outer]) > least
    return left


def _radius(size: int) -> Float[np.ndarray, "size size"]:
    """Of a stamp's pixels [pixel]."""
    offset = np.arange(size) - stamp_centre(size)
    return np.hypot(offset[:, None], offset)


def _shift(found: Deblended, binning) -> Int[np.ndarray, "source 2"]:
    """By how many pixels, at most one of the stamp's, the light lies off the central pixel."""
    light = light_of(found).sum(axis=-1)
    centre = measure_shapes(light, light.sum(axis=(1, 2))).centre
    return (np.nan_to_num(centre).clip(-1, 1) * binning[:, None]).round().astype(int)


def make_deblend_stamps(deblend: Deblend, *, passes: int = 2, **others) -> Deblend:
    """The function `(image, variance, mask=None, psf=None, gain=None) -> Deblended`.

    It measures the central galaxy of each stamp, as `deblend` does, but at several looks, and
    beside it the galaxies that `detect.members` finds in the first band, and those behind them.

    Args:
        deblend: See `network.make_deblend`.
        passes: Of `find_and_measure`.
        **others: Of `measure`.
    """

    def deblend_stamps(image, variance, mask=None, psf=None, gain=None) -> Deblended:
        variance = np.broadcast_to(variance, image.shape)
        if mask is not None:
            mask = mask if mask.ndim == image.ndim else mask[..., None]
            variance = np.where(mask, np.inf, variance)
        index, corner = members(image[..., 0], np.sqrt(variance[..., 0]))
        frames = Frames(image, variance, size=image.shape[1], psf=psf, gain=gain)
        central = (corner == 0).all(axis=1)
        options = {"passes": passes, "fixed": central} | others
        sources = find_and_measure(deblend, frames, index, corner, **options)
        rows = np.flatnonzero(central)
        return jax.tree.map(lambda field: field[rows], sources.found)

    return deblend_stamps
