"""Further bands compared with their own pixels and the first one's.

weights' bands, images --inspect--> `windows.AlignedBand`s, findings
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from vaedeblend.exceptions import BandError
from vaedeblend.image.bands.aligned.windows import AlignedBand
from vaedeblend.image.bands.inputs import BandImage
from vaedeblend.image.inspection.calibration import corner_distance
from vaedeblend.image.inspection.findings import Finding, Inspection
from vaedeblend.image.inspection.inspect import inspect_image
from vaedeblend.image.inspection.psfs import psf_findings
from vaedeblend.image.inspection.sky.background import (
    PHOTONLESS,
    others_background,
    write_background_rms,
)
from vaedeblend.io.mosaic import Mosaic, open_mosaic

_APART = 0.5
"""Distance of corners within which two images have the same pixels [pixel]."""
_SHARED = "zero point", "pixel scale", "wcs"
"""What is said of the first band already."""


def align_bands(
    mosaic: Mosaic,
    given: Sequence[BandImage],
    names: Sequence[str],
    *,
    weights: str | Path,
    pixel_scale: float,
    out: Path,
    report: Callable[[str, int, int], None],
    force: bool = False,
) -> tuple[tuple[AlignedBand, ...], list[Finding]]:
    """The further bands of an image in the order of the weights', and what is said of them.

    Photon noise in the map of a band's noise is taken out, as it is of the first band's.

    Args:
        mosaic: The first band.
        given: Images of the others, in any order; names are compared without case.
        names: The weights' bands, the first one left out.
        weights: Name of shipped weights, or a workdir.
        pixel_scale: The weights' [arcsec].
        out: Folder of the results, in which such a band has one that takes background_rms.fits.
        report: Function of the progress.
        force: What would be refused is a warning.

    Raises:
        InspectionError: A band is contradicted by its pixels.
        BandError: A band is missing, is none of the weights', has no noise or zero point, does not
            lie on the first one's pixels, or another's file is where its noise is to be written.
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
        found = found.settled(force)
        if found.photons is not None:
            band = _without_photons(band, found.photons, out / name, report)
        bands.append(band)
        findings += found.findings
    if bands:
        text = (
            f"fluxes of {weights} are not corrected for the wings of this image's PSFs, as those "
        )
        findings.append(Finding("assumed", "flux", text + "of weights of one band are"))
    return tuple(bands), findings


def _align(
    mosaic: Mosaic, given: BandImage, *, weights, pixel_scale: float, number: int
) -> tuple[AlignedBand, Inspection]:
    """A further band, and what its own pixels say of it."""
    if given.rms is None:
        raise BandError(f"{given.image}: no rms of {given.name} is given; wanted one")
    files = given.options
    with open_mosaic(given.image, **files) as band:
        _check_pixels(mosaic, band)
        if band.zero_point is None:
            raise BandError(f"{band.path}: no zero point; wanted MAGZERO, or the unit of a flux")
        how = {"gain": given.gain, "zero_point": given.zero_point}
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
    said = [each for each in found.findings if each.about not in ("psf", *_SHARED)] + points
    files |= found.corrections
    files["noise_factor"] = 1.0 if found.noise is None else found.noise.factor
    covariance = None if found.noise is None else found.noise.covariance
    aligned = AlignedBand(given.name, str(given.image), files, psfs, covariance, zero_point)
    said = tuple(each._replace(text=f"{given.name}: {each.text}") for each in said)
    return aligned, found._replace(findings=said)


def _without_photons(band: AlignedBand, photons, folder: Path, report) -> AlignedBand:
    """A band whose noise is the background's alone."""
    if others := others_background(folder, PHOTONLESS):
        raise BandError(
            f"{others[0]}: would be overwritten, and no run of this program has written it; wanted "
            f"another folder than {folder.parent}"
        )
    with open_mosaic(band.image, **band.files | {"noise_factor": 1.0}) as mosaic:  # it comes later
        path = write_background_rms(mosaic, photons, folder, report)
    return band._replace(files=band.files | {"rms": path})


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
