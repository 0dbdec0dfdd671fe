"""The map of the noise and the sky, compared with how the image's pixels scatter."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaedeblend.image.inspection.findings import BlankSky, Finding, SkyNoise
from vaedeblend.image.inspection.samples import Blocks, block_quantile, bright_pixels
from vaedeblend.image.inspection.sky.correlation import (
    correlated_noise,
    correlation_findings,
    measure_blank_sky,
)
from vaedeblend.image.inspection.sky.regions import region_findings
from vaedeblend.io.fits.header import read_facts
from vaedeblend.io.mosaic import NOISES, Mosaic, Pixels, as_rms

_LEAST = 8
"""Least side of blocks from which noise and sky are measured [pixel]."""
_FACTOR = 3.2
"""Least factor between scatter and rms that is no accident: 3, and its error."""
_NEAR = 2.0
"""Factor within which another form of the noise explains the scatter."""
_NEGATIVE = 0.01
"""Share of negative values of what is no noise at all."""
_LOST = 0.5
"""Share of the pixels without noise that is said."""
_CORRELATED = 0.5
"""Scatter over rms below which neighbouring pixels are said to be correlated."""
_SAID, _REFUSED, _FLAT = 0.3, 2.0, 0.5
"""Sky that is said, and that is refused [rms]; range of an even sky over the image, of itself."""
_LAG, _MANY, _STRIPED = 4, 100, 1.04
"""Distance of pixels whose differences are noise [pixel], and blocks from which on their scatter
along rows and columns tells, where one is larger by this factor, of stripes."""
_GROWN = 0.3
"""Growth of the variance on bright pixels that is one."""

PHOTONS = "holds the sources' photon noise, by which bright galaxies come out too faint"
"""What is said of a map of the total noise."""
_FORMS = {"rms": "an rms", "variance": "a variance", "weight": "inverse variances"}
_Scatter = Mapping[str, float]


class _Ratio(NamedTuple):
    """Scatter of the pixels over the given rms."""

    low: float
    """In the quietest parts, from the lower pixels alone."""
    middle: float
    correlation: float
    """Difference of neighbours over that of distant pixels: 1 for white noise."""


def inspect_noise(
    mosaic: Mosaic, raw: list[Pixels], strips: list[Pixels], blocks: Blocks
) -> tuple[list[Finding], dict[str, float], BlankSky | None, SkyNoise | None]:
    """What the pixels say of the noise, its map and the sky; and how it is correlated, if it is.

    Args:
        mosaic: An image, with a map of its noise or without.
        raw: Strips as they stand in the files.
        strips: Their valid pixels.
        blocks: Blocks of those.
    """
    numbers = {}
    if mosaic.noise is None:
        text = "background and rms are estimated from the image"
        findings = [Finding("assumed", "rms", text)]
    else:
        findings = missing_noise(mosaic, raw)
        if len(blocks.image) and blocks.image.shape[1] >= _LEAST:
            found, numbers = noise_findings(mosaic, raw, blocks)
            findings += found
    if len(blocks.image) >= _MANY and blocks.image.shape[1] >= _LEAST:
        findings += _stripes(mosaic, blocks)
    sky = None if is_refused(findings) else measure_blank_sky(strips)
    correlated = correlated_noise(sky)
    return findings + correlation_findings(correlated), numbers, sky, correlated


def is_refused(findings: list[Finding]) -> bool:
    """Whether the map of the noise is."""
    return any(each.kind == "refused" and each.about != "sky" for each in findings)


def missing_noise(mosaic: Mosaic, strips: list[Pixels]) -> list[Finding]:
    """A map that leaves out most of the image's valid pixels."""
    form = mosaic.noise
    known = [~each.bad for each in strips]
    lost = [k & ~(as_rms(form, s.rms) > 0) for k, s in zip(known, strips, strict=True)]
    share = sum(map(np.sum, lost)) / max(sum(map(np.sum, known)), 1)
    if share < _LOST:
        return []
    text = f"{mosaic.planes[form]}: {100 * share:.3g} % of its pixels are not above 0: ignored"
    return [Finding("warned", form, text)]


