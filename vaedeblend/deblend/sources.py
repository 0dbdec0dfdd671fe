"""Sources of images, and their joint measurement: what `iterative` does, on arrays of any length.

Sources join (`append`), leave (`drop`), move to other stamps (`place`) and are measured again
(`mark`); `measure` brings all of them up to date.
"""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from vaedeblend.deblend.iterative import SourceStamps, State, iterate
from vaedeblend.deblend.network import Deblend, Deblended, Deblender
from vaedeblend.pixels.shapes import Shapes, measure_shapes
from vaedeblend.pixels.stamps import PaddedImages, page_grid, whole_corner
from vaedeblend.survey import stamp_centre

_BATCH = {"cpu": 50}
"""Sources that are measured at a time on a backend: so many that a processor's cache holds them."""
_ACCELERATOR_BATCH = 512

_PART = 0.25
"""Share of the sources up to which those that can change are measured apart from the others."""

_FEWEST, _FEW = 256, 1024
"""Rows that arrays have at least, and up to which they grow by fours, so that few programs are
compiled; from there on by quarters, so that little is filled up."""
_COLUMNS = 64
"""Pages that may overlap a stamp, at least."""


_LEAST_ERROR = 0.01
"""A smaller flux error is no measurement, but a posterior that ran away [background rms]."""

_HIDDEN_ERROR = 0.22
"""Relative flux error of a source that surely hides another: chosen on real galaxies of the part
for validation."""


class Sources(NamedTuple):
    """Sources of one or several images, measured jointly."""

    index: Int[np.ndarray, " source"]
    """Image of each source."""
    corner: Int[np.ndarray, "source 2"]
    """(y, x) of the first pixel of each stamp, which may reach out of the image [pixel]."""
    binning: Int[np.ndarray, " source"]
    """Pixels of the image along each axis of a stamp's pixel; see `pixels.stamps`."""
    p_companion: Float[np.ndarray, " source"]
    """Probability with which it was found beside another; NaN where it was not found so."""
    blend_prob: Float[np.ndarray, " source"]
    """Probability that it hides another; NaN before it is judged."""
    judged: Bool[np.ndarray, " source"]
    """Sources whose companions were sought after their latest measurement."""
    pending: Bool[np.ndarray, " source"]
    """Sources to be measured; what is known of the others holds."""
    fresh: Bool[np.ndarray, " source"]
    """Sources measured since stamps were last placed about their light."""
    count: Int[np.ndarray, " source"]
    """Measurements on the present stamp."""
    origin: Int[np.ndarray, "source 2"]
    """Corner of each source when it was found, before any stamp was shifted [pixel]."""
    neighbours: Float[np.ndarray, "source size size band"]
    """Neighbours' light that was subtracted at the latest measurement."""
    found: Deblended | None
    """Latest measurement, light that is NaN or implausible made dark; None before the first."""

    @property
    def hidden(self) -> Bool[np.ndarray, " source"]:
        """Found beside others, as their companions."""
        return np.isfinite(self.p_companion)

    @property
    def hidden_error(self) -> Float[np.ndarray, " source"]:
        """Relative error of the first band's flux by what a source may hide, beside the network's.

        Its square grows as `blend_prob`, which says how often a flux is that of two; of a source
        that is not judged it is 0.
        """
        return _HIDDEN_ERROR * np.sqrt(np.nan_to_num(self.blend_prob))

    def append(self, index, corner, p_companion) -> "Sources":
        """The sources and companions of theirs, to be measured, on stamps that are not binned.

        Args:
            index: Image of each companion.
            corner: (y, x) of the first pixel of each companion's stamp [pixel].
            p_companion: Probability of each.
        """
        further = make_sources(index, corner, self.neighbours.shape[1:])
        further = further._replace(p_companion=np.asarray(p_companion, float))
        found = self.found and jax.tree.map(lambda a: _padded(a, len(index)), self.found)
        joined = (np.concatenate(pair) for pair in zip(self[:-1], further[:-1], strict=True))
        return Sources(*joined, found)

    def drop(self, gone: Bool[np.ndarray, " source"]) -> "Sources":
        """The sources without some."""
        return jax.tree.map(lambda a: a[~gone], self)

    def mark(self, again: Bool[np.ndarray, " source"]) -> "Sources":
        """The sources, some of them to be measured again."""
        return self._replace(pending=self.pending | again)

    def place(self, corner, binning) -> "Sources":
        """The sources on other stamps; those whose stamp differs lose their light until measured.

        Args:
            corner: (y, x) of each stamp's first pixel [pixel].
            binning: Pixels of the image along each axis of a stamp's pixel.
        """
        moved = (corner != self.corner).any(axis=1) | (binning != self.binning)
        count = np.where(moved, 0, self.count)
        neighbours = np.where(moved[:, None, None, None], 0, self.neighbours)
        changed = {"corner": corner, "binning": binning, "count": count, "neighbours": neighbours}
        return self._replace(**changed).mark(moved)

    def shift(self, pixels: Int[np.ndarray, "source 2"]) -> "Sources":
        """The sources on stamps that lie elsewhere by (y, x); none of them is fresh [pixel]."""
        moved = self.place(self.corner + pixels, self.binning)
        return moved._replace(fresh=np.zeros(len(pixels), bool))

    def positions(self, size: int, shapes: Shapes | None = None) -> Float[np.ndarray, "source 2"]:
        """(y, x) of the light of each source on the image; its shapes, where they are known.

        Args:
            size: Side of a stamp [pixel].
            shapes: Shapes of the sources' light on their stamps.
        """
        if shapes is None:
            light = self.found.image[..., 0]
            shapes = measure_shapes(light, self.found.flux[:, 0].astype(float))
        centre = np.nan_to_num(shapes.centre) * self.binning[:, None]
        return self.corner + stamp_centre(size) + centre


