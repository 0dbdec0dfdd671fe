"""Background and rms where they are not given, and sky that is left: files, strip by strip."""

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter, map_coordinates

from vaedeblend.image.inspection.findings import PhotonNoise
from vaedeblend.io import write
from vaedeblend.io.mosaic import Mosaic, image_header, open_mosaic
from vaedeblend.pixels.profiles import Profiles

_ROWS = 2048
"""Rows of an image whose background is estimated at a time, about."""

_SMOOTH, _MARGIN = 1.0, 6
"""Sigma of the Gaussian through which faint light is seen, and what it reaches [pixel]."""
_BRIGHT, _AROUND = 5.0, 5
"""Light of a bright pixel [rms], and side of the square whose median is its background's rms."""
_DARK, _SURE = 0.05, 4.0
"""Models' light of a pixel that counts as sky [rms], and least significance of a level that is
taken off [sigma]."""
_BOX, _FEWEST = 256, 0.1
"""Side of the boxes in which sky is left, about [pixel]; least share of one that has to be sky."""
_SAMPLE, _DISTINCT, _ELECTRON = 4096, 0.2, 0.1
"""Pixels by which it is judged whether values are multiples of a step, the share of distinct values
of others, and how far such a step may be from an electron, of that."""
_SLIGHT = 0.05
"""Largest level for which fluxes are corrected by the area that they are measured in, and sources
are not measured again [rms]: to first order, which is within 0.1 flux_err there."""
_SQUARE, _FULL, _FEW = 16, 0.9, 12
"""Side of the squares in which the sky is uneven [pixel]: of the light that a galaxy's flux is
measured in; least share of one that has to be sky, and fewest squares that tell."""
ESTIMATED, PHOTONLESS, LEFT = ("background", "rms"), ("background_rms",), ("sky",)
"""Names of what is written without a map of the noise, with one that holds photon noise, and where
sky is left between the sources."""
_NAMES = *ESTIMATED, *PHOTONLESS, *LEFT
_CARD = "ESTIMATE"
"""Header card by which a file is known to have been written here."""


def write_background(
    mosaic: Mosaic, out: Path, report: Callable[[str, int, int], None]
) -> tuple[str, str]:
    """Writes background.fits and rms.fits, as estimated of an image."""
    from vaedeblend.deblend.detect import background_strips, estimate_background, mesh_side

    (height, width), header = mosaic.shape, image_header(mosaic)
    header[_CARD] = True, "of the image that was measured"
    paths = [out / f"{name}.fits" for name in ESTIMATED]
    with (
        write.write_image(paths[0], mosaic.shape, header) as put_background,
        write.write_image(paths[1], mosaic.shape, header) as put_rms,
    ):
        for kept, read in background_strips(height, _ROWS):
            report("estimating the background", kept.start, height)
            image, _, bad = mosaic.read(read, slice(0, width))
            level, noise = np.zeros_like(image), np.full_like(image, np.nan)
            if not bad.all():
                mesh = mesh_side(height), mesh_side(width)
                level, noise = estimate_background(image * mosaic.scale, bad, mesh)
            own = slice(kept.start - read.start, kept.stop - read.start)
            put_background(level[own] / mosaic.scale)
            put_rms(np.where(bad, np.nan, noise / mosaic.scale)[own])
        report("estimating the background", height, height)
    return str(paths[0]), str(paths[1])


class LeftSky(NamedTuple):
    """Light between the sources of an image, beside its background."""

    path: str | None
    """File of all background, this one with it; None where nothing is to be taken off."""
    low: float
    """Least and largest level of a box [rms]."""
    high: float
    scatter: float
    """Error of the sky under a source beside the noise's: of levels of small squares [rms]."""
    rms: float
    """Typical rms of the background [image unit]."""
    levels: Float[np.ndarray, "row column"] | None = None
    """What is taken off in the middle of each box [image unit]; 0 where the sky is dark."""
    sides: tuple[float, float] = (1.0, 1.0)
    """Sides of the boxes (height, width) [pixel]."""
    first: tuple[int, int] = (0, 0)
    """(y, x) of the first pixel of the first of them."""

    def at(self, y, x) -> Float[np.ndarray, "*n"]:
        """What is taken off at pixels of the image, linear between the middles of boxes.

        Args:
            y: Rows.
            x: Columns, of the same shape.
        """
        if self.levels is None:
            return np.zeros(np.shape(y))
        places = zip((y, x), self.first, self.sides, strict=True)
        inside = [(place - start + 0.5) / side - 0.5 for place, start, side in places]
        return map_coordinates(self.levels, inside, order=1, mode="nearest")

    def part(self, core: tuple[slice, slice], *, slight: bool) -> tuple[slice, slice] | None:
        """The smallest part of a core that holds all from which much is taken off, if any.

        Args:
            core: Rows and columns of the image.
            slight: Whether even a slight level is much.
        """
        least = 0 if slight else _SLIGHT * self.rms
        levels = np.zeros((0, 0)) if self.levels is None else np.abs(self.levels)
        boxes = np.argwhere(levels > least)
        ends = []
        places = zip(core, self.sides, self.first, strict=True)
        for axis, (span, side, first) in enumerate(places):
            i, last = boxes[:, axis], (0 if self.levels is None else self.levels.shape[axis] - 1)
            # Between the middles of boxes, levels are interpolated; beyond the last, they go on.
            low = np.where(i == 0, span.start, first + np.floor((i - 0.5) * side))
            high = np.where(i == last, span.stop, first + np.ceil((i + 1.5) * side))
            ends.append((np.maximum(low, span.start), np.minimum(high, span.stop)))
        there = np.all([low < high for low, high in ends], axis=0)
        if not there.any():
            return None
        return tuple(slice(int(low[there].min()), int(high[there].max())) for low, high in ends)


