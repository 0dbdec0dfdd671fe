r"""Kernels that bring light from VIS's PSF to that of another band.

With the transfer functions $\hat p$ of VIS and $\hat q$ of the band the kernel's is Tikhonov's

$$\hat k = \hat q \hat p^* / (|\hat p|^2 + \lambda)$$

on VIS's pixels. Where $\hat p$ is small, $\hat q$ of a wider PSF is smaller still, and $\lambda$
keeps the quotient there from noise. A PSF whose stamp holds a share of the light alone has the rest
in wings about the stamp, so that every kernel has unit sum.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex, Float, Int
from scipy import fft
from scipy.ndimage import map_coordinates

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psf import Psf, effective_fwhm
from vaedeblend.pixels.psfs.read import PsfGrid
from vaedeblend.pixels.psfs.wings import completed

KERNEL = 97
"""Side of kernels [VIS pixel]."""
_LAMBDA = 1e-4
"""Regularisation, beside transfer functions of at most 1."""
_NARROWER = 0.95
"""Width over VIS's below which no kernel leads to a PSF."""

Matrix = Float[np.ndarray, "2 2"]
"""Offsets (y, x) on VIS's pixels of unit offsets on a band's: its columns."""


class Kernels(NamedTuple):
    """Kernels of a band by the part of the image, and its PSFs for what is a point."""

    images: Float[np.ndarray, "kernel side side"]
    """Matching kernels, and after them as many PSFs; unit sum, on VIS's pixels."""
    number: Int[np.ndarray, " source"]
    """Kernel of each source; plus half the number of images, its PSF."""
    mismatch: float
    """Largest difference of a matched PSF from the band's, over the peak of the latter."""

    def transfers(
        self, rows: Int[np.ndarray, " n"], point: Bool[np.ndarray, " n"], size: int
    ) -> Complex[np.ndarray, "n size half"]:
        """Transfer functions of the kernels of sources, of the PSFs of those that are points.

        Args:
            rows: Rows of the sources.
            point: Whether each is a point.
            size: Side of the images that are convolved.
        """
        number = self.number[rows] + np.where(point, len(self.images) // 2, 0)
        used, index = np.unique(number, return_inverse=True)
        return fft.rfft2(self.images[used], (size, size))[index]


class PsfField(NamedTuple):
    """PSFs of the parts of an even grid over an image."""

    grid: PsfGrid
    shape: tuple[int, int]
    """Height and width of the image [pixel]."""
    pixel_scale: float
    """Side of the image's pixels [arcsec]."""

    def cell(self, position: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """Number of the part on which each position (y, x) lies, or the nearest one."""
        parts = np.array([len(self.grid), len(self.grid[0])])
        cell = np.nan_to_num((position + 0.5) * parts / np.array(self.shape))
        y, x = np.clip(cell.astype(int), 0, parts - 1).T
        return y * parts[1] + x

    @property
    def psfs(self) -> list[Psf]:
        """All PSFs, row by row."""
        return [psf for row in self.grid for psf in row]

    @property
    def fwhm(self) -> float:
        """Median effective FWHM [arcsec]."""
        return float(
            np.median([effective_fwhm(p.image[None])[0] * p.pixel_scale for p in self.psfs])
        )


def make_kernels(
    vis: PsfField,
    band: PsfField,
    matrix: Matrix,
    place: Float[np.ndarray, "source 2"],
    band_place: Float[np.ndarray, "source 2"],
) -> Kernels:
    """The kernels of all sources: one for each part of the two images' grids that holds any.

    Args:
        vis: PSFs of VIS.
        band: PSFs of the band.
        matrix: Offsets on VIS's pixels of those on the band's.
        place: (y, x) of the sources on VIS's image.
        band_place: (y, x) of the sources on the band's.
    """
    cells = np.stack([vis.cell(place), band.cell(band_place)], axis=1)
    pairs, number = np.unique(cells, axis=0, return_inverse=True)
    still = np.eye(2)
    narrow = {i: on_pixels(vis.psfs[i], vis.pixel_scale, still) for i in np.unique(pairs[:, 0])}
    wide = {j: on_pixels(band.psfs[j], band.pixel_scale, matrix) for j in np.unique(pairs[:, 1])}
    kernels = [matching_kernel(narrow[i], wide[j]) for i, j in pairs]
    differences = [
        np.abs(_convolved(narrow[i], k) - wide[j]).max() / wide[j].max()
        for k, (i, j) in zip(kernels, pairs, strict=True)
    ]
    images = np.array([*kernels, *(wide[j] for _, j in pairs)], np.float32)
    return Kernels(images, number.reshape(-1), max(differences, default=0.0))


def check_wider(name: str, vis: PsfField, band: PsfField) -> None:
    """A band's PSF is at least as wide as VIS's.

    Raises:
        PsfError: It is narrower.
    """
    if band.fwhm < _NARROWER * vis.fwhm:
        raise PsfError(
            f"{name}: PSF of an effective FWHM of {band.fwhm:.3g} arcsec; wanted one at least as "
            f"wide as VIS's, {vis.fwhm:.3g} arcsec: no kernel sharpens profiles"
        )


def on_pixels(
    psf: Psf, pixel_scale: float, matrix: Matrix, side: int = KERNEL
) -> Float[np.ndarray, "side side"]:
    """A PSF on VIS's pixels, unit sum; light beyond its image lies in wings about it (`completed`).

    Args:
        psf: PSF, whose image is parallel to the pixels of its band.
        pixel_scale: Side of these [arcsec].
        matrix: Offsets on VIS's pixels of those on the band's.
        side: Side of the result [VIS pixel].
    """
    offset = np.indices((side, side)) - side // 2
    to_samples = np.linalg.inv(matrix) * pixel_scale / psf.pixel_scale
    y, x = np.tensordot(to_samples, offset, 1)
    reach = int(np.ceil(max(np.abs(y).max(), np.abs(x).max())))
    whole = completed(psf, 2 * reach + 1).image
    half = len(whole) // 2
    image = map_coordinates(whole, [y + half, x + half], order=5, mode="constant")
    return image / image.sum()


def matching_kernel(
    narrow: Float[np.ndarray, "side side"], wide: Float[np.ndarray, "side side"]
) -> Float[np.ndarray, "side side"]:
    """The kernel that brings light under one PSF to another; unit sum, centred.

    Args:
        narrow: PSF on the pixels of the light.
        wide: PSF wanted, on the same pixels.
    """
    given, wanted = (fft.rfft2(fft.ifftshift(psf)) for psf in (narrow, wide))
    transfer = wanted * given.conj() / (np.abs(given) ** 2 + _LAMBDA)
    kernel = fft.fftshift(fft.irfft2(transfer, wide.shape))
    return kernel / kernel.sum()


def _convolved(image, kernel):
    """An image and a kernel of its size, convolved on a ring."""
    product = fft.rfft2(fft.ifftshift(image)) * fft.rfft2(fft.ifftshift(kernel))
    return fft.fftshift(fft.irfft2(product, image.shape))
