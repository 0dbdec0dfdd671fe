"""All sources of one image: detected in its first band, and measured less neighbours' light."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from vaedeblend.deblend.detect import detect_all
from vaedeblend.deblend.joint import find_and_measure
from vaedeblend.deblend.network import Deblend, Deblended
from vaedeblend.deblend.sources import Sources, make_sources
from vaedeblend.exceptions import FieldError
from vaedeblend.models.sinh_arcsinh import SinhArcsinh
from vaedeblend.pixels.stamps import PaddedImages, PsfAt
from vaedeblend.survey import stamp_centre

_BINNINGS = 4
"""Most pixels of the image along either axis of a binned stamp's pixel."""

_MANY, _CROWDED = 1000, 200
"""Sources from which on a field may be a crowd, and pixels for each of them below which it is one:
twenty sources on a stamp."""
_SAME = 2.0
"""Distance within which a detection is a source of a list [pixel]."""
_MOST, _CONFUSED = 5000, 100
"""The same beyond which nothing is measured: the confusion limit, some 20 beams a source."""


def find_sources(
    deblend: Deblend,
    image: Float[np.ndarray, "height width *band"],
    rms: Float[np.ndarray, "height width *band"],
    *,
    size: int,
    positions: Float[np.ndarray, "n 2"] | None = None,
    passes: int = 3,
    psf: PsfAt | Float[np.ndarray, "side side band"] | None = None,
    gain: Float[np.ndarray, " band"] | float | None = None,
    covariance: Float[np.ndarray, "lag lag"] | None = None,
    **options,
) -> tuple[PaddedImages, Sources, Bool[np.ndarray, "height width"]]:
    """An image and its sources, whose light is known but not yet described.

    The last result marks blends too large to be taken apart; see `extract.Extraction`.

    Sources of a crowd, more than the network has ever seen, are measured once, none on a binned
    stamp, and all of the image is marked.

    Args:
        deblend: Deblender of the image's bands.
        image: Background subtracted; without a last axis in one band. The first band is where
            sources are detected.
        rms: Background noise; infinite where a pixel is ignored.
        size: Side of the stamps that `deblend` takes [pixel].
        positions: (y, x) of sources that are there, and come first; detections beside them follow.
        passes: Searches for sources that others hide, none with one iteration; with 0, none is
            added to the positions.
        psf: PSF of the image, or a function of the position on it.
        gain: Electrons per image unit.
        covariance: Autocovariance of the first band's noise, of unit sum, its middle lag 0; None
            if white. What the deblender knows of it is its own affair.
        **options: Keywords of `find_and_measure`.

    Raises:
        FieldError: There are more sources than the PSF can tell apart.
    """
    image, rms = (np.reshape(a, (*a.shape[:2], -1)) for a in (image, rms))
    first = image[..., 0], rms[..., 0]
    coarse, most = np.zeros(image.shape[:2], bool), _BINNINGS
    if positions is None:
        positions, coarse = detect_all(*first, covariance=covariance)
    else:
        listed = len(positions)
        if passes > 0:
            found, _ = detect_all(*first, covariance=covariance)
            positions = np.concatenate([positions, _beside(positions, found)])
        options["certain"] = np.arange(len(positions)) < listed
    valid = int(np.isfinite(first[1]).sum())
    if len(positions) > _MANY and len(positions) * _CROWDED > valid:
        _check_confusion(len(positions), valid)
        options["iterations"] = 1
        coarse, most = np.ones(image.shape[:2], bool), 1
    options["passes"] = 0 if options.get("iterations") == 1 else passes
    frames = image[None], np.square(rms)[None]
    padded = PaddedImages(*frames, size=size, psf=psf, gain=gain, most=most)
    return padded, _sources(deblend, padded, positions, **options), coarse


def _beside(listed, found) -> Float[np.ndarray, "n 2"]:
    """What was found that is none of a list's sources."""
    return found[cKDTree(listed).query(found)[0] > _SAME] if len(found) else found


def _check_confusion(n: int, pixels: int) -> None:
    if n > _MOST and n * _CONFUSED > pixels:
        raise FieldError(
            f"{n} sources on {pixels} pixels, one for every {pixels / n:.0f}; wanted at most one "
            f"for every {_CONFUSED}: is the rms too small, is sky left in, or is that no image?"
        )


def _sources(deblend, padded: PaddedImages, positions, **options) -> Sources:
    if not len(positions):
        return _nothing(padded.size, padded.image.shape[-1])
    # Halves up, not to even numbers: so a stamp does not depend on where its tile begins.
    corner = np.floor(positions - stamp_centre(padded.size) + 0.5).astype(int)
    return find_and_measure(deblend, padded, np.zeros(len(corner), int), corner, **options)


def _nothing(size: int, bands: int) -> Sources:
    """No source at all."""
    none = np.zeros((0, bands), np.float32)
    found = Deblended(
        none,
        none,
        np.zeros((0, size, size, bands), np.float32),
        none,
        none,
        none,
        SinhArcsinh(*[none] * 4),
    )
    nowhere = np.zeros(0, int), np.zeros((0, 2), int)
    return make_sources(*nowhere, (size, size, bands))._replace(found=found)