def write_left_sky(
    mosaic: Mosaic,
    background: str | None,
    profiles: Sequence[Profiles],
    core: tuple[slice, slice],
    out: Path,
    report: Callable[[str, int, int], None],
) -> LeftSky:
    """Measures the light between an image's sources, and writes sky.fits where it is significant.

    Networks take even light for that of galaxies: a hundredth of the rms in each pixel makes a
    galaxy of 22 mag 0.5 % too bright. Where models have no light, the median of what they leave
    tells how much there is of halos, wings and background, and the scatter of small squares beyond
    that of noise how uneven it is.

    Args:
        mosaic: The image.
        background: File of the background that was subtracted already, if any.
        profiles: Light of all sources that reach the core, those of each piece.
        core: Part of the image whose sky is measured; about it, that goes on as it is at its edges.
        out: Folder of the results.
        report: Function of the progress.
    """
    (height, width), scale = mosaic.shape, mosaic.scale
    spans, first = [s.stop - s.start for s in core], tuple(s.start for s in core)
    sides = [math.ceil(n / max(1, round(n / _BOX))) for n in spans]
    found, squares = [], []
    for low in range(0, spans[0], sides[0]):
        report("estimating the sky that is left", low, spans[0])
        rows = slice(first[0] + low, first[0] + min(low + sides[0], spans[0]))
        left, rms = _left(mosaic, background, profiles, (rows, core[1]))
        boxes = [slice(x, x + sides[1]) for x in range(0, spans[1], sides[1])]
        found.append([_level(left[:, box], rms[:, box]) for box in boxes])
        squares += [_squares(left[:, box], rms[:, box]) for box in boxes]
    report("estimating the sky that is left", spans[0], spans[0])
    levels, noise = np.moveaxis(np.array(found), -1, 0)
    known = noise[np.isfinite(noise)]
    typical = float(np.median(known)) if len(known) else 1.0
    relative = levels / np.where(np.isfinite(noise), noise, typical)
    ends = float(relative.min()), float(relative.max()), _excess(squares), typical / scale
    if not levels.any():
        return LeftSky(None, *ends)
    path, header = out / f"{LEFT[0]}.fits", image_header(mosaic)
    header[_CARD] = True, "of the image that was measured"
    sky = LeftSky(str(path), *ends, levels / scale, tuple(sides), first)
    with write.write_image(path, mosaic.shape, header) as put:
        for low in range(0, height, sides[0]):
            rows = slice(low, min(low + sides[0], height))
            put(_under(background, (rows, slice(0, width))) + sky.at(*np.mgrid[rows, :width]))
    return sky


def _left(mosaic: Mosaic, background, profiles: Sequence[Profiles], window: tuple[slice, slice]):
    """What models leave of a window, NaN where they have light, and the rms; scaled."""
    image, rms, bad = mosaic.read(*window)
    low, high = (tuple(getattr(s, end) for s in window) for end in ("start", "stop"))
    model = np.zeros_like(image)
    for each in profiles:
        model += each.select(each.reaching(low, high)).moved(low).lay(image.shape)
    dark = ~bad & (model < _DARK * rms)
    image = image + _dither(image[dark], image.shape, mosaic.gain)
    left = np.where(dark, image - _under(background, window) - model, np.nan)
    return left * mosaic.scale, rms * mosaic.scale


def _dither(
    values, shape: tuple[int, int], gain: float | None
) -> Float[np.ndarray, "height width"] | float:
    """What makes of multiples of a step values whose median is their mean; 0 of other values.

    The median of whole numbers is off by up to half of one, 0.04 of an rms of 12. Where they are
    electrons, by the gain, that of their skew distribution lies a sixth below the mean besides.
    """
    distinct = np.unique(values[:_SAMPLE])
    if not 1 < len(distinct) < _DISTINCT * min(len(values), _SAMPLE):
        return 0.0
    step = float(np.median(np.diff(distinct)))
    skew = 1 / 6 if gain and abs(step * gain - 1) < _ELECTRON else 0.0
    return step * np.random.default_rng(0).uniform(skew - 1 / 2, skew + 1 / 2, shape)


