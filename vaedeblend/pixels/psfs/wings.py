"""Wings of PSFs: where the light lies that a PSF's image lacks."""

import numpy as np
from jaxtyping import Float

from vaedeblend.pixels.psf import EDGE, FALL, PSF_SIZE, Psf

WINGS_SIZE = 2 * PSF_SIZE - 1
"""Side of images that hold the wings which a PSF's own image lacks [pixel of the image]."""
_DARK = 1e-6
"""Light of a pixel over the peak below which it lies beyond the light that is given."""


def completed(psf: Psf, side: int, share: float | None = None) -> Psf:
    """A PSF on an image of odd side that holds all light: what it lacked falls as r^-3 beyond it.

    The wings begin at the brightness of the image's edge and end where all light is in them; if
    that is nowhere, they are brighter. Dark margins are none of the image's: it was padded.

    Args:
        psf: PSF.
        side: Side of the image; one that is no wider than the PSF's changes nothing.
        share: Share of the light that the PSF's image holds; `encircled_energy` by default.
    """
    share = psf.encircled_energy if share is None else share
    lost, given = 1 - share, _without_margin(psf.image)
    beyond = (side - len(given)) // 2
    if beyond <= 0 or not lost:
        return psf
    offset = np.arange(side) - side // 2
    radius = np.hypot(offset[:, None], offset)
    inner = slice(beyond, side - beyond)
    radius[inner, inner] = np.inf
    wings = np.where(radius > _reach(share * given, radius, lost), 0, radius**FALL)
    image = lost * wings / wings.sum()
    image[inner, inner] += share * given
    return Psf(image, psf.pixel_scale)


def _without_margin(image: Float[np.ndarray, "side side"]) -> Float[np.ndarray, "own own"]:
    """The middle of an image that was padded."""
    half = len(image) // 2
    away = np.abs(np.argwhere(np.abs(image) > _DARK * image.max()) - half)
    margin = half - away.max() if len(away) else 0
    return image[margin : len(image) - margin, margin : len(image) - margin]


def _reach(given: Float[np.ndarray, "own own"], radius, lost: float) -> float:
    """Radius within which wings hold a share of the light, continued from an edge [pixel].

    Args:
        given: Light of the image.
        radius: Distances of pixels beyond it [pixel]; infinite of those on it.
        lost: Share of the light.
    """
    half = len(given) // 2
    edge = np.hypot(*(np.indices(given.shape) - half))
    ring = (edge > EDGE[0] * half) & (edge <= EDGE[1] * half)
    if not ring.any():
        return np.inf
    level = np.mean(given[ring] / edge[ring] ** FALL)
    outwards = np.sort(radius, axis=None)
    held = level * np.cumsum(outwards**FALL)
    return outwards[np.searchsorted(held, lost)] if held[-1] > lost else np.inf
