"""Joint measurement by iterations of neighbour subtraction: one function for training and images.

Sources that share pixels are measured one by one, each on its own stamp. The light found in the
others is subtracted from that stamp, and the source is measured again, conditioned on what was
subtracted, for as long as that changes: like CLEAN, but every component is a galaxy of the learned
kind. Neighbours that give way to each other would oscillate, so that only half of each correction
enters the neighbour model.

All arrays have a fixed size, so that the loop compiles once; which sources are to be measured is
data. Light lives on *pages*, squares of the image's own pixels as large as a stamp: one a source,
or n x n where the source is seen on a stamp of pixels binned n x n.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vaedeblend.models.vae import background_rms
from vaedeblend.pixels.stamps import box_sums, page_grid
from vaedeblend.pixels.stamps_jax import paste_stamps

DAMPING = 0.5
"""Share of a correction that enters the neighbour model; a source's first light enters whole."""

NOTICED = 0.2
"""Change of the neighbours' light, in any pixel, for which a source is measured again
[the pixel's background rms]."""

IMPLAUSIBLE = 1e8
"""Light of a source that is not believed, and never subtracted [background rms]."""

Network = Callable[..., Any]
"""`(image, variance, neighbours=..., gain=..., psf=...) -> found`, whose `image` is its light."""


class SourceStamps(NamedTuple):
    """A fixed number of sources as the image shows them, and whose light overlaps whom."""

    image: Float[Array, "source size size band"]
    """Background subtracted, the neighbours' light still in it."""
    variance: Float[Array, "source size size band"]
    """The background's; infinite where a pixel is to be ignored."""
    given: dict[str, Array]
    """What else the network is given of each source: `gain` (source, band), `psf`."""
    binning: Int[Array, " source"]
    """Pixels of the image along each axis of a stamp's pixel."""
    first_page: Int[Array, " source"]
    """The source's own first page; its others follow, row by row."""
    overlapping: Int[Array, "source overlap"]
    """Pages of others that overlap the stamp; where there are fewer, the last page, a dark one."""
    offset: Int[Array, "source overlap 2"]
    """(y, x) of those pages' first pixel from the stamp's [pixel of the image]."""
    owner: Int[Array, " page"]
    """Source whose light is on each page; a number beyond all sources where it is nobody's."""
    limit: Int[Array, " source"]
    """Iterations in which the source may be measured, counted from the first."""


class State(NamedTuple):
    """What is known of the sources of `SourceStamps` between two iterations."""

    light: Float[Array, "page size size band"]
    """Neighbour model; the last page is dark."""
    neighbours: Float[Array, "source size size band"]
    """Neighbours' light on each stamp, as it is or will be subtracted at its latest measurement."""
    pending: Bool[Array, " source"]
    """Sources to be measured in the next iteration."""
    count: Int[Array, " source"]
    """Measurements so far."""
    found: Any
    """The network's result of each source's latest measurement; implausible light is dark."""


def iterate(
    network: Network, stamps: SourceStamps, state: State, *, batch_size: int, most: int = 1
) -> State:
    """The state after the pending sources, and all whom they change, have been measured.

    An iteration measures the pending sources, each less its neighbours' light. Sources on whose
    stamps that light has changed noticeably are pending in the next one, unless they have reached
    their limit. The result has no gradient.

    Args:
        network: Pure function of arrays that measures a batch of stamps, of constant parameters.
        stamps: Sources on the image.
        state: State before.
        batch_size: Sources that are measured at a time.
        most: Largest binning of any stamp, a power of 2.
    """
    stamps, state = jax.lax.stop_gradient((stamps, state))
    binnings = [2**k for k in range(most.bit_length())]

    def unfinished(carry):
        k, touched, state = carry
        return (k < stamps.limit.max()) & (touched | state.pending).any()

    def iteration(carry):
        k, touched, state = carry
        lit = _lit(stamps, state)
        changed = (touched | state.pending) & (k < stamps.limit) & lit.any()
        for n in binnings:
            rows = changed & (stamps.binning == n)
            state = _fold(_notice(stamps, lit, n), rows, state, _share(batch_size, n + 1))
        measured = state.pending & (k < stamps.limit)
        state = _fold(_measure(network, stamps), measured, state, batch_size)
        for n in binnings:
            rows = measured & (stamps.binning == n)
            state = _fold(_update_light(stamps, n), rows, state, _share(batch_size, n))
        touched = jnp.append(measured, False)[stamps.owner][stamps.overlapping].any(axis=1)
        return k + 1, touched, state._replace(pending=jnp.zeros_like(state.pending))

    start = 0, jnp.zeros_like(state.pending), state
    return jax.lax.while_loop(unfinished, iteration, start)[2]