def noise_findings(
    mosaic: Mosaic, strips: list[Pixels], blocks: Blocks
) -> tuple[list[Finding], dict[str, float]]:
    """What the pixels say of the noise's map, of the sky, and of photon noise in the map.

    Args:
        mosaic: An image with a map of its noise.
        strips: Strips as they stand in the files.
        blocks: Blocks of their valid pixels.
    """
    form, plane = mosaic.noise, mosaic.planes[mosaic.noise]
    raw = np.concatenate([each.rms.ravel() for each in strips])
    negative = float(np.mean(raw[np.isfinite(raw)] < 0)) if np.isfinite(raw).any() else 0.0
    if negative > _NEGATIVE and len(blocks.image):
        text = (
            f"{plane}: {100 * negative:.0f} % of its pixels are negative; wanted {_FORMS[form]}: "
        )
        text += "are image and noise swapped, or is it another plane?"
        return [Finding("refused", form, text)], {}
    given = block_quantile(blocks.rms, 0.5)
    ratio = _ratio(blocks, given)
    numbers = {
        "rms": float(np.median(given)),
        "scatter": float(np.median(blocks.scatter)),
        "scatter_over_rms": ratio.middle,
    }
    if not _agrees(ratio):
        cause = _cause(mosaic, blocks)
        return [Finding("refused", form, _contradiction(mosaic, blocks, cause))], numbers
    findings = [Finding("given", form, f"noise: {plane}, {_FORMS[form]} of median {_median(raw)}")]
    if 0 < ratio.middle < _CORRELATED:
        text = f"pixels scatter by {ratio.middle:.2g} of the rms"
        findings.append(Finding("found", form, text))
    sky, level = _sky(mosaic, blocks.level / given)
    parts = region_findings(mosaic, blocks, given)
    if "found" in (each.kind for each in sky) and "sky" in (each.about for each in parts):
        sky = []  # what is said of its parts says more
    grown, growth = _growth(plane, blocks, given)
    return findings + sky + parts + grown, numbers | {"sky_over_rms": level, "rms_growth": growth}


def _median(raw) -> str:
    return f"{np.median(raw[np.isfinite(raw)]):.4g}"


def _ratio(blocks: Blocks, given: Float[np.ndarray, " n"]) -> _Ratio:
    near, far = (_differences(blocks, lag) for lag in (1, _LAG))
    known = far > 0
    correlation = float(np.median(near[known] / far[known])) if known.any() else 1.0
    low = float(np.quantile(blocks.floor / given, 0.1))
    return _Ratio(low, float(np.median(blocks.scatter / given)), min(correlation, 1.0))


def _differences(blocks: Blocks, lag: int, axis: int = 2) -> Float[np.ndarray, " n"]:
    """Median absolute difference of each block's pixels at a distance along an axis."""
    pixels = np.moveaxis(blocks.image, axis, 2)
    return block_quantile(np.abs(pixels[:, :, lag:] - pixels[:, :, :-lag]), 0.5)


def _stripes(mosaic: Mosaic, blocks: Blocks) -> list[Finding]:
    """Rows or columns of an image that have levels of their own."""
    along, down = (float(np.median(_differences(blocks, _LAG, axis))) for axis in (2, 1))
    larger, smaller = max(along, down), min(along, down)
    if not smaller > 0 or larger < _STRIPED * smaller:
        return []
    which, level = "rows" if down > along else "columns", np.sqrt((larger / smaller) ** 2 - 1)
    text = f"{mosaic.planes['image']}: its {which} differ by {level:.2g} of the pixels' scatter: "
    return [Finding("warned", "stripes", text + "such stripes are taken for faint sources")]


def _agrees(ratio: _Ratio) -> bool:
    """Sources raise the scatter, and correlated noise lowers it; whole numbers may hide it."""
    quiet = ratio.middle * _FACTOR < ratio.correlation**2
    return ratio.low < _FACTOR and (ratio.middle == 0 or not quiet)


def _contradiction(mosaic: Mosaic, blocks: Blocks, cause: str) -> str:
    form = mosaic.noise
    given, scatter = np.median(block_quantile(blocks.rms, 0.5)), np.median(blocks.scatter)
    return (
        f"{mosaic.planes[form]}: as {_FORMS[form]} it means a median rms of {given:.3g}, but "
        f"{mosaic.planes['image']} scatters by {scatter:.3g} between its sources; wanted an rms "
        f"within a factor of 3 of that: {cause}"
    )


