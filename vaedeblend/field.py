"""A piece of an image: all galaxies found on it, and measured together.

image, rms --detect--> positions --together--> light of each galaxy --groups, shapes--> table
"""

from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float, Int

from vaedeblend.deblender import Deblend, Deblended
from vaedeblend.detect import detect
from vaedeblend.frames import Frames, PsfAt
from vaedeblend.groups import Groups, find_groups
from vaedeblend.shapes import measure_shapes
from vaedeblend.survey import stamp_centre
from vaedeblend.tails import Tailed
from vaedeblend.together import Sources, find_and_measure

FLAGS = {
    1: ("edge", "a tenth or more of the light lies beyond the image"),
    2: ("masked", "a tenth or more of the light lies on pixels to be ignored"),
    4: ("large", "the stamp holds less than nine tenths of the light"),
    8: ("bright", "the galaxy, or a pixel near its centre, is brighter than any trained on"),
    16: (
        "poor",
        "the residual under the galaxy is far from noise (chi2 above 3), or no error told",
    ),
    32: ("unmeasured", "no valid pixel: flux and all else are NaN"),
}
"""Bits of the column flags: name and meaning."""

BRIGHTEST = 5e4
"""Flux of the brightest galaxies trained on, of 19 mag in the wide survey [background rms]."""

_PEAK, _NEAR = 0.2, 4
"""Share of a point source's flux in its brightest pixel; the distance of a pixel nearby [pixel]."""

_SHARE, _CAPTURED, _POOR = 0.1, 0.9, 3.0
_FOOTPRINT = 1.0
"""Light above this belongs to a galaxy's footprint [background rms]."""


class Measured(NamedTuple):
    """The sources of a piece of an image."""

    table: Table
    """One row a source: position (y, x), flux, flux_err, purity, n_neighbours,
    half_light_radius [pixel], axis_ratio, chi2, captured, hidden, flags."""
    stamps: Float[np.ndarray, "n size size"]
    """Light of each source in the image's unit, on the image's pixels."""
    corner: Int[np.ndarray, "n 2"]
    """(y, x) of each stamp's first pixel."""
    groups: Groups


def measure_field(
    deblend: Deblend,
    image: Float[np.ndarray, "height width"],
    rms: Float[np.ndarray, "height width"],
    *,
    size: int,
    positions: Float[np.ndarray, "n 2"] | None = None,
    passes: int = 2,
    psf: PsfAt | Float[np.ndarray, "side side band"] | None = None,
    gain: float | None = None,
    looks: int = 4,
) -> Measured:
    """Finds and measures all sources of an image in one band.

    Args:
        deblend: See `deblender.make_deblend`, of one band.
        image: Background subtracted.
        rms: The background's; infinite where a pixel is to be ignored.
        size: Of the stamps that `deblend` takes [pixel].
        positions: (y, x) of the sources; by default they are detected.
        passes: Searches of the residual for sources that others hide.
        psf: Of `together.Frames`.
        gain: Electrons per image unit.
        looks: See `together.measure`.
    """
    if positions is None:
        positions = detect(image, rms)
    corner = np.rint(positions - stamp_centre(size)).astype(int)
    frames = Frames(
        image[None, ..., None],
        np.square(rms)[None, ..., None],
        size=size,
        psf=psf,
        gain=gain,
    )
    sources = _nothing(size)
    if len(corner):
        index = np.zeros(len(corner), int)
        options = {"passes": passes, "looks": looks}
        sources = find_and_measure(deblend, frames, index, corner, **options)
    return _described(frames, sources)


