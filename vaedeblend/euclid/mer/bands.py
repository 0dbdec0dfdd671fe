"""Other bands of a simulated tile: the same sky as NISP, or a telescope on the ground, sees it.

Four exposures, half a pixel beside each other along either axis, have pixels of the instrument's
own; they are interpolated at the tile's (bilinear) and averaged. Noise of neighbouring pixels is
correlated then, and the PSF is optics or seeing, the instrument's pixel and the interpolation
together, the same everywhere.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import fft
from scipy.ndimage import map_coordinates

from vaedeblend.pixels.psf import Psf, make_psf
from vaedeblend.simulate.library import PlacedSources, render_sources


class Telescope(NamedTuple):
    """What a band is seen with."""

    pixel: float
    """Side of the instrument's own pixels [arcsec]."""
    fwhm: float
    """FWHM of optics or seeing, without pixels [arcsec]: a Moffat function."""
    beta: float
    rms: float
    """White-equivalent noise of a tile's pixel [uJy]."""
    gain: float
    """Electrons of all exposures per uJy."""
    zero_point: float
    """AB magnitude of the mosaic's unit."""
    total: bool
    """Whether the rms map holds the photon noise of sources."""
    stamp: int
    """Side of the stamps of PSFs [pixel of the tile]."""


_NISP = Telescope(0.3, 0.35, 4.0, 0.017, 960.0, 29.9, True, 33)
_GROUND = Telescope(0.263, 0.66, 3.5, 0.004, 9000.0, 30.0, False, 49)

TELESCOPES: Mapping[str, Telescope] = MappingProxyType(
    {
        "NIR-Y": _NISP,
        "NIR-J": _NISP._replace(rms=0.0155),
        "NIR-H": _NISP._replace(rms=0.0168),
        "EXT-G": _GROUND,
        "EXT-R": _GROUND._replace(rms=0.005),
        "EXT-I": _GROUND._replace(rms=0.008),
        "EXT-Z": _GROUND._replace(rms=0.014),
    }
)
"""Bands that a tile can have beside VIS: depths of the Wide survey, 5 sigma for a point at 24.4 in
NISP's, at 25.4 in g."""

_EXPOSE = 37
"""Purpose of random numbers; `simulate` and `exposures` have the others."""
_FINE, _EXTENT = 0.02, 12.0
"""Sampling and side of PSFs before pixels [arcsec]."""
_PAD = 8
"""Width of what is drawn beyond the tile [half a pixel of the instrument]."""


class BandMosaic(NamedTuple):
    """A band at the pixels of a tile."""

    image: Float[np.ndarray, "height width"]
    """[uJy per pixel]."""
    rms: Float[np.ndarray, "height width"]
    psf: Float[np.ndarray, "side side"]
    """Its sum is the light that the stamp holds."""


def expose_band(
    sources: PlacedSources,
    shape: tuple[int, int],
    telescope: Telescope,
    band: int,
    *,
    pixel_scale: float,
    seed: int,
    **drawing,
) -> BandMosaic:
    """The mosaic of a band.

    Args:
        sources: Galaxies and stars as they lie on the tile, with their light in several bands.
        shape: Height and width of the tile [pixel].
        telescope: What the band is seen with.
        band: Number of the band.
        pixel_scale: Side of the tile's pixels [arcsec].
        seed: Root of everything random.
        **drawing: Further keywords of `library.render_sources`.
    """
    rng = np.random.default_rng((seed, _EXPOSE, band))
    seen, made = band_psfs(telescope, pixel_scale)
    half = telescope.pixel / 2 / pixel_scale
    first = -_PAD * half + rng.uniform(0, half, 2)
    size = tuple(
        2 * (int(np.ceil((n - f) / half + _PAD)) // 2) for n, f in zip(shape, first, strict=True)
    )
    placed = _moved(of_band(sources, band), first, half)
    light, _ = render_sources(placed, size, (seen,), telescope.pixel / 2, seed=seed, **drawing)
    light = 4 * light[..., 0]  # of half a pixel along either axis
    noise, gain = 2 * telescope.rms * telescope.pixel / pixel_scale, telescope.gain / 4
    image = np.zeros(shape)
    rows, columns = ((np.arange(n) - f) / half for n, f in zip(shape, first, strict=True))
    for down, right in np.ndindex(2, 2):
        exposure = light[down::2, right::2]
        sigma = np.sqrt(noise**2 + exposure.clip(0) / gain)
        exposure = exposure + sigma * rng.standard_normal(exposure.shape)
        at = np.meshgrid((rows - down) / 2, (columns - right) / 2, indexing="ij")
        image += map_coordinates(exposure, at, order=1, mode="nearest") / 4
    image *= (pixel_scale / telescope.pixel) ** 2
    photons = image.clip(0) / telescope.gain if telescope.total else 0
    return BandMosaic(image, np.sqrt(telescope.rms**2 + photons + 0 * image), made)


def of_band(sources: PlacedSources, band: int) -> PlacedSources:
    """The sources with their light in one band."""
    galaxies = sources.galaxies
    light = {n: getattr(galaxies, n)[:, [band]] for n in ("flux_bulge", "flux_disk")}
    return sources._replace(galaxies=galaxies._replace(**light))


def band_psfs(
    telescope: Telescope, pixel_scale: float
) -> tuple[Psf, Float[np.ndarray, "side side"]]:
    """The PSF of an exposure, its pixel included, and that of the mosaic at the tile's pixels.

    Args:
        telescope: What the band is seen with.
        pixel_scale: Side of the tile's pixels [arcsec].
    """
    side = round(_EXTENT / _FINE) // 2 * 2 + 1
    offset = (np.arange(side) - side // 2) * _FINE
    core = telescope.fwhm / (2 * np.sqrt(2 ** (1 / telescope.beta) - 1))
    radius = np.hypot(offset[:, None], offset)
    blur = fft.rfft2(fft.ifftshift((1 + (radius / core) ** 2) ** -telescope.beta))
    box = np.outer(
        *(
            np.sinc(f * telescope.pixel)
            for f in (fft.fftfreq(side, _FINE), fft.rfftfreq(side, _FINE))
        )
    )
    effective, mosaic = (fft.fftshift(fft.irfft2(blur * box**n, (side, side))) for n in (1, 3))
    step = round(pixel_scale / _FINE)
    half = telescope.stamp // 2
    picked = side // 2 + step * np.arange(-half, half + 1)
    stamp = mosaic[np.ix_(picked, picked)] / mosaic.sum() * step**2
    return make_psf(effective, _FINE, source="PSF of an exposure"), stamp


def _moved(sources: PlacedSources, first, step: float) -> PlacedSources:
    """The sources on pixels of another size, whose first lies at (y, x) of the tile's."""
    corner = (sources.position - first) / step + 0.5
    pixel = np.rint(corner).astype(int)
    return sources._replace(pixel=pixel, phase=(corner - pixel).astype(np.float32))