def _cause(mosaic: Mosaic, blocks: Blocks) -> str:
    """The likely cause of a scatter that is not the rms."""
    form, scatter = mosaic.noise, float(np.median(blocks.scatter))
    factor = scatter / float(np.median(block_quantile(blocks.rms, 0.5)))
    if factor > 0 and (cause := _units(mosaic, factor) or _other_form(form, scatter, factor)):
        return cause
    if _swapped(blocks):
        return "are image and noise swapped?"
    power = np.log10(factor) if factor > 0 else 0.0
    if abs(power) > 0.9 and abs(power - np.rint(power)) < 0.1:
        times = 10.0 ** -np.rint(power)
        return f"about {times:g} times the right one, so perhaps in another unit"
    return "perhaps another image's, another plane, or in another unit"


def _units(mosaic: Mosaic, factor: float) -> str | None:
    """Whether the zero points of both headers explain the factor."""
    points = [read_facts(mosaic.planes[e].hdu.header).zero_point for e in ("image", mosaic.noise)]
    if None in points or points[0] == points[1]:
        return None
    units = 10 ** (0.4 * (points[0] - points[1]))
    if abs(np.log(factor / units)) > np.log(_NEAR):
        return None
    return f"its zero point is {points[1]:.6g}, the image's {points[0]:.6g}"


def _other_form(form: str, scatter: float, factor: float) -> str | None:
    """Whether the same numbers in another form of the noise explain the scatter."""
    given = scatter / factor
    raw = np.array([{"rms": given, "variance": given**2, "weight": given**-2.0}[form]])
    others = [each for each in NOISES if each != form]
    distance = [abs(np.log(scatter / as_rms(each, raw)[0])) for each in others]
    nearest = others[int(np.argmin(distance))]
    if min(distance) > np.log(_NEAR):
        return None
    return f"probably {_FORMS[nearest]}, wanted as --{nearest}"


def _swapped(blocks: Blocks) -> bool:
    """Whether the noise scatters by what the image holds."""
    lag = min(4, blocks.rms.shape[2] - 1)
    scatter = np.nanmedian(np.abs(blocks.rms[:, :, lag:] - blocks.rms[:, :, :-lag]))
    level = np.median(np.abs(blocks.level))
    return bool(level > 0 and scatter > 0 and abs(np.log(scatter / level)) < np.log(_FACTOR))


def _sky(mosaic: Mosaic, level: Float[np.ndarray, " n"]) -> tuple[list[Finding], float]:
    """The sky that is left in an image [rms]: the level of its lower quarter."""
    darkest, sky, middle = np.quantile(level, [0.05, 0.25, 0.5])
    even, image = middle - darkest < _FLAT * abs(sky), mosaic.planes["image"]
    if abs(sky) < _SAID:
        return [], float(sky)
    text = f"{image}: the median of image / rms is {sky:.2g} between its sources"
    if abs(sky) > _REFUSED and even:
        text += "; wanted about 0: subtract the background, or leave the noise out, and both are "
        return [Finding("refused", "sky", text + "estimated")], float(sky)
    what = "a sky is left in the image" if even else "a sky is left in it, or light fills it"
    return [Finding("found", "sky", f"{text}: {what}")], float(sky)


def _growth(plane, blocks: Blocks, given) -> tuple[list[Finding], float | None]:
    """Growth of the noise's variance on bright pixels: photons of the sources are in it."""
    base = float(np.quantile(given, 0.25))
    bright = bright_pixels(blocks, base)
    if not bright.any():
        return [], None
    light, excess = blocks.image[bright], np.square(blocks.rms[bright] / base) - 1
    brighter = light > np.median(light)
    growth = float(np.median(excess))
    if growth < _GROWN or np.median(excess[brighter]) < 1.2 * np.median(excess[~brighter]):
        return [], growth
    text = f"{plane}: the variance on bright pixels is {1 + growth:.2g} times that of the sky: it "
    return [Finding("warned", "photons", text + PHOTONS)], growth
