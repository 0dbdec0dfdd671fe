"""The noise of a band's image: its map, which its pixels must bear out, or their own scatter.

Pixels without data, which hold one exact value in one piece, tell nothing of it.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from vaedeblend.exceptions import BandError
from vaedeblend.image.inspection.gaps import said_of_empty
from vaedeblend.image.inspection.inspect import inspect_wider
from vaedeblend.image.inspection.psfs import GivenPsfs
from vaedeblend.io.mosaic import Mosaic, Pixels

_MAD = 1.4826
_SAMPLES = 1_000_000
"""Pixels, nearly, of which the scatter of an image without a map of its noise is measured."""
_MORE = 3.0
"""Scatter of the pixels over the noise that is given, from which on that is not theirs."""


def inspect_band(
    mosaic: Mosaic, psf: str | Path, psfs: GivenPsfs, **numbers: float | None
) -> tuple[Mosaic, float | None, list[str]]:
    """An image whose pixels without data are bad, its noise, and what is said of it.

    Args:
        mosaic: The image, as the user has described it.
        psf: FITS file or folder of its PSFs.
        psfs: What was read there.
        **numbers: The gain and the zero point, where the user gives them.

    Returns:
        The image; `_find_rms` of it; sentences.

    Raises:
        BandError: There are no valid pixels, they do not scatter, or by more than the map says.
    """
    found = inspect_wider(mosaic, psf, psfs, **numbers)
    empty, share = found.corrections["empty"], found.numbers["empty"]
    said = [] if empty is None else [said_of_empty(mosaic, empty, share)]
    mosaic = mosaic._replace(empty=empty)
    rms = _find_rms(mosaic)
    if rms is not None:
        said.append(f"no rms is given: the scatter of the pixels is taken, {rms:.4g}")
    return mosaic, rms, [*said, *found.said]


def _find_rms(mosaic: Mosaic) -> float | None:
    """The scatter of the pixels [image unit] where there is no map of the noise; None with one.

    Raises:
        BandError: There are no valid pixels, they do not scatter, or by more than the map says.
    """
    strips = _strips(mosaic)
    if all(each.bad.all() for each in strips):
        raise BandError(f"{mosaic.path}: all pixels are masked or without data; wanted some")
    if mosaic.noise is None:
        rms = _scatter(np.concatenate([each.image[~each.bad] for each in strips]))
        if not rms > 0:
            raise BandError(f"{mosaic.path}: its pixels scatter by {rms:g}; wanted noise, or --rms")
        return rms
    _check_noise(mosaic, strips)
    return None


def _strips(mosaic: Mosaic) -> list[Pixels]:
    """Some strips of 16 rows, evenly over the image."""
    height, width = mosaic.shape
    rows = max(1, _SAMPLES // width)
    starts = np.unique(np.linspace(0, max(height - 16, 0), max(rows // 16, 1)).astype(int))
    return [mosaic.read(slice(a, min(a + 16, height)), slice(0, width)) for a in starts]


def _scatter(values: Float[np.ndarray, " n"]) -> float:
    """Scatter of numbers, by their median absolute deviation."""
    return float(_MAD * np.median(np.abs(values - np.median(values))))


def _check_noise(mosaic: Mosaic, strips: list[Pixels]) -> None:
    """Refuses a map of the noise that is less than the pixels scatter.

    Steps from pixel to pixel are hardly those of sources. Where an image was resampled onto smaller
    pixels they are much less than the noise, which cannot be told from a map that is too large.
    """
    said = np.median(np.concatenate([each.rms[~each.bad] for each in strips]))
    steps = np.concatenate([_steps(each) for each in strips])
    seen = _scatter(steps) / np.sqrt(2) if len(steps) else 0.0
    if seen > _MORE * said:
        raise BandError(
            f"{mosaic.planes[mosaic.noise]}: its median is {said:.4g}, and pixels of "
            f"{mosaic.planes['image']} scatter by {seen:.4g}; wanted the noise of that image: is "
            "it another band's, a variance, or a weight?"
        )


def _steps(strip: Pixels) -> Float[np.ndarray, " n"]:
    """Differences of valid pixels beside each other in a row."""
    known = ~(strip.bad[:, 1:] | strip.bad[:, :-1])
    return (strip.image[:, 1:] - strip.image[:, :-1])[known].astype(float)
