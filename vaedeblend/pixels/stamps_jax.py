"""Stamps cut out of images and pasted on them, on the device: whole pixels, beyond any edge."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cut_stamps(
    images: Float[Array, "image size size band"],
    index: Int[Array, " stamp"],
    corner: Int[Array, "stamp 2"],
    *,
    outside: float,
) -> Float[Array, "stamp size size band"]:
    """Stamps of the images' own size whose first pixel lies at `corner` of image `index`.

    Args:
        images: Square images.
        index: Image of each stamp.
        corner: (y, x) of the first pixel, at most an image's side from the image's own [pixel].
        outside: Value of pixels beyond the image.
    """
    size, bands = images.shape[2:]
    pad = [(0, 0), (size, size), (size, size), (0, 0)]
    padded = jnp.pad(images, pad, constant_values=outside)

    def one(image, at):
        return jax.lax.dynamic_slice(padded, (image, *(at + size), 0), (1, size, size, bands))[0]

    return jax.vmap(one)(index, corner)


def paste_stamps(
    images: Float[Array, "image side side band"],
    stamps: Float[Array, "image size size band"],
    corner: Int[Array, "image 2"],
) -> Float[Array, "image side side band"]:
    """Images with a stamp's light added to each, all at a time.

    Args:
        images: Square images.
        stamps: Stamps, one for each image.
        corner: (y, x) of the stamp's first pixel; it lies on the image as a whole [pixel].
    """
    number = jnp.arange(len(images), dtype=corner.dtype)[:, None]
    return jax.lax.scatter_add(
        images,
        jnp.concatenate([number, corner], axis=1),
        stamps,
        jax.lax.ScatterDimensionNumbers(
            update_window_dims=(1, 2, 3),
            inserted_window_dims=(0,),
            scatter_dims_to_operand_dims=(0, 1, 2),
        ),
        indices_are_sorted=True,
        unique_indices=True,
        mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )


def stamp_on_image(
    stamp: Float[Array, "size size band"], corner: Int[Array, "2"], shape: tuple[int, int, int]
) -> Float[Array, "height width band"]:
    """A dark image with the part of a stamp that lies on it.

    Args:
        stamp: Light.
        corner: (y, x) of the stamp's first pixel, which may lie anywhere [pixel].
        shape: Height, width and bands of the image.
    """
    height, width, _ = shape
    apart = jnp.pad(stamp, [(height, height), (width, width), (0, 0)])
    # For a stamp beyond the image, either end of the padding, which is dark.
    y, x = jnp.maximum(jnp.array([height, width]) - corner, 0)
    return jax.lax.dynamic_slice(apart, (y, x, 0), shape)
