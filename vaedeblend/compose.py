"""Endless training scenes, composed on the device from a library of single galaxies.

The jitted training step calls `random_batch`: no example is ever seen twice. Galaxies are placed by
whole-pixel shifts of stamps that hold every sub-pixel phase, and whole scenes are turned by the
eight symmetries of the square, their PSF with them: both are exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

_REACH = 2
"""Pixels by which the central galaxy's jitter moves a scene's members, but for one in 10^6."""

CENTRE_JITTER = 0.3
"""Uncertainty of a detected galaxy's centre: Gaussian sigma [pixel], beside the pixel's own."""


class Gallery(NamedTuple):
    """A library on the device: central galaxies, then companions."""

    stamps: Float[Array, "n side side band"]
    """[uJy per pixel], in half precision where they come from a dataset."""
    phase: Float[Array, "n 2"]
    flux: Float[Array, "n band"]
    """Of the catalogue [uJy]."""
    width: Float[Array, " n"]
    """Sigma of the Gaussian of the same flux and the same summed square [pixel]."""


class Batch(NamedTuple):
    """What a network is shown (image, variance) and what its loss may know besides."""

    image: Float[Array, "batch height width band"]
    """Noisy scene [uJy per pixel]."""
    variance: Float[Array, "batch height width band"]
    """Of the background alone [uJy2]."""
    target: Float[Array, "batch height width band"]
    """The central galaxy alone, noise-free [uJy per pixel]."""
    flux: Float[Array, "batch band"]
    """Of the central galaxy [uJy]: the catalogue's total, of which a stamp holds a part."""


class Placement(NamedTuple):
    """A scene before it has pixels; members in order, the central galaxy first."""

    members: Int[Array, " member"]
    shift: Int[Array, "member 2"]
    present: Bool[Array, " member"]


def make_gallery(stamps, phase, flux, central) -> tuple[Gallery, int]:
    """A gallery and its number of central galaxies, from arrays of a library in any order."""
    order = np.argsort(~np.asarray(central), kind="stable")
    stamps, phase, flux = (np.asarray(a)[order] for a in (stamps, phase, flux))
    square = np.array([np.sum(np.square(stamp[..., 0], dtype=np.float32)) for stamp in stamps])
    width = np.abs(flux[:, 0]) / np.sqrt(4 * np.pi * square)
    return Gallery(*map(jnp.asarray, (stamps, phase, flux, width))), int(np.sum(central))


def random_batch(
    key: PRNGKeyArray,
    gallery: Gallery,
    *,
    n_central: int,
    batch_size: int,
    size: int,
    variance: Float[Array, " band"],
    gain: Float[Array, " band"],
    max_companions: int,
    separation: tuple[float, float],
    max_purity: float,
    candidates: int,
) -> Batch:
    """Composes a batch of noisy scenes.

    Args:
        key: Of the batch.
        gallery: Of central galaxies and companions.
        n_central: Central galaxies in the gallery.
        batch_size: Examples in the batch.
        size: Of the scenes [pixel].
        variance: Of the background [uJy2].
        gain: Electrons per uJy.
        max_companions: 0 for isolated galaxies; otherwise there are 1 to this many.
        separation: Range of companions' distances [pixel], uniform in area before each is rounded
            to the nearest position that its phase allows.
        max_purity: Of these many candidates the first of lower estimated central purity is taken,
            or the last: most scenes are true blends, and some are not.
        candidates: Candidates per scene.

    Raises:
        ValueError: The gallery's stamps are too small for companions at that separation.
    """
    margin = (gallery.stamps.shape[1] - size) // 2
    reach = (separation[1] if max_companions else 0) + _REACH
    if margin < reach:
        raise ValueError(
            f"gallery stamps leave a margin of {margin} pixels round a scene; wanted {reach}"
        )
    place_key, turn_key, noise_key = jax.random.split(key, 3)

    def one(key, element):
        placement = _place(
            key, gallery, n_central, max_companions, separation, max_purity, candidates
        )
        scene, target = _scene_and_target(gallery, placement, element, size)
        return scene, target, gallery.flux[placement.members[0]]

    place_keys = jax.random.split(place_key, batch_size)
    elements = jax.random.randint(turn_key, (batch_size,), 0, 8)
    scene, target, flux = jax.vmap(one)(place_keys, elements)
    sigma = jnp.sqrt(variance + jnp.maximum(scene, 0.0) / gain)
    image = scene + sigma * jax.random.normal(noise_key, scene.shape)
    return Batch(image, jnp.broadcast_to(variance, image.shape), target, flux)


