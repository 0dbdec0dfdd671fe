"""A piece of an image: all galaxies found on it, and measured together.

image, rms --deblend.field--> light of each galaxy --groups, shapes--> table
"""

import logging
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from vaedeblend.deblend.field import find_sources
from vaedeblend.deblend.network import Deblend, Deblended
from vaedeblend.deblend.sources import Sources, believed
from vaedeblend.image.catalogue.columns import (
    BANDS,
    FLAGS,
    INCOMPLETE,
    MEASURED,
    SKY,
    UNLIKE,
    UNRESOLVED,
)
from vaedeblend.image.groups import Groups, find_groups, shared_errors, with_shares
from vaedeblend.image.photometry import (
    CIRCLE_TAILS,
    error_factor,
    measure_photometry,
    weigh,
    with_circles,
)
from vaedeblend.image.residuals import correct_profiles, footprint_chi2
from vaedeblend.pixels.profiles import Profiles
from vaedeblend.pixels.stamps import PaddedImages, PsfAt

_log = logging.getLogger(__name__)

BRIGHTEST = 5e4
"""Flux of the brightest galaxies trained on, of 19 mag in the wide survey [background rms]."""

_PEAK, _NEAR = 0.2, 4
"""Share of a point source's flux in its brightest pixel; distance of a pixel nearby [pixel]."""

_APART = 2.5
"""Distance of sources that are not resolved [pixel]."""

_EVERY, _SURE, _MOVED = 2, 4.0, 0.1
"""Distance of the pixels that tell what is left about a source [pixel], its least significance
[sigma], and the share of the flux by which it may be moved."""

_SHARE, _CAPTURED, _POOR = 0.1, 0.9, 3.0
_BINNED_ERROR = 0.05
"""Relative flux error of galaxies on binned stamps, beside the network's: it was not trained so."""
_NINETY_FIVE = 1.96
"""Standard normal deviate of either end of a central 95 % interval."""
_UNLIKE = 0.5
"""Probability from which on a galaxy counts as unlike those trained on."""
_UNDRAWN, _BRIGHT = 1.3, 500.0
"""Chi2 of the network's profile, and flux [background rms], above which it is corrected."""


class Measured(NamedTuple):
    """The sources of a piece of an image."""

    table: Table
    """One row a source: the columns `columns.MEASURED`."""
    profiles: Profiles
    groups: Groups
    origin: Int[np.ndarray, "n 2"]
    """(y, x) of the pixel at which each source was first put, wherever its light was found."""


def measure_field(
    deblend: Deblend,
    image: Float[np.ndarray, "height width *band"],
    rms: Float[np.ndarray, "height width *band"],
    *,
    size: int,
    positions: Float[np.ndarray, "n 2"] | None = None,
    passes: int = 3,
    psf: PsfAt | Float[np.ndarray, "side side band"] | None = None,
    gain: Float[np.ndarray, " band"] | float | None = None,
    iterations: int = 4,
    covariance: Float[np.ndarray, "lag lag"] | None = None,
) -> Measured:
    """Finds and measures all sources of an image.

    Args:
        deblend: Deblender of the image's bands; see `network.Deblender`.
        image: Background subtracted; without a last axis in one band. Of further bands, fluxes are
            measured, and all else of the first one.
        rms: Background noise; infinite where a pixel is ignored.
        size: Side of the stamps that `deblend` takes [pixel].
        positions: (y, x) of the sources, whose rows are the column input_row; by default they are
            detected.
        passes: Searches for sources that others hide, none with one iteration; with 0, none is
            added to the positions.
        psf: PSF of the image, or a function of the position on it; by default the one trained for.
        gain: Electrons per image unit.
        iterations: Measurements of each source at most, each less its neighbours' light as the
            last one found it.
        covariance: Autocovariance of the first band's noise, of unit sum, its middle lag 0; None
            if white.
    """
    given = {"size": size, "positions": positions, "psf": psf, "gain": gain}
    given |= {"passes": passes, "iterations": iterations, "covariance": covariance}
    found = find_sources(deblend, image, rms, **given)
    n_given = 0 if positions is None else len(positions)
    _log.info("%d sources, shapes", len(found[1].index))
    return _described(*found, n_given, covariance)


