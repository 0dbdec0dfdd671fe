"""How blended a scene is: purity, blended area BM_1 and flux ratio of its central galaxy.

All of them are computed from the noise-free stamps of a scene's members, central galaxy first.
`footprint_owner` is for whole images: which source's light is the brightest in each pixel.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from vaedeblend.pixels.profiles import Profiles

FOOTPRINT_THRESHOLD = 1.5
"""A footprint is where noise-free light exceeds this multiple of the background rms."""

_OWNED = 1.0
"""Least light of a pixel that belongs to a source in a segmentation map [background rms]."""

BLENDED_PURITY = 0.95
"""Scenes whose central galaxy has a lower purity count as blended in all headline numbers."""


def purity(members: Float[np.ndarray, "member height width band"]) -> Float[np.ndarray, " band"]:
    r"""Share of the light under the central galaxy's profile that is its own, per band.

    $\rho = \sum_p s_p^2 / \sum_p s_p \sum_j s_{jp}$ (Sanchez+ 2021, eq. 7); 1 when isolated.
    """
    central = members[0]
    own = np.einsum("hwb,hwb->b", central, central)
    return own / np.einsum("hwb,mhwb->b", central, members)


def footprints(
    members: Float[np.ndarray, "member height width band"], rms: Float[np.ndarray, " band"]
) -> Bool[np.ndarray, "member height width band"]:
    """Pixels whose noise-free light exceeds 1.5 times the background rms [uJy per pixel]."""
    return members > FOOTPRINT_THRESHOLD * rms


def blended_area(footprint: Bool[np.ndarray, "member height width band"]) -> np.ndarray:
    """BM_1: share of the central galaxy's footprint that a companion's covers, per band.

    0 where the central galaxy has no footprint.
    """
    covered = footprint[0] & footprint[1:].any(axis=0)
    area = footprint[0].sum(axis=(0, 1))
    return covered.sum(axis=(0, 1)) / np.maximum(area, 1)


def flux_ratio(
    flux: Float[np.ndarray, "member band"],
    footprint: Bool[np.ndarray, "member height width band"],
) -> np.ndarray:
    """FR: flux of the central galaxy over that of the brightest overlapping companion, per band.

    Infinite where no companion's footprint overlaps the central galaxy's.
    """
    overlaps = (footprint[1:] & footprint[0]).any(axis=(1, 2))
    brightest = np.where(overlaps, flux[1:], 0.0).max(axis=0, initial=0.0)
    with np.errstate(divide="ignore"):
        return flux[0] / brightest


def footprint_owner(
    profiles: Profiles, rms: Float[np.ndarray, "height width"]
) -> Int[np.ndarray, "height width"]:
    """Row of the source with the most light in a pixel, from 1; 0 where none exceeds the rms.

    Args:
        profiles: Light of the sources.
        rms: Standard deviation of the image's background; infinite where a pixel is ignored.
    """
    owner, most = np.zeros(rms.shape, np.int32), _OWNED * rms
    for row, (there, light) in enumerate(profiles.on_image(rms.shape), 1):
        highest = most[there]
        np.copyto(owner[there], row, where=light > highest)
        np.maximum(highest, light, out=highest)
    return owner
