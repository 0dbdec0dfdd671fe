"""Surveys: bands, depth, and the conventions on which every other module relies.

Axes: images are `(height, width, band)`, batches of them `(batch, height, width, band)`.

Positions: `(y, x)` in pixels, 0-based; the centre of the first pixel is (0, 0), so that the
centre of a stamp of even size n lies between pixels, at ((n - 1) / 2, (n - 1) / 2): (31.5, 31.5)
for 64 pixels. Position angles run from +x towards +y.

Fluxes: uJy, whose AB zero point is 23.9; images are in uJy per pixel, background subtracted.

Variance: `variance` and `rms` are always the background's (sky and read noise). The Poisson noise
of the galaxies is added by the likelihood, from the model and the gain: an input variance that
held it would tell the network the truth it is asked for.
"""

from dataclasses import dataclass, fields

import astropy.units as u
import numpy as np
from jaxtyping import Bool, Float, Real

from vaedeblend.exceptions import VaedeblendError

MICROJANSKY_ZERO_POINT = 23.9
"""AB magnitude of 1 uJy."""

_UNITS = {
    "electron_zero_point": u.mag,
    "sky_brightness": u.mag / u.arcsec**2,
    "exposure_time": u.s,
    "read_noise": u.electron,
    "wavelength": u.nm,
    "aperture": u.m,
    "charge_diffusion": u.arcsec,
    "pixel_scale": u.arcsec,
}
_POSITIVE = "exposure_time", "n_exposures", "wavelength", "aperture", "pixel_scale"
"""Fields by which others are divided."""


def magnitude_to_flux(magnitude):
    """Flux in uJy of an AB magnitude (float or array)."""
    return 10 ** (0.4 * (MICROJANSKY_ZERO_POINT - np.asarray(magnitude)))


def flux_to_magnitude(flux):
    """AB magnitude of a flux in uJy (float or array)."""
    return MICROJANSKY_ZERO_POINT - 2.5 * np.log10(flux)


def magnitude_error(flux, flux_err):
    """Error of a flux's magnitude, of a small error of the flux; NaN where that is not positive."""
    positive = np.where(np.asarray(flux) > 0, flux, np.nan)
    return 2.5 / np.log(10) * flux_err / positive


def stamp_centre(size: int) -> float:
    """Centre of a stamp of `size` pixels, along either axis [0-based pixels]."""
    return (size - 1) / 2


class _WithUnits:
    """Turns plain numbers into quantities of the field's unit; converts what has a unit.

    Raises:
        VaedeblendError: A field that has to be above 0 is not.
    """

    def __post_init__(self):
        for field in fields(self):
            if field.name in _UNITS:
                value = u.Quantity(getattr(self, field.name), _UNITS[field.name])
                object.__setattr__(self, field.name, value)
            if field.name in _POSITIVE and not 0 < (found := getattr(self, field.name)) < np.inf:
                raise VaedeblendError(f"{field.name} is {found}; wanted a number above 0")


@dataclass(frozen=True)
class Band(_WithUnits):
    """One band: telescope, detector and depth. The defaults are Euclid VIS's four exposures.

    Numbers are taken in the units below; quantities are converted.

    Attributes:
        name: Name of the band in catalogues.
        electron_zero_point: AB magnitude of one electron per second [mag].
        sky_brightness: Surface brightness of the sky [mag / arcsec2].
        exposure_time: Effective time of one exposure [s].
        n_exposures: Exposures in the stack.
        read_noise: Read noise of one exposure [electron].
        psf: FITS image of the effective PSF; empty for the optical PSF of the next five fields.
        wavelength: Effective wavelength [nm].
        aperture: Diameter of the primary mirror [m].
        obscuration: Diameter of the secondary mirror over that of the primary.
        n_struts: Struts that hold the secondary mirror.
        charge_diffusion: Gaussian sigma of the detector's charge diffusion [arcsec].
    """

    name: str = "euclid-vis"
    electron_zero_point: u.Quantity | float = 25.91
    sky_brightness: u.Quantity | float = 22.35
    exposure_time: u.Quantity | float = 560.5
    n_exposures: int = 4
    read_noise: u.Quantity | float = 4.4
    psf: str = ""
    wavelength: u.Quantity | float = 720.0
    aperture: u.Quantity | float = 1.2
    obscuration: float = 0.37
    n_struts: int = 3
    charge_diffusion: u.Quantity | float = 0.04

    @property
    def gain(self) -> float:
        """Electrons in the stack per uJy."""
        exposure = self.exposure_time.value * self.n_exposures
        return float(exposure / magnitude_to_flux(self.electron_zero_point.value))


@dataclass(frozen=True)
class Survey(_WithUnits):
    """Bands that share a pixel grid; the default is Euclid VIS.

    Attributes:
        bands: Bands in the order of the band axis.
        pixel_scale: Side of a pixel [arcsec].
    """

    bands: tuple[Band, ...] = (Band(),)
    pixel_scale: u.Quantity | float = 0.1

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands, in the order of the band axis."""
        return tuple(band.name for band in self.bands)

    @property
    def gain(self) -> Float[np.ndarray, " band"]:
        """Electrons per uJy, float32."""
        return np.array([band.gain for band in self.bands], np.float32)

    @property
    def background(self) -> Float[np.ndarray, " band"]:
        """Variance of sky and read noise in a pixel [electron2], float32."""
        return np.array([self._background(band) for band in self.bands], np.float32)

    @property
    def variance(self) -> Float[np.ndarray, " band"]:
        """Background variance of a pixel [uJy2], float32."""
        return self.background / self.gain**2

    @property
    def rms(self) -> Float[np.ndarray, " band"]:
        """Background noise of a pixel [uJy], float32."""
        return np.sqrt(self.variance)

    def _background(self, band: Band) -> float:
        per_arcsec2 = magnitude_to_flux(band.sky_brightness.value) * band.gain
        sky = per_arcsec2 * self.pixel_scale.value**2
        return sky + band.n_exposures * band.read_noise.value**2


def make_survey(bands: dict[str, dict], pixel_scale: float) -> Survey:
    """The survey of a configuration: band names to the fields of `Band`, plain numbers."""
    return Survey(tuple(Band(name=name, **band) for name, band in bands.items()), pixel_scale)


def inside(position: Real[np.ndarray, "n 2"], shape: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Whether positions (y, x) lie on the pixels of an image, half a pixel about their centres.

    Args:
        position: Positions [0-based pixels]; NaN lie nowhere.
        shape: Height and width of the image.
    """
    return ((position >= -0.5) & (position < np.subtract(shape, 0.5))).all(axis=1)
