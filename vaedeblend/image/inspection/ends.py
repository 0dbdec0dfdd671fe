"""The ends of an image's range: saturated pixels, some darker than any sky, and a sky cut short."""

import numpy as np

from vaedeblend.image.inspection.findings import Finding
from vaedeblend.image.inspection.samples import Blocks
from vaedeblend.io.fits.header import saturation
from vaedeblend.io.mosaic import Mosaic, Pixels

_ROWS = 512
"""Rows that are counted at a time."""
_DARK, _FENCE = 20.0, 3.0
"""Noise below the darkest sky that no pixel is [rms], and how far that lies below the median, in
distances of the lower quarter."""
_FULL, _MOST_FULL, _MOST_DARK = 0.95, 0.01, 0.05
"""Share of the saturation level from which pixels are no more proportional to light; the most of
the pixels that are so bright where the level is the image's own, and that are holes in it."""
_EDGE, _CUT, _SCATTER = 0.1, 0.02, 0.25
"""Width of the lowest values [rms], least share of the pixels that they hold in a sky that was cut
there, and least scatter of noise [rms]."""
_VALUES, _FEWEST = 6, 1000
"""Least number of values within three rms: others are whole numbers, which have an end as well; and
least number of pixels that are judged."""


def end_findings(
    mosaic: Mosaic, blocks: Blocks, noise: float
) -> tuple[list[Finding], tuple[float, float] | None]:
    """Pixels that hold no light's value, and the limits that leave them out; None if none do.

    All of the image is read, as a core of a star is hardly ever on a subsample.

    Args:
        mosaic: The image.
        blocks: Blocks of its valid pixels.
        noise: Typical noise [image unit].
    """
    if not noise > 0:
        return [], None
    low, sky = np.quantile(blocks.level, [0.25, 0.5])
    least = float(low - _FENCE * (sky - low) - _DARK * max(np.quantile(blocks.floor, 0.99), noise))
    level, card = saturation(mosaic.header)
    most = np.inf if level is None else _FULL * level
    dark, full, known = _counts(mosaic, least, most)
    findings, image = [], mosaic.planes["image"]
    if dark > _MOST_DARK * known:
        dark = 0
    elif dark:
        text = f"{image}: {dark} pixels are below {least:.4g}, {_DARK:g} times the noise under the "
        findings.append(Finding("corrected", "image", f"{text}sky: no light; they are ignored"))
    if full > _MOST_FULL * known:
        text = f"{card} {level:g} is no level of this image: {100 * full / known:.2g} % of the "
        findings.append(Finding("warned", "image", f"{image}: {text}pixels reach it; not used"))
        full = 0
    elif full:
        text = f"{image}: {full} pixels reach {100 * _FULL:g} % of {card} {level:g}: saturated; "
        findings.append(Finding("corrected", "image", f"{text}they are ignored"))
    limits = (least if dark else -np.inf), (float(most) if full else np.inf)
    return findings, limits if dark or full else None


def cut_findings(mosaic: Mosaic, strips: list[Pixels], blocks: Blocks, noise: float):
    """A sky whose lower part is missing: cut at a value, or left out.

    Args:
        mosaic: The image.
        strips: Valid strips of it.
        blocks: Blocks of their pixels.
        noise: Typical noise [image unit].
    """
    pixels = np.concatenate([each.image[np.isfinite(each.image)] for each in strips])
    if not (len(blocks.scatter) and noise > 0 and np.median(blocks.scatter) > _SCATTER * noise):
        return []
    if len(pixels) < _FEWEST:
        return []
    least = np.quantile(pixels, 0.001, method="lower")
    lowest = (pixels >= least) & (pixels <= least + _EDGE * noise)
    values = np.unique(pixels[(pixels >= least) & (pixels < least + 3 * noise)])
    if lowest.mean() < _CUT or len(values) < _VALUES:
        return []
    text = f"{mosaic.planes['image']}: {100 * lowest.mean():.3g} % of its pixels are at {least:.3g}"
    text += ", and hardly any below, as if the noise had been cut there; wanted the sky's noise on"
    text += " both sides of 0: with a half of it fluxes come out wrong"
    return [Finding("refused", "image", text)]


def _counts(mosaic: Mosaic, least: float, most: float) -> tuple[int, int, int]:
    """Pixels below a value, those from another on, and all that have a value."""
    height, width = mosaic.shape
    dark = full = known = 0
    for low in range(0, height, _ROWS):
        rows = slice(low, min(low + _ROWS, height))
        image = mosaic.plane("image", rows, slice(0, width))
        image = image[np.isfinite(image)]
        dark, full = dark + int((image <= least).sum()), full + int((image >= most).sum())
        known += image.size
    return dark, full, known
