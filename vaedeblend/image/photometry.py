"""What the pixels about sources tell beside the network: light in apertures, errors of positions.

light and residual of each source, noise --> flux in a circle; variance of its place; light left
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from vaedeblend.deblend.calibration import Response
from vaedeblend.deblend.network import Deblended
from vaedeblend.models.sinh_arcsinh import quantile
from vaedeblend.pixels.apertures import circle_sums
from vaedeblend.pixels.shapes import FWHM, Shapes, measure_shapes
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.survey import stamp_centre

_CHUNK = 256
"""Sources that are measured at a time."""
_KNOWN = 0.5
"""Share of an aperture's area that valid pixels have to cover."""
_FLOOR = 0.025
"""Error of the network's positions of galaxies of any brightness, measured on simulated fields
[pixel of the stamp]."""
_ALONE, _BRIGHT = 0.9, 500.0
"""Purity, and flux [background rms], above which light that is left about a galaxy is its own:
about fainter ones it may be that of neighbours that no detection finds."""
_POINT = 0.5
"""Probability from which on a source is a point, about which only wings are left far out."""
_FAR, _NEAR = (2.5, 10.0), (1.5, 6.0)
"""Radius of the circle about such a galaxy, and about others, in which light is left [half-light
radius], and the least of all [pixel of the stamp]."""
_UNLIKE, _MISFIT, _SYSTEMATIC, _UNKNOWN = 0.3, 0.1, 0.01, 0.03
"""Share of galaxies unlike those trained on, and how far off their fluxes are; error of the light
left in a circle beside its noise's, and of such a galaxy's flux beside it, of whose light beyond
the circle nobody knows [flux]. These, and the circles', were chosen on real galaxies of the part
for validation."""


_WIDE, _NARROW = (2.2, 0.0015), (1.5, 0.002)
"""Radii of the circles in which bright and faint points are measured [FWHM], and how well a PSF
tells what they hold [flux]: chosen on simulated co-adds."""
_LOST = 0.01
"""Share of a point's light on ignored pixels from which on no circle tells its flux."""
_MORE, CIRCLE_TAILS = 1.15, 2.5
"""Errors of such fluxes over what noise and PSF make of them, and over those, half the width of the
central 95 %: what nothing detects lies in circles, too; measured on such co-adds."""


class Photometry(NamedTuple):
    """Measurements of n sources on the pixels of their stamps, but for the position's."""

    shapes: Shapes
    """Shapes of the light of each source [pixel of its stamp]."""
    aperture: Float[np.ndarray, " n"]
    """Flux within FWHM of the centre, less the neighbours' light as the network found it; where a
    pixel is ignored, the source's own as the network found it. NaN where most of them are."""
    aperture_err: Float[np.ndarray, " n"]
    """Its error, of background and photons [image unit]."""
    left: Float[np.ndarray, " n"]
    """Light of the residual about each centre, shared out in proportion to the sources' own; NaN
    where most pixels are ignored, and on binned stamps, whose circles hold many others, unless they
    hardly do."""
    left_err: Float[np.ndarray, " n"]
    """Its error, of background and photons [image unit]."""
    position_variance: Float[np.ndarray, "n 3"]
    """Variances along y and x and covariance of the position [pixel^2]."""
    point_flux: Float[np.ndarray, " n"]
    """Flux of points that are alone, by the light in a circle; NaN of all other sources. The PSF
    tells what a circle holds of a star, whatever the exposures' phases make of its core. A star
    whose core is masked has none."""
    point_flux_err: Float[np.ndarray, " n"]
    """Its error."""


class Weighed(NamedTuple):
    """Fluxes of n sources that lean on the pixels where the network's do not agree with them."""

    flux: Float[np.ndarray, " n"]
    flux_err: Float[np.ndarray, " n"]
    unlike_prob: Float[np.ndarray, " n"]
    """Probability that a galaxy is unlike those trained on; NaN where the pixels do not tell."""