def _described(
    padded: PaddedImages, sources: Sources, coarse, n_given: int, covariance
) -> Measured:
    """The table of sources whose light is known; those at positions that were given come first."""
    at, found = sources[:3], sources.found
    (index, corner, binning), light = at, found.image
    canvas = padded.paste(light, *at)
    image, background, model = (
        padded.inner(a)[0, ..., 0] for a in (padded.image, padded.variance, canvas)
    )
    typical = padded.typical_rms(index, corner)
    lost, stamps = ~believed(found, typical), light[..., 0]
    flux, flux_err = np.where(lost, np.nan, [found.flux[:, 0], found.flux_err[:, 0]]).astype(float)
    profiles = Profiles.from_stamps(stamps, binning, corner)
    rms, total = np.sqrt(background), padded.cut(canvas, *at)[..., 0]
    noise = rms if padded.gain is None else np.sqrt(background + model.clip(0) / padded.gain[0, 0])
    own = np.where(total == 0, 0, stamps)  # where a pixel is ignored, there is nobody's light
    purity = _ratio(_product(own, own), _product(own, total)).clip(max=1)
    point = _known(found.point_source_prob, len(flux))
    measured = measure_photometry(padded, at, stamps, flux, canvas, purity, point)
    shapes, groups = measured.shapes, find_groups(profiles, background)
    networks = weigh(flux, flux_err, measured.left, measured.left_err)
    weighed, in_circle = with_circles(networks, measured.point_flux, measured.point_flux_err)
    error = np.hypot(weighed.flux_err, flux * _error_beside(sources, in_circle))
    position, origin = sources.positions(padded.size, shapes), sources.origin + padded.size // 2
    together = _unresolved(position, origin)
    groups, error = with_shares(groups, together, weighed.flux, error)
    wide = np.where(in_circle, CIRCLE_TAILS, error_factor(found, _NINETY_FIVE))
    columns = {
        "position": position,
        "flux": weighed.flux,
        "flux_err": error,
        "flux_err_95": error * wide,
        "flux_err_alone": weighed.flux_err,
        "flux_correction": weighed.flux - flux,
        "unlike_prob": weighed.unlike_prob,
        "purity": purity,
        "n_neighbours": groups.neighbours,
        "half_light_radius": shapes.half_light_radius * binning,
        "axis_ratio": shapes.axis_ratio,
        "semi_major_axis": shapes.semi_major_axis * binning,
        "position_angle": shapes.position_angle,
        "flux_aperture": measured.aperture,
        "flux_aperture_err": measured.aperture_err,
        "position_variance": measured.position_variance,
        "point_source_prob": point,
        "chi2": footprint_chi2(profiles, (image - model) / noise, rms, covariance),
        "captured": _ratio(stamps.sum(axis=(1, 2), dtype=float), flux),
        "in_circle": in_circle,
        "hidden": sources.hidden,
        "p_companion": np.where(sources.hidden, sources.p_companion, 1.0),
        "blend_prob": sources.blend_prob,
        "input_row": np.where(np.arange(len(flux)) < n_given, np.arange(len(flux)), -1),
        "binning": binning,
    }
    peak, columns["apparent"] = _apparent(padded, index, corner, flux)
    flags = _flags(columns, profiles, background, peak > BRIGHTEST * typical, typical)
    left = _sky(padded, sources, canvas, columns, typical)
    unlike = columns["unlike_prob"] > _UNLIKE
    flags |= _context(origin, together, coarse) | SKY * left | UNLIKE * unlike
    columns |= _further_bands(found, lost, together) | {"flags": flags}
    undrawn = (columns["chi2"] > _UNDRAWN) & (flux > _BRIGHT * typical)
    profiles = correct_profiles(profiles, image, noise, undrawn)
    return Measured(Table(columns)[[*MEASURED, *BANDS]], profiles, groups, origin)


def _error_beside(sources: Sources, in_circle) -> Float[np.ndarray, " n"]:
    """Relative flux error of causes that the network knows nothing of."""
    hidden = np.where(in_circle, 0, sources.hidden_error)
    return np.hypot(hidden, _BINNED_ERROR * (sources.binning > 1))


