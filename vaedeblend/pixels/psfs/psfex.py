"""Models of PSFEx (Bertin 2011): images that are the coefficients of a polynomial of the place.

The file (`.psf`) has one table with one row, PSF_MASK, of PSFAXIS3 images, which belong to the
terms 1, x, x^2, ..., y, x y, ..., y^2, ... up to degree POLDEG1, x = (X_IMAGE - POLZERO1) /
POLSCAL1. The images are samples of the effective PSF, PSF_SAMP pixels of the image apart. What they
sum to depends on the aperture of the stars' fluxes: it is no share of light.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from jaxtyping import Float, Num

from vaedeblend.exceptions import PsfError


class PsfexModel(NamedTuple):
    """A PSF as a polynomial of the place on an image."""

    coefficients: Float[np.ndarray, "term height width"]
    degree: int
    zero: tuple[float, float]
    """X and y of the polynomial's origin [1-based pixels]."""
    scale: tuple[float, float]
    """Unit of either coordinate [pixel]."""
    step: float
    """Distance of the samples [pixel of the image]."""

    def at(self, position: Num[np.ndarray, " 2"]) -> Float[np.ndarray, "height width"]:
        """The PSF at (y, x) [0-based pixels]; its sum is any number."""
        x, y = (np.asarray(position)[::-1] + 1 - self.zero) / self.scale
        orders = range(self.degree + 1)
        terms = [x**i * y**j for j in orders for i in orders if i + j <= self.degree]
        return np.tensordot(terms, self.coefficients, 1)


def is_psfex(path: str | Path) -> bool:
    """Whether a FITS file holds a model of PSFEx."""
    try:
        with fits.open(path) as hdus:
            return _table_of(hdus) is not None
    except (OSError, ValueError):
        return False


def read_psfex(path: str | Path) -> PsfexModel:
    """A model of PSFEx whose PSF depends on the place, or on nothing.

    Raises:
        PsfError: The file is damaged, or its PSF depends on something else.
    """
    try:
        with fits.open(path, memmap=False) as hdus:
            table = _table_of(hdus)
            header, images = table.header, np.asarray(table.data["PSF_MASK"][0], float)
            step, axes = float(header["PSF_SAMP"]), int(header.get("POLNAXIS", 0))
            _check_axes(path, header, axes)
            degree = int(header["POLDEG1"]) if axes else 0
            zero, scale = (
                tuple(float(header[f"{name}{i}"]) if axes else default for i in (1, 2))
                for name, default in (("POLZERO", 0.0), ("POLSCAL", 1.0))
            )
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, PsfError):
            raise
        raise PsfError(
            f"{path}: damaged model of PSFEx ({error}); wanted one as it writes"
        ) from error
    images = images.reshape(-1, *images.shape[-2:])
    terms = (degree + 1) * (degree + 2) // 2
    if len(images) != terms:
        raise PsfError(f"{path}: {len(images)} images; wanted {terms}, those of degree {degree}")
    if not step > 0 or not all(scale):
        raise PsfError(f"{path}: PSF_SAMP {step}, POLSCAL {scale}; wanted numbers above 0")
    return PsfexModel(images, degree, zero, scale, step)


def _table_of(hdus: fits.HDUList) -> fits.BinTableHDU | None:
    tables = (hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU))
    return next((hdu for hdu in tables if "PSF_MASK" in hdu.columns.names), None)


def _check_axes(path: str | Path, header: Mapping, axes: int) -> None:
    """Refuses models of something else than x and y of the image."""
    names = [str(header[f"POLNAME{i}"]).strip() for i in range(1, axes + 1)]
    ends = [(name[:1], name[-5:]) for name in names]
    together = axes == 0 or (header["POLNGRP"] == 1)
    if axes and not (together and ends == [("X", "IMAGE"), ("Y", "IMAGE")]):
        raise PsfError(
            f"{path}: a model of PSFEx in {', '.join(names)} ({header['POLNGRP']} groups); wanted "
            "one in X_IMAGE and Y_IMAGE, of one group"
        )
