"""Which galaxies of a gallery make a training scene, and where they lie: before it has pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from vaedeblend.training.gallery import Gallery

CENTRE_JITTER = 0.3
"""Uncertainty of a detected galaxy's centre: Gaussian sigma [pixel], beside the pixel's own."""


class Placement(NamedTuple):
    """A scene before it has pixels; members in order, the central galaxy first."""

    members: Int[Array, " member"]
    shift: Int[Array, "member 2"]
    present: Bool[Array, " member"]
    psf: Int[Array, ""]


def place(
    key: PRNGKeyArray,
    gallery: Gallery,
    *,
    n_central: int,
    max_companions: int,
    separation: tuple[float, float],
    max_purity: float,
    candidates: int,
    isolated_share: float = 0.0,
    unselected_share: float = 0.0,
    hard_share: float = 0.0,
    hard_purity: float = 0.6,
    central_share: float = 0.0,
) -> Placement:
    """Draws a scene.

    Args:
        key: Of the scene.
        gallery: Of central galaxies and companions.
        n_central: Central galaxies in the gallery.
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
        central_share: Of companions that are drawn from the central galaxies: there are more of
            them, the more so of bright ones.
    """
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
        members_key, place_key = jax.random.split(key)
        members = _members(members_key, gallery, n_central, psf, max_companions, central_share)
        return members, *_places(place_key, gallery, members, shift[0] + phase, separation)

    members, shifts, present = jax.vmap(candidate)(jax.random.split(key, candidates))
    estimate = _estimated_purity(gallery, central[0], shift[0], members, shifts, present)
    kind, any_purity = jax.random.uniform(kind_key), isolated_share + unselected_share
    kinds = kind < any_purity, kind < any_purity + hard_share
    limit = jnp.select(kinds, (jnp.inf, hard_purity), max_purity)
    chosen = jnp.argmax((estimate < limit).at[-1].set(True))
    return Placement(
        jnp.concatenate([central, members[chosen]]),
        jnp.concatenate([shift, shifts[chosen]]),
        jnp.concatenate([jnp.ones(1, bool), present[chosen] & (kind >= isolated_share)]),
        psf,
    )


def _members(key, gallery, n_central, psf, n, central_share):
    """Entries of one candidate's companions: companions of the gallery, or central galaxies."""
    kind_key, central_key, other_key = jax.random.split(key, 3)
    n_psf = len(gallery.psf)
    central = jax.random.randint(central_key, (n,), 0, n_central // n_psf)
    other = jax.random.randint(other_key, (n,), 0, (len(gallery.phase) - n_central) // n_psf)
    is_central = jax.random.bernoulli(kind_key, central_share, (n,))
    return psf + jnp.where(is_central, n_psf * central, n_central + n_psf * other)


def _places(key, gallery, members, centre, separation):
    """One candidate's companions: whole-pixel shifts, and which of them are there."""
    count_key, radius_key, angle_key = jax.random.split(key, 3)
    n, (low, high) = len(members), separation
    present = jnp.arange(n) < jax.random.randint(count_key, (), 1, n + 1)
    radius = jnp.sqrt(jax.random.uniform(radius_key, (n, 1), minval=low**2, maxval=high**2))
    angle = jax.random.uniform(angle_key, (n,), maxval=2 * jnp.pi)
    step = radius * jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return jnp.rint(centre + step - gallery.phase[members]).astype(int), present


def _estimated_purity(gallery, central, central_shift, members, shifts, present):
    """Central purity if every galaxy were a round Gaussian of its own width: cheap, and close."""
    offset = shifts + gallery.phase[members] - central_shift - gallery.phase[central]
    square = gallery.width[members] ** 2 + gallery.width[central] ** 2
    ratio = gallery.flux[members, 0] / gallery.flux[central, 0]
    overlap = jnp.exp(-jnp.sum(offset**2, axis=-1) / (2 * square)) / square
    others = jnp.sum(present * ratio * overlap, axis=-1) * 2 * gallery.width[central] ** 2
    return 1 / (1 + others)
