"""Bands on the pixels of the first one as plain values, and windows of them.

`AlignedBand` --read--> pixels, PSFs and noise of all bands, as a network of several takes them
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.image.catalogue.columns import BANDS
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.survey import magnitude_to_flux


class AlignedBand(NamedTuple):
    """An image of a further band, on the pixels of the first one: plain values."""

    name: str
    image: str
    files: dict
    """Keywords of `mosaic.open_mosaic`."""
    psf: Float[np.ndarray, "rows columns side side"] | None
    """PSFs of the parts of an even grid over the image; None for the one trained for."""
    covariance: Float[np.ndarray, "lag lag"] | None
    """Autocovariance of the noise, of unit sum; None where pixels are independent."""
    zero_point: float
    """AB magnitude of an image unit."""

    def record(self) -> dict:
        """All of it by name, for a record of what pieces are made from."""
        return {f"{self.name} {name}": value for name, value in self._asdict().items()}


class BandWindow(NamedTuple):
    """A window of a further band, in a unit that fits into single precision."""

    image: Float[np.ndarray, "height width"]
    rms: Float[np.ndarray, "height width"]
    """Background noise, infinite where a pixel is bad."""
    gain: float
    """Electrons per unit; infinite where it is not known."""
    microjansky: float
    """Microjanskys of a unit."""


def read_window(band: AlignedBand, rows: slice, columns: slice) -> BandWindow:
    """Pixels of a further band.

    Raises:
        MosaicError: The file is damaged there.
    """
    with open_mosaic(band.image, **band.files) as mosaic:
        image, rms, _ = mosaic.read(rows, columns)
        scale, gain = mosaic.scale, np.inf if mosaic.gain is None else mosaic.gain
    unit = float(magnitude_to_flux(band.zero_point))
    return BandWindow(image * scale, rms * scale, gain / scale, unit / scale)


def all_bands(
    image: Float[np.ndarray, "height width"],
    rms: Float[np.ndarray, "height width"],
    windows: Sequence[BandWindow],
) -> tuple[Float[np.ndarray, "height width band"], Float[np.ndarray, "height width band"]]:
    """Pixels and noise of all bands.

    Args:
        image: The first band's pixels.
        rms: Their noise.
        windows: The further bands.
    """
    images, noises = ([getattr(each, name) for each in windows] for name in ("image", "rms"))
    return np.stack([image, *images], axis=-1), np.stack([rms, *noises], axis=-1)


def in_microjansky(table: Table, windows: Sequence[BandWindow]) -> None:
    """Brings the columns BANDS of sources to uJy.

    Args:
        table: Sources, measured on windows of the further bands.
        windows: These.
    """
    for name in BANDS:
        table[name] *= np.array([each.microjansky for each in windows])


def whole_grids(grids: Sequence, deblend) -> list[Float[np.ndarray, "rows columns side side"]]:
    """Grids of PSFs of one size in all bands.

    Args:
        grids: Grids, each (rows, columns, side, side); None for the PSF trained for.
        deblend: Deblender, which has that one.
    """
    found = [
        np.asarray(deblend.psf)[None, None, ..., band] if grid is None else grid
        for band, grid in enumerate(grids)
    ]
    side = max(grid.shape[-1] for grid in found)
    margins = [(side - grid.shape[-1]) // 2 for grid in found]
    return [
        np.pad(grid, ((0, 0), (0, 0), (m, m), (m, m)))
        for grid, m in zip(found, margins, strict=True)
    ]


def joined_noise(covariances: Sequence) -> Float[np.ndarray, "lag lag *band"] | None:
    """Autocovariances of the noise of all bands; None where it is white in each.

    Args:
        covariances: One of each band, (lag, lag) and of unit sum; None where it is white.
    """
    known = [each for each in covariances if each is not None]
    if not known:
        return None
    white = np.zeros_like(known[0])
    white[tuple(n // 2 for n in white.shape)] = 1
    return np.stack([white if each is None else each for each in covariances], axis=-1)
