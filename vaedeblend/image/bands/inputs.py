"""Images of other bands: what a user says of one, and what is found in its files."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from vaedeblend.euclid.mer.layout import FATAL_BITS, find_tile, tile_bands
from vaedeblend.exceptions import BandError
from vaedeblend.image.bands.fitting.kernels import PsfField, check_wider
from vaedeblend.image.bands.fitting.matched import Placed, place_on_band
from vaedeblend.image.bands.fitting.noise import inspect_band
from vaedeblend.image.bands.sources import VisSources
from vaedeblend.io.mosaic import Mosaic, open_mosaic, split_plane
from vaedeblend.pixels.psfs.read import read_psfs
from vaedeblend.survey import inside, magnitude_to_flux

_FWHM = np.sqrt(8 * np.log(2))


class BandImage(NamedTuple):
    """An image of another band, and what belongs to it."""

    image: str | Path
    """FITS image, background subtracted."""
    psf: str | Path
    """Its PSF, as `psfs.read_psfs` takes it."""
    rms: str | Path | None = None
    """FITS image of its noise; by default one number, the scatter of its pixels."""
    name: str = ""
    """Name of the band, in columns; by default of the header's FILTER, or the file's."""
    mask: str | Path | None = None
    """FITS image; pixels that are not 0 are ignored."""
    mask_bits: Sequence[int] | None = None
    """Flag bits that mask a pixel; by default all."""
    zero_point: float | None = None
    """AB magnitude of one image unit; by default the header's."""
    gain: float | None = None
    """Electrons per image unit, where the noise's map lacks the photons of sources."""

    @property
    def options(self) -> dict:
        """Keywords of `mosaic.open_mosaic`."""
        noise = {"rms": self.rms} if self.rms is not None else {}
        names = "mask", "mask_bits", "zero_point", "gain"
        return {name: getattr(self, name) for name in names} | noise

    @property
    def files(self) -> tuple[Path, ...]:
        """Files and folders that are given, without brackets of planes."""
        given = [self.image, self.psf, self.rms, self.mask]
        return tuple(split_plane(path)[0] for path in given if path is not None)


class OpenBand(NamedTuple):
    """A band as it is measured."""

    given: BandImage
    name: str
    shape: tuple[int, int]
    pixel_scale: float
    """[arcsec]."""
    psfs: PsfField
    placed: Placed
    """Places of VIS's sources."""
    microjansky: float
    """Microjanskys of an image unit."""
    rms: float | None
    """Noise of every pixel [image unit], where there is no map."""
    empty: float | None
    """Value that squares of pixels without data hold."""
    said: tuple[str, ...]
    """What was assumed, a sentence each."""

    @property
    def blur(self) -> float:
        """Gaussian sigma of the PSF [pixel]."""
        return self.psfs.fwhm / self.pixel_scale / _FWHM


class BandPixels(NamedTuple):
    """A window of a band's image."""

    image: Float[np.ndarray, "height width"]
    """[image unit]; 0 where a pixel does not count."""
    variance: Float[np.ndarray, "height width"]
    """Smooth on the PSF's scale: the noise of a pixel, of which a total rms holds the photons,
    must not weigh that pixel."""
    valid: Bool[np.ndarray, "height width"]


def tile_images(
    folder: str | Path, names: Sequence[str] = (), number: int | None = None
) -> list[BandImage]:
    """The bands of a MER tile beside VIS, by the names of their products.

    Args:
        folder: Folder of the products.
        names: Bands that are wanted; by default all.
        number: Number of the tile, where the folder holds several.

    Raises:
        MerError: There are no such products.
        BandError: A band has no PSF.
    """
    found = [band for band in tile_bands(folder) if band != "VIS"]
    if not (names := tuple(names) or tuple(found)):
        raise BandError(f"{folder}: holds no band of MER beside VIS; wanted NIR-H or others")
    images = []
    for band in names:
        tile = find_tile(folder, number, band=band)
        if tile.psf is None:
            raise BandError(f"{folder}: no PSF of {band}; wanted EUC_MER_GRID-PSF-{band} or others")
        bits = None if tile.flags is None else (FATAL_BITS["INVALID"],)
        given = {"rms": tile.rms, "mask": tile.flags, "mask_bits": bits}
        images.append(BandImage(tile.image, tile.psf, name=band, **given))
    return images


def open_band(given: BandImage, vis: VisSources) -> OpenBand:
    """A band of which all that is needed is there.

    Raises:
        BandError: It has no WCS, no zero point or no valid pixel, or lies elsewhere than VIS.
        PsfError: Its PSF is narrower than VIS's, or cannot be read.
        MosaicError: A file cannot be read.
    """
    with open_mosaic(given.image, **given.options) as mosaic:
        name = given.name or _name(mosaic)
        if mosaic.wcs is None or mosaic.pixel_scale is None:
            raise BandError(f"{mosaic.path}: has no WCS; wanted one, by which it lies on VIS's sky")
        if mosaic.zero_point is None:
            unit = mosaic.header.get("BUNIT", "")
            raise BandError(
                f"{mosaic.path}: unit {str(unit)!r} and no zero point; wanted the unit of a flux, "
                "MAGZERO, or --zero-point"
            )
        place = mosaic.shape, mosaic.wcs
        grid = read_psfs(given.psf, *place, given=None, default=mosaic.pixel_scale)
        psfs = PsfField(grid.grid, mosaic.shape, mosaic.pixel_scale)
        check_wider(f"{given.psf}", vis.psfs, psfs)
        placed = place_on_band(vis, mosaic.wcs, mosaic.shape)
        there = int(inside(placed.position[vis.measured], mosaic.shape).sum())
        if not there:
            raise BandError(
                f"{mosaic.path}: none of VIS's {vis.measured.sum()} sources lies on it; wanted an "
                "image of the same sky"
            )
        numbers = {"gain": given.gain, "zero_point": given.zero_point}
        mosaic, rms, said = inspect_band(mosaic, given.psf, grid, **numbers)
        return OpenBand(
            given,
            name,
            mosaic.shape,
            mosaic.pixel_scale,
            psfs,
            placed,
            float(magnitude_to_flux(mosaic.zero_point)),
            rms,
            mosaic.empty,
            (f"{there} of {vis.measured.sum()} sources of VIS lie on the image", *said),
        )


@contextlib.contextmanager
def band_reader(band: OpenBand) -> Iterator:
    """Gives the function `read(window)`, by which a band's pixels are read piece by piece."""
    with open_mosaic(band.given.image, empty=band.empty, **band.given.options) as mosaic:

        def read(window: tuple[slice, slice]) -> BandPixels:
            image, rms, bad = mosaic.read(*window)
            rms = np.full(image.shape, band.rms) if rms is None else rms
            variance = _smooth(np.where(bad, 0, rms).astype(float) ** 2, ~bad, band.blur)
            return BandPixels(image, variance, ~bad)

        yield read


def _smooth(variance, valid, blur: float) -> Float[np.ndarray, "height width"]:
    """A variance, averaged over valid pixels of the PSF's size; infinite elsewhere."""
    total, weight = (gaussian_filter(v, blur) for v in (variance, valid.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(valid, total / weight, np.inf)


def _name(mosaic: Mosaic) -> str:
    name = str(mosaic.header.get("FILTER", "")).strip() or Path(mosaic.path).stem
    return re.sub(r"[^A-Za-z0-9.+]+", "-", name).strip("-.")
