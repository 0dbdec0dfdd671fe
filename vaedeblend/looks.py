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
from jaxtyping import Int

from vaedeblend.deblender import Deblend, Deblended
from vaedeblend.frames import Frames
from vaedeblend.survey import stamp_centre

_TAKEN = 0.5
"""Share of each look's correction."""

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
    batch_size: int = 100,
    start: Deblended | None = None,
) -> Deblended:
    """The sources as they are found at the last look.

    Args:
        deblend: See `deblender.make_deblend`.
        frames: The images.
        index: Image of each source.
        corner: (y, x) of the first pixel of each stamp, which may reach out of the image.
        binning: Of each stamp; see `frames`.
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
