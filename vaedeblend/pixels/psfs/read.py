"""The PSFs of an image as users have them: image, grid, model, stamps at places, or a folder."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS

from vaedeblend.pixels.psf import Psf, centred, levelled, make_psf, psf_sampling, read_psf_grid
from vaedeblend.pixels.psfs.cells import PsfStamps, cell_centres, psf_cells
from vaedeblend.pixels.psfs.folder import read_psf_folder
from vaedeblend.pixels.psfs.product import is_psf_product, product_step, read_psf_product
from vaedeblend.pixels.psfs.psfex import is_psfex, read_psfex

PsfGrid = list[list[Psf]]


class GivenPsfs(NamedTuple):
    """PSFs of the parts of an even grid over an image."""

    grid: PsfGrid
    """Rows of PSFs, all of one size and sampling, at least one."""
    origin: str
    """Where the sampling is from; empty where the image's is taken."""

    @property
    def sampling(self) -> float:
        """Distance of the samples [arcsec]."""
        return self.grid[0][0].pixel_scale

    @property
    def total(self) -> float:
        """Median of the sums of the images."""
        return float(np.median([psf.total for row in self.grid for psf in row]))

    @property
    def pedestal(self) -> float:
        """Largest share of an image's sum that was a constant, and is taken off."""
        return max((psf.pedestal for row in self.grid for psf in row), key=abs)

    @property
    def moved(self) -> int:
        """Number of the PSFs that peaked beside the middle pixel, and were moved there."""
        return sum(psf.moved for row in self.grid for psf in row)


def read_psfs(
    path: str | Path,
    shape: tuple[int, int],
    wcs: WCS | None = None,
    *,
    given: float | None,
    default: float,
) -> GivenPsfs:
    """The PSFs of an image, each without a constant that it stands on, its peak in the middle.

    Args:
        path: FITS file of one PSF, of a grid (rows, columns, height, width), of a model of PSFEx,
            or of stamps and their places as MER has them; or folder of images with places.
        shape: Height and width of the image [pixel].
        wcs: Its celestial coordinates.
        given: Sampling that the user has given [arcsec].
        default: Sampling where a file has none: the image's pixel [arcsec].

    Raises:
        PsfError: There is no PSF.
    """
    grid, origin = _read(path, shape, wcs, given, default)
    return GivenPsfs([[centred(levelled(psf), default) for psf in row] for row in grid], origin)


def _read(path, shape, wcs, given: float | None, default: float) -> tuple[PsfGrid, str]:
    said = "" if given is None else "--psf-scale"
    if Path(path).is_dir():
        scales = {"default_pixel_scale": default, "pixel_scale": given}
        stamps, scale = read_psf_folder(path, shape, wcs, **scales)
        return _of_places(path, stamps, shape, scale), said or (
            "" if scale == default else "headers"
        )
    if is_psfex(path):
        model = read_psfex(path)
        scale = given or model.step * default
        grid = [
            [make_psf(model.at(at), scale, source=str(path))._replace(total=1.0) for at in row]
            for row in cell_centres(shape)
        ]
        return grid, said or f"PSF_SAMP of {model.step:.4g} pixels"
    if is_psf_product(path):
        step = product_step(path)
        stamps = read_psf_product(path, shape, wcs)
        said = said or (f"SAMPLING of {step:.4g} pixels" if step != 1 else "")
        return _of_places(path, stamps, shape, given or step * default), said
    origin = psf_sampling(path, given, default)[1]
    return read_psf_grid(path, pixel_scale=given, default_pixel_scale=default), origin


def _of_places(path, psfs: PsfStamps, shape, scale: float) -> PsfGrid:
    cells = psf_cells(psfs, shape)
    return [[make_psf(psf, scale, source=str(path)) for psf in row] for row in cells]