def measure_photometry(
    padded: PaddedImages,
    at: tuple[Int[np.ndarray, " n"], Int[np.ndarray, "n 2"], Int[np.ndarray, " n"]],
    stamps: Float[np.ndarray, "n size size"],
    flux: Float[np.ndarray, " n"],
    canvas: Float[np.ndarray, "frame padded_y padded_x band"],
    purity: Float[np.ndarray, " n"],
    point: Float[np.ndarray, " n"],
) -> Photometry:
    """Shapes of sources, their fluxes in apertures, and errors of their positions.

    Args:
        padded: Images on which the sources lie, with the PSFs that are given.
        at: Image, corner and binning of the sources' stamps.
        stamps: Light of each source.
        flux: Total flux of each source.
        canvas: Light of all sources on the padded images.
        purity: Share of the light under each source's profile that is its own.
        point: Probability that each is a point source; NaN where it is not known.
    """
    shapes, residual, parts = measure_shapes(stamps, flux), padded.image - canvas, []
    for low in range(0, max(len(stamps), 1), _CHUNK):
        here = slice(low, low + _CHUNK)
        place, own = tuple(each[here] for each in at), stamps[here]
        pixels = own + padded.cut(residual, *place)[..., 0]
        variance = _variance(padded, place, canvas)
        form = Shapes(*(each[here] for each in shapes))
        blur = place[2] / np.where(purity[here] > 0, purity[here], np.nan)
        floor = np.square(_FLOOR * place[2])[:, None] * [1, 1, 0]
        position = _position(own, variance, blur) + floor
        share = _share(own, padded.cut(canvas, *place)[..., 0])
        light = own + share * (pixels - own)
        aperture = _in_circles(pixels, variance, form.centre, form.fwhm)
        bright = flux[here] > _BRIGHT * padded.typical_rms(*place[:2])
        alone = (purity[here] > _ALONE) & bright & ~(point[here] > _POINT)
        radii, least = np.where(alone[:, None], _FAR, _NEAR).T
        reach = np.fmax(radii * form.half_light_radius, least)
        reach = np.where((place[2] == 1) | alone, reach, np.nan)
        with np.errstate(invalid="ignore"):  # no share of a pixel that is ignored
            noise = share**2 * variance
        left = _in_circles(light - own, noise, form.centre, reach)
        is_point = (point[here] > _POINT) & (purity[here] > _ALONE) & (place[2] == 1)
        points = _points(padded, place, is_point, light, own, variance, form)
        parts.append([*aperture, *left, position, *points])
    return Photometry(shapes, *map(np.concatenate, zip(*parts, strict=True)))


def weigh(
    flux: Float[np.ndarray, " n"],
    flux_err: Float[np.ndarray, " n"],
    left: Float[np.ndarray, " n"],
    left_err: Float[np.ndarray, " n"],
) -> Weighed:
    r"""Fluxes as the mean of two hypotheses, weighed by what the network's models leave behind.

    Either a galaxy is like those trained on, its flux $F \pm s$ the network's, and what is left,
    $d$, noise of $\sigma$; or it is not, what is left is of the width $\sqrt{\sigma^2 + (kF)^2}$,
    and the flux $F + d$, of the variance $\sigma^2 + (uF)^2$. With $p$ the probability of the
    latter, the mixture's mean and variance are $F + p d$ and
    $(1-p) s^2 + p (\sigma^2 + (uF)^2) + p (1-p) d^2$.

    Args:
        flux: The network's.
        flux_err: Its error.
        left: Light left about each source; NaN where it is not known.
        left_err: Its error.
    """
    noise = np.hypot(left_err, _SYSTEMATIC * flux)
    wide = np.hypot(noise, _MISFIT * flux)
    with np.errstate(invalid="ignore", divide="ignore"):
        odds = np.log(_UNLIKE / (1 - _UNLIKE) * noise / wide)
        odds += np.square(left) * (1 / np.square(noise) - 1 / np.square(wide)) / 2
    unlike = expit(odds)
    unsure = np.hypot(noise, _UNKNOWN * flux)
    p, d, sigma = (np.where(np.isfinite(unlike), each, 0) for each in (unlike, left, unsure))
    variance = (1 - p) * np.square(flux_err) + p * sigma**2 + p * (1 - p) * d**2
    return Weighed(flux + p * d, np.sqrt(variance), unlike)


def with_circles(
    weighed: Weighed, flux: Float[np.ndarray, " n"], flux_err: Float[np.ndarray, " n"]
) -> tuple[Weighed, Bool[np.ndarray, " n"]]:
    """Fluxes of which those are in circles that are known better so, and which are.

    Args:
        weighed: Fluxes of all sources.
        flux: Fluxes in circles, of points; NaN of others.
        flux_err: Their errors.
    """
    better = flux_err < weighed.flux_err
    fluxes = np.where(better, [flux, flux_err], weighed[:2])
    return Weighed(*fluxes, weighed.unlike_prob), better


def error_factor(found: Deblended, z: float) -> Float[np.ndarray, " n"]:
    """Width of the posterior's central interval, of z on either side, over that of 68 per cent.

    Args:
        found: What the network found of the sources.
        z: Standard normal deviate of the ends.
    """
    log_flux = jax.tree.map(lambda a: np.asarray(a[:, 0], float), found.log_flux)
    log_flux = log_flux._replace(median=np.zeros(len(log_flux.median)))  # whatever the unit
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        low, left, right, high = (np.exp(quantile(log_flux, end)) for end in (-z, -1.0, 1.0, z))
        return (high - low) / (right - left)


def with_sky_error(
    measured: Mapping[str, np.ndarray], response: Response, rms: float, scatter: float
) -> dict[str, Float[np.ndarray, " n"]]:
    """Flux errors that hold the sky's unevenness beside the noise, which networks know nothing of.

    Args:
        measured: Columns of the catalogue.
        response: Network's response, of which the areas are that sky counts over.
        rms: Background's rms, in their unit.
        scatter: Error of the sky under a source, of each pixel [rms].
    """
    error, wide = measured["flux_err"], measured["flux_err_95"]
    whole = np.hypot(error, _area(measured, response, rms) * scatter * rms)
    with np.errstate(invalid="ignore"):
        return {"flux_err": whole, "flux_err_95": wide * whole / error}


