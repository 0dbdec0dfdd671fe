"""Sources that others hide: which candidate beside a source is another one, by the learned test.

sources --primary ones--> measured --residual, sharpened image--> candidates --test--> companions

What stands out beside a galaxy may be another one, or a knot of its own that its model lacks. That
is for `models.companions` to say, of peaks of the image and of detections alike: a detection beside
a brighter one is no source until the test has found it, too.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from scipy.special import expit

from vaedeblend.deblend.network import Deblend
from vaedeblend.deblend.sources import Sources, believed
from vaedeblend.models.companions import CANDIDATE_REACH
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.survey import inside, stamp_centre

ACCEPTED = 0.5
"""Probability from which on a candidate is a companion."""

_CORE = 3
"""Pixels on either side of a detection whose light makes it brighter or fainter than another."""
_SAME, _LEAST = 2.0, 1.0
"""Distances within which two candidates are one, and a candidate is a known source [pixel]."""
_BATCH = 128
"""Sources that are judged at a time."""


class Missed(NamedTuple):
    """Companions that were found."""

    index: Int[np.ndarray, " companion"]
    """Image of each."""
    corner: Int[np.ndarray, "companion 2"]
    """(y, x) of the first pixel of each stamp [pixel]."""
    probability: Float[np.ndarray, " companion"]
    """That it is another source than the one beside which it lies."""


def is_primary(
    images: PaddedImages,
    index: Int[np.ndarray, " n"],
    corner: Int[np.ndarray, "n 2"],
    certain: Bool[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Whether a detection is certain, or has no brighter source within reach.

    Args:
        images: Images with the detections.
        index: Image of each detection.
        corner: (y, x) of the first pixel of each stamp [pixel].
        certain: Detections that are sources.
    """
    middle = images.size // 2
    core = slice(middle - _CORE, middle + _CORE)
    light = images.cut(images.image, index, corner)[:, core, core].sum(axis=(1, 2, 3))
    place = images.apart(index, corner)
    near = cKDTree(place).query_ball_point(place, CANDIDATE_REACH)
    primary = np.zeros(len(light), bool)
    for i in np.argsort(-light, kind="stable"):  # what is true of a detection is of a brighter one
        primary[i] = certain[i] or not primary[near[i]].any()
    return primary


def find_companions(
    deblend: Deblend, images: PaddedImages, sources: Sources
) -> tuple[Sources, Missed]:
    """The sources, all judged as they are now, and companions that they hide.

    Args:
        deblend: Deblender that has a test of companions.
        images: Images on which the sources lie.
        sources: Sources that have been measured.
    """
    rows = np.flatnonzero(~sources.judged)
    batches = (rows[i : i + _BATCH] for i in range(0, len(rows), _BATCH))
    parts = [_judged(deblend, images, sources, batch) for batch in batches]
    blend = sources.blend_prob.copy()
    if not parts:
        return sources, Missed(rows, np.zeros((0, 2), int), np.zeros(0))
    blend[rows], index, position, probability = (
        np.concatenate(each) for each in zip(*parts, strict=True)
    )
    judged = sources._replace(blend_prob=blend, judged=np.ones(len(blend), bool))
    kept = _apart(images, sources, index, position, probability)
    corner = np.rint(position[kept] - stamp_centre(images.size)).astype(int)
    return judged, Missed(index[kept], corner, probability[kept])


def _judged(deblend: Deblend, images: PaddedImages, sources: Sources, rows):
    """Probability that each hides another; and image, place and probability of companions."""
    filled = np.resize(rows, _BATCH)
    index, corner, binning = (a[filled] for a in (sources.index, sources.corner, sources.binning))
    neighbours, found = sources.neighbours[filled], jax.tree.map(lambda a: a[filled], sources.found)
    psf = images.psf
    if callable(psf):
        psf = psf(index, corner + stamp_centre(images.size)).astype(np.float32)
    candidates, verdicts = jax.device_get(
        deblend.judge(
            images.cut(images.image, index, corner, binning) - neighbours,
            images.noise(index, corner, binning),
            found.image,
            found.purity,
            neighbours,
            psf,
            None if images.gain is None else images.gain[index].astype(np.float32),
        )
    )
    probability, blend = expit(verdicts.logit), expit(verdicts.blend_logit)
    known = believed(found, images.typical_rms(index, corner))
    new = candidates.real & (probability > ACCEPTED) & known[:, None]
    new[len(rows) :] = False
    source, which = np.nonzero(new)
    offset = (candidates.pixel + verdicts.offset)[source, which] - stamp_centre(images.size)
    position = corner[source] + stamp_centre(images.size) + binning[source, None] * offset
    return blend[: len(rows)], index[source], position, probability[source, which]


def _apart(images: PaddedImages, sources: Sources, index, position, probability):
    """The companions that are neither known sources nor, of less probability, each other."""
    places = images.apart(index, position)
    known = images.apart(sources.index, sources.corner + stamp_centre(images.size))
    new = cKDTree(known).query(places)[0] > _LEAST if len(places) else np.zeros(0, bool)
    there = inside(position, images.inner(images.image).shape[1:3])
    near, taken = cKDTree(places).query_ball_point(places, _SAME), np.zeros(len(places), bool)
    for i in np.argsort(-probability, kind="stable"):
        taken[i] = new[i] and there[i] and not taken[near[i]].any()
    return np.flatnonzero(taken)
