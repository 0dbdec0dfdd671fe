"""Galaxies that share pixels, measured together, and those that they hide found.

All galaxies of an image are looked at, several times over, each less its neighbours' light. What
then stands out of the residual was hidden by a brighter galaxy: it joins the others, and all are
looked at again.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from vaedeblend.calibration import Calibrations, calibrate
from vaedeblend.deblender import Deblend, Deblended
from vaedeblend.detect import BINNED_ERROR, MODEL_ERROR, detect_close, detect_hidden, members
from vaedeblend.frames import Frames
from vaedeblend.looks import light_of, measure
from vaedeblend.observe import Batch
from vaedeblend.shapes import measure_shapes
from vaedeblend.survey import stamp_centre

_SURE = 2.5
"""Flux of a source found on the residual that is believed, in units of its error."""

_CORE = 8.0
"""What a binned profile leaves this near to its centre is the galaxy's own core [pixel]."""

_STUDIED, _MISFIT = 500.0, 3.0
"""Flux of galaxies whose residual tells how wrong their model is [background rms]; and how many
times their typical error a galaxy's light may be wrong in some pixel."""

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
    """Of each stamp; see `frames`."""
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

    Close companions that show on the sharpened image alone are measured from the start, others are
    found on the residual. Those of either that are measured to be hardly there are forgotten, and
    their neighbours measured again without them.

    A galaxy that turns out to be too large for its stamp is measured anew on a binned one. The
    blend moves the centres of its detections: a galaxy whose light turns out to lie beside its
    stamp's central pixel is measured anew on a stamp a pixel further.

    Args:
        deblend: See `deblender.make_deblend`.
        frames: The images.
        index: See `Sources`.
        corner: The same.
        passes: Searches of the residual, at most; 0 for none, nor of the sharpened image.
        fixed: Sources whose stamps stay where they are.
        **options: Of `measure`.
    """
    n = len(index)
    if passes:
        at, new = _close(frames, index, corner)
        index, corner = np.concatenate([index, at]), np.concatenate([corner, new])
    binning = np.ones(len(index), int)
    look = partial(measure, deblend, frames, **options)
    found = look(index, corner)
    while (large := _large(frames, index, corner, binning, found)).any():
        binning = np.where(large, 2 * binning, binning)
        found = look(index, corner, binning=binning, found=found, stale=large)
    free = np.ones(len(index), bool)
    free[:n] = True if fixed is None else ~fixed
    for _ in range(passes):
        shift = _shift(found, binning) * free[:, None]
        at, new = _hidden(frames, index, corner, binning, found)
        stale = np.concatenate([shift.any(axis=1), np.ones(len(at), bool)])
        if not stale.any():
            break
        index, corner = np.concatenate([index, at]), np.concatenate([corner + shift, new])
        binning, free = (np.concatenate([a, np.ones(len(at), a.dtype)]) for a in (binning, free))
        found = look(index, corner, binning=binning, found=found, stale=stale)
    hidden = np.arange(len(index)) >= n
    no_error = found.flux_err == 0  # beside pixels far brighter than any trained on
    doubtful = hidden & (no_error | (found.flux < _SURE * found.flux_err)).all(axis=1)
    if doubtful.any():
        near = cKDTree(_apart(index, corner, frames.size))
        touched = near.query_ball_point(near.data[doubtful], frames.size / 2, p=np.inf)
        stale = np.isin(np.arange(len(index)), np.concatenate(touched))[~doubtful]
        index, corner, binning, hidden = (a[~doubtful] for a in (index, corner, binning, hidden))
        known = jax.tree.map(lambda a: a[~doubtful], found)
        found = look(index, corner, binning=binning, found=known, stale=stale)
    return Sources(index, corner, found, binning, hidden)


def _apart(index, corner, size: int) -> Int[np.ndarray, "source 3"]:
    """Corners, with images far from each other along a third axis."""
    return np.concatenate([corner, 2 * size * index[:, None]], axis=1)


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
    place, flux = _apart(index, corner, frames.size), np.nan_to_num(found.flux[:, 0])
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


def _close(frames: Frames, index, corner):
    """Image and corner of close companions, which show on the first band's sharpened image."""
    image, variance = frames.inner(frames.image)[..., 0], frames.inner(frames.variance)[..., 0]
    gain = np.inf if frames.gain is None else frames.gain[:, None, None, 0]
    doubt = np.sqrt(variance + image.clip(0) / gain)
    at, position = detect_close(image, doubt, index, corner + stamp_centre(frames.size))
    return at, np.rint(position - stamp_centre(frames.size)).astype(int)


