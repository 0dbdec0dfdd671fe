"""A simulated field as the files that a user would have of a real one, and its truth beside."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from vaedeblend.io import write
from vaedeblend.simulate.fields import STAMP_SIZES, Field
from vaedeblend.simulate.render import resampled_psfs, survey_psfs
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey

_CENTRE = 150.1, 2.2
"""Of the field on the sky: ra and dec [deg]."""


def write_field(field: Field, survey: Survey, folder: str | Path) -> None:
    """Writes image.fits, rms.fits, psf.fits and truth.fits of a field, its first band.

    Images are in uJy per pixel, with zero point, gain and a WCS; the PSF at the survey's pixels.

    Raises:
        FileError: A file cannot be written.
    """
    folder = write.prepare_folder(folder)
    header = field_header(survey, field.image.shape[:2])
    for name, image in (("image", field.image), ("rms", field.rms)):
        with write.write_image(folder / f"{name}.fits", image.shape[:2], header) as put:
            put(image[..., 0])
    psf = resampled_psfs(survey_psfs(survey, STAMP_SIZES[-1]), survey.pixel_scale.value)[..., 0]
    header = fits.Header()
    header["PIXSCALE"] = float(survey.pixel_scale.value), "arcsec"
    with write.write_image(folder / "psf.fits", psf.shape, header) as put:
        put(psf)
    truth = field.truth.copy()
    truth.meta["bands"] = ",".join(truth.meta["bands"])
    write.write_tables(folder / "truth.fits", {"TRUTH": truth})


def field_header(survey: Survey, shape: tuple[int, int]) -> fits.Header:
    """Zero point, gain, and a WCS about a place in COSMOS."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [(n + 1) / 2 for n in shape[::-1]]
    wcs.wcs.crval = _CENTRE
    wcs.wcs.cdelt = np.array([-1, 1]) * survey.pixel_scale.value / 3600
    header = wcs.to_header()
    known = {"BUNIT": "uJy", "MAGZERO": MICROJANSKY_ZERO_POINT, "GAIN": float(survey.gain[0])}
    header.update(known)
    return header
