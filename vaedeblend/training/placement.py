"""The device library of single galaxies, and the layout of a scene: which of them lie where.

Training scenes are composed on the device from a library of single galaxies. A layout is a scene
before it has pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.io import dataset
from vaedeblend.models.vae import psf_features

CENTRE_JITTER = 0.3
"""Uncertainty of a detected galaxy's centre: Gaussian sigma [pixel], beside the pixel's own."""


class DeviceLibrary(NamedTuple):
    """Single galaxies on the device: central ones, then companions; entry i has PSF i mod p."""

    stamps: Float[Array, "n side side band"]
    """Light [uJy per pixel], in half precision where it comes from a dataset."""
    phase: Float[Array, "n 2"]
    """(y, x) of each galaxy from its stamp's centre [pixel], within half a pixel."""
    flux: Float[Array, "n band"]
    """Flux of the catalogue [uJy]."""
    star: Bool[Array, " n"]
    """Whether it is no galaxy but a star."""
    width: Float[Array, " n"]
    """Sigma of the Gaussian of the same flux and the same summed square [pixel]."""
    psf: Float[Array, "p feature"]
    """`vae.psf_features` of the PSFs."""
    correlation: Float[Array, "p lag lag band"]
    """Autocovariance of noise under each PSF, whose sum is 1; one lag where all of it is white."""
    fields: Float[Array, "sheet field field band"]
    """Sheets of sky that no galaxy was chosen for; sheet i has PSF i mod p. There may be none."""


class Composing(NamedTuple):
    """How scenes are composed of a device library's galaxies."""

    max_companions: int
    """0 for isolated galaxies; otherwise there are 1 to this many companions."""
    candidates: int
    """Candidates per scene, of which one is chosen by its estimated central purity."""
    separation: tuple[float, float]
    """Range of companions' distances [pixel], uniform in area before each is rounded to the
    nearest position that its phase allows."""
    max_purity: float
    """The first candidate of lower estimated central purity is taken, or the last: most scenes are
    true blends, and some are not."""
    field_share: float = 0.0
    """Share of scenes that have a window of the library's sheets of sky behind them."""
    isolated_share: float = 0.0
    """Share of scenes that have no companion all the same."""
    unselected_share: float = 0.0
    """Share of scenes whose first candidate is taken, whatever its purity."""
    hard_share: float = 0.0
    """Share of scenes for which `hard_purity` stands for `max_purity`."""
    hard_purity: float = 0.6
    """Estimated central purity below which a candidate makes a hard scene."""
    central_share: float = 0.0
    """Share of companions that are drawn from the central galaxies: there are more of them, the
    more so of bright ones."""


def make_composing(pixel_scale: float, *, separation: Sequence[float], **settings) -> Composing:
    """Settings of scenes as configurations give them, distances in arcsec.

    Args:
        pixel_scale: Side of a pixel [arcsec].
        separation: Range of companions' distances [arcsec].
        **settings: The other fields of `Composing`.
    """
    low, high = (round(each / pixel_scale, 6) for each in separation)
    return Composing(separation=(low, high), **settings)


class SceneLayout(NamedTuple):
    """A scene before it has pixels; members in order, the central galaxy first."""

    members: Int[Array, " member"]
    """Entries of the device library."""
    shift: Int[Array, "member 2"]
    """(y, x) of each member's stamp from the scene's centre [pixel]."""
    present: Bool[Array, " member"]
    psf: Int[Array, ""]
    """Index of the PSF of all members."""


def make_device_library(
    stamps, phase, flux, central, psf, fields=None, correlation=None, star=None
) -> tuple[DeviceLibrary, int]:
    """A device library and its number of central galaxies.

    Args:
        stamps: Light of single galaxies (n, side, side, band) [uJy per pixel].
        phase: (y, x) of each galaxy from its stamp's centre (n, 2) [pixel].
        flux: Catalogue's fluxes (n, band) [uJy].
        central: Whether each galaxy is a central one (n); either kind goes through the PSFs in
            turn.
        psf: PSFs in that order (p, height, width, band).
        fields: Sheets of sky (sheet, side, side, band) [uJy per pixel], or None.
        correlation: Autocovariance of the noise under each PSF (p, lag, lag, band); None if white.
        star: Whether each is a star (n); None if none is.

    Raises:
        VaedeblendError: The central galaxies, the companions or the sheets are no multiple of p.
    """
    central = np.asarray(central)
    counts = {"central galaxies": central.sum(), "companions": (~central).sum()}
    counts["sheets"] = 0 if fields is None else len(fields)
    for name, n in counts.items():
        if n % len(psf):
            raise VaedeblendError(
                f"library has {n} {name}; wanted a multiple of its {len(psf)} PSFs"
            )
    if fields is None:
        fields = np.zeros((0, 1, 1, stamps.shape[-1]), np.float16)
    order = np.argsort(~central, kind="stable")
    star = np.zeros(len(central), bool) if star is None else star
    stamps, phase, flux, star = (np.asarray(a)[order] for a in (stamps, phase, flux, star))
    square = np.array([np.sum(np.square(stamp[..., 0], dtype=np.float32)) for stamp in stamps])
    width = np.abs(flux[:, 0]) / np.sqrt(4 * np.pi * square)
    features = psf_features(jnp.asarray(psf, jnp.float32))
    white = np.ones((len(psf), 1, 1, stamps.shape[-1]), np.float32)
    correlation = white if correlation is None or _is_white(correlation) else correlation
    arrays = (stamps, phase, flux, star, width, features, correlation, fields)
    return DeviceLibrary(*map(jnp.asarray, arrays)), int(np.sum(central))


