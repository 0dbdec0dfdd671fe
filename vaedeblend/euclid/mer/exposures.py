"""Dithered exposures of one sky, and their co-add: what MER's mosaics are made of.

An exposure has its own pointing, noise, dead columns, gap between detectors and cosmic rays. All
are interpolated at the pixels of the tile and combined, by SWarp (Bertin+ 2002) or by `coadd`, in
which a pixel counts where none of its taps is bad.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from jaxtyping import Float, Int

from vaedeblend.euclid.mer.layout import FATAL_BITS
from vaedeblend.exceptions import MerError
from vaedeblend.pixels.coadds import INTERPOLATIONS, Dithers, coadded_psf
from vaedeblend.pixels.psf import Psf
from vaedeblend.simulate.library import PlacedSources, render_sources
from vaedeblend.simulate.render import add_noise, resampled_psf
from vaedeblend.survey import Survey

PAD = 24
"""Width of an exposure beyond the tile, which its dither does not exceed [pixel]."""

COSMIC, BAD_COLUMN, NO_DATA = 4, 7, FATAL_BITS["NO_DATA"]
"""Bits of VIS's flag maps."""

_DITHER, _TURN = 16.0, 2e-4
"""Largest dither along either axis [pixel], and standard deviation of an exposure's angle [rad]."""
_COLUMNS, _GAP, _RAYS, _LENGTH = 1 / 400, 40, 1e-3, (2, 40)
"""Dead columns per column; largest width of the gap [pixel]; rays per pixel, and their length."""
_EXPOSE = 31
"""Purpose of random numbers; `simulate` has the others."""
_RAY = 50.0
"""Brightness of a cosmic ray [rms]."""

_MEDIAN_VARIANCE = 1.0, 1.0, 1.0, 1.346, 1.192, 1.434, 1.288
"""Variance of the median of n normal variables over that of their mean (Chu 1955)."""


class Exposure(NamedTuple):
    """One exposure of a tile."""

    image: Float[np.ndarray, "height width"]
    """[uJy per pixel]."""
    flags: Int[np.ndarray, "height width"]
    """Bits of what is wrong with a pixel; 0 where it is good."""
    wcs: WCS
    """Celestial coordinates: a tangent plane about the same point as the tile's."""


class Coadd(NamedTuple):
    """Exposures combined at the pixels of a tile."""

    image: Float[np.ndarray, "height width"]
    """[uJy per pixel]; 0 where there is no exposure."""
    exposures: Int[np.ndarray, "height width"]
    """Good exposures of each pixel."""
    flags: Int[np.ndarray, "height width"]
    """Bits of the exposures' pixels, OR-ed."""


def expose(
    sources: PlacedSources,
    tile: WCS,
    shape: tuple[int, int],
    psf: Psf,
    survey: Survey,
    number: int,
    *,
    seed: int,
    **drawing,
) -> Exposure:
    """An exposure with a random pointing.

    Args:
        sources: Galaxies and stars as they lie on the tile.
        tile: WCS of the tile.
        shape: Height and width of the tile [pixel].
        psf: Effective PSF of an exposure.
        survey: Depth of one exposure, in one band.
        number: Number of the exposure.
        seed: Root of everything random.
        **drawing: Further keywords of `library.render_sources`.
    """
    rng = np.random.default_rng((seed, _EXPOSE, number))
    wcs = _pointed(tile, shape, rng)
    placed = _as_seen(sources, tile, wcs)
    size = tuple(n + 2 * PAD for n in shape)
    scale = survey.pixel_scale.value
    light, _ = render_sources(placed, size, (psf,), scale, seed=seed, **drawing)
    image, flags = add_noise(light, survey, rng)[..., 0], _defects(size, rng)
    image[flags & (1 << COSMIC) > 0] += _RAY * survey.rms[0]
    return Exposure(image, flags, wcs)


