"""One real galaxy in all bands: our fluxes, SExtractor's, and the sums of the pixels themselves.

    python tests/benchmarks/bands_real.py --file FILE --workdir runs/bands_real

FILE is a cut-out with planes BAND_BGSUB, BAND_RMS and BAND_PSF of VIS and of other bands. It is
deblended in VIS, and the bands are measured. Of the brightest source, beside its flux: FLUX_AUTO of
the band alone; FLUX_AUTO of our model without noise over the flux that is in it, the share that
AUTO holds of such a galaxy; and sums of the band's pixels in circles about it, less the fluxes of
the other sources, with the errors that the rms gives.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table as Columns
from bands import sextracted
from photutils.aperture import CircularAperture
from rich.console import Console
from rich.table import Table

from vaedeblend.image.bands.inputs import BandImage
from vaedeblend.image.bands.pipeline import photometry
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.survey import magnitude_to_flux

RADII = 1.0, 1.5, 2.0, 2.5, 3.0
"""Of the circles [arcsec]."""
PIXEL = 0.1
"""Side of a pixel [arcsec]."""


def planes(file):
    """Bands of a file, VIS first."""
    with fits.open(file) as hdus:
        names = [hdu.name.removesuffix("_BGSUB") for hdu in hdus if hdu.name.endswith("_BGSUB")]
    return sorted(names, key=lambda name: name != "VIS")


def auto(folder, image, rms, place):
    """FLUX_AUTO of what lies nearest a place (y, x) [image unit]; NaN where nothing is found."""
    paths = [folder / name for name in ("sci.fits", "rms.fits")]
    for path, pixels in zip(paths, (image, rms), strict=True):
        fits.writeto(path, pixels, overwrite=True)
    position, flux, _ = sextracted([paths[0]], [paths[1]])
    return flux[np.argmin(np.hypot(*(position - place).T))] if len(flux) else np.nan


def row(file, out, band, place, table, brightest):
    """Cells of a band."""
    column = band.lower()
    flux, error = (float(table[f"{kind}_{column}"][brightest]) for kind in ("flux", "flux_err"))
    others = np.nansum(np.delete(np.asarray(table[f"flux_{column}"], float), brightest))
    with fits.open(file) as hdus:
        image, rms = (hdus[f"{band}_{kind}"].data.astype(float) for kind in ("BGSUB", "RMS"))
        unit = float(magnitude_to_flux(hdus[f"{band}_BGSUB"].header["MAGZERO"]))
    model = fits.getdata(out / "photometry" / f"{column}_model.fits").astype(float)
    found = unit * auto(out, image, rms, place)
    held = unit * auto(out, model, rms, place) / flux
    circles = [CircularAperture(place[::-1], radius / PIXEL) for radius in RADII]
    sums = [unit * circle.do_photometry(image, error=rms)[0][0] - others for circle in circles]
    errors = [unit * circle.do_photometry(image, error=rms)[1][0] for circle in circles]
    cells = [f"{flux:.2f} ± {error:.2f}", f"{flux / found:.2f}", f"{held:.2f}"]
    return cells + [f"{s / flux:.2f} ± {e / flux:.2f}" for s, e in zip(sums, errors, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    options = parser.parse_args()
    vis, *bands = planes(options.file)
    given = {
        band: [f"{options.file}[{band}_{kind}]" for kind in ("BGSUB", "PSF", "RMS")]
        for band in (vis, *bands)
    }
    image, psf, rms = given[vis]
    out = options.workdir / "out"
    shutil.rmtree(out, ignore_errors=True)
    deblend_image(image, out, rms=rms, psf=psf)
    table = photometry(
        out, [BandImage(*given[band], name=band.replace("_", "-")) for band in bands], vis_psf=psf
    )
    sources = Columns.read(out / "catalog.fits", hdu=1)
    brightest = int(np.argmax(sources["flux"]))
    place = np.array([sources["y"][brightest], sources["x"][brightest]])
    shown = Table("band", "flux [uJy]", "over AUTO", "AUTO holds", *(f'within {r}"' for r in RADII))
    for band in bands:
        shown.add_row(band, *row(options.file, out, band, place, table, brightest))
    Console(width=150).print(shown)


if __name__ == "__main__":
    main()