def load_device_library(
    galaxies: Path, fields: Path | None, *, n_psfs: int, split: str = "train"
) -> tuple[DeviceLibrary, int]:
    """A device library of a split of datasets, and its number of central galaxies.

    Args:
        galaxies: Folder of the dataset of single galaxies.
        fields: Folder of the dataset of sheets of sky, or None.
        n_psfs: PSFs that the galaxies go through.
        split: Split of the datasets.
    """
    found = dataset.load(galaxies, split)
    return make_device_library(
        found["stamp"],
        found["phase"],
        found["flux_bulge"] + found["flux_disk"],
        found["central"],
        found["psf"][:n_psfs],
        None if fields is None else dataset.load(fields, split)["sheet"],
        found["correlation"][:n_psfs],
        found["id"] < 0,
    )


def _is_white(covariance: Float[np.ndarray, "p lag lag band"]) -> bool:
    """Whether no noise is correlated."""
    y, x = (n // 2 for n in covariance.shape[1:3])
    return np.allclose(covariance[:, y, x], 1, atol=1e-6)


def draw_layout(
    key: PRNGKeyArray, library: DeviceLibrary, composing: Composing, *, n_central: int
) -> SceneLayout:
    """A random layout of one scene.

    Args:
        key: Random key of the scene.
        library: Central galaxies and companions.
        composing: Settings of the scenes.
        n_central: Central galaxies in the library.
    """
    n_psf = len(library.psf)
    psf_key, central_key, jitter_key, kind_key, key = jax.random.split(key, 5)
    psf = jax.random.randint(psf_key, (), 0, n_psf)
    central = psf + n_psf * jax.random.randint(central_key, (1,), 0, n_central // n_psf)
    phase = library.phase[central[0]]
    # Uniform within a pixel plus Gaussian: of all offsets with this phase, one drawn by its odds.
    jitter = CENTRE_JITTER * jax.random.normal(jitter_key, (2,))
    shift = jnp.rint(jitter - phase).astype(int)[None]
    if not composing.max_companions:
        return SceneLayout(central, shift, jnp.ones(1, bool), psf)

    def candidate(key):
        members_key, place_key = jax.random.split(key)
        members = _members(members_key, library, n_central, psf, composing)
        shifts = _places(place_key, library, members, shift[0] + phase, composing.separation)
        return members, *shifts

    members, shifts, present = jax.vmap(candidate)(jax.random.split(key, composing.candidates))
    purity = _estimated_purity(library, central[0], shift[0], members, shifts, present)
    kind = jax.random.uniform(kind_key)
    chosen = jnp.argmax((purity < _purity_limit(kind, composing)).at[-1].set(True))
    with_companions = present[chosen] & (kind >= composing.isolated_share)
    return SceneLayout(
        jnp.concatenate([central, members[chosen]]),
        jnp.concatenate([shift, shifts[chosen]]),
        jnp.concatenate([jnp.ones(1, bool), with_companions]),
        psf,
    )


def _purity_limit(kind, composing: Composing):
    """Estimated purity below which a scene's candidate is taken, of a kind uniform in (0, 1)."""
    any_purity = composing.isolated_share + composing.unselected_share
    kinds = kind < any_purity, kind < any_purity + composing.hard_share
    return jnp.select(kinds, (jnp.inf, composing.hard_purity), composing.max_purity)


def _members(key, library, n_central, psf, composing: Composing):
    """Entries of one candidate's companions: companions of the library, or central galaxies."""
    n, central_share = composing.max_companions, composing.central_share
    kind_key, central_key, other_key = jax.random.split(key, 3)
    n_psf = len(library.psf)
    central = jax.random.randint(central_key, (n,), 0, n_central // n_psf)
    other = jax.random.randint(other_key, (n,), 0, (len(library.phase) - n_central) // n_psf)
    is_central = jax.random.bernoulli(kind_key, central_share, (n,))
    return psf + jnp.where(is_central, n_psf * central, n_central + n_psf * other)


def _places(key, library, members, centre, separation):
    """One candidate's companions: whole-pixel shifts, and which of them are there."""
    count_key, radius_key, angle_key = jax.random.split(key, 3)
    n, (low, high) = len(members), separation
    present = jnp.arange(n) < jax.random.randint(count_key, (), 1, n + 1)
    radius = jnp.sqrt(jax.random.uniform(radius_key, (n, 1), minval=low**2, maxval=high**2))
    angle = jax.random.uniform(angle_key, (n,), maxval=2 * jnp.pi)
    step = radius * jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return jnp.rint(centre + step - library.phase[members]).astype(int), present


def _estimated_purity(library, central, central_shift, members, shifts, present):
    """Central purity if every galaxy were a round Gaussian of its own width: cheap, and close."""
    offset = shifts + library.phase[members] - central_shift - library.phase[central]
    square = library.width[members] ** 2 + library.width[central] ** 2
    ratio = library.flux[members, 0] / library.flux[central, 0]
    overlap = jnp.exp(-jnp.sum(offset**2, axis=-1) / (2 * square)) / square
    others = jnp.sum(present * ratio * overlap, axis=-1) * 2 * library.width[central] ** 2
    return 1 / (1 + others)
