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
    stamps: Float[Array, "frame stamp size size band"], corner: Int[Array, "frame stamp 2"]
) -> Float[Array, "frame size size band"]:
    """Frames on which their stamps lie, added up: the transpose of `stamps_of`.

    Each stamp is moved by cutting a frame out of it: an accelerator does all at a time, where
    laying them down would take them one by one.
    """
    n, members = stamps.shape[:2]
    each = (
        stamps_of(stamps[:, i], jnp.arange(n), -corner[:, i], outside=0.0) for i in range(members)
    )
    return sum(each, jnp.zeros_like(stamps[:, 0]))
