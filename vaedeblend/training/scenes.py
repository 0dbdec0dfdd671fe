"""Endless training scenes, composed on the device from a library of single galaxies.

The jitted training step calls `random_scenes`: no scene is ever seen twice. Galaxies are placed by
whole-pixel shifts of stamps that hold every sub-pixel phase, and whole scenes are turned by the
eight symmetries of the square, their PSF with them: both are exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.models.vae import N_PSF_FEATURES
from vaedeblend.training.gallery import Gallery
from vaedeblend.training.placement import place

_REACH = 2
"""Pixels by which the central galaxy's jitter moves a scene's members, but for one in 10^6."""


class Scenes(NamedTuple):
    """A batch of scenes without noise, and what is true of them."""

    light: Float[Array, "batch height width band"]
    """[uJy per pixel], as is `target`."""
    target: Float[Array, "batch height width band"]
    """The central galaxy alone."""
    flux: Float[Array, "batch band"]
    """Of the central galaxy [uJy]: the catalogue's total, of which a stamp holds a part."""
    psf: Float[Array, "batch feature"]
    companions: Float[Array, "batch companion 2"]
    """Their (y, x) from the stamp's centre [pixel]."""
    brightness: Float[Array, "batch companion"]
    """Root of the sum of the squares of a companion's pixels [uJy]; 0 where there is none."""

    @property
    def purity(self) -> Float[Array, "batch band"]:
        """Of the central galaxy; see `blending.purity`."""
        own = jnp.einsum("nhwb,nhwb->nb", self.target, self.target)
        return own / jnp.einsum("nhwb,nhwb->nb", self.target, self.light)


def random_scenes(
    key: PRNGKeyArray,
    gallery: Gallery,
    *,
    batch_size: int,
    size: int,
    max_companions: int,
    separation: tuple[float, float],
    field_share: float = 0.0,
    **placing,
) -> Scenes:
    """Composes a batch of scenes without noise.

    Args:
        key: Of the batch.
        gallery: Of central galaxies and companions.
        batch_size: Examples in the batch.
        size: Of the scenes [pixel].
        max_companions: Of `placement.place`.
        separation: The same.
        field_share: Of scenes that have a window of the gallery's sheets behind them.
        **placing: The other arguments of `placement.place`.

    Raises:
        ValueError: The gallery's stamps are too small for companions at that separation, or it
            has no sheets where some are wanted.
    """
    margin = (gallery.stamps.shape[1] - size) // 2
    reach = (separation[1] if max_companions else 0) + _REACH
    if margin < reach:
        raise VaedeblendError(
            f"gallery stamps leave a margin of {margin} pixels round a scene; wanted {reach}"
        )
    if field_share and not len(gallery.fields):
        raise VaedeblendError(f"field_share is {field_share}, but the gallery has no sheets of sky")
    placing |= {"max_companions": max_companions, "separation": separation}

    def one(key):
        place_key, turn_key, field_key = jax.random.split(key, 3)
        placement = place(place_key, gallery, **placing)
        element = jax.random.randint(turn_key, (), 0, 8)
        scene, target = _scene_and_target(gallery, placement, element, size)
        if field_share:
            scene += _sky(field_key, gallery, placement.psf, element, size, field_share)
        psf = turned_features(gallery.psf[placement.psf], element)
        flux = gallery.flux[placement.members[0]]
        return Scenes(scene, target, flux, psf, *_companions_of(gallery, placement, element))

    return jax.vmap(one)(jax.random.split(key, batch_size))


def apply_symmetry(
    images: Float[Array, "*n height width band"], element: Int[Array, ""]
) -> Float[Array, "*n height width band"]:
    """Element 0 to 7: bit 0 transposes, then bit 1 flips y and bit 2 flips x."""
    images = jnp.where(element & 1, jnp.swapaxes(images, -3, -2), images)
    images = jnp.where(element & 2, jnp.flip(images, -3), images)
    return jnp.where(element & 4, jnp.flip(images, -2), images)


def turned_features(
    psf: Float[Array, " feature"], element: Int[Array, ""]
) -> Float[Array, " feature"]:
    """`vae.psf_features` of a PSF under a symmetry: its two components of ellipticity turn."""
    transposed, flipped = element & 1, ((element >> 1) ^ (element >> 2)) & 1
    signs = jnp.stack([1 - 2 * transposed, 1 - 2 * flipped])
    each = psf.reshape(-1, N_PSF_FEATURES)
    return jnp.concatenate([each[:, :-2], each[:, -2:] * signs], axis=1).ravel()


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


def _companions_of(gallery, placement, element):
    """Where the companions are on the turned scene, and how bright (the width's definition)."""
    members, present = placement.members[1:], placement.present[1:]
    position = placement.shift[1:] + gallery.phase[members]
    position = jnp.where(element & 1, position[:, ::-1], position)
    position *= 1 - 2 * jnp.stack([element >> 1 & 1, element >> 2 & 1])
    peak = gallery.flux[members, 0] / gallery.width[members] / jnp.sqrt(4 * jnp.pi)
    return position, present * peak


def _sky(key, gallery, psf, element, size, share):
    """A window of one of the PSF's sheets at a random place, or nothing."""
    sheet_key, corner_key, here_key = jax.random.split(key, 3)
    n_psf, side = len(gallery.psf), gallery.fields.shape[1]
    sheet = psf + n_psf * jax.random.randint(sheet_key, (), 0, len(gallery.fields) // n_psf)
    corner = jax.random.randint(corner_key, (2,), 0, side - size + 1)
    shape = (1, size, size, gallery.fields.shape[-1])
    window = jax.lax.dynamic_slice(gallery.fields, (sheet, *corner, 0), shape)[0]
    here = jax.random.uniform(here_key) < share
    return here * apply_symmetry(window.astype(jnp.float32), element)