def make_sources(index, corner, shape: tuple[int, int, int]) -> Sources:
    """Sources of which nothing but the place is known.

    Args:
        index: Image of each source.
        corner: (y, x) of the first pixel of each stamp [pixel].
        shape: Height, width and bands of a stamp.
    """
    n = len(index)
    return Sources(
        np.asarray(index),
        np.asarray(corner),
        np.ones(n, int),
        np.full(n, np.nan),
        np.full(n, np.nan),
        np.zeros(n, bool),
        np.ones(n, bool),
        np.zeros(n, bool),
        np.zeros(n, int),
        np.array(corner),
        np.zeros((n, *shape), np.float32),
        None,
    )


def believed(found: Deblended, rms: Float[np.ndarray, " source"]) -> Bool[np.ndarray, " source"]:
    """Whether the first band's flux is a measurement, and no posterior that ran away.

    Args:
        found: What the network found of the sources.
        rms: Background rms about them, infinite where it is not known.
    """
    flux, error = found.flux[:, 0], found.flux_err[:, 0]
    least = np.where(np.isfinite(rms), _LEAST_ERROR * rms, 0)
    return np.isfinite(flux) & np.isfinite(error) & (flux > 0) & (error > least)


def measure(
    deblend: Deblend,
    images: PaddedImages,
    sources: Sources,
    *,
    iterations: int = 4,
    batch_size: int | None = None,
) -> Sources:
    """The sources after the pending ones, and all whom they change, have been measured.

    Args:
        deblend: Function of stamps; see `network.Deblender`.
        images: Images on which the sources lie.
        sources: Sources of which some are pending.
        iterations: Measurements of a source, at most; the first of a new set is on the image as it
            is. A source whose neighbours have not changed is not measured again.
        batch_size: Sources that are measured at a time; by default as the backend likes it.
    """
    if not sources.pending.any() or iterations < 1:
        return sources._replace(pending=np.zeros(len(sources.pending), bool))
    batch_size = batch_size or _BATCH.get(jax.default_backend(), _ACCELERATOR_BATCH)
    reached = _reached(images, sources, iterations)
    if reached.mean() > _PART:
        return _measure(deblend, images, sources, iterations, batch_size)
    part = jax.tree.map(lambda a: a[reached], sources)
    part = _measure(deblend, images, part, iterations, batch_size)
    return jax.tree.map(lambda a, b: _replaced(a, reached, b), sources, part)


def _reached(
    images: PaddedImages, sources: Sources, iterations: int
) -> Bool[np.ndarray, " source"]:
    """The pending sources and all that they can change, and those whose light these are given.

    A change goes on by one neighbour in an iteration; what the last one changes is not measured.
    """
    if sources.pending.all():
        return sources.pending
    first_page, owner = _page_owners(sources)
    overlapping, _ = _overlaps(images, sources, first_page, owner, dark=len(owner))
    owner, reached = np.append(owner, len(sources.index)), sources.pending
    for _ in range(iterations):
        reached = reached | np.append(reached, False)[owner][overlapping].any(axis=1)
    return reached


def _measure(deblend, images: PaddedImages, sources: Sources, iterations: int, batch_size: int):
    """The sources after their iterations, all of which are handed to the device."""
    stamps = _stamps(images, sources, iterations)
    common = {} if images.psf is None or callable(images.psf) else {"psf": images.psf}
    network = deblend if isinstance(deblend, Deblender) else jax.tree_util.Partial(deblend)
    state = _state(network, common, stamps, sources, batch_size)
    state = _run(network, common, stamps, state, batch_size, images.most)
    n = len(sources.index)
    known = jax.tree.map(lambda a: np.asarray(a)[:n], (state.count, state.neighbours, state.found))
    count, neighbours, found = known
    return sources._replace(
        pending=np.zeros(n, bool),
        judged=sources.judged & (count == sources.count),
        fresh=sources.fresh | (count > sources.count),
        count=count,
        neighbours=neighbours,
        found=found,
    )