def _described(frames: Frames, sources: Sources) -> Measured:
    """The table of sources whose light is known."""
    index, corner, found, hidden = sources
    light = np.nan_to_num(found.image)
    canvas = frames.paste(light, index, corner)
    image, background, model = (
        frames.inner(a)[0, ..., 0] for a in (frames.image, frames.variance, canvas)
    )
    variance = frames.cut(frames.variance, index, corner)[..., 0]
    total = frames.cut(canvas, index, corner)[..., 0]
    stamps, flux = light[..., 0], found.flux[:, 0].astype(float)
    footprint = footprints(stamps, corner, np.sqrt(background))
    groups, shapes = find_groups(stamps, corner, variance), measure_shapes(stamps, flux)
    columns = {
        "position": corner + stamp_centre(frames.size) + np.nan_to_num(shapes.centre),
        "flux": flux,
        "flux_err": found.flux_err[:, 0].astype(float),
        "purity": _ratio(_product(stamps, stamps), _product(stamps, total)),
        "n_neighbours": groups.neighbours,
        "half_light_radius": shapes.half_light_radius,
        "axis_ratio": shapes.axis_ratio,
        "chi2": _chi2(footprint, image, model, background, frames.gain, len(flux)),
        "captured": _ratio(stamps.sum(axis=(1, 2), dtype=float), flux),
        "hidden": hidden,
    }
    near = slice(frames.size // 2 - _NEAR, frames.size // 2 + _NEAR)
    peak = frames.cut(frames.image, index, corner)[:, near, near, 0].max(axis=(1, 2), initial=0)
    columns["flags"] = _flags(columns, stamps, corner, variance, peak, model.shape)
    return Measured(Table(columns), stamps, corner, groups)


def _flags(columns, stamps, corner, variance, peak, shape) -> Int[np.ndarray, " n"]:
    """Bits of `FLAGS`."""
    row, column = (corner[:, axis, None] + np.arange(stamps.shape[1]) for axis in (0, 1))
    rows, inside = ((at >= 0) & (at < n) for at, n in ((row, shape[0]), (column, shape[1])))
    on_image = rows[:, :, None] & inside[:, None, :]
    total = stamps.sum(axis=(1, 2), dtype=float)
    valid = np.isfinite(variance)
    lost = 1 - _ratio(_product(stamps, on_image), total)
    masked = _ratio(_product(stamps, on_image & ~valid), total)
    lowest = np.sqrt(np.min(variance, axis=(1, 2), initial=np.inf))
    bits = [
        lost > _SHARE,
        masked > _SHARE,
        columns["captured"] < _CAPTURED,
        np.maximum(columns["flux"], peak / _PEAK) > BRIGHTEST * lowest,
        (columns["chi2"] > _POOR) | (columns["flux_err"] == 0),
        ~np.isfinite(columns["flux"]),
    ]
    return sum(
        (bit * value for bit, value in zip(bits, FLAGS, strict=True)), np.zeros(len(total), int)
    )


def footprints(
    stamps: Float[np.ndarray, "n size size"],
    corner: Int[np.ndarray, "n 2"],
    rms: Float[np.ndarray, "height width"],
) -> Int[np.ndarray, "height width"]:
    """Row of the source with the most light in a pixel, from 1; 0 where none exceeds the rms."""
    owner, most = np.zeros(rms.shape, np.int32), _FOOTPRINT * rms
    for i, (stamp, (y, x)) in enumerate(zip(stamps, corner.tolist(), strict=True)):
        size = len(stamp)
        here = np.s_[max(y, 0) : max(y + size, 0), max(x, 0) : max(x + size, 0)]
        seen = stamp[max(-y, 0) :, max(-x, 0) :][: owner[here].shape[0], : owner[here].shape[1]]
        more = seen > most[here]
        owner[here][more], most[here][more] = i + 1, seen[more]
    return owner


def _chi2(footprint, image, model, background, gain, n: int) -> Float[np.ndarray, " n"]:
    """Mean over each source's footprint, which holds valid pixels alone; NaN without any."""
    inside = footprint > 0
    image, model, background, owner = (a[inside] for a in (image, model, background, footprint))
    photons = 0 if gain is None else model.clip(0) / gain[0, 0]
    chi2 = np.square(image - model) / (background + photons)
    sums, counts = (np.bincount(owner, weight, n + 1)[1:] for weight in (chi2, None))
    return _ratio(sums, counts)


def _product(one, other) -> Float[np.ndarray, " n"]:
    return np.einsum("nyx,nyx->n", one, other, dtype=float)


def _ratio(numerator, denominator):
    """NaN where there is nothing to divide by."""
    safe = np.where(denominator == 0, np.nan, denominator)
    return numerator / safe


def _nothing(size: int) -> Sources:
    """No source at all."""
    none = np.zeros((0, 1), np.float32)
    found = Deblended(
        none, none, np.zeros((0, size, size, 1), np.float32), none, none, none, Tailed(*[none] * 4)
    )
    return Sources(np.zeros(0, int), np.zeros((0, 2), int), found, np.zeros(0, bool))