def _further_bands(found: Deblended, lost, together) -> dict[str, Float[np.ndarray, "n band"]]:
    """Fluxes in the bands beside the first one, and their errors."""
    flux, error = (
        np.where(lost[:, None], np.nan, each[:, 1:]).astype(float)
        for each in (found.flux, found.flux_err)
    )
    for band, own in enumerate(flux.T):
        error[:, band] = shared_errors(together, own, error[:, band])
    return dict(zip(BANDS, (flux, error), strict=True))


def _apparent(padded: PaddedImages, index, corner, flux):
    """Flux of a point as bright as the peak, and of all on the stamp; at least the source's."""
    pixels = padded.cut(padded.image, index, corner)[..., 0]
    near = slice(padded.size // 2 - _NEAR, padded.size // 2 + _NEAR)
    peak = np.fmax(flux, pixels[:, near, near].max(axis=(1, 2), initial=0) / _PEAK)
    return peak, np.fmax(peak, pixels.sum(axis=(1, 2), dtype=float))


def _sky(padded: PaddedImages, sources: Sources, canvas, columns, rms) -> Bool[np.ndarray, " n"]:
    """Whether even light that is left about a source moves its flux noticeably."""
    level = padded.median(padded.image - canvas, sources.index, sources.corner, _EVERY)
    error = 1.2533 * rms * _EVERY / padded.size
    stamps, flux = sources.found.image[..., 0], sources.found.flux[:, 0].astype(float)
    # What a filter matched to the profile takes of an even light.
    moved = level * flux * _ratio(stamps.sum(axis=(1, 2), dtype=float), _product(stamps, stamps))
    sure = (np.abs(level) > _SURE * error) & (columns["binning"] == 1)
    return sure & (np.abs(moved) > np.fmax(_MOVED * flux, columns["flux_err"]))


def _unresolved(position, origin) -> Int[np.ndarray, "pair 2"]:
    """Pairs of sources that were put, or whose light was found, so near that none can tell them."""
    if not len(position):
        return np.zeros((0, 2), int)
    pairs = [
        cKDTree(place).query_pairs(_APART, output_type="ndarray")
        for place in (origin, np.nan_to_num(position))
    ]
    return np.unique(np.concatenate(pairs), axis=0)


def _context(origin, together, coarse) -> Int[np.ndarray, " n"]:
    """Bits of `FLAGS` that tell of a source's surroundings."""
    if not len(origin):
        return np.zeros(0, int)
    y, x = np.clip(origin, 0, np.subtract(coarse.shape, 1)).T
    unresolved = np.isin(np.arange(len(origin)), together)
    return np.where(coarse[y, x], INCOMPLETE, 0) | np.where(unresolved, UNRESOLVED, 0)


def _flags(columns, profiles: Profiles, variance, bright, rms) -> Int[np.ndarray, " n"]:
    """Bits of `FLAGS`."""
    lost, masked = np.zeros((2, len(profiles)))
    totals = [stamp.sum(dtype=float) or np.nan for stamp in profiles]
    for i, (there, light) in enumerate(profiles.on_image(variance.shape)):
        background, total = variance[there], totals[i]
        lost[i] = 1 - light.sum(dtype=float) / total
        masked[i] = light[~np.isfinite(background)].sum(dtype=float) / total
    bits = [
        lost > _SHARE,
        masked > _SHARE,
        (columns["captured"] < _CAPTURED) | (columns["binning"] > 1),
        bright,
        (columns["chi2"] > _POOR) & ~columns["in_circle"]
        | (~np.isfinite(columns["flux_err"]) & np.isfinite(rms)),
        ~np.isfinite(columns["flux"]),
    ]
    return sum(
        (bit * value for bit, value in zip(bits, FLAGS, strict=False)), np.zeros(len(profiles), int)
    )


def _known(values, n: int) -> Float[np.ndarray, " n"]:
    """Numbers of n sources, NaN where a network gives none."""
    return np.full(n, np.nan) if values is None else np.asarray(values, float)


def _product(one, other) -> Float[np.ndarray, " n"]:
    return np.vecdot(one, other).sum(axis=1, dtype=float)


def _ratio(numerator, denominator):
    """NaN where there is nothing to divide by."""
    safe = np.where(denominator == 0, np.nan, denominator)
    return numerator / safe
