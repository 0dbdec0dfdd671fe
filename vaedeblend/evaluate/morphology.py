"""Statistics of what galaxies look like: CAS, Gini, M20, a Sersic fit, and power spectra.

Concentration, asymmetry and smoothness are Conselice's (2003), Gini coefficient and M20 those of
Lotz+ (2004), all as statmorph measures them (Rodriguez-Gomez+ 2019; extra `realism`). It subtracts
the sky and weighs with the noise: stamps are to have noise, if only a little, and some empty sky.
Smoothness is the brittle one: of galaxies 6 pixels in radius, a quarter turn changes it by 0.02.
"""

import warnings
from typing import NamedTuple

import numpy as np
import statmorph
from jaxtyping import Bool, Float
from scipy import ndimage

STATISTICS = ("concentration", "asymmetry", "smoothness", "gini", "m20")
"""Those of `Morphology` that say what a galaxy looks like, whatever its size and angle."""

_ABORTED = -99.0
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, ValueError)
"""Of statmorph and of what it calls, on stamps that it has not been made for."""


class Morphology(NamedTuple):
    """Of n galaxies; NaN where they could not be measured at all."""

    concentration: Float[np.ndarray, "*n"]
    asymmetry: Float[np.ndarray, "*n"]
    smoothness: Float[np.ndarray, "*n"]
    gini: Float[np.ndarray, "*n"]
    m20: Float[np.ndarray, "*n"]
    sersic_index: Float[np.ndarray, "*n"]
    """Of the profile that fits best, under the PSF that was given if any, as are the next three."""
    half_light_radius: Float[np.ndarray, "*n"]
    """Along the major axis [pixel]."""
    axis_ratio: Float[np.ndarray, "*n"]
    position_angle: Float[np.ndarray, "*n"]
    """From +x towards +y [deg], within half a turn."""
    measured: Bool[np.ndarray, "*n"]
    """Whether statmorph trusts the five statistics (flag 0 or 1)."""
    fitted: Bool[np.ndarray, "*n"]
    """Whether it trusts the fit."""


def measure(
    stamps: Float[np.ndarray, "n height width"],
    rms: float,
    psf: Float[np.ndarray, "side side"] | None = None,
) -> Morphology:
    """Statistics of the galaxy in the middle of each stamp, half a second each.

    Args:
        stamps: In any unit, without sky, with some of it around the galaxy.
        rms: Of their noise, in the same unit; they are to have it.
        psf: With which the Sersic profile is convolved; several times slower.
    """
    rows = [_measure(np.asarray(stamp, float) / rms, psf) for stamp in stamps]
    return Morphology(*map(np.array, zip(*rows, strict=True)))


def features(morphology: Morphology) -> Float[np.ndarray, "n 5"]:
    """The five statistics of those galaxies that have them."""
    table = np.stack([getattr(morphology, name) for name in STATISTICS], axis=-1)
    return table[morphology.measured & np.isfinite(table).all(axis=-1)]


def power_spectra(
    stamps: Float[np.ndarray, "n side side"],
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "n k"]]:
    """Frequencies [cycles per pixel], and each stamp's power there, averaged over rings.

    Power is in units of that of the whole flux at zero frequency.
    """
    side = stamps.shape[-1]
    frequency = np.fft.fftfreq(side, 1 / side)
    ring = np.rint(np.hypot(frequency[:, None], frequency)).astype(int)
    power = abs(np.fft.fft2(stamps / stamps.sum(axis=(1, 2), keepdims=True))) ** 2
    rings = np.arange(1, side // 2)
    means = np.stack([power[:, ring == k].mean(axis=-1) for k in rings], axis=-1)
    return rings / side, means


def central_segment(
    significance: Float[np.ndarray, "height width"],
) -> Bool[np.ndarray, "height width"]:
    """Pixels of the galaxy in the middle: connected, and above 1.5 of the noise's rms when blurred.

    Args:
        significance: Image over the rms of its noise.
    """
    blur = 1.5
    smooth = ndimage.gaussian_filter(significance, blur)
    labels, n = ndimage.label(smooth > 1.5 / (2 * np.pi**0.5 * blur))
    if not n:
        return np.zeros(labels.shape, bool)
    distance = np.hypot(
        *(np.indices(labels.shape) - (np.array(labels.shape)[:, None, None] - 1) / 2)
    )
    return labels == labels.flat[np.argmin(np.where(labels > 0, distance, np.inf))]


class _Source(statmorph.SourceMorphology):
    """A source of which only the few statistics wanted here are computed: the rest takes longer."""

    _WANTED = (*STATISTICS, "sersic_n", "sersic_rhalf", "sersic_ellip", "sersic_theta")

    def _calculate_morphology(self):
        for name in (*self._WANTED, "sky_mean", "sky_sigma"):
            getattr(self, name)

    def _check_segmaps(self):
        """Would compute the segments of another statistic."""

    def row(self) -> tuple:
        """Fields of `Morphology`."""
        *five, index, radius, ellipticity, angle = (float(self[name]) for name in self._WANTED)
        good = self.flag < 2 and _ABORTED not in five
        fit = index, radius, 1 - ellipticity, np.degrees(angle) % 180
        return *five, *fit, good, good and self.flag_sersic == 0


def _measure(significance, psf) -> tuple:
    segment = central_segment(significance)
    nothing = (*np.full(len(Morphology._fields) - 2, np.nan), False, False)
    if significance[segment].sum() <= 0:
        return nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its flags tell the same
        try:
            noise = np.ones_like(significance)
            return _Source(significance, segment.astype(int), 1, weightmap=noise, psf=psf).row()
        except _FAILURES:
            return nothing