@partial(jax.jit, static_argnames=("batch_size", "most"))
def _run(network, common, stamps: SourceStamps, state: State, batch_size: int, most: int) -> State:
    network = partial(network, **common)
    return iterate(network, stamps, state, batch_size=batch_size, most=most)


def _stamps(images: PaddedImages, sources: Sources, iterations: int) -> SourceStamps:
    """What `iterate` is given of the sources, filled up with rows that are never measured."""
    index, corner, binning = sources.index, sources.corner, sources.binning
    given = {}
    if images.gain is not None:
        given["gain"] = images.gain[index].astype(np.float32)
    if callable(images.psf):
        given["psf"] = images.psf(index, corner + stamp_centre(images.size)).astype(np.float32)
    first_page, page_owner = _page_owners(sources)
    rows = _rounded(len(index))
    pages = rows + _rounded(len(page_owner) - len(index))
    overlapping, offset = _overlaps(images, sources, first_page, page_owner, dark=pages)
    image = images.cut(images.image, index, corner, binning)
    variance = images.noise(index, corner, binning)
    each = (image, variance, given, binning, first_page, overlapping, offset)
    each = jax.tree.map(lambda a: _padded(a, rows - len(index)), each)
    owner = _padded(page_owner, pages + 1 - len(page_owner), rows)
    return SourceStamps(*each, owner, np.full(rows, iterations))


def _state(network, common, stamps: SourceStamps, sources: Sources, batch_size: int) -> State:
    """What is known of the sources before the iterations.

    The network is asked for a batch, as it is in the iterations, so that JAX traces it once.
    """
    rows, n, shape = len(stamps.image), len(sources.index), stamps.image.shape[1:]
    light = np.zeros((len(stamps.owner), *shape), np.float32)
    found = sources.found
    if found is None:
        arrays = {"image": stamps.image, "variance": stamps.variance, "neighbours": stamps.image}
        batch = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((batch_size, *a.shape[1:]), a.dtype),
            arrays | stamps.given,
        )
        outcome = jax.eval_shape(partial(network, **common), **batch)
        found = jax.tree.map(lambda a: np.zeros((rows, *a.shape[1:]), a.dtype), outcome)
    else:
        found = jax.tree.map(lambda a: _padded(a, rows - n), found)
        known = sources.count > 0
        alike = np.flatnonzero(known & (sources.binning == 1))
        light[stamps.first_page[alike]] = found.image[alike]
        for i in np.flatnonzero(known & (sources.binning > 1)):
            k, first = int(sources.binning[i]), stamps.first_page[i]
            light[first : first + k**2] = page_grid(found.image[i], k)
    return State(
        light,
        _padded(sources.neighbours, rows - n),
        _padded(sources.pending, rows - n),
        _padded(sources.count, rows - n),
        found,
    )


def _page_owners(sources: Sources) -> tuple[Int[np.ndarray, " source"], Int[np.ndarray, " page"]]:
    """Each source's first page of light, and the source of each page."""
    pages = sources.binning**2
    return np.cumsum(pages) - pages, np.repeat(np.arange(len(pages)), pages)


def _overlaps(images: PaddedImages, sources: Sources, first_page, page_owner, *, dark: int):
    """Pages of others that overlap each stamp, and where; of a common number, filled up."""
    size, binning = images.size, sources.binning
    first = whole_corner(sources.corner, binning, size)
    number = np.arange(len(page_owner)) - first_page[page_owner]
    within = np.stack(np.divmod(number, binning[page_owner]), axis=1)
    page = first[page_owner] + size * within
    places = [images.apart(sources.index[page_owner], page + size / 2)]
    places.append(images.apart(sources.index, first + size * binning[:, None] / 2))
    reach = (binning + 1) * size / 2 - 0.25  # all are whole or half pixels: touching is not enough
    near = cKDTree(places[0]).query_ball_point(places[1], reach, p=np.inf, return_sorted=True)
    counts = np.array([len(each) for each in near])
    row, of = np.repeat(np.arange(len(near)), counts), np.concatenate(near).astype(int)
    others = page_owner[of] != row
    row, of = row[others], of[others]
    counts = np.bincount(row, minlength=len(near))
    column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = len(near), _rounded(int(counts.max(initial=0)), _COLUMNS)
    overlapping, offset = np.full(shape, dark), np.zeros((*shape, 2), int)
    overlapping[row, column] = of
    offset[row, column] = page[of] - first[row]
    return overlapping, offset


def _rounded(n: int, least: int = _FEWEST) -> int:
    """The smallest length that arrays may have and that is at least n."""
    rows = least
    while rows < n:
        rows = 4 * rows if rows < _FEW else rows + rows // 4
    return rows


def _replaced(values, rows, by):
    """A copy of values, some rows of which are others."""
    values = np.array(values)
    values[rows] = by
    return values


def _padded(values, n: int, value=0):
    """Values and n more along the first axis."""
    pad = [(0, n)] + [(0, 0)] * (np.ndim(values) - 1)
    return np.pad(values, pad, constant_values=value)
