"""Galaxies that share pixels, measured jointly, and those that they hide found.

All sources of an image are measured, less their neighbours' light (`iterative`). Companions that
stand beside them then join the others, where a learned test says that they are some (`missed`), and
all are brought up to date.
"""

import logging
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from vaedeblend.deblend import missed
from vaedeblend.deblend.arrays import as_stamps, check_noise, unit_scale, warn_of_hidden_light
from vaedeblend.deblend.detect import members
from vaedeblend.deblend.network import Deblend, Deblended, Deblender, load_deblender
from vaedeblend.deblend.sources import Sources, believed, make_sources, measure
from vaedeblend.pixels.shapes import measure_shapes
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.survey import stamp_centre

_log = logging.getLogger(__name__)

_SIGNIFICANT = 2.5
"""Flux of a source found on the residual that is believed [its error]."""

_ONE, _REACHED = 1.0, 3.0
"""Distance below which a hidden source is another one, and that of stamps between which it may be
so [pixel]."""

_LARGEST = {1: 7.0, 2: 5.0}
"""Half-light radius, by binning, from which on a galaxy is better seen on pixels twice as large
[pixel of the stamp]."""
_INNER, _OUTER = (10, 20), (24, 32)
"""Rings of a stamp: a galaxy whose profile is too small leaves light in the inner one [pixel]."""
_LEFT, _LEFT_SIGMA, _LEFT_FROM = 0.05, 4.0, 300.0
"""Light in the inner ring that is too much, as a share of the flux and in units of its error; and
the flux from which on it is looked for [background rms]."""

_ROUNDS = 8
"""Times that galaxies may be moved to larger stamps: in a crowd, each brings up the next one."""

_HIDDEN = 0.3
"""Share of a stamp's galaxy on ignored pixels beyond which its flux is a guess: off by a third
where it is a half, by a factor of 2 where it is 0.8."""
_STAMPS = 256
"""Stamps whose sources are measured jointly at a time."""


def find_and_measure(
    deblend: Deblend,
    images: PaddedImages,
    index: Int[np.ndarray, " source"],
    corner: Int[np.ndarray, "source 2"],
    *,
    passes: int = 3,
    fixed: Bool[np.ndarray, " source"] | None = None,
    certain: Bool[np.ndarray, " source"] | None = None,
    **options,
) -> Sources:
    """Sources, measured jointly, and those that they hid, until nothing new stands out.

    Where the deblender has a test of companions, a detection beside a brighter one is a source only
    if the test finds it. Companions whose flux is not significant leave again, and their neighbours
    are measured without them.

    A galaxy that turns out to be too large for its stamp is measured anew on a binned one. The
    blend moves the centres of its detections: a galaxy whose light turns out to lie beside its
    stamp's central pixel is measured anew on a stamp a pixel further.

    Args:
        deblend: Function of stamps; see `network.Deblender`.
        images: Images on which the sources lie.
        index: Image of each source.
        corner: (y, x) of the first pixel of each stamp [pixel].
        passes: Searches for companions, at most; with 0, every detection is a source.
        fixed: Sources whose stamps stay where they are.
        certain: Sources whatever the test would say of them.
        **options: Keywords of `sources.measure`.
    """
    update = partial(measure, deblend, images, **options)
    shape = images.size, images.size, images.image.shape[-1]
    tested = getattr(deblend, "companions", None) is not None and passes > 0
    free = np.ones(len(index), bool) if fixed is None else ~fixed
    if tested:
        certain = np.zeros(len(index), bool) if certain is None else certain
        primary = missed.is_primary(images, index, corner, certain)
        index, corner, free = index[primary], corner[primary], free[primary]
    _log.info("%d detections", len(index))
    sources = update(make_sources(index, corner, shape))
    for _ in range(_ROUNDS):
        if not (large := _too_large(images, sources)).any():
            break
        binning = np.where(large, 2 * sources.binning, sources.binning)
        sources = update(sources.place(sources.corner, binning))
    if not tested:
        return sources
    sources = update(sources.shift(_off_centre(sources) * free[:, None]))
    for number in range(1, passes + 1):
        _log.info("%d sources, search %d of %d", len(sources.index), number, passes)
        sources, further = missed.find_companions(deblend, images, sources)
        centred = sources.shift(_off_centre(sources) * free[:, None])
        sources = centred.append(*further)
        free = np.append(free, np.ones(len(further.index), bool))
        if not sources.pending.any():
            break  # another search would find nothing, either
        sources = update(sources)
    sources = update(_without_doubtful(images, sources))
    return missed.find_companions(deblend, images, sources)[0]


def _without_doubtful(images: PaddedImages, sources: Sources) -> Sources:
    """The sources without hidden ones that are hardly there, or where another one is.

    Their neighbours are marked.
    """
    found = sources.found
    no_error = found.flux_err == 0  # beside pixels far brighter than any trained on
    faint = no_error | (found.flux < _SIGNIFICANT * found.flux_err)
    gone = sources.hidden & (faint.all(axis=1) | _is_another(images, sources))
    if not gone.any():
        return sources
    near = cKDTree(images.apart(sources.index, sources.corner))
    touched = near.query_ball_point(near.data[gone], images.size / 2, p=np.inf)
    again = np.isin(np.arange(len(gone)), np.concatenate(touched))
    return sources.mark(again).drop(gone)


