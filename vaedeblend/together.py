"""Galaxies that share pixels, measured together: each again, without its neighbours' light.

The network is asked for every galaxy of an image; the light that it finds is subtracted from the
stamps of the others, and it looks again, being told what was subtracted. Like CLEAN, but every
component is a galaxy of the learned kind. Neighbours that give way to each other would swing to
and fro, so that only half of each correction is taken. What then stands out of the residual was
hidden by a brighter galaxy: it joins the others, and all look again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int
from scipy.spatial import cKDTree

from vaedeblend.calibration import Calibrations, calibrate
from vaedeblend.deblender import Deblend, Deblended
from vaedeblend.detect import BINNED_ERROR, MODEL_ERROR, detect_hidden, members
from vaedeblend.frames import Frames
from vaedeblend.observe import Batch
from vaedeblend.shapes import Shapes, measure_shapes
from vaedeblend.survey import stamp_centre

_TAKEN = 0.5
"""Share of each look's correction."""

_SURE = 2.5
"""Flux of a source found on the residual that is believed, in units of its error."""

_LARGEST = {1: 7.0, 2: 5.0}
"""Half-light radius from which on a galaxy is better seen on pixels twice as large, by binning
[pixel of the stamp]."""

_NOTICED = 0.2
"""Change of the neighbours' light in any pixel that is worth another look [background rms]."""


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
    """Found on the residual, behind others."""


def measure(
    deblend: Deblend,
    frames: Frames,
    index: Int[np.ndarray, " source"],
    corner: Int[np.ndarray, "source 2"],
    *,
    binning: Int[np.ndarray, " source"] | int = 1,
    looks: int = 4,
    batch_size: int = 100,
    start: Deblended | None = None,
) -> Deblended:
    """The sources as they are found at the last look.

    Args:
        deblend: See `deblender.make_deblend`.
        frames: The images.
        index: See `Sources`.
        corner: The same.
        binning: The same.
        looks: At each source, at most; the first is at the stamp as it is. A source whose
            neighbours have not changed is not looked at again.
        batch_size: Of the network.
        start: What has been found of the first sources before.
    """
    at = index, corner, np.broadcast_to(binning, len(index))
    variance = frames.noise(*at)
    valid = np.isfinite(variance)
    noticed = _NOTICED * np.sqrt(variance.min(axis=(1, 2, 3), keepdims=True))
    known = 0 if start is None else len(start.flux)
    found, light = start, np.zeros(variance.shape, np.float32)
    del variance
    if known:
        light[:known] = np.nan_to_num(start.image)

    def of_others():
        model = frames.paste(light, *at)
        return np.where(valid, frames.cut(model, *at) - light, 0)

    shown = of_others() if known else np.zeros_like(light)
    rows, share = np.arange(known, len(index)), 1.0
    for left in reversed(range(looks if len(rows) else 0)):
        latest = _look(deblend, frames, at, shown, rows, batch_size)
        found = _updated(found, rows, latest)
        if not left:
            break
        light[rows] += share * (np.nan_to_num(latest.image) - light[rows])
        share, neighbours = _TAKEN, of_others()
        rows = np.flatnonzero((np.abs(neighbours - shown) > noticed).any(axis=(1, 2, 3)))
        if not len(rows):
            break
        shown[rows] = neighbours[rows]
    return found