def subtract_neighbours(
    stamps: SourceStamps,
    state: State,
    rows: Bool[Array, " source"],
    *,
    batch_size: int,
    most: int = 1,
) -> State:
    """The state with the neighbours' light of some sources as the model has it now.

    Args:
        stamps: Sources on the image.
        state: State before.
        rows: Sources whose neighbours' light is taken from the model.
        batch_size: Sources that are treated at a time.
        most: Largest binning of any stamp, a power of 2.
    """
    lit = _lit(stamps, state)
    for n in (2**k for k in range(most.bit_length())):

        def renew(state, some, n=n):
            light = _neighbours(stamps, lit, state, some, n)
            return state._replace(neighbours=state.neighbours.at[some].set(light))

        state = _fold(renew, rows & (stamps.binning == n), state, _share(batch_size, n))
    return state


def _measure(network: Network, stamps: SourceStamps):
    """The step that measures a batch of sources."""

    def measure(state: State, rows) -> State:
        neighbours, variance = state.neighbours[rows], stamps.variance[rows]
        given = {name: values[rows] for name, values in stamps.given.items()}
        image = stamps.image[rows] - neighbours
        found = network(image=image, variance=variance, neighbours=neighbours, **given)
        found = found._replace(image=_plausible(found.image, variance))
        found = jax.tree.map(lambda a, b: a.at[rows].set(b), state.found, found)
        return state._replace(found=found)

    return measure


def _update_light(stamps: SourceStamps, n: int):
    """The step that takes the light of measured sources, binned n x n, into the neighbour model."""

    def update(state: State, rows) -> State:
        pages = jax.vmap(lambda stamp: page_grid(stamp, n))(state.found.image[rows])
        at = stamps.first_page[rows][:, None] + jnp.arange(n**2)
        share = jnp.where(state.count[rows] > 0, DAMPING, 1.0)[:, None, None, None, None]
        change = share * (pages - state.light[at])
        at = jnp.where(rows[:, None] < len(stamps.image), at, len(state.light))
        return state._replace(
            light=state.light.at[at].add(change), count=state.count.at[rows].add(1)
        )

    return update


def _lit(stamps: SourceStamps, state: State) -> Bool[Array, " page"]:
    """Pages whose source has been measured; the others are dark."""
    return jnp.append(state.count > 0, False)[stamps.owner]


def _notice(stamps: SourceStamps, lit, n: int):
    """The step that finds which of a batch of sources have neighbours that changed noticeably.

    They are pending from now on, and have their neighbours' light as the model has it.
    """

    def notice(state: State, rows) -> State:
        light, before = _neighbours(stamps, lit, state, rows, n), state.neighbours[rows]
        rms = jnp.sqrt(stamps.variance[rows])
        changed = (jnp.abs(light - before) > NOTICED * rms).any(axis=(1, 2, 3))
        again = state.pending[rows] | changed
        light = jnp.where(again[:, None, None, None], light, before)
        return state._replace(
            neighbours=state.neighbours.at[rows].set(light),
            pending=state.pending.at[rows].set(again),
        )

    return notice


def _neighbours(
    stamps: SourceStamps, lit, state: State, rows, n: int
) -> Float[Array, "row size size band"]:
    """Light of others on some stamps, which are binned n x n; dark where a pixel is ignored."""
    light, size, bands = state.light, *state.light.shape[-2:]
    page, offset = stamps.overlapping[rows], stamps.offset[rows]
    page = jnp.where(lit[page], page, len(light) - 1)
    side = (n + 2) * size  # pages that overlap a stamp lie within a page's side of it

    def add(k, total):
        return paste_stamps(total, light[page[:, k]], size + offset[:, k])

    total = jnp.zeros((len(rows), side, side, bands), light.dtype)
    most = jnp.where(page < len(light) - 1, 1 + jnp.arange(page.shape[1]), 0).max(initial=0)
    total = jax.lax.fori_loop(0, most, add, total)[:, size:-size, size:-size]
    return jnp.where(jnp.isfinite(stamps.variance[rows]), box_sums(total, n), 0)


def _plausible(image, variance) -> Float[Array, "row size size band"]:
    """Light of sources, dark where it is NaN or beyond all bounds."""
    limit = IMPLAUSIBLE * background_rms(variance).max(axis=-1)
    believed = jnp.abs(image.sum(axis=(1, 2, 3))) < limit  # not true of NaN
    return jnp.where(believed[:, None, None, None], image, 0)


def _share(batch_size: int, n: int) -> int:
    """SourceStamps binned n x n that take as much memory as a batch of others."""
    return max(batch_size // n**2, 1)


def _fold(step, mask, state: State, size: int) -> State:
    """The state after a step for each batch of the rows that a mask marks.

    Rows that fill up the last batch lie beyond the arrays: what is read of them is any row's, and
    nothing is written.
    """
    n, marked = len(mask), mask.sum()
    rows = jnp.argsort(~mask, stable=True)  # a cumulative sum, as of `nonzero`, is slow on a CPU
    rows = jnp.pad(jnp.where(jnp.arange(n) < marked, rows, n), (0, -n % size), constant_values=n)

    def batch(k, state):
        return step(state, jax.lax.dynamic_slice(rows, (k * size,), (size,)))

    return jax.lax.fori_loop(0, -(-marked // size), batch, state)
