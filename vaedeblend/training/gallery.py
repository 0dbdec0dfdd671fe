"""The library of single galaxies on the device, from which training scenes are composed."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.models.vae import psf_features


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
    """`vae.psf_features` of the PSFs."""
    fields: Float[Array, "sheet field field band"]
    """Sheets of sky that no galaxy was chosen for; sheet i has PSF i mod p. There may be none."""


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
            raise VaedeblendError(
                f"gallery has {n} {name}; wanted a multiple of its {len(psf)} PSFs"
            )
    if fields is None:
        fields = np.zeros((0, 1, 1, stamps.shape[-1]), np.float16)
    order = np.argsort(~central, kind="stable")
    stamps, phase, flux = (np.asarray(a)[order] for a in (stamps, phase, flux))
    square = np.array([np.sum(np.square(stamp[..., 0], dtype=np.float32)) for stamp in stamps])
    width = np.abs(flux[:, 0]) / np.sqrt(4 * np.pi * square)
    features = psf_features(jnp.asarray(psf, jnp.float32))
    arrays = (stamps, phase, flux, width, features, fields)
    return Gallery(*map(jnp.asarray, arrays)), int(np.sum(central))