def without_sky(
    measured: Mapping[str, np.ndarray],
    level: Float[np.ndarray, " n"],
    response: Response,
    rms: float,
) -> dict[str, Float[np.ndarray, " n"]]:
    """Fluxes, and what corrects them, less what even light has added to them: to first order.

    Args:
        measured: Columns of the catalogue.
        level: Even light about each source [their unit per pixel].
        response: Network's response, of which the areas are that light counts over.
        rms: Background's rms, in their unit.
    """
    flux, point = measured["flux"], measured["point_source_prob"]
    area = _area(measured, response, rms)
    aperture = np.pi * (FWHM * measured["semi_major_axis"]) ** 2 * measured["axis_ratio"]
    circle = np.fmin(_WIDE[0] ** 2 * aperture, area)
    area = np.where(point > _POINT, circle, area)
    return {
        "flux": flux - area * level,
        "flux_correction": measured["flux_correction"] - area * level,
        "flux_aperture": measured["flux_aperture"] - aperture * level,
    }


def _area(measured, response: Response, rms: float) -> Float[np.ndarray, " n"]:
    """Area over which even light counts for a galaxy's flux [pixel]; 0 where that is not known.

    Errors by what a source may hide, or shares with others, say nothing of the area.
    """
    seen = [measured[name] / rms for name in ("flux", "flux_err_alone")]
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.log(np.stack(seen, axis=1))
    away = np.clip(seen, response.low, response.high) - response.middle
    return np.nan_to_num(np.exp(response.sky[0] + away @ response.sky[1:]))


def _points(padded: PaddedImages, place, is_point, light, own, variance, form: Shapes):
    """Fluxes of points by the light in a circle, and their errors; NaN where there is none."""
    flux, error = np.full((2, len(own)), np.nan)
    lost = np.where(np.isfinite(variance), 0, own).sum(axis=(1, 2))
    rows = np.flatnonzero(is_point & (lost < _LOST * own.sum(axis=(1, 2))))
    psf = padded.psf
    if psf is None or not len(rows):
        return flux, error
    if callable(psf):
        psf = psf(place[0][rows], place[1][rows] + stamp_centre(padded.size))
    psf = np.broadcast_to(psf, (len(rows), *psf.shape[-3:]))[..., 0]
    centre, fwhm = form.centre[rows], form.fwhm[rows]
    light, own, variance = (each[rows] for each in (light, own, variance))
    found = []
    for (width, unsure), measure in ((_WIDE, _in_circles), (_NARROW, partial(_fitted, own))):
        held, noise = measure(light, variance, centre, width * fwhm)
        share = circle_sums(psf, np.zeros_like(centre), width * fwhm)
        found.append([held / share, _MORE * np.hypot(noise, unsure * held) / share])
    fluxes, errors = np.swapaxes(found, 0, 1)
    best = np.where(np.isnan(errors), np.inf, errors).argmin(axis=0)[None]
    flux[rows], error[rows] = (np.take_along_axis(a, best, 0)[0] for a in (fluxes, errors))
    return flux, error


def _fitted(own, light, variance, centre, radius):
    """Flux within a radius of each centre of the profile fitted there, and its error."""
    y, x = np.indices(own.shape[1:]) - stamp_centre(own.shape[1])
    square = (y - centre[:, :1, None]) ** 2 + (x - centre[:, 1:, None]) ** 2
    weight = np.where(square < radius[:, None, None] ** 2, own / variance, 0)
    norm = np.sum(weight * own, axis=(1, 2), dtype=float)
    held = circle_sums(own, centre, radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        fitted = np.sum(weight * light, axis=(1, 2), dtype=float) / norm
        return fitted * held, held / np.sqrt(norm)


def _share(own, total) -> Float[np.ndarray, "n size size"]:
    """Each source's share of the light that was modelled; all where nothing was."""
    return np.divide(own, total, out=np.ones_like(own), where=total > 0).clip(0, 1)


def _variance(padded: PaddedImages, place, canvas) -> Float[np.ndarray, "n size size"]:
    """Variance of background and photons on stamps; infinite where a pixel is ignored."""
    background = padded.noise(*place)[..., 0]
    if padded.gain is None:
        return background
    light = padded.cut(canvas, *place)[..., 0].clip(0)
    return background + light / padded.gain[place[0], 0][:, None, None]


def _in_circles(pixels, variance, centre, radius):
    """Flux within a radius of each centre, and its error."""
    valid = np.isfinite(variance)
    counted = (pixels, np.where(valid, variance, 0), valid)
    flux, square, area = (circle_sums(each, centre, radius) for each in counted)
    known = area > _KNOWN * np.pi * radius**2
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
