"""Templates: what a source of unit flux, with its VIS profile, would show in another band.

A profile is convolved with its matching kernel on VIS's pixels, and sampled at the centres of the
band's pixels, times the area of these: both PSFs hold the response of their pixels. Where the two
grids are parallel and alike, as MER's mosaics are, sampling is a shift in Fourier space; elsewhere
a cubic spline, of light that a wider PSF has made smooth.

Beside each template stands its change with the size of the profile, by which an error of the
profile enters that of the flux.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import fft
from scipy.ndimage import map_coordinates

from vaedeblend.image.bands.fitting.kernels import KERNEL, Kernels, Matrix
from vaedeblend.image.bands.sources import VisSources
from vaedeblend.io.fits.sky import to_pixels, to_sky

_BEYOND = 0.002
"""Share of a template's light that may lie beyond its box."""
_HALVES = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Halves of the boxes' sides [VIS pixel]."""
_ALIKE = 1e-3
"""Difference of a matrix from that of no change below which grids are alike: 0.05 pixels of a
stamp."""
_BATCH = 64 * 160**2
"""Pixels of stamps that are convolved at a time."""
_STEP = 10.0
"""Distance over which a WCS's matrix is measured [pixel]."""


class Placed(NamedTuple):
    """Where the n sources of VIS lie on a band's image."""

    position: Float[np.ndarray, "n 2"]
    """(y, x) [pixel of the band]; NaN where the sky is none of the image's."""
    matrix: Matrix
    """Offsets on VIS's pixels of unit offsets on the band's, in the middle of all sources."""

    @property
    def area(self) -> float:
        """Area of a pixel of the band [VIS pixel]."""
        return float(abs(np.linalg.det(self.matrix)))


class Template(NamedTuple):
    """Light of one source of unit flux on a band's pixels."""

    corner: Int[np.ndarray, " 2"]
    """(y, x) of its first pixel on the band's image."""
    light: Float[np.ndarray, "height width"]
    grown: Float[np.ndarray, "height width"]
    """Change of the light with the logarithm of the profile's size."""
    squares: float
    """Sum of the squares of the VIS profile of unit flux."""


def place_on_band(vis: VisSources, wcs, shape: tuple[int, int]) -> Placed:
    """Places of the sources on a band's image, and how its pixels lie on VIS's.

    Args:
        vis: Sources.
        wcs: Celestial coordinates of the band's image.
        shape: Its height and width.
    """
    y, x = vis.position.T
    known = np.isfinite(y + x)
    position = np.full((len(y), 2), np.nan)
    position[known] = to_pixels(wcs, *to_sky(vis.wcs, x[known], y[known]), shape)
    middle = np.median(vis.position[known], axis=0) if known.any() else np.zeros(2)
    points = middle + _STEP * np.array([[0.0, 0], [1, 0], [0, 1]])
    seen = to_pixels(wcs, *to_sky(vis.wcs, points[:, 1], points[:, 0]), shape)
    forward = ((seen[1:] - seen[0]) / _STEP).T
    return Placed(position, np.linalg.inv(forward))