def apply_symmetry(
    images: Float[Array, "*n height width band"], element: Int[Array, ""]
) -> Float[Array, "*n height width band"]:
    """Element 0 to 7: bit 0 transposes, then bit 1 flips y and bit 2 flips x."""
    images = jnp.where(element & 1, jnp.swapaxes(images, -3, -2), images)
    images = jnp.where(element & 2, jnp.flip(images, -3), images)
    return jnp.where(element & 4, jnp.flip(images, -2), images)


def _place(key, gallery, n_central, max_companions, separation, max_purity, candidates):
    central_key, jitter_key, key = jax.random.split(key, 3)
    central = jax.random.randint(central_key, (1,), 0, n_central)
    phase = gallery.phase[central[0]]
    # Uniform within a pixel plus Gaussian: of all offsets with this phase, one drawn by its odds.
    jitter = CENTRE_JITTER * jax.random.normal(jitter_key, (2,))
    shift = jnp.rint(jitter - phase).astype(int)[None]
    if not max_companions:
        return Placement(central, shift, jnp.ones(1, bool))

    def candidate(key):
        return _companions(key, gallery, n_central, shift[0] + phase, max_companions, separation)

    members, shifts, present = jax.vmap(candidate)(jax.random.split(key, candidates))
    estimate = _estimated_purity(gallery, central[0], shift[0], members, shifts, present)
    chosen = jnp.argmax((estimate < max_purity).at[-1].set(True))
    return Placement(
        jnp.concatenate([central, members[chosen]]),
        jnp.concatenate([shift, shifts[chosen]]),
        jnp.concatenate([jnp.ones(1, bool), present[chosen]]),
    )


def _companions(key, gallery, n_central, centre, n, separation):
    """One candidate's companions: entries, whole-pixel shifts, and which of the n are there."""
    member_key, count_key, radius_key, angle_key = jax.random.split(key, 4)
    members = jax.random.randint(member_key, (n,), n_central, gallery.phase.shape[0])
    present = jnp.arange(n) < jax.random.randint(count_key, (), 1, n + 1)
    low, high = separation
    radius = jnp.sqrt(jax.random.uniform(radius_key, (n, 1), minval=low**2, maxval=high**2))
    angle = jax.random.uniform(angle_key, (n,), maxval=2 * jnp.pi)
    step = radius * jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return members, jnp.rint(centre + step - gallery.phase[members]).astype(int), present


def _estimated_purity(gallery, central, central_shift, members, shifts, present):
    """Central purity if every galaxy were a round Gaussian of its own width: cheap, and close."""
    offset = shifts + gallery.phase[members] - central_shift - gallery.phase[central]
    square = gallery.width[members] ** 2 + gallery.width[central] ** 2
    ratio = gallery.flux[members, 0] / gallery.flux[central, 0]
    overlap = jnp.exp(-jnp.sum(offset**2, axis=-1) / (2 * square)) / square
    others = jnp.sum(present * ratio * overlap, axis=-1) * 2 * gallery.width[central] ** 2
    return 1 / (1 + others)


def _scene_and_target(gallery, placement, element, size):
    """All members in their places, and the central galaxy alone, turned and without noise.

    Each stamp is turned before it is added: three times as fast on a CPU as turning their sum.
    """
    start = (gallery.stamps.shape[1] - size) // 2 - placement.shift
    shape = (1, size, size, gallery.stamps.shape[-1])

    def window(entry, corner):
        stamp = jax.lax.dynamic_slice(gallery.stamps, (entry, *corner, 0), shape)[0]
        return apply_symmetry(stamp.astype(jnp.float32), element)

    def add(scene, companion):
        entry, corner, present = companion
        return scene + present * window(entry, corner), None

    target = window(placement.members[0], start[0])
    companions = placement.members[1:], start[1:], placement.present[1:]
    scene, _ = jax.lax.scan(add, target, companions)
    return scene, target
