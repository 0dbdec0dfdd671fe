"""The ground on which sources are added: how an image shows light, and where it counts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from jaxtyping import Bool, Float, Int

from vaedeblend.evaluate.added.inputs import Inputs
from vaedeblend.io.mosaic import Mosaic, open_mosaic
from vaedeblend.pixels.coadds import pixel_variance
from vaedeblend.pixels.psf import Psf
from vaedeblend.pixels.psfs.read import read_psfs
from vaedeblend.simulate.library import field_psfs
from vaedeblend.survey import MICROJANSKY_ZERO_POINT


class Ground(NamedTuple):
    """How an image shows light, and where."""

    counting: Bool[np.ndarray, "height width"]
    """Pixels that are measured."""
    pixel_scale: float
    """Side of a pixel [arcsec]."""
    zero_point: float
    """AB magnitude of one image unit."""
    psfs: list[list[Psf]]
    """PSFs of the cells of an even grid."""
    gain: Float[np.ndarray, "height width"] | float | None
    """Electrons per image unit; None where they are not known."""
    correlation: Float[np.ndarray, "lag lag"] | None
    """Autocovariance of the noise, of unit sum, its middle lag 0; None if white."""
    bands: tuple[str, ...]
    """Name of the band."""
    is_total: bool
    """Whether the map of the noise holds the sources' photon noise."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width [pixel]."""
        return self.counting.shape

    @property
    def unit(self) -> float:
        """Image units per uJy."""
        return 10 ** (0.4 * (self.zero_point - MICROJANSKY_ZERO_POINT))

    def cell(self, position: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
        """(row, column) of the PSF at each (y, x) [pixel]."""
        parts = len(self.psfs), len(self.psfs[0])
        found = (position * parts / np.array(self.shape)).astype(int)
        return found.clip(0, np.subtract(parts, 1))

    def said(self) -> list[str]:
        """What is to be known of the light that is added."""
        text = "Their photon noise is that of the gain"
        if self.gain is None:
            text = "No gain is known: they have no photon noise, and errors leave theirs out"
        elif self.is_total:
            text += " in the map of the noise, to which it is added, too"
        if self.correlation is not None:
            scatter = np.sqrt(pixel_variance(self.correlation))
            text += f"; it is as correlated as the sky, whose pixels scatter by {scatter:.2f} of "
            text += "the rms that large apertures have"
        return [text + "."]


def read_ground(inputs: Inputs, before: Path) -> Ground:
    """The ground that an image is, once it has been deblended.

    Args:
        inputs: The image.
        before: Folder of what was made of it.

    Raises:
        VaedeblendError: A file cannot be read.
    """
    scale, inspection = inputs.survey.pixel_scale.value, inputs.inspect()
    counting = np.isfinite(fits.getdata(before / "residual.fits"))
    with open_mosaic(inputs.image, **inputs.files | inspection.corrections) as mosaic:
        gain, photons = mosaic.gain, inspection.photons
        if photons is not None:
            rms = fits.getdata(before / "background_rms.fits")
            gain = (photons.scale / np.square(rms, dtype=float)).astype(np.float32)
        psfs = _psfs(inputs, mosaic, scale)
    noise = None if inspection.noise is None else inspection.noise.covariance
    known = scale, float(mosaic.zero_point), psfs, gain, noise
    return Ground(counting, *known, inputs.survey.band_names, photons is not None)


def _psfs(inputs: Inputs, mosaic: Mosaic, scale: float) -> list[list[Psf]]:
    path = inputs.options.get("psf")
    if path is None:
        return [list(field_psfs(inputs.survey))]
    scales = {"given": inputs.options.get("psf_scale"), "default": mosaic.pixel_scale or scale}
    return read_psfs(path, mosaic.shape, mosaic.wcs, **scales).grid
