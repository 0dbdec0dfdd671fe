"""Endless training scenes, composed on the device from a library of single galaxies.

The jitted training step calls `random_scenes`: no scene is ever seen twice. Galaxies are placed by
whole-pixel shifts of stamps that hold every sub-pixel phase, and whole scenes are turned by the
eight symmetries of the square, their PSF with them: both are exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.models.vae import N_CORE_FEATURES, N_PSF_FEATURES
from vaedeblend.simulate.examples import LIBRARY_SIZE
from vaedeblend.simulate.scenes import check_separation
from vaedeblend.training.placement import Composing, DeviceLibrary, draw_layout

_REACH = 2
"""Pixels by which the central galaxy's jitter moves a scene's members, but for one in 10^6."""


class Scenes(NamedTuple):
    """A batch of scenes without noise, and what is true of them."""

    light: Float[Array, "batch height width band"]
    """Light of all galaxies [uJy per pixel]."""
    target: Float[Array, "batch height width band"]
    """Light of the central galaxy alone [uJy per pixel]."""
    flux: Float[Array, "batch band"]
    """Flux of the central galaxy [uJy]: the catalogue's total, of which a stamp holds a part."""
    psf: Float[Array, "batch feature"]
    correlation: Float[Array, "batch lag lag band"]
    """Autocovariance of the noise, whose sum is 1; one lag where all of it is white."""
    star: Bool[Array, " batch"]
    """Whether the central galaxy is a star."""
    companions: Float[Array, "batch companion 2"]
    """(y, x) of the companions from the stamp's centre [pixel]."""
    brightness: Float[Array, "batch companion"]
    """Root of the sum of the squares of a companion's pixels [uJy]; 0 where there is none."""
    companion_flux: Float[Array, "batch companion"]
    """Flux of the companions in the first band [uJy]; 0 where there is none."""

    @property
    def purity(self) -> Float[Array, "batch band"]:
        """Purity of the central galaxy, as `blending.purity` defines it."""
        own = jnp.einsum("nhwb,nhwb->nb", self.target, self.target)
        return own / jnp.einsum("nhwb,nhwb->nb", self.target, self.light)


def random_scenes(
    key: PRNGKeyArray,
    library: DeviceLibrary,
    composing: Composing,
    *,
    n_central: int,
    batch_size: int,
    size: int,
) -> Scenes:
    """A batch of random scenes without noise.

    Args:
        key: Random key of the batch.
        library: Central galaxies and companions.
        composing: Settings of the scenes.
        n_central: Central galaxies in the library.
        batch_size: Scenes in the batch.
        size: Side of a scene [pixel].

    Raises:
        VaedeblendError: The library's stamps are too small for companions at that separation, or it
            has no sheets where some are wanted.
    """
    _check_library(library, composing, size)

    def one(key):
        place_key, turn_key, field_key = jax.random.split(key, 3)
        layout = draw_layout(place_key, library, composing, n_central=n_central)
        element = jax.random.randint(turn_key, (), 0, 8)
        scene, target = _scene_and_target(library, layout, element, size)
        if composing.field_share:
            scene += _sky(field_key, library, layout.psf, element, size, composing.field_share)
        psf = turned_features(library.psf[layout.psf], element)
        flux = library.flux[layout.members[0]]
        correlation = apply_symmetry(library.correlation[layout.psf], element)
        known = psf, correlation, library.star[layout.members[0]]
        return Scenes(scene, target, flux, *known, *_companions_of(library, layout, element))

    return jax.vmap(one)(jax.random.split(key, batch_size))


def check_companions(key: str, farthest: float, pixel_scale: float, size: int) -> None:
    """Refuses companions that the stamps of a simulated library do not hold in every scene.

    Args:
        key: Name of the setting.
        farthest: Largest distance of a companion from the central galaxy [arcsec].
        pixel_scale: Side of a pixel [arcsec].
        size: Side of a scene [pixel].

    Raises:
        SceneError: They are farther away.
    """
    reach = _largest_separation(LIBRARY_SIZE, size)
    check_separation(key, farthest, pixel_scale, size=size, reach=reach)


def _largest_separation(side: int, size: int) -> int:
    """Largest distance of companions that library stamps of a side hold in every scene [pixel]."""
    return (side - size) // 2 - _REACH


def _check_library(library: DeviceLibrary, composing: Composing, size: int) -> None:
    """Refuses a library whose stamps are too small, or that lacks the sheets that are wanted."""
    farthest = composing.separation[1] if composing.max_companions else 0
    reach = _largest_separation(library.stamps.shape[1], size)
    if reach < farthest:
        raise VaedeblendError(
            f"library stamps hold companions up to {reach} pixels away; wanted {farthest:g}"
        )
    if composing.field_share and not len(library.fields):
        raise VaedeblendError(
            f"field_share is {composing.field_share}, but the library has no sheets of sky"
        )


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
    """`vae.psf_features` of a PSF under a symmetry: the two components of ellipticity turn."""
    transposed, flipped = element & 1, ((element >> 1) ^ (element >> 2)) & 1
    signs = jnp.stack([1 - 2 * transposed, 1 - 2 * flipped])
    cores, wings = jnp.split(psf, [len(psf) // N_PSF_FEATURES * N_CORE_FEATURES])
    each = cores.reshape(-1, N_CORE_FEATURES)
    turned = jnp.concatenate([each[:, :-2], each[:, -2:] * signs], axis=1)
    return jnp.concatenate([turned.ravel(), wings])


def _scene_and_target(library, layout, element, size):
    """All members in their places, and the central galaxy alone, turned and without noise.

    Each stamp is turned before it is added: three times as fast on a CPU as turning their sum.
    """
    start = (library.stamps.shape[1] - size) // 2 - layout.shift
    shape = (1, size, size, library.stamps.shape[-1])

    def window(entry, corner):
        stamp = jax.lax.dynamic_slice(library.stamps, (entry, *corner, 0), shape)[0]
        return apply_symmetry(stamp.astype(jnp.float32), element)

    def add(scene, companion):
        entry, corner, present = companion
        return scene + present * window(entry, corner), None

    target = window(layout.members[0], start[0])
    companions = layout.members[1:], start[1:], layout.present[1:]
    scene, _ = jax.lax.scan(add, target, companions)
    return scene, target


def _companions_of(library, layout, element):
    """Positions of the companions on the turned scene, their brightness by their widths, flux."""
    members, present = layout.members[1:], layout.present[1:]
    position = layout.shift[1:] + library.phase[members]
    position = jnp.where(element & 1, position[:, ::-1], position)
    position *= 1 - 2 * jnp.stack([element >> 1 & 1, element >> 2 & 1])
    flux = library.flux[members, 0]
    peak = flux / library.width[members] / jnp.sqrt(4 * jnp.pi)
    return position, present * peak, present * flux


def _sky(key, library, psf, element, size, share):
    """A window of one of the PSF's sheets at a random place, or nothing."""
    sheet_key, corner_key, here_key = jax.random.split(key, 3)
    n_psf, side = len(library.psf), library.fields.shape[1]
    sheet = psf + n_psf * jax.random.randint(sheet_key, (), 0, len(library.fields) // n_psf)
    corner = jax.random.randint(corner_key, (2,), 0, side - size + 1)
    shape = (1, size, size, library.fields.shape[-1])
    window = jax.lax.dynamic_slice(library.fields, (sheet, *corner, 0), shape)[0]
    here = jax.random.uniform(here_key) < share
    return here * apply_symmetry(window.astype(jnp.float32), element)
