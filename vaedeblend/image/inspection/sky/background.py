"""Background and rms where they are not given: files beside the results, strip by strip."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter

from vaedeblend.image.inspection.findings import PhotonNoise
from vaedeblend.io import write
from vaedeblend.io.mosaic import Mosaic, image_header

_ROWS = 2048
"""Rows of an image whose background is estimated at a time, about."""

_SMOOTH, _MARGIN = 1.0, 6
"""Sigma of the Gaussian through which faint light is seen, and what it reaches [pixel]."""
_BRIGHT, _AROUND = 5.0, 5
"""Light of a bright pixel [rms], and side of the square whose median is its background's rms."""
ESTIMATED, PHOTONLESS = ("background", "rms"), ("background_rms",)
"""Names of what is written without a map of the noise, and with one that holds photon noise."""
_NAMES = *ESTIMATED, *PHOTONLESS
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