def _is_another(images: PaddedImages, sources: Sources) -> Bool[np.ndarray, " source"]:
    """Whether the light of a hidden source has come to lie where that of a brighter one is."""
    light = sources.found.image.sum(axis=(1, 2, 3))
    pairs = cKDTree(images.apart(sources.index, sources.corner)).query_pairs(
        _REACHED, output_type="ndarray"
    )
    is_one, near = np.zeros((2, len(light)), bool)
    if not len(pairs):
        return is_one
    near[np.unique(pairs)] = True
    place = np.full((len(light), 2), np.inf)
    place[near] = sources.drop(~near).positions(images.size)
    a, b = pairs.T
    together = np.hypot(*(place[a] - place[b]).T) < _ONE
    # The fainter one of two that are hidden.
    first = sources.hidden[a] & (~sources.hidden[b] | (light[a] < light[b]))
    is_one[np.where(first, a, b)[together]] = True
    return is_one


def _too_large(images: PaddedImages, sources: Sources) -> Bool[np.ndarray, " source"]:
    """Whether the light is too large for its stamp, and may be seen from farther away.

    Half of it lies outside of a circle, or the network's profile leaves too much in the residual.
    """
    large = 2 * sources.binning <= images.most
    if large.any():
        image, binning = sources.found.image, sources.binning
        size, bands = image.shape[-2:]
        radius = _radius(size)[..., None].repeat(bands, axis=-1).ravel()
        limits = *_LARGEST.values(), np.inf
        circles = np.stack([radius < limit for limit in limits], axis=1, dtype=np.float32)
        *within, total = (image.reshape(-1, radius.size) @ circles).T
        half = [(binning == n) & (w < total / 2) for n, w in zip(_LARGEST, within, strict=True)]
        large &= (total > 0) & np.any(half, axis=0) | _light_left(images, sources)
    return large


def _light_left(images: PaddedImages, sources: Sources) -> Bool[np.ndarray, " source"]:
    """Whether the residual about a galaxy fades outwards, as the galaxy's own light does.

    Medians of rings in the first band: companions hardly move them, and an even sky not at all. A
    galaxy beside a brighter one does not count, whose light it may be, nor one on a binned stamp,
    which reaches far enough for the light of others.
    """
    index, corner, binning = sources.index, sources.corner, sources.binning
    rms = images.typical_rms(index, corner)
    place, flux = images.apart(index, corner), np.nan_to_num(sources.found.flux[:, 0])
    rows = np.flatnonzero((binning == 1) & (flux > _LEFT_FROM * rms))
    near = cKDTree(place).query_ball_point(place[rows], images.size, p=np.inf)
    rows = rows[[flux[others].max() == flux[i] for i, others in zip(rows, near, strict=True)]]
    model = images.paste(sources.found.image, index, corner, binning)
    at = index[rows], corner[rows], binning[rows]
    residual, variance = images.cut(images.image - model, *at), images.noise(*at)
    radius = _radius(images.size) * 64 / images.size
    inner, outer = ((radius >= low) & (radius < high) for low, high in (_INNER, _OUTER))
    left = np.zeros(len(index), bool)
    for i, light, noise in zip(rows, residual[..., 0], variance[..., 0], strict=True):
        error = 1.2533 * np.sqrt(np.median(noise) * (1 / inner.sum() + 1 / outer.sum()))
        least = max(_LEFT * flux[i] / inner.sum(), _LEFT_SIGMA * error)
        left[i] = np.median(light[inner]) - np.median(light[outer]) > least
    return left


def _radius(size: int) -> Float[np.ndarray, "size size"]:
    """Distance of a stamp's pixels from its centre [pixel]."""
    offset = np.arange(size) - stamp_centre(size)
    return np.hypot(offset[:, None], offset)


def _off_centre(sources: Sources) -> Int[np.ndarray, "source 2"]:
    """Pixels, at most one of the stamp's, by which fresh light lies off the central pixel."""
    pixels, rows = np.zeros(sources.corner.shape, int), np.flatnonzero(sources.fresh)
    light = sources.found.image[rows].sum(axis=-1)
    centre = measure_shapes(light, light.sum(axis=(1, 2))).centre
    pixels[rows] = (np.nan_to_num(centre).clip(-1, 1) * sources.binning[rows, None]).round()
    return pixels