def make_templates(
    vis: VisSources,
    kernels: Kernels,
    placed: Placed,
    rows: Int[np.ndarray, " n"],
    shift: Float[np.ndarray, "n 2"],
) -> list[Template]:
    """Templates of some of the sources.

    Args:
        vis: All sources.
        kernels: Kernels of the band.
        placed: Their places on its image.
        rows: Rows of the n sources.
        shift: (y, x) by which the band's image of each lies beside its place [pixel of the band].
    """
    templates: list[Template | None] = [None] * len(rows)
    sides = np.where(vis.point[rows], vis.profiles.size, vis.profiles.sides[rows])
    for side in np.unique(sides):
        alike = np.flatnonzero(sides == side)
        n = max(1, _BATCH // (side + KERNEL) ** 2)
        for some in np.split(alike, range(n, len(alike), n)):
            made = _batch(vis, kernels, placed, rows[some], shift[some])
            for i, template in zip(some, made, strict=True):
                templates[i] = template
    return templates


def _batch(vis: VisSources, kernels: Kernels, placed: Placed, rows, shift) -> list[Template]:
    """Templates of sources whose stamps are of one size."""
    stamps, corner, inner = _stamps(vis, rows)
    pairs = np.stack([stamps, _grown(stamps, vis.position[rows] - corner)], axis=1)
    side = stamps.shape[1] + KERNEL - 1
    size = fft.next_fast_len(side, real=True)
    transfer = kernels.transfers(rows, vis.point[rows], size)
    seen = placed.position[rows] + shift
    alike = np.abs(placed.matrix - np.eye(2)).max() < _ALIKE
    # Where the grids are alike, a pixel of the band is one of VIS and a part of a pixel.
    offset = vis.position[rows] - seen - inner
    whole = np.rint(offset).astype(int)
    if alike:
        transfer = transfer * _shifted(offset - whole, size)
    else:
        transfer = transfer * _shifted(-inner, size)
    light = fft.irfft2(fft.rfft2(pairs, (size, size)) * transfer[:, None], (size, size))
    light = light[:, :, :side, :side]
    squares = np.square(stamps).sum(axis=(1, 2))
    squares /= np.where(vis.point[rows], 1, vis.amplitude[rows]) ** 2
    first = corner - KERNEL // 2
    if alike:
        cut = [_cut(*each) for each in zip(light, first - whole, seen, strict=True)]
    else:
        cut = [
            _sampled(each, vis.position[row] - at, place, placed)
            for each, row, at, place in zip(light, rows, first, seen, strict=True)
        ]
    return [Template(*each, float(s)) for each, s in zip(cut, squares, strict=True)]


def _stamps(vis: VisSources, rows):
    """Light of unit flux, corners, and how far a point lies from the pixel that holds it."""
    point, corner = vis.point[rows], vis.profiles.corner[rows].copy()
    size = vis.profiles.size if point.all() else int(vis.profiles.sides[rows][~point][0])
    stamps, inner = np.zeros((len(rows), size, size), np.float32), np.zeros((len(rows), 2))
    pixel = np.rint(vis.position[rows]).astype(int)
    corner[point] = pixel[point] - size // 2
    stamps[point, size // 2, size // 2] = 1
    inner[point] = (vis.position[rows] - pixel)[point]
    for i, stamp in zip(np.flatnonzero(~point), vis.profiles.select(rows[~point]), strict=True):
        stamps[i] = stamp * (vis.amplitude[rows[i]] / vis.flux[rows[i]])
    return stamps, corner, inner


def _grown(stamps: Float[np.ndarray, "n size size"], centre: Float[np.ndarray, "n 2"]):
    r"""Change of light of a fixed sum with the logarithm of its size, $-2 s - r \nabla s$."""
    y, x = (np.arange(stamps.shape[1]) - c[:, None] for c in centre.T)
    slope_y, slope_x = np.gradient(stamps, axis=(1, 2))
    return -2 * stamps - y[:, :, None] * slope_y - x[:, None, :] * slope_x


def _shifted(by: Float[np.ndarray, "n 2"], size: int):
    """Factors in Fourier space that move images by minus so many pixels."""
    y = np.exp(2j * np.pi * fft.fftfreq(size) * by[:, :1])
    x = np.exp(2j * np.pi * fft.rfftfreq(size) * by[:, 1:])
    return (y[:, :, None] * x[:, None, :]).astype(np.complex64)


def _cut(light, first, centre):
    """What of a template and its change lies within a box that holds nearly all light."""
    middle = np.rint(centre).astype(int) - first
    half = _half(light[0], middle)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half + 1, light.shape[1])
    low = np.minimum(low, high)
    box = light[:, low[0] : high[0], low[1] : high[1]]
    return first + low, box[0], box[1]


def _half(light, middle) -> int:
    """Half the side of the smallest box about a pixel beyond which there is nearly no light."""
    total = light.sum(dtype=float)
    for half in _HALVES:
        low = np.maximum(middle - half, 0)
        box = light[low[0] : max(middle[0] + half + 1, 0), low[1] : max(middle[1] + half + 1, 0)]
        if abs(total - box.sum(dtype=float)) <= _BEYOND * abs(total):
            return half
    return len(light)


def _sampled(light, offset, centre, placed: Placed):
    """A template and its change at the pixels of another grid.

    Args:
        light: Both on VIS's pixels.
        offset: (y, x) of the source there.
        centre: (y, x) of the source on the band's image.
        placed: How its pixels lie on VIS's.
    """
    half = _half(light[0], np.rint(offset).astype(int))
    reach = np.abs(np.linalg.inv(placed.matrix)).sum(axis=1) * half
    low = np.floor(centre - reach).astype(int)
    high = np.ceil(centre + reach).astype(int) + 1
    pixels = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"))
    at = np.tensordot(placed.matrix, pixels - centre[:, None, None], 1) + offset[:, None, None]
    sampled = [placed.area * map_coordinates(each, at, order=3, mode="constant") for each in light]
    return low, *sampled


def on_window(
    templates: Sequence[Template], window: tuple[slice, slice], valid: Bool[np.ndarray, "h w"]
):
    """Pixels of templates on a window: two sparse matrices, a column a template, and their shares.

    Args:
        templates: Templates on the band's image.
        window: Rows and columns of the image.
        valid: Whether a pixel of the window counts.

    Returns:
        Light and its change with size, of valid pixels alone, and three columns: the shares of each
        template's light on the window, and on valid pixels of it, and 1 where its peak is valid.
    """
    from scipy.sparse import csc_array

    index, light, grown, counts, shares = [], [], [], [], np.zeros((len(templates), 3))
    for i, each in enumerate(templates):
        here, own = _overlap(each, window)
        there, part = valid[here], each.light[own]
        total = each.light.sum(dtype=float)
        peak = part.size > 0 and bool(there.flat[np.argmax(part)])
        shares[i] = part.sum(dtype=float) / total, part[there].sum(dtype=float) / total, peak
        rows, columns = (np.arange(s.start, s.stop, dtype=np.int32) for s in here)
        index.append((rows[:, None] * valid.shape[1] + columns)[there])
        light.append(part[there])
        grown.append(each.grown[own][there])
        counts.append(len(index[-1]))
    pointer = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    indices = np.concatenate([np.zeros(0, np.int32), *index])
    make = lambda values: csc_array(  # noqa: E731
        (np.concatenate([np.zeros(0), *values]), indices, pointer),
        shape=(valid.size, len(templates)),
    )
    return make(light), make(grown), shares


def rendered(
    templates: Sequence[Template], flux: Float[np.ndarray, " n"], window: tuple[slice, slice]
) -> Float[np.ndarray, "h w"]:
    """Light of sources on a window, on pixels that do not count as well.

    Args:
        templates: Templates on the band's image.
        flux: Fluxes of them.
        window: Rows and columns of the image.
    """
    image = np.zeros([s.stop - s.start for s in window])
    for template, each in zip(templates, flux, strict=True):
        here, own = _overlap(template, window)
        image[here] += each * template.light[own]
    return image


def _overlap(template: Template, window: tuple[slice, slice]):
    """Rows and columns that a template has of a window, and those on its own pixels."""
    here, own = [], []
    for corner, n, span in zip(template.corner, template.light.shape, window, strict=True):
        low, high = np.clip((corner, corner + n), span.start, span.stop)
        here.append(slice(low - span.start, high - span.start))
        own.append(slice(low - corner, high - corner))
    return tuple(here), tuple(own)
