"""Further bands on the pixels of the first one: what networks of several bands measure together.

weights' bands, images --inspect--> `AlignedBand`s --read--> windows beside the first band's
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.exceptions import BandError
from vaedeblend.image.bands.inputs import BandImage
from vaedeblend.image.catalogue.columns import BANDS
from vaedeblend.image.inspection.calibration import corner_distance
from vaedeblend.image.inspection.findings import Finding
from vaedeblend.image.inspection.inspect import inspect_image
from vaedeblend.image.inspection.psfs import psf_findings
from vaedeblend.io.mosaic import Mosaic, open_mosaic
from vaedeblend.survey import magnitude_to_flux

_APART = 0.5
"""Distance of corners within which two images have the same pixels [pixel]."""
_NUMBERED = "zero point", "pixel scale", "wcs"
"""What is said of the first band, too."""


class AlignedBand(NamedTuple):
    """An image of a further band, on the pixels of the first one: plain values."""

    name: str
    image: str
    files: dict
    """Keywords of `mosaic.open_mosaic`."""
    psf: Float[np.ndarray, "rows columns side side"] | None
    """PSFs of the parts of an even grid over the image; None for the one trained for."""
    covariance: Float[np.ndarray, "lag lag"] | None
    """Autocovariance of the noise, of unit sum; None where pixels are independent."""
    microjansky: float
    """Microjanskys of an image unit."""

    def record(self) -> dict:
        """All of it by name, for a record of what pieces are made from."""
        return {f"{self.name} {name}": value for name, value in self._asdict().items()}


class BandWindow(NamedTuple):
    """A window of a further band, in a unit that fits into single precision."""

    image: Float[np.ndarray, "height width"]
    rms: Float[np.ndarray, "height width"]
    """Background noise, infinite where a pixel is bad."""
    gain: float
    """Electrons per unit; infinite where it is not known."""
    microjansky: float
    """Microjanskys of a unit."""


def read_window(band: AlignedBand, rows: slice, columns: slice) -> BandWindow:
    """Pixels of a further band.

    Raises:
        MosaicError: The file is damaged there.
    """
    with open_mosaic(band.image, **band.files) as mosaic:
        image, rms, _ = mosaic.read(rows, columns)
        scale, gain = mosaic.scale, np.inf if mosaic.gain is None else mosaic.gain
    return BandWindow(image * scale, rms * scale, gain / scale, band.microjansky / scale)


def in_microjansky(table: Table, windows: Sequence[BandWindow]) -> None:
    """Brings the columns BANDS of sources to uJy.

    Args:
        table: Sources, measured on windows of the further bands.
        windows: These.
    """
    for name in BANDS:
        table[name] *= np.array([each.microjansky for each in windows])


def whole_grids(grids: Sequence, deblend) -> list[Float[np.ndarray, "rows columns side side"]]:
    """Grids of PSFs of one size in all bands.

    Args:
        grids: Grids, each (rows, columns, side, side); None for the PSF trained for.
        deblend: Deblender, which has that one.
    """
    found = [
        np.asarray(deblend.psf)[None, None, ..., band] if grid is None else grid
        for band, grid in enumerate(grids)
    ]
    side = max(grid.shape[-1] for grid in found)
    margins = [(side - grid.shape[-1]) // 2 for grid in found]
    return [
        np.pad(grid, ((0, 0), (0, 0), (m, m), (m, m)))
        for grid, m in zip(found, margins, strict=True)
    ]


def joined_noise(covariances: Sequence) -> Float[np.ndarray, "lag lag *band"] | None:
    """Autocovariances of the noise of all bands; None where it is white in each.

    Args:
        covariances: One of each band, (lag, lag) and of unit sum; None where it is white.
    """
    known = [each for each in covariances if each is not None]
    if not known:
        return None
    white = np.zeros_like(known[0])
    white[tuple(n // 2 for n in white.shape)] = 1
    return np.stack([white if each is None else each for each in covariances], axis=-1)


def align_bands(
    mosaic: Mosaic,
    given: Sequence[BandImage],
    names: Sequence[str],
    *,
    weights: str | Path,
    pixel_scale: float,
) -> tuple[tuple[AlignedBand, ...], list[Finding]]:
    """The further bands of an image in the order of the weights', and what is said of them.

    Args:
        mosaic: The first band.
        given: Images of the others, in any order; names are compared without case.
        names: The weights' bands, the first one left out.
        weights: Name of shipped weights, or a workdir.
        pixel_scale: The weights' [arcsec].

    Raises:
        BandError: A band is missing, is none of the weights', has no noise or zero point, or does
            not lie on the first one's pixels.
        VaedeblendError: A file cannot be used.
    """
    images = {each.name.lower(): each for each in given}
    wanted = ", ".join(names) or "none"
    for name in images:
        if name not in map(str.lower, names):
            raise BandError(f"band {name!r}: {weights} takes {wanted} beside the image")
    bands, findings = [], []
    for number, name in enumerate(names, 1):
        if name.lower() not in images:
            raise BandError(
                f"{weights}: weights of {1 + len(names)} bands; wanted images of {wanted}, too "
                f"(--band NAME IMAGE RMS PSF); none of {name} is given"
            )
        place = {"weights": weights, "pixel_scale": pixel_scale, "number": number}
        band, found = _align(mosaic, images[name.lower()]._replace(name=name), **place)
        bands.append(band)
        findings += found
    if bands:
        text = f"fluxes of {weights} are not corrected for the wings of this image's PSFs, which "
        findings.append(Finding("assumed", "flux", text + "only is done of one band"))
    return tuple(bands), findings


def _align(mosaic: Mosaic, given: BandImage, *, weights, pixel_scale: float, number: int):
    """A further band, and what is said of it."""
    if given.rms is None:
        raise BandError(f"{given.image}: no rms of {given.name} is given; wanted one")
    files = given.options | {"gain": given.gain}
    with open_mosaic(given.image, **files) as band:
        _check_pixels(mosaic, band)
        if band.zero_point is None:
            raise BandError(f"{band.path}: no zero point; wanted MAGZERO, or the unit of a flux")
        how = {"gain": given.gain, "zero_point": given.zero_point, "rms_kind": "background"}
        found = inspect_image(band, pixel_scale=pixel_scale, weights=weights, **how)
        points, psfs = psf_findings(
            given.psf,
            weights,
            band.shape,
            band.wcs,
            given=None,
            default=band.pixel_scale or pixel_scale,
            scale=pixel_scale,
            band=number,
        )
        zero_point = band.zero_point
    said = [each for each in found.findings if each.about not in ("psf", *_NUMBERED)] + points
    files |= found.corrections
    files["noise_factor"] = 1.0 if found.noise is None else found.noise.factor
    covariance = None if found.noise is None else found.noise.covariance
    unit = float(magnitude_to_flux(zero_point))
    aligned = AlignedBand(given.name, str(given.image), files, psfs, covariance, unit)
    return aligned, [each._replace(text=f"{given.name}: {each.text}") for each in said]


def _check_pixels(first: Mosaic, band: Mosaic) -> None:
    """Refuses a band on other pixels than the first one's."""
    if band.shape != first.shape:
        raise BandError(
            f"{band.path}: {band.shape} pixels; wanted those of {first.path}, {first.shape}"
        )
    apart = corner_distance(first, band.wcs)
    if apart > _APART:
        raise BandError(
            f"{band.path}: its WCS puts a corner {apart:.3g} pixels from where that of "
            f"{first.path} does; wanted a band on the same pixels (SWarp or reproject resamples)"
        )
