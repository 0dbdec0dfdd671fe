"""The ground on which sources are added: how an image shows light, and where it counts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from jaxtyping import Bool, Float, Int

from vaedeblend.evaluate.added.inputs import Inputs
from vaedeblend.io.mosaic import Mosaic, open_mosaic
from vaedeblend.pixels.coadds import sky_autocorrelation
from vaedeblend.pixels.psf import Psf
from vaedeblend.pixels.psfs.read import read_psfs
from vaedeblend.simulate.library import field_psfs
from vaedeblend.survey import MICROJANSKY_ZERO_POINT

_SKY = 2048
"""Side of the part of an image on whose sky the noise's correlation is measured [pixel]."""


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
    correlation: Float[np.ndarray, "lag lag"]
    """Autocovariance of the noise, as of `coadds.noise_autocorrelation`."""
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
        middle = len(self.correlation) // 2
        scatter = float(np.sqrt(self.correlation[middle, middle]))
        text = "Their photon noise is that of the gain"
        if self.gain is None:
            text = "No gain is known: they have no photon noise, and errors leave theirs out"
        elif self.is_total:
            text += " in the map of the noise, to which it is added, too"
        if scatter < 1:
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
        rms = _background_rms(mosaic, before)
        gain, photons = mosaic.gain, inspection.photons
        if photons is not None:
            with np.errstate(over="ignore"):
                gain = (photons.scale / np.square(rms, dtype=float)).astype(np.float32)
        psfs = _psfs(inputs, mosaic, scale)
    sky = sky_autocorrelation(_sky(before, counting, rms))
    known = scale, float(mosaic.zero_point), psfs, gain, sky
    return Ground(counting, *known, inputs.survey.band_names, photons is not None)


def _psfs(inputs: Inputs, mosaic: Mosaic, scale: float) -> list[list[Psf]]:
    path = inputs.options.get("psf")
    if path is None:
        return [list(field_psfs(inputs.survey))]
    scales = {"given": inputs.options.get("psf_scale"), "default": mosaic.pixel_scale or scale}
    return read_psfs(path, mosaic.shape, mosaic.wcs, **scales).grid


def _background_rms(mosaic: Mosaic, before: Path) -> Float[np.ndarray, "height width"]:
    """The rms of the background: that which was found, or that which is given."""
    for name in ("background_rms", "rms"):
        if (path := before / f"{name}.fits").exists():
            return np.asarray(fits.getdata(path), np.float32)
    return mosaic.read(*(slice(0, side) for side in mosaic.shape)).rms


def _sky(before: Path, counting, rms) -> Float[np.ndarray, "height width"]:
    """Residual over rms where there is no source; NaN elsewhere; a part of large images."""
    part = tuple(slice(max(n - _SKY, 0) // 2, (n + _SKY) // 2) for n in counting.shape)
    with fits.open(before / "segmentation.fits") as hdus:
        blank = (hdus[0].data[part] == 0) & counting[part] & (rms[part] > 0)
    residual = np.asarray(fits.getdata(before / "residual.fits")[part], float)
    return np.where(blank, residual / np.where(rms[part] > 0, rms[part], 1), np.nan)
