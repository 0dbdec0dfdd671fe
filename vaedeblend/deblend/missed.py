"""Companions that detection has missed: sought on the sharpened image and on the residual.

What stands out there may be a galaxy behind another one, or what the model of that one lacks. The
more of a galaxy's light its model leaves in the residual, the less of it is believed.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from vaedeblend.deblend.detect import BINNED_ERROR, MODEL_ERROR, detect_close, detect_hidden
from vaedeblend.deblend.iterative import light_of
from vaedeblend.deblend.network import Deblended
from vaedeblend.pixels.stamps import Frames
from vaedeblend.survey import stamp_centre

_CORE = 8.0
"""What a binned profile leaves this near to its centre is the galaxy's own core [pixel]."""

_STUDIED, _MISFIT = 1000.0, 3.0
"""Flux of galaxies whose residual tells how wrong their model is [background rms]; and how many
times their typical error a galaxy's light may be wrong in some pixel."""
_MEDIAN = 0.455
"""Of the square of a standard normal variable."""


def close(frames: Frames, index, corner, binning, found: Deblended):
    """Image and corner of close companions, which show on the first band's sharpened image."""
    light, known = light_of(found), corner + stamp_centre(frames.size)
    _, doubt = _doubted(frames, index, corner, binning, light, np.zeros(len(index)))
    at, position = detect_close(frames.inner(frames.image)[..., 0], doubt, index, known)
    return at, np.rint(position - stamp_centre(frames.size)).astype(int)


def hidden(frames: Frames, index, corner, binning, found: Deblended):
    """Image and corner of the sources that stand out of the first band's residual."""
    least = np.where(binning > 1, BINNED_ERROR, MODEL_ERROR)
    model, doubt = _doubted(frames, index, corner, binning, light_of(found), least)
    at, position = detect_hidden((frames.inner(frames.image) - model)[..., 0], doubt)
    new = np.rint(position - stamp_centre(frames.size)).astype(int)
    wide = binning > 1
    own = frames.apart(index[wide], corner[wide])
    near = cKDTree(own).query_ball_point(frames.apart(at, new), _CORE, return_length=True)
    return at[near == 0], new[near == 0]


def _doubted(frames: Frames, index, corner, binning, light, least):
    """All sources' light on the images, and the first band's rms of the noise and of that light.

    A source's is `least` in any pixel, a share of it, unless its residual tells of a larger one.
    """
    model = frames.paste(light, index, corner, binning)
    share = np.maximum(least, _misfit(frames, index, corner, binning, light, model))
    own_error = light * share.astype(np.float32)[:, None, None, None]
    error = frames.inner(frames.paste(own_error, index, corner, binning))
    model, variance = frames.inner(model), frames.inner(frames.variance)
    gain = np.inf if frames.gain is None else frames.gain[:, None, None]
    return model, np.sqrt(variance + model.clip(0) / gain + np.square(error))[..., 0]


def _misfit(frames: Frames, index, corner, binning, light, model) -> Float[np.ndarray, " source"]:
    """Error of each galaxy's modelled light as its residual tells, a share of it; 0 of faint ones.

    It is the first band's, typical of the pixels where the light exceeds its noise: a companion
    hidden somewhere hardly moves a median, arms and knots everywhere do.
    """
    rms = np.sqrt(np.min(frames.variance))
    rows = np.flatnonzero(light.sum(axis=(1, 2))[:, 0] > _STUDIED * rms)
    at = index[rows], corner[rows], binning[rows]
    residual, variance = frames.cut(frames.image - model, *at), frames.noise(*at)
    gain = np.inf if frames.gain is None else frames.gain[index[rows], 0][:, None, None]
    misfit = np.zeros(len(index), np.float32)
    own, wrong = light[rows][..., 0], np.square(residual[..., 0])
    noise = variance[..., 0] + frames.cut(model, *at)[..., 0].clip(0) / gain
    for i, its, square, expected in zip(rows, own, wrong, noise, strict=True):
        seen = its > np.sqrt(expected)
        if seen.any():
            ratio = (square[seen] - _MEDIAN * expected[seen]) / np.square(its[seen])
            misfit[i] = _MISFIT * np.sqrt(max(np.median(ratio), 0) / _MEDIAN)
    return misfit
