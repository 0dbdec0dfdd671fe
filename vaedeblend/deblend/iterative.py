"""The network looks at galaxies again, at each less the light that it has found in the others.

Its first look is at stamps as they are. The light that it finds is subtracted from the stamps of
the others, and it looks again, being told what was subtracted. Like CLEAN, but every component is
a galaxy of the learned kind. Neighbours that give way to each other would swing to and fro, so that
only half of each correction is taken.
"""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from vaedeblend.deblend.network import Deblend, Deblended
from vaedeblend.pixels.stamps import Frames
from vaedeblend.survey import stamp_centre

_TAKEN = 0.5
"""Share of each look's correction."""

_BOUND = 1e30
"""Of a flux: sums of several still are numbers of single precision."""

_NOTICED = 0.2
"""Change of the neighbours' light in any pixel that is worth another look [background rms]."""


def measure(
    deblend: Deblend,
    frames: Frames,
    index: Int[np.ndarray, " source"],
    corner: Int[np.ndarray, "source 2"],
    *,
    binning: Int[np.ndarray, " source"] | int = 1,
    looks: int = 4,
    batch_size: int = 50,
    found: Deblended | None = None,
    stale: Bool[np.ndarray, " source"] | None = None,
) -> Deblended:
    """The sources as they are found at the last look.

    Args:
        deblend: See `network.make_deblend`.
        frames: The images.
        index: Image of each source.
        corner: (y, x) of the first pixel of each stamp, which may reach out of the image.
        binning: Of each stamp; see `pixels.stamps`.
        looks: At each source, at most; the first is at the stamp as it is. A source whose
            neighbours have not changed is not looked at again.
        batch_size: Of the network.
        found: What is known from before, of the first sources at least.
        stale: Whether that counts for nothing, or there is nothing; then all others begin as found.
    """
    at = index, corner, np.broadcast_to(binning, len(index))
    rows = np.arange(len(index)) if found is None else np.flatnonzero(stale)
    light = np.zeros((len(index), frames.size, frames.size, frames.image.shape[-1]), np.float32)
    shown, share = np.zeros(light.shape, np.float32), 1.0
    told = np.full(len(index), found is None)  # of the neighbours' light: at first, of none
    if found is not None:
        found = _lengthened(found, len(index))
        light[:] = light_of(found)
        light[rows] = 0
    model = frames.paste(light, *at)
    for left in reversed(range(looks if len(rows) else 0)):
        near = frames.beside(*at, rows)
        untold = near[~told[near]]
        shown[untold], _ = _others(frames, model, light, at, untold)
        told[untold] = True
        latest = _look(deblend, frames, at, shown, rows, batch_size)
        found = latest if found is None else _replaced(found, rows, latest)
        if not left:
            break
        correction = share * (light_of(latest) - light[rows])
        light[rows] += correction
        frames.add(model, correction, *(a[rows] for a in at))
        share, (neighbours, lowest) = _TAKEN, _others(frames, model, light, at, near)
        change = np.abs(neighbours - shown[near]).max(axis=(1, 2, 3))
        again = change > _NOTICED * np.sqrt(lowest)
        rows = near[again]
        if not len(rows):
            break
        shown[rows] = neighbours[again]
    return found


def light_of(found: Deblended) -> Float[np.ndarray, "source size size band"]:
    """The image of each source; dark where it could not be measured, or is beyond all bounds."""
    dark = ~(np.abs(found.image.sum(axis=(1, 2, 3))) < _BOUND)  # true of NaN
    return np.where(dark[:, None, None, None], 0, found.image) if dark.any() else found.image


def _others(frames: Frames, model, light, at, rows):
    """The light of others on the stamps of some sources, and the least variance of each stamp."""
    at = tuple(a[rows] for a in at)
    variance = frames.noise(*at)
    others = np.where(np.isfinite(variance), frames.cut(model, *at) - light[rows], 0)
    return others, variance.min(axis=(1, 2, 3))


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


def _lengthened(found: Deblended, n: int) -> Deblended:
    """A copy, with as many sources of which nothing is known as make them n."""
    return jax.tree.map(lambda a: np.pad(a, [(0, n - len(a))] + [(0, 0)] * (a.ndim - 1)), found)


def _replaced(found: Deblended, rows: Int[np.ndarray, " row"], latest: Deblended) -> Deblended:
    """What has been found, in place: the latest of some rows takes the old's."""
    for whole, new in zip(jax.tree.leaves(found), jax.tree.leaves(latest), strict=True):
        whole[rows] = new
    return found