def _look(deblend, frames: Frames, at, shown, rows, batch_size: int) -> Deblended:
    """What the network says of some sources less their neighbours' light, which it is shown.

    Binned stamps are told the PSF as it is: of galaxies so large it hardly matters.
    """
    parts = []
    for some in np.split(rows, range(batch_size, len(rows), batch_size)):
        (index, corner, binning), neighbours = (a[some] for a in at), shown[some]
        arrays = {
            "image": frames.cut(frames.image, index, corner, binning) - neighbours,
            "variance": frames.noise(index, corner, binning),
            "neighbours": neighbours,
            "gain": None if frames.gain is None else frames.gain[index],
        }
        psf = frames.psf
        if callable(psf):
            arrays["psf"], psf = psf(index, corner + stamp_centre(frames.size)), None
        function = deblend if psf is None else partial(deblend, psf=psf)
        parts.append(in_batches(function, arrays, batch_size))
    return jax.tree.map(lambda *fields: np.concatenate(fields), *parts)


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

    What is found on a residual and then measured to be hardly there is forgotten, and its
    neighbours are measured again without it.

    A galaxy that turns out to be too large for its stamp is measured anew on a binned one. The
    blend moves the centres of its detections: a galaxy whose light turns out to lie beside its
    stamp's central pixel is measured anew on a stamp a pixel further.

    Args:
        deblend: See `deblender.make_deblend`.
        frames: The images.
        index: See `Sources`.
        corner: The same.
        passes: Searches of the residual, at most.
        fixed: Sources whose stamps stay where they are.
        **options: Of `measure`.
    """
    n, binning = len(index), np.ones(len(index), int)
    found = measure(deblend, frames, index, corner, **options)
    again = partial(_again, deblend, frames, options)
    while (large := _large(found, binning) & (2 * binning <= frames.most)).any():
        binning = np.where(large, 2 * binning, binning)
        found = again(index, corner, binning, found, large)
    free = np.ones(n, bool) if fixed is None else ~fixed
    for _ in range(passes):
        shift = _shift(found, binning) * free[:, None]
        at, new = _hidden(frames, index, corner, binning, found)
        stale = np.concatenate([shift.any(axis=1), np.ones(len(at), bool)])
        if not stale.any():
            break
        index, corner = np.concatenate([index, at]), np.concatenate([corner + shift, new])
        binning, free = (np.concatenate([a, np.ones(len(at), a.dtype)]) for a in (binning, free))
        found = again(index, corner, binning, found, stale)
    hidden = np.arange(len(index)) >= n
    no_error = found.flux_err == 0  # beside pixels far brighter than any trained on
    doubtful = hidden & (no_error | (found.flux < _SURE * found.flux_err)).all(axis=1)
    if doubtful.any():
        near = cKDTree(_apart(index, corner, frames.size))
        touched = near.query_ball_point(near.data[doubtful], frames.size / 2, p=np.inf)
        stale = np.isin(np.arange(len(index)), np.concatenate(touched))[~doubtful]
        index, corner, binning, hidden = (a[~doubtful] for a in (index, corner, binning, hidden))
        known = jax.tree.map(lambda a: a[~doubtful], found)
        found = again(index, corner, binning, known, stale)
    return Sources(index, corner, found, binning, hidden)


def _again(
    deblend, frames: Frames, options, index, corner, binning, found: Deblended, stale
) -> Deblended:
    """All sources: stale and new ones are measured anew, the others as they were found."""
    order = np.argsort(stale, kind="stable")
    start = jax.tree.map(lambda field: field[~stale[: len(field)]], found)
    index, corner, binning = (a[order] for a in (index, corner, binning))
    latest = measure(deblend, frames, index, corner, binning=binning, start=start, **options)
    return jax.tree.map(lambda field: field[np.argsort(order)], latest)


def _apart(index, corner, size: int) -> Int[np.ndarray, "source 3"]:
    """Corners, with images far from each other along a third axis."""
    return np.concatenate([corner, 2 * size * index[:, None]], axis=1)


def _large(found: Deblended, binning) -> Bool[np.ndarray, " source"]:
    """Whether the light is too large for its stamp."""
    limit = np.array([_LARGEST.get(n, np.inf) for n in binning.tolist()])
    return _shapes(found).half_light_radius > limit


def _shift(found: Deblended, binning) -> Int[np.ndarray, "source 2"]:
    """By how many pixels, at most one of the stamp's, the light lies off the central pixel."""
    centre = np.nan_to_num(_shapes(found).centre).clip(-1, 1)
    return (centre * binning[:, None]).round().astype(int)


def _shapes(found: Deblended) -> Shapes:
    light = np.nan_to_num(found.image).sum(axis=-1)
    return measure_shapes(light, light.sum(axis=(1, 2)))


def _hidden(frames: Frames, index, corner, binning, found: Deblended):
    """Image and corner of the sources that stand out of the first band's residual."""
    light = np.nan_to_num(found.image)
    share = np.where(binning > 1, BINNED_ERROR, MODEL_ERROR).astype(np.float32)
    model, error = (
        frames.inner(frames.paste(each, index, corner, binning))
        for each in (light, light * share[:, None, None, None])
    )
    image, variance = frames.inner(frames.image), frames.inner(frames.variance)
    gain = np.inf if frames.gain is None else frames.gain[:, None, None]
    doubt = np.sqrt(variance + model.clip(0) / gain + np.square(error))
    at, position = detect_hidden((image - model)[..., 0], doubt[..., 0])
    return at, np.rint(position - stamp_centre(frames.size)).astype(int)


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
    again = make_deblend_stamps(deblend)
    return Calibrations(calibrate(deblend, batches), calibrate(again, batches))


def in_batches(deblend: Callable, arrays: dict[str, np.ndarray | None], size: int) -> tuple:
    """What a deblender returns of batches of one size, so that it compiles once; as host arrays.

    The last batch is filled up, and the result cut.
    """
    parts = []
    arrays = {name: a for name, a in arrays.items() if a is not None}
    for start in range(0, len(arrays["image"]), size):
        batch = {name: a[start : start + size] for name, a in arrays.items()}
        result = deblend(**{name: np.resize(a, (size, *a.shape[1:])) for name, a in batch.items()})
        parts.append(jax.device_get(result))
    n = len(arrays["image"])
    return jax.tree.map(lambda *fields: np.concatenate(fields)[:n], *parts)


def _updated(found: Deblended | None, rows: Int[np.ndarray, " row"], latest: Deblended):
    """What has been found, with the latest of some rows: new ones at the end, or known ones."""
    if found is None:
        return latest

    def put(old, new):
        whole = np.concatenate([old, new])[: max(len(old), rows[-1] + 1)]
        whole[rows] = new
        return whole

    return jax.tree.map(put, found, latest)