def coadd(
    exposures: Sequence[Exposure],
    tile: WCS,
    shape: tuple[int, int],
    *,
    interpolation: str = "bilinear",
    combine: str = "weighted",
    program: str | None = None,
) -> Coadd:
    """Exposures at the pixels of a tile, combined.

    Args:
        exposures: Exposures of equal depth.
        tile: WCS of the tile.
        shape: Height and width of the tile [pixel].
        interpolation: Name of one of `coadds.INTERPOLATIONS`.
        combine: weighted (mean) or median.
        program: SWarp; by default its work is done here.

    Raises:
        MerError: SWarp failed, or there is no such way to combine.
    """
    if combine not in ("weighted", "median"):
        raise MerError(f"combine is {combine!r}; wanted weighted or median")
    images = np.full((len(exposures), *shape), np.nan, np.float32)
    flags = np.zeros(shape, np.int32)
    for image, each in zip(images, exposures, strict=True):
        place = _places(tile, each.wcs, shape)
        image[:], bad = _interpolated(each.image, each.flags > 0, place, interpolation)
        nearest = tuple(np.rint(axis).astype(int) for axis in place)
        flags |= each.flags[nearest] & ~(1 << NO_DATA)  # a detector's gap is no pixel of it
        image[bad] = np.nan
    number = np.isfinite(images).sum(axis=0)
    flags[number == 0] |= 1 << NO_DATA
    if program is None:
        seen = np.where(number > 0, images, 0)  # of no exposure there is no mean
        combined = np.nanmean(seen, axis=0) if combine == "weighted" else np.nanmedian(seen, axis=0)
    else:
        combined = _swarped(program, exposures, tile, shape, interpolation, combine)
    return Coadd(np.where(number > 0, combined, 0).astype(np.float32), number, flags)


