"""How far the noise of neighbouring pixels is correlated, as blank sky tells it.

Resampling correlates noise. Sums over large apertures are as noisy as those of independent pixels
of a *white-equivalent* rms, which a map of the noise may hold, or that of single pixels.
"""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import binary_dilation, gaussian_filter, uniform_filter

from vaedeblend.image.inspection.findings import BlankSky, Finding, SkyNoise
from vaedeblend.io.mosaic import Pixels
from vaedeblend.pixels.coadds import autocovariance

_LAG = 3
"""Largest distance along either axis at which pixels may be correlated: Lanczos3's [pixel]."""
_SMOOTH, _SEEN, _HIGH, _GROWN = 1.5, 3.0, 5.0, 6
"""Light is seen where the smoothed image exceeds so many times its noise, or a pixel that of
pixels; and all that is so near to such a pixel is no blank sky [pixel]."""
_BOX = 65
"""Side of the box whose mean is the sky's [pixel]."""
_FEWEST = 5000
"""Pixels of blank sky without which nothing is measured."""
_LEAST, _SURE, _FAR = 0.02, 4.0, 0.1
"""Correlation that is none, standard errors of one that may be chance, and least correlation at the
largest lag that is light's and not noise's."""
_EQUAL = 4 / 3
"""Factor between the variances of sums over large apertures and those of the map that is none."""


def measure_blank_sky(strips: list[Pixels]) -> BlankSky | None:
    """The noise of an image's blank sky; None where there is too little of it.

    Args:
        strips: Valid strips of the image; where they have no noise, it is that of the pixels.
    """
    skies = [_blank_sky(each) for each in strips]
    known = np.array([np.isfinite(sky).sum() for sky in skies])
    if known.sum() < _FEWEST:
        return None
    parts = [autocovariance(sky, _LAG) for sky, n in zip(skies, known, strict=True) if n]
    covariance = np.average(parts, axis=0, weights=known[known > 0])
    return BlankSky(covariance, int(known.sum()))


def correlated_noise(sky: BlankSky | None) -> SkyNoise | None:
    """Correlated noise of a blank sky; None where it is white, or not known."""
    if sky is None:
        return None
    covariance = sky.covariance
    if not covariance[_LAG, _LAG] > 0:  # an image without noise
        return None
    correlation = covariance / covariance[_LAG, _LAG]
    least = max(_LEAST, _SURE * sky.pixels**-0.5)
    if _along_axes(correlation, 1).max() < least or _along_axes(correlation, _LAG).max() > _FAR:
        return None
    # Light too faint to be seen adds to a sum over all lags; along the axes there is less of it.
    along_y, along_x = correlation[:, _LAG].sum(), correlation[_LAG].sum()
    ratio = covariance[_LAG, _LAG] * along_y * along_x
    agree = 1 / _EQUAL < ratio < _EQUAL
    return SkyNoise(correlation / correlation.sum(), 1.0 if agree else float(np.sqrt(ratio)))


def correlation_findings(noise: SkyNoise | None) -> list[Finding]:
    """What is said of correlated noise."""
    if noise is None:
        return []
    own, near = noise.covariance[_LAG, _LAG], _along_axes(noise.covariance, 1).mean()
    said = f"noise of neighbouring pixels is correlated by {near / own:.2g}"
    findings = [Finding("found", "correlation", said)]
    if noise.factor != 1:
        text = (
            f"noise: that of large apertures is {noise.factor:.3g} times what independent pixels "
            "of the given rms would have; the rms is scaled by that"
        )
        findings.append(Finding("corrected", "correlation", text))
    return findings


def _along_axes(correlation, lag: int) -> Float[np.ndarray, "2"]:
    """Size of the correlation with the pixel at a lag along y, and along x."""
    return np.abs([correlation[_LAG + lag, _LAG], correlation[_LAG, _LAG + lag]])


def _blank_sky(strip: Pixels) -> Float[np.ndarray, "y x"]:
    """The noise in units of its rms; NaN where there is light, or no pixel is valid."""
    unit = strip.image if strip.rms is None else strip.image / strip.rms
    known = np.isfinite(unit)
    if not known.any():
        return unit
    level, scatter = _middle(unit[known])
    height = np.where(known, unit - level, 0)
    smooth = gaussian_filter(height, _SMOOTH)
    light = (smooth > _SEEN * _middle(smooth[known])[1]) | (np.abs(height) > _HIGH * scatter)
    blank = known & ~binary_dilation(light, iterations=_GROWN)
    share = uniform_filter(blank.astype(float), _BOX)
    sky = uniform_filter(np.where(blank, height, 0), _BOX) / np.maximum(share, 1e-3)
    norm = scatter if strip.rms is None and scatter > 0 else 1.0
    return np.where(blank, (height - sky) / norm, np.nan)


def _middle(values) -> tuple[float, float]:
    """Median, and standard deviation by the median distance from it."""
    level = float(np.median(values))
    return level, 1.4826 * float(np.median(np.abs(values - level)))