def make_deblend_stamps(deblend: Deblend, *, passes: int = 3, **options) -> Deblend:
    """The function `(image, variance, mask=None, psf=None, gain=None) -> Deblended`.

    It measures the central galaxy of each stamp, as `deblend` does, but jointly with the galaxies
    that `detect.members` finds in the first band, and those behind them. It takes arrays of any
    kind that `arrays.as_stamps` does, and raises StampError where that does.

    Args:
        deblend: Function of stamps; see `network.Deblender`.
        passes: Searches for companions; see `find_and_measure`.
        **options: Keywords of `sources.measure`.
    """
    size, bands = _stamp_shape(deblend)

    def deblend_some(image, variance, psf, gain) -> Deblended:
        index, corner = members(image[..., 0], np.sqrt(variance[..., 0]))
        images = PaddedImages(image, variance, size=image.shape[1], psf=psf, gain=gain)
        central = (corner == 0).all(axis=1)
        keywords = {"passes": passes, "fixed": central, "certain": central} | options
        sources = find_and_measure(deblend, images, index, corner, **keywords)
        rms = images.typical_rms(sources.index, sources.corner)
        # Detections that the test has not found are gone.
        own = np.flatnonzero((sources.origin == 0).all(axis=1) & ~sources.hidden)
        found = sources.found
        lost = ~believed(found, rms)[:, None]
        flux, error = (np.where(lost, np.nan, a) for a in (found.flux, found.flux_err))
        found = found._replace(flux=flux, flux_err=error)
        return jax.tree.map(lambda field: field[own], found)

    def deblend_stamps(image, variance, mask=None, psf=None, gain=None) -> Deblended:
        given = as_stamps(image, variance, mask, psf, gain, size=size, bands=bands)
        image, variance, mask, psf, gain = map(_on_host, given[:-1])
        if not len(image):
            return jax.device_get(deblend(image, variance))
        seen = np.isfinite(image) & (variance > 0)
        if mask is not None:
            seen &= ~mask
        variance = np.where(seen, variance, np.float32(np.inf))
        check_noise(image, variance)
        scale = np.float32(unit_scale(variance))
        image, variance = image * scale, variance * scale * scale
        if gain is not None:
            gain = np.broadcast_to(gain, (len(image), image.shape[-1])) / scale
        parts = []
        for first in range(0, len(image), _STAMPS):
            some = slice(first, first + _STAMPS)
            own_gain = None if gain is None else gain[some]
            parts.append(deblend_some(image[some], variance[some], _of_stamps(psf, some), own_gain))
        found = jax.tree.map(lambda *fields: np.concatenate(fields), *parts)
        return _scaled(_without_hidden_light(found, variance), 1 / scale)

    return deblend_stamps


def _without_hidden_light(found: Deblended, variance) -> Deblended:
    """The galaxies, fluxes NaN of which too much lies on ignored pixels to be measured."""
    light = found.image[..., 0]
    hidden = np.where(np.isfinite(variance[..., 0]) & (variance[..., 0] > 0), 0, light)
    total = np.where(light.any(axis=(1, 2)), light.sum(axis=(1, 2)), 1)
    share = hidden.sum(axis=(1, 2)) / total
    warn_of_hidden_light(share, _HIDDEN)
    lost = (share > _HIDDEN)[:, None]
    flux, error = (np.where(lost, np.nan, a) for a in (found.flux, found.flux_err))
    return found._replace(flux=flux, flux_err=error)


def _stamp_shape(deblend: Deblend) -> tuple[int | None, int | None]:
    """Side and bands of the stamps that a deblender takes; None where it does not say."""
    model = deblend.model if isinstance(deblend, Deblender) else None
    return (None, None) if model is None else (model.stamp_size, model.bands)


def _scaled(found: Deblended, scale: np.float32) -> Deblended:
    """The same galaxies in another unit of flux; to the bit where that is the same one."""
    log_flux = found.log_flux._replace(median=found.log_flux.median + np.log(scale))
    light = {name: getattr(found, name) * scale for name in ("flux", "flux_err", "image")}
    return found._replace(log_flux=log_flux, **light)


def _on_host(values):
    return None if values is None else np.asarray(values)


def _of_stamps(psf, some: slice):
    """The PSF of all stamps, or the function that gives each source that of its own stamp."""
    if psf is None or psf.ndim == 3:
        return psf
    own = psf[some] if len(psf) > 1 else psf
    return lambda index, position: own[index % len(own)]


def deblend_stamps(
    image,
    variance,
    *,
    weights: str | Path = "euclid_vis",
    stage: str = "blended",
    **arguments,
) -> Deblended:
    """The central galaxy of each stamp, measured with a trained network in one call.

    Weights are loaded anew; `make_deblend_stamps(load_deblender(...))` keeps them for more calls.

    Args:
        image: Background-subtracted stamps (batch, height, width, band) in any unit of flux.
        variance: Background variance, in that unit squared.
        weights: Name of shipped weights, or a workdir of `train.py`.
        stage: Trained stage: isolated (VAE I) or blended (VAE II).
        **arguments: Keywords mask, psf and gain of `make_deblend_stamps`'s function.

    Raises:
        WorkdirError: There are no such weights, or no such stage.
        CheckpointError: The stage has no checkpoint, or a damaged one.
        StampError: A shape, a unit or a PSF is not what is wanted.
    """
    return make_deblend_stamps(load_deblender(weights, stage))(image, variance, **arguments)