def psf_at(
    tile: WCS,
    pointings: list[WCS],
    psf: Psf,
    place: tuple[int, int],
    interpolation: str,
    side: int,
) -> Float[np.ndarray, "side side"]:
    """The PSF of a co-add at a place (y, x) of a tile; its sum is the light that the stamp holds.

    Args:
        tile: WCS of the tile.
        pointings: WCS of the exposures, which are all taken to be good there.
        psf: Effective PSF of an exposure.
        place: (y, x) of a pixel of the tile.
        interpolation: Name of one of `coadds.INTERPOLATIONS`.
        side: Side of the stamp, an odd number [pixel].
    """
    sky = tile.all_pix2world(place[1], place[0], 0)
    seen = np.array([wcs.all_world2pix(*sky, 0)[::-1] for wcs in pointings], float)
    scale = 3600 * tile.proj_plane_pixel_scales()[0].value
    made = coadded_psf(psf, Dithers(-seen, interpolation), scale)
    whole = resampled_psf(made, scale, int(made.extent / scale) // 2 * 2 + 1)
    edge = (len(whole) - side) // 2
    return whole[edge:-edge, edge:-edge] if edge else whole


def background_variance(
    number: Int[np.ndarray, "height width"], survey: Survey, combine: str
) -> Float[np.ndarray, "height width"]:
    """White-equivalent variance of a co-add's background [uJy2]; infinite without an exposure.

    Args:
        number: Good exposures of each pixel, at most six.
        survey: Depth of one exposure, in one band.
        combine: weighted (mean) or median.
    """
    factor = np.take(_MEDIAN_VARIANCE, number) if combine == "median" else 1.0
    return np.where(number > 0, factor * survey.variance[0] / number.clip(1), np.inf)


def _pointed(tile: WCS, shape, rng: np.random.Generator) -> WCS:
    """WCS of an exposure: turned a little about the tile's centre, and shifted."""
    turn, shift = _TURN * rng.standard_normal(), rng.uniform(-_DITHER, _DITHER, 2)
    cos, sin = np.cos(turn), np.sin(turn)
    rotation = np.array([[cos, -sin], [sin, cos]])
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = tile.wcs.ctype, tile.wcs.crval
    wcs.wcs.crpix = np.array([(n + 1) / 2 + PAD for n in shape[::-1]]) - rotation.T @ shift
    wcs.wcs.cd = tile.pixel_scale_matrix @ rotation
    return wcs


def _as_seen(sources: PlacedSources, tile: WCS, wcs: WCS) -> PlacedSources:
    """The sources at their places on an exposure."""
    y, x = sources.position.T
    x, y = wcs.all_world2pix(*tile.all_pix2world(x, y, 0), 0)
    corner = np.stack([y, x], axis=1) + 0.5
    pixel = np.rint(corner).astype(int)
    return sources._replace(pixel=pixel, phase=(corner - pixel).astype(np.float32))


def _places(tile: WCS, wcs: WCS, shape) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) of a tile's pixels on an exposure, from a plane through three corners.

    Both tangent planes touch the sky at one point, so that one is an affine map of the other.
    """
    height, width = shape
    corners = wcs.all_world2pix(*tile.all_pix2world([0, width - 1, 0], [0, 0, height - 1], 0), 0)
    y, x = np.mgrid[:height, :width]
    return tuple(
        first + (right - first) * x / max(width - 1, 1) + (up - first) * y / max(height - 1, 1)
        for first, right, up in reversed(corners)
    )


def _interpolated(image, bad, place, interpolation: str):
    """An image at places (y, x), and where a tap of the kernel fell on a bad pixel."""
    reach, kernel = INTERPOLATIONS[interpolation]
    first = [np.floor(axis).astype(int) for axis in place]
    taps = np.arange(1 - reach, reach + 1)
    weights = [
        np.stack([kernel(axis - low - tap) for tap in taps])
        for axis, low in zip(place, first, strict=True)
    ]
    weights = [each / each.sum(axis=0) for each in weights]
    total, spoilt = np.zeros(place[0].shape), np.zeros(place[0].shape, bool)
    for j, tap_y in enumerate(taps):
        for i, tap_x in enumerate(taps):
            at, weight = (first[0] + tap_y, first[1] + tap_x), weights[0][j] * weights[1][i]
            total += weight * image[at]
            spoilt |= bad[at] & (weight != 0)
    return total, spoilt


def _defects(shape, rng: np.random.Generator) -> Int[np.ndarray, "height width"]:
    """Bits of dead columns, of a gap between detectors, and of cosmic rays."""
    height, width = shape
    flags = np.zeros(shape, np.int32)
    flags[:, rng.random(width) < _COLUMNS] |= 1 << BAD_COLUMN
    gap = min(_GAP, width // 16)
    start = rng.integers(0, width - gap + 1)
    flags[:, start : start + gap] |= 1 << NO_DATA
    for _ in range(rng.poisson(_RAYS * height * width)):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(*_LENGTH)
        step = np.arange(0, length, 0.5)
        track = np.array([y + step * np.sin(angle), x + step * np.cos(angle)]).astype(int)
        inside = ((track >= 0) & (track < np.reshape(shape, (2, 1)))).all(axis=0)
        flags[tuple(track[:, inside])] |= 1 << COSMIC
    return flags


def _swarped(program, exposures, tile: WCS, shape, interpolation: str, combine: str):
    """The co-add that SWarp makes."""
    with tempfile.TemporaryDirectory() as folder:
        for i, each in enumerate(exposures):
            header = each.wcs.to_header()
            name = f"{folder}/{i}"
            fits.writeto(f"{name}.fits", each.image.astype(np.float32), header)
            fits.writeto(f"{name}.weight.fits", (each.flags == 0).astype(np.float32), header)
        header = fits.PrimaryHDU(np.zeros(shape, np.float32), tile.to_header()).header
        Path(folder, "tile.head").write_text(header.tostring(sep="\n", padding=False) + "\n")
        command = [program, *(f"{i}.fits" for i in range(len(exposures))), "-c", "/dev/null"]
        options = {
            "IMAGEOUT_NAME": "tile.fits",
            "WEIGHT_TYPE": "MAP_WEIGHT",
            "COMBINE_TYPE": combine.upper(),
            "RESAMPLING_TYPE": interpolation.upper(),
            "SUBTRACT_BACK": "N",
            "FSCALASTRO_TYPE": "NONE",
            "VERBOSE_TYPE": "QUIET",
            "WRITE_XML": "N",
        }
        for name, value in options.items():
            command += [f"-{name}", value]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        result = Path(folder, "tile.fits")
        if done.returncode or not result.exists():
            raise MerError(f"{program}: {done.stderr.strip()[-300:]}; wanted a co-add")
        return fits.getdata(result)
