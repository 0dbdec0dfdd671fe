"""Sources missed by the detection: sought on the sharpened image and on the residual.

What stands out there may be a galaxy behind another one, or what the model of that one lacks. The
more of a galaxy's light its model leaves in the residual, the larger is the total sigma there.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from vaedeblend.deblend.detect import BINNED_ERROR, MODEL_ERROR, detect_close, detect_hidden
from vaedeblend.deblend.sources import Sources
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.survey import stamp_centre

_CORE = 8.0
"""What a binned profile leaves this near to its centre is the galaxy's own core [pixel]."""

_STUDIED, _MISFIT = 1000.0, 3.0
"""Flux of galaxies whose residual tells how wrong their model is [background rms]; and how many
times their typical error a galaxy's light may be wrong in some pixel."""
_MEDIAN = 0.455
"""Of the square of a standard normal variable."""


def close(images: PaddedImages, sources: Sources):
    """Image and corner of close companions, which show on the first band's sharpened image."""
    known = sources.corner + stamp_centre(images.size)
    _, sigma = _total_sigma(images, sources, np.zeros(len(known)))
    pixels = images.inner(images.image)[..., 0]
    index, position = detect_close(pixels, sigma, sources.index, known)
    return index, np.rint(position - stamp_centre(images.size)).astype(int)


def hidden(images: PaddedImages, sources: Sources):
    """Image and corner of the sources that stand out of the first band's residual."""
    wide = sources.binning > 1
    model, sigma = _total_sigma(images, sources, np.where(wide, BINNED_ERROR, MODEL_ERROR))
    index, position = detect_hidden((images.inner(images.image) - model)[..., 0], sigma)
    corner = np.rint(position - stamp_centre(images.size)).astype(int)
    own = images.apart(sources.index[wide], sources.corner[wide])
    near = cKDTree(own).query_ball_point(images.apart(index, corner), _CORE, return_length=True)
    return index[near == 0], corner[near == 0]


def _total_sigma(images: PaddedImages, sources: Sources, least):
    """All sources' light on the images, and the first band's rms of the noise and of that light.

    The error of a source's light is `least` in any pixel, a share of it, unless its residual tells
    of a larger one.
    """
    at = sources.index, sources.corner, sources.binning
    model = images.paste(sources.found.image, *at)
    share = np.maximum(least, _misfit(images, sources, model))
    own_error = sources.found.image * share.astype(np.float32)[:, None, None, None]
    error = images.inner(images.paste(own_error, *at))
    model, variance = images.inner(model), images.inner(images.variance)
    gain = np.inf if images.gain is None else images.gain[:, None, None]
    return model, np.sqrt(variance + model.clip(0) / gain + np.square(error))[..., 0]


def _misfit(images: PaddedImages, sources: Sources, model) -> Float[np.ndarray, " source"]:
    """Error of each galaxy's modelled light as its residual tells, a share of it; 0 of faint ones.

    It is the first band's, typical of the pixels where the light exceeds its noise: a companion
    hidden somewhere hardly moves a median, arms and knots everywhere do.
    """
    rms, light = images.typical_rms(sources.index, sources.corner), sources.found.image
    rows = np.flatnonzero(light.sum(axis=(1, 2))[:, 0] > _STUDIED * rms)
    at = sources.index[rows], sources.corner[rows], sources.binning[rows]
    residual, variance = images.cut(images.image - model, *at), images.noise(*at)
    gain = np.inf if images.gain is None else images.gain[at[0], 0][:, None, None]
    misfit = np.zeros(len(light), np.float32)
    own, wrong = light[rows][..., 0], np.square(residual[..., 0])
    noise = variance[..., 0] + images.cut(model, *at)[..., 0].clip(0) / gain
    for i, its, square, expected in zip(rows, own, wrong, noise, strict=True):
        seen = its > np.sqrt(expected)
        if seen.any():
            ratio = (square[seen] - _MEDIAN * expected[seen]) / np.square(its[seen])
            misfit[i] = _MISFIT * np.sqrt(max(np.median(ratio), 0) / _MEDIAN)
    return misfit
