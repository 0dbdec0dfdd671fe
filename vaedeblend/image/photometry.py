"""What the pixels about sources tell beside the network: light in apertures, errors of positions.

light and residual of each source, noise --> flux in a circle; variance of its place
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vaedeblend.pixels.apertures import circle_sums
from vaedeblend.pixels.shapes import Shapes, measure_shapes
from vaedeblend.pixels.stamps import PaddedImages

_CHUNK = 256
"""Sources that are measured at a time."""
_KNOWN = 0.5
"""Share of an aperture's area that valid pixels have to cover."""
_FLOOR = 0.025
"""Error of the network's positions of galaxies of any brightness, measured on simulated fields
[pixel of the stamp]."""


class Photometry(NamedTuple):
    """Measurements of n sources on the pixels of their stamps, but for the position's."""

    shapes: Shapes
    """Shapes of the light of each source [pixel of its stamp]."""
    aperture: Float[np.ndarray, " n"]
    """Flux within FWHM of the centre, less the neighbours' light as the network found it; where a
    pixel is ignored, the source's own as the network found it. NaN where most of them are."""
    aperture_err: Float[np.ndarray, " n"]
    """Its error, of background and photons [image unit]."""
    position_variance: Float[np.ndarray, "n 3"]
    """Variances along y and x and covariance of the position [pixel^2]."""


def measure_photometry(
    padded: PaddedImages,
    at: tuple[Int[np.ndarray, " n"], Int[np.ndarray, "n 2"], Int[np.ndarray, " n"]],
    stamps: Float[np.ndarray, "n size size"],
    flux: Float[np.ndarray, " n"],
    canvas: Float[np.ndarray, "frame padded_y padded_x band"],
    purity: Float[np.ndarray, " n"],
) -> Photometry:
    """Shapes of sources, their fluxes in apertures, and errors of their positions.

    Args:
        padded: Images on which the sources lie.
        at: Image, corner and binning of the sources' stamps.
        stamps: Light of each source.
        flux: Total flux of each source.
        canvas: Light of all sources on the padded images.
        purity: Share of the light under each source's profile that is its own.
    """
    shapes, residual, parts = measure_shapes(stamps, flux), padded.image - canvas, []
    for low in range(0, max(len(stamps), 1), _CHUNK):
        here = slice(low, low + _CHUNK)
        place, own = tuple(each[here] for each in at), stamps[here]
        pixels = own + padded.cut(residual, *place)[..., 0]
        variance = _variance(padded, place, canvas)
        form = Shapes(*(each[here] for each in shapes))
        blur = place[2] / np.where(purity[here] > 0, purity[here], np.nan)
        parts.append([*_in_circles(pixels, variance, form), _position(own, variance, blur)])
        parts[-1][2] += np.square(_FLOOR * place[2])[:, None] * [1, 1, 0]
    return Photometry(shapes, *map(np.concatenate, zip(*parts, strict=True)))


def _variance(padded: PaddedImages, place, canvas) -> Float[np.ndarray, "n size size"]:
    """Variance of background and photons on stamps; infinite where a pixel is ignored."""
    background = padded.noise(*place)[..., 0]
    if padded.gain is None:
        return background
    light = padded.cut(canvas, *place)[..., 0].clip(0)
    return background + light / padded.gain[place[0], 0][:, None, None]


def _in_circles(pixels, variance, shapes: Shapes):
    """Flux within FWHM of each centre, and its error."""
    valid, circle = np.isfinite(variance), (shapes.centre, shapes.fwhm)
    counted = (pixels, np.where(valid, variance, 0), valid)
    flux, square, area = (circle_sums(each, *circle) for each in counted)
    known = area > _KNOWN * np.pi * shapes.fwhm**2
    return np.where(known, flux, np.nan), np.where(known, np.sqrt(square), np.nan)


def _position(light, variance, blur) -> Float[np.ndarray, "n 3"]:
    r"""Variances of positions on pixels `blur` times as large, by Fisher's information.

    Light $f$ on pixels of variance $v$ has $F_{ij} = \sum \partial_i f \partial_j f / v$.
    Central differences smooth VIS's undersampled light, which makes the errors some 10 % larger: by
    as much as the network's positions scatter more than the best possible ones.
    """
    inner = slice(1, -1)
    slope_y = (light[:, 2:, inner] - light[:, :-2, inner]) / 2
    slope_x = (light[:, inner, 2:] - light[:, inner, :-2]) / 2
    y, x = (slope / np.sqrt(variance[:, inner, inner]) for slope in (slope_y, slope_x))
    yy, xx, xy = (np.vecdot(a, b).sum(axis=1, dtype=float) for a, b in ((y, y), (x, x), (x, y)))
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.stack([xx, yy, -xy], axis=1) / (yy * xx - xy**2)[:, None]
    return np.where(np.isfinite(inverse), inverse, np.nan) * np.square(blur)[:, None]
