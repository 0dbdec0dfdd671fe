"""Galaxies that share pixels, measured together: each again, without its neighbours' light.

The network is asked for every galaxy of an image; the light that it finds is subtracted from the
stamps of the others, and it looks again, being told what was subtracted. Like CLEAN, but every
component is a galaxy of the learned kind. Neighbours that give way to each other would swing to
and fro, so that only half of each correction is taken.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Float, Int

from vaedeblend.calibration import Calibrations, calibrate
from vaedeblend.deblender import Deblend, Deblended
from vaedeblend.detect import members
from vaedeblend.observe import Batch

_TAKEN = 0.5
"""Share of each look's correction."""


def measure(
    deblend: Deblend,
    image: Float[np.ndarray, "frame height width band"],
    variance: Float[np.ndarray, "frame height width band"],
    index: Int[np.ndarray, " source"],
    corner: Int[np.ndarray, "source 2"],
    *,
    size: int,
    looks: int = 4,
    batch_size: int = 250,
    psf: Float[np.ndarray, "side side band"] | None = None,
    gain: Float[np.ndarray, "*frame band"] | float | None = None,
) -> Deblended:
    """The sources of one or several images, as they are found at the last look.

    Args:
        deblend: See `deblender.make_deblend`.
        image: Background subtracted.
        variance: The background's; infinite where a pixel is to be ignored.
        index: Image of each source.
        corner: (y, x) of the first pixel of each source's stamp, which may reach out of the image.
        size: Of the stamps [pixel].
        looks: At each source; the first is at the stamp as it is.
        batch_size: Of the network.
        psf: Of `deblend`.
        gain: Of `deblend`; one for all images, or one for each.
    """
    if gain is not None:
        gain = np.broadcast_to(gain, (len(image), image.shape[-1]))[index]
    canvas = _Canvas(image.shape, index, corner, size)
    variances = canvas.cut(canvas.padded(variance, np.inf))
    valid = np.isfinite(variances)
    whole = np.where(valid, canvas.cut(canvas.padded(image, 0.0)), 0)
    light = np.zeros(variances.shape, np.float32)
    for look in range(looks):
        model = canvas.paste(light)
        neighbours = np.where(valid, canvas.cut(model) - light, 0)
        stamps = whole - neighbours
        arrays = {"image": stamps, "variance": variances, "neighbours": neighbours, "gain": gain}
        found = in_batches(partial(deblend, psf=psf), arrays, batch_size)
        share = _TAKEN if look else 1.0
        light += share * (np.nan_to_num(found.image) - light)
    return found


def make_deblend_stamps(deblend: Deblend, **options) -> Deblend:
    """The function `(image, variance, mask=None, psf=None, gain=None) -> Deblended`.

    It measures the central galaxy of each stamp, as `deblend` does, but at several looks, and
    beside it the galaxies that `detect.members` finds in the first band.

    Args:
        deblend: See `deblender.make_deblend`.
        **options: Of `measure`.
    """

    def deblend_stamps(image, variance, mask=None, psf=None, gain=None) -> Deblended:
        variance = np.broadcast_to(variance, image.shape)
        if mask is not None:
            mask = mask if mask.ndim == image.ndim else mask[..., None]
            variance = np.where(mask, np.inf, variance)
        index, corner = members(image[..., 0], np.sqrt(variance[..., 0]))
        size = image.shape[1]
        sources = {"size": size, "psf": psf, "gain": gain} | options
        found = measure(deblend, image, variance, index, corner, **sources)
        return jax.tree.map(lambda field: field[(corner == 0).all(axis=1)], found)

    return deblend_stamps


def calibrate_looks(deblend: Deblend, batches: Sequence[Batch]) -> Calibrations:
    """The calibrations of a deblender's first look at a stamp, and of its last.

    Args:
        deblend: Without a calibration.
        batches: Of validation galaxies; see `calibration.calibrate`.
    """
    again = make_deblend_stamps(deblend)
    return Calibrations(calibrate(deblend, batches), calibrate(again, batches))


class _Canvas:
    """Stamps of fixed places on padded images."""

    def __init__(self, shape, index, corner, size):
        self.shape, self.index, self.size = shape, index, size
        self.corner = np.clip(corner + size, 0, np.array(shape[1:3]) + size)

    def padded(self, image, outside):
        pad = [(0, 0), (self.size, self.size), (self.size, self.size), (0, 0)]
        return np.pad(np.broadcast_to(image, self.shape), pad, constant_values=outside)

    def _windows(self):
        for i, (y, x) in zip(self.index, self.corner, strict=True):
            yield i, slice(y, y + self.size), slice(x, x + self.size)

    def cut(self, padded) -> Float[np.ndarray, "source size size band"]:
        return np.stack([padded[at] for at in self._windows()])

    def paste(self, stamps) -> Float[np.ndarray, "frame padded_height padded_width band"]:
        canvas = self.padded(np.float32(0), 0.0)
        for at, stamp in zip(self._windows(), stamps, strict=True):
            canvas[at] += stamp
        return canvas


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
