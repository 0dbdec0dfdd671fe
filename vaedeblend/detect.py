"""Where the galaxies are: detection with sep (Barbary 2016), the library form of SExtractor."""

import numpy as np
import sep
from jaxtyping import Float, Int

from vaedeblend.survey import stamp_centre

_THRESHOLD, _MIN_AREA = 4.0, 4
"""In units of the filtered image's noise, and of pixels: SExtractor's 1.5 with its 3 x 3 filter."""

_CONTRAST = 1e-4
"""Least share of a blend's light that counts as a source of its own."""

_NEAREST = 2.5
"""Detections nearer to a stamp's centre are its central galaxy [pixel]."""


def detect(
    image: Float[np.ndarray, "height width"], rms: Float[np.ndarray, "height width"]
) -> Float[np.ndarray, "n 2"]:
    """(y, x) of the sources of an image without background.

    Args:
        image: Of one band.
        rms: The background's, in the image's unit; infinite where a pixel is to be ignored.
    """
    valid = np.isfinite(rms) & np.isfinite(image)
    found = sep.extract(
        np.where(valid, image, 0).astype(np.float64),
        _THRESHOLD,
        err=np.where(valid, rms, 1).astype(np.float64),
        mask=~valid,
        minarea=_MIN_AREA,
        deblend_cont=_CONTRAST,
    )
    return np.stack([found["y"], found["x"]], axis=1).reshape(-1, 2)


def members(
    images: Float[np.ndarray, "n size size"], rms: Float[np.ndarray, "n size size"]
) -> tuple[Int[np.ndarray, " source"], Int[np.ndarray, "source 2"]]:
    """Stamp and corner of every stamp's galaxies: its central one at the centre, then detections.

    A corner is the (y, x), on the stamp, of the first pixel of a stamp about the galaxy.
    """
    centre = stamp_centre(images.shape[1])
    index, corner = [], []
    for i, (image, each) in enumerate(zip(images, rms, strict=True)):
        offset = detect(image, each) - centre
        others = offset[np.hypot(*offset.T) > _NEAREST]
        index.append(np.full(1 + len(others), i))
        corner.append(np.concatenate([np.zeros((1, 2)), np.rint(others)]).astype(int))
    return np.concatenate(index), np.concatenate(corner)
