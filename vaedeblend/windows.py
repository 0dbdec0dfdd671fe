"""Stamps cut out of images, and laid back on them: whole pixels, whatever the images' edges."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def stamps_of(
    frames: Float[Array, "frame size size band"],
    index: Int[Array, " stamp"],
    corner: Int[Array, "stamp 2"],
    *,
    outside: float,
) -> Float[Array, "stamp size size band"]:
    """Stamps of the frames' own size whose first pixel lies at `corner` of frame `index`.

    Args:
        frames: Square images.
        index: Of each stamp's frame.
        corner: (y, x); at most a frame's size away from the frame's own corner.
        outside: Value of pixels beyond the frame.
    """
    size, bands = frames.shape[2:]
    pad = [(0, 0), (size, size), (size, size), (0, 0)]
    padded = jnp.pad(frames, pad, constant_values=outside)

    def one(frame, at):
        return jax.lax.dynamic_slice(padded, (frame, *(at + size), 0), (1, size, size, bands))[0]

    return jax.vmap(one)(index, corner)


def frames_of(
    stamps: Float[Array, "stamp size size band"],
    index: Int[Array, " stamp"],
    corner: Int[Array, "stamp 2"],
    n: int,
) -> Float[Array, "{n} size size band"]:
    """Frames on which the stamps lie, added up: the transpose of `stamps_of`."""
    size, bands = stamps.shape[2:]
    empty = jnp.zeros((n, 3 * size, 3 * size, bands), stamps.dtype)

    def add(frames, each):
        stamp, frame, at = each
        start, shape = (frame, *(at + size), 0), (1, size, size, bands)
        before = jax.lax.dynamic_slice(frames, start, shape)
        return jax.lax.dynamic_update_slice(frames, before + stamp, start), None

    frames, _ = jax.lax.scan(add, empty, (stamps, index, corner))
    return frames[:, size : 2 * size, size : 2 * size]