def _under(background: str | None, window: tuple[slice, slice]):
    """The background that was subtracted from a window."""
    if background is None:
        return 0.0
    with open_mosaic(background) as under:
        return under.read(*window).image


def _level(left, rms: Float[np.ndarray, "height width"]) -> tuple[float, float]:
    """The level of a box, 0 where it may be noise, and the rms; NaN where no pixel is dark."""
    dark = np.isfinite(left)
    n, noise = int(dark.sum()), float(np.median(rms[dark])) if dark.any() else np.nan
    if not n > _FEWEST * left.size:
        return 0.0, noise
    level = float(np.median(left[dark]))
    return (level if abs(level) > _SURE * 1.2533 * noise / np.sqrt(n) else 0.0), noise


def _squares(left, rms: Float[np.ndarray, "height width"]) -> Float[np.ndarray, " square"]:
    """Levels of small squares of sky about that of their box, in units of their noise."""
    if not np.isfinite(left).any():
        return np.zeros(0)
    about = (left - np.nanmedian(left)) / rms
    height, width = (n // _SQUARE * _SQUARE for n in about.shape)
    parts = about[:height, :width].reshape(height // _SQUARE, _SQUARE, width // _SQUARE, _SQUARE)
    squares = parts.swapaxes(1, 2).reshape(-1, _SQUARE**2)
    n = np.isfinite(squares).sum(axis=1)
    squares = squares[n > _FULL * _SQUARE**2]
    return np.nanmean(squares, axis=1) * _SQUARE


def _excess(squares) -> float:
    """Scatter of the levels of small squares beyond that of noise [rms]; 0 where that is all."""
    levels = np.concatenate(squares)
    if len(levels) < _FEW:
        return 0.0
    variance = (1.4826 * np.median(np.abs(levels))) ** 2
    return float(np.sqrt(max(variance - 1, 0))) / _SQUARE


def write_background_rms(
    mosaic: Mosaic, photons: PhotonNoise, out: Path, report: Callable[[str, int, int], None]
) -> str:
    """Writes background_rms.fits, of an image whose map holds photon noise; returns its path.

    Pixels without noise stay so.
    """
    (height, width), path, header = (
        mosaic.shape,
        out / f"{PHOTONLESS[0]}.fits",
        image_header(mosaic),
    )
    header[_CARD] = True, "of the map of the total noise"
    write.prepare_folder(out)
    scaled = photons.scale * mosaic.scale, np.sqrt(photons.least) * mosaic.scale
    with write.write_image(path, mosaic.shape, header) as put:
        for low in range(0, height, _ROWS):
            report("taking photon noise out of the rms", low, height)
            start, stop = max(low - _MARGIN, 0), min(low + _ROWS + _MARGIN, height)
            image, rms, _ = mosaic.read(slice(start, stop), slice(0, width))
            without = _without_photons(image * mosaic.scale, rms * mosaic.scale, *scaled)
            put(without[low - start : min(low + _ROWS, height) - start] / mosaic.scale)
        report("taking photon noise out of the rms", height, height)
    return str(path)


def _without_photons(image, rms, scale: float, least: float):
    """The background's rms: the map's, less the noise of the photons of the light on a pixel.

    Where a source is bright the map follows the pixel's own light, whose noise is taken off by a
    median of the pixels about it: steps in depth are kept. Faint light is smoothed, lest the
    image's noise decide.
    """
    bright = (image > _BRIGHT * least) & np.isfinite(rms)
    light = np.where(bright, image, gaussian_filter(image, _SMOOTH, mode="nearest")).clip(0)
    without = np.maximum(rms / np.sqrt(1 + light / scale), np.minimum(rms, least))
    around = sliding_window_view(np.pad(without, _AROUND // 2, mode="edge"), 2 * (_AROUND,))
    median = np.median(around[bright].reshape(-1, _AROUND**2), axis=1)
    without[bright] = np.where(np.isfinite(median), median, without[bright])
    return without


def others_background(out: Path, names: Collection[str]) -> list[Path]:
    """Files of these names, of a folder, that were not estimated here."""
    paths = [out / f"{name}.fits" for name in names]
    return [path for path in paths if path.exists() and not _is_ours(path)]


def remove_background(out: Path, inputs: Collection[Path]) -> list[Path]:
    """Removes what `write_background` wrote for another image into a folder.

    Args:
        out: Folder of the results.
        inputs: Files that are measured, which stay.

    Returns:
        Files of these names that are another's: they stay, too.
    """
    used, paths = {path.resolve() for path in inputs}, [out / f"{name}.fits" for name in _NAMES]
    stale = [path for path in paths if path.exists() and path.resolve() not in used]
    for path in (ours := [path for path in stale if _is_ours(path)]):
        path.unlink()
    return [path for path in stale if path not in ours]


def _is_ours(path: Path) -> bool:
    try:
        return fits.getheader(path).get(_CARD) is True
    except OSError:
        return False
