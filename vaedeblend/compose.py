"""Endless training scenes, composed on the device from a library of single galaxies.

The jitted training step calls `random_scenes`: no scene is ever seen twice. Galaxies are placed by
whole-pixel shifts of stamps that hold every sub-pixel phase, and whole scenes are turned by the
eight symmetries of the square, their PSF with them: both are exact.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vaedeblend.model import N_PSF_FEATURES, psf_features

_REACH = 2
"""Pixels by which the central galaxy's jitter moves a scene's members, but for one in 10^6."""

CENTRE_JITTER = 0.3
"""Uncertainty of a detected galaxy's centre: Gaussian sigma [pixel], beside the pixel's own."""


class Gallery(NamedTuple):
    """A library on the device: central galaxies, then companions; entry i has PSF i mod p."""

    stamps: Float[Array, "n side side band"]
    """[uJy per pixel], in half precision where they come from a dataset."""
    phase: Float[Array, "n 2"]
    flux: Float[Array, "n band"]
    """Of the catalogue [uJy]."""
    width: Float[Array, " n"]
    """Sigma of the Gaussian of the same flux and the same summed square [pixel]."""
    psf: Float[Array, "p feature"]
    """`model.psf_features` of the PSFs."""
    fields: Float[Array, "sheet field field band"]
    """Sheets of sky that no galaxy was chosen for; sheet i has PSF i mod p. There may be none."""


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


class Placement(NamedTuple):
    """A scene before it has pixels; members in order, the central galaxy first."""

    members: Int[Array, " member"]
    shift: Int[Array, "member 2"]
    present: Bool[Array, " member"]
    psf: Int[Array, ""]


def make_gallery(stamps, phase, flux, central, psf, fields=None) -> tuple[Gallery, int]:
    """A gallery and its number of central galaxies.

    Args:
        stamps: Of a library's entries (n, side, side, band).
        phase: See `library.Library`.
        flux: (n, band) [uJy].
        central: Which entries are central galaxies; each kind goes through the PSFs in turn.
        psf: The p PSFs in that order (p, height, width, band).
        fields: Sheets of sky (sheet, side, side, band), or None.

    Raises:
        ValueError: The central galaxies, the companions or the sheets are no multiple of p.
    """
    central = np.asarray(central)
    counts = {"central galaxies": central.sum(), "companions": (~central).sum()}
    counts["sheets"] = 0 if fields is None else len(fields)
    for name, n in counts.items():
        if n % len(psf):
            raise ValueError(f"gallery has {n} {name}; wanted a multiple of its {len(psf)} PSFs")
    if fields is None:
        fields = np.zeros((0, 1, 1, stamps.shape[-1]), np.float16)
    order = np.argsort(~central, kind="stable")
    stamps, phase, flux = (np.asarray(a)[order] for a in (stamps, phase, flux))
    square = np.array([np.sum(np.square(stamp[..., 0], dtype=np.float32)) for stamp in stamps])
    width = np.abs(flux[:, 0]) / np.sqrt(4 * np.pi * square)
    features = psf_features(jnp.asarray(psf, jnp.float32))
    arrays = (stamps, phase, flux, width, features, fields)
    return Gallery(*map(jnp.asarray, arrays)), int(np.sum(central))


def random_scenes(
    key: PRNGKeyArray,
    gallery: Gallery,
    *,
    n_central: int,
    batch_size: int,
    size: int,
    max_companions: int,
    separation: tuple[float, float],
    max_purity: float,
    candidates: int,
    isolated_share: float = 0.0,
    unselected_share: float = 0.0,
    hard_share: float = 0.0,
    hard_purity: float = 0.6,
    field_share: float = 0.0,
) -> Scenes:
    """Composes a batch of scenes without noise.

    Args:
        key: Of the batch.
        gallery: Of central galaxies and companions.
        n_central: Central galaxies in the gallery.
        batch_size: Examples in the batch.
        size: Of the scenes [pixel].
        max_companions: 0 for isolated galaxies; otherwise there are 1 to this many.
        separation: Range of companions' distances [pixel], uniform in area before each is rounded
            to the nearest position that its phase allows.
        max_purity: Of several candidates the first of lower estimated central purity is taken,
            or the last: most scenes are true blends, and some are not.
        candidates: Candidates per scene.
        isolated_share: Of scenes that have no companion all the same.
        unselected_share: Of scenes whose first candidate is taken, whatever its purity.
        hard_share: Of scenes for which `hard_purity` stands for `max_purity`.
        hard_purity: See there.
        field_share: Of scenes that have a window of the gallery's sheets behind them.

    Raises:
        ValueError: The gallery's stamps are too small for companions at that separation, or it
            has no sheets where some are wanted.
    """
    margin = (gallery.stamps.shape[1] - size) // 2
    reach = (separation[1] if max_companions else 0) + _REACH
    if margin < reach:
        raise ValueError(
            f"gallery stamps leave a margin of {margin} pixels round a scene; wanted {reach}"
        )
    if field_share and not len(gallery.fields):
        raise ValueError(f"field_share is {field_share}, but the gallery has no sheets of sky")
    draw = functools.partial(
        _place,
        gallery=gallery,
        n_central=n_central,
        max_companions=max_companions,
        separation=separation,
        purities=(hard_purity, max_purity),
        candidates=candidates,
        shares=(isolated_share, unselected_share, hard_share),
    )

    def one(key):
        place_key, turn_key, field_key = jax.random.split(key, 3)
        placement, element = draw(place_key), jax.random.randint(turn_key, (), 0, 8)
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
    """`model.psf_features` of a PSF under a symmetry: its two components of ellipticity turn."""
    transposed, flipped = element & 1, ((element >> 1) ^ (element >> 2)) & 1
    signs = jnp.stack([1 - 2 * transposed, 1 - 2 * flipped])
    each = psf.reshape(-1, N_PSF_FEATURES)
    return jnp.concatenate([each[:, :-2], each[:, -2:] * signs], axis=1).ravel()


def _place(
    key, gallery, n_central, max_companions, separation, purities, candidates, shares
) -> Placement:
    n_psf = len(gallery.psf)
    psf_key, central_key, jitter_key, kind_key, key = jax.random.split(key, 5)
    psf = jax.random.randint(psf_key, (), 0, n_psf)
    central = psf + n_psf * jax.random.randint(central_key, (1,), 0, n_central // n_psf)
    phase = gallery.phase[central[0]]
    # Uniform within a pixel plus Gaussian: of all offsets with this phase, one drawn by its odds.
    jitter = CENTRE_JITTER * jax.random.normal(jitter_key, (2,))
    shift = jnp.rint(jitter - phase).astype(int)[None]
    if not max_companions:
        return Placement(central, shift, jnp.ones(1, bool), psf)

    def candidate(key):
        return _companions(
            key, gallery, n_central, psf, shift[0] + phase, max_companions, separation
        )

    members, shifts, present = jax.vmap(candidate)(jax.random.split(key, candidates))
    estimate = _estimated_purity(gallery, central[0], shift[0], members, shifts, present)
    kind, (isolated, unselected, hard) = jax.random.uniform(kind_key), shares
    any_purity = isolated + unselected
    kinds = kind < any_purity, kind < any_purity + hard
    limit = jnp.select(kinds, (jnp.inf, purities[0]), purities[1])
    chosen = jnp.argmax((estimate < limit).at[-1].set(True))
    return Placement(
        jnp.concatenate([central, members[chosen]]),
        jnp.concatenate([shift, shifts[chosen]]),
        jnp.concatenate([jnp.ones(1, bool), present[chosen] & (kind >= isolated)]),
        psf,
    )


def _companions(key, gallery, n_central, psf, centre, n, separation):
    """One candidate's companions: entries, whole-pixel shifts, and which of the n are there."""
    member_key, count_key, radius_key, angle_key = jax.random.split(key, 4)
    n_psf, n_other = len(gallery.psf), len(gallery.phase) - n_central
    drawn = jax.random.randint(member_key, (n,), 0, n_other // n_psf)
    members = n_central + psf + n_psf * drawn
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