def _hidden(frames: Frames, index, corner, binning, found: Deblended):
    """Image and corner of the sources that stand out of the first band's residual."""
    light = light_of(found)
    model = frames.paste(light, index, corner, binning)
    share = np.where(binning > 1, BINNED_ERROR, MODEL_ERROR).astype(np.float32)
    share = np.maximum(share, _misfit(frames, index, corner, binning, light, model))
    error = frames.paste(light * share[:, None, None, None], index, corner, binning)
    model, error = frames.inner(model), frames.inner(error)
    image, variance = frames.inner(frames.image), frames.inner(frames.variance)
    gain = np.inf if frames.gain is None else frames.gain[:, None, None]
    doubt = np.sqrt(variance + model.clip(0) / gain + np.square(error))
    at, position = detect_hidden((image - model)[..., 0], doubt[..., 0])
    new = np.rint(position - stamp_centre(frames.size)).astype(int)
    wide = binning > 1
    own = _apart(index[wide], corner[wide], frames.size)
    near = cKDTree(own).query_ball_point(_apart(at, new, frames.size), _CORE, return_length=True)
    return at[near == 0], new[near == 0]


def _misfit(frames: Frames, index, corner, binning, light, model) -> Float[np.ndarray, " source"]:
    """Error of each galaxy's modelled light as its residual tells, a share of it; 0 of faint ones.

    It is the first band's, typical of the pixels where the light exceeds its noise: a companion
    hidden somewhere hardly moves a median, arms and knots everywhere do.
    """
    rms = np.sqrt(np.min(frames.variance))
    rows = np.flatnonzero(light.sum(axis=(1, 2))[:, 0] > _STUDIED * rms)
    at = index[rows], corner[rows], binning[rows]
    residual, variance = frames.cut(frames.image - model, *at), frames.noise(*at)
    gain = np.inf if frames.gain is None else frames.gain[index[rows], 0][:, None, None]
    misfit = np.zeros(len(index), np.float32)
    own, wrong = light[rows][..., 0], np.square(residual[..., 0])
    noise = variance[..., 0] + frames.cut(model, *at)[..., 0].clip(0) / gain
    for i, its, square, expected in zip(rows, own, wrong, noise, strict=True):
        seen = its > np.sqrt(expected)
        if seen.any():
            ratio = (square[seen] - 0.455 * expected[seen]) / np.square(its[seen])
            misfit[i] = _MISFIT * np.sqrt(max(np.median(ratio), 0) / 0.455)
    return misfit


def make_deblend_stamps(deblend: Deblend, *, passes: int = 2, **others) -> Deblend:
    """The function `(image, variance, mask=None, psf=None, gain=None) -> Deblended`.

    It measures the central galaxy of each stamp, as `deblend` does, but at several looks, and
    beside it the galaxies that `detect.members` finds in the first band, and those behind them.

    Args:
        deblend: See `deblender.make_deblend`.
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


def calibrate_looks(deblend: Deblend, batches: Sequence[Batch]) -> Calibrations:
    """The calibrations of a deblender's first look at a stamp, and of its last.

    Args:
        deblend: Without a calibration.
        batches: Of validation galaxies; see `calibration.calibrate`.
    """
    again = calibrate(make_deblend_stamps(deblend), batches)
    return Calibrations(calibrate(deblend, batches), again, again)
