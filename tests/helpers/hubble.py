"""A small catalogue in GalSim's format of real galaxies, made of structured (synthetic) ones.

As Hubble would see them: with an obstructed aperture's PSF, on stamps of 0.03 arcsec per pixel with
the noise of the COSMOS images, which is correlated.
"""

import shutil
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.simulate.galaxies.structured import structured

SCALE, SIDE = 0.03, 160
ZERO_POINT = 25.94
"""Of the stamps: magnitude of one count per second."""
RMS = 0.0032
"""Of a pixel of a COSMOS stamp [counts per second], as GalSim has it."""
NAME = "real_galaxy_catalog_test.fits"
_CF = Path(galsim.meta_data.share_dir) / "acs_I_unrot_sci_20_cf.fits"


def psf():
    optics = galsim.OpticalPSF(lam=814, diam=2.4, obscuration=0.33)
    return galsim.Convolve(optics, galsim.Pixel(SCALE))


def sample(n, seed=0):
    """Galaxies of one disk and one bulge, at angles of their own; fluxes in counts per second."""
    rng = np.random.default_rng(seed)
    flux = 10 ** (-0.4 * (rng.uniform(20.5, 22.5, n) - ZERO_POINT))
    share = rng.uniform(0, 0.5, n)
    radius, ratio, angle = (
        rng.uniform(0.25, 0.6, n),
        rng.uniform(0.3, 0.95, n),
        rng.uniform(0, 180, n),
    )
    return Galaxies(
        flux_bulge=(share * flux)[:, None],
        flux_disk=((1 - share) * flux)[:, None],
        bulge_half_light_radius=0.3 * radius,
        disk_half_light_radius=radius,
        bulge_axis_ratio=0.5 + 0.5 * ratio,
        disk_axis_ratio=ratio,
        bulge_position_angle=angle,
        disk_position_angle=angle,
    )


def write(folder, n=12, *, rms=RMS, galaxies=None, draw=structured, fitted=True):
    """Writes the catalogue; returns its galaxies."""
    folder.mkdir(parents=True, exist_ok=True)
    galaxies = sample(n) if galaxies is None else galaxies
    n = len(galaxies.flux)
    noise = galsim.getCOSMOSNoise(rng=galsim.BaseDeviate(5), variance=max(rms, 1e-9) ** 2)
    stamps, psfs, blur = [], [], psf()
    for i in range(n):
        light = galsim.Convolve(draw(galaxies.take(i), (1, i))[0], blur)
        image = light.drawImage(nx=SIDE, ny=SIDE, scale=SCALE, method="no_pixel")
        image.addNoise(noise)
        stamps.append(fits.ImageHDU(image.array))
        psfs.append(
            fits.ImageHDU(blur.drawImage(nx=61, ny=61, scale=SCALE, method="no_pixel").array)
        )
    for name, hdus in (("images", stamps), ("PSF_images", psfs)):
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / f"real_galaxy_{name}.fits")
    shutil.copy(_CF, folder)
    _catalog(galaxies, max(rms, 1e-9)).write(folder / NAME)
    if fitted:
        _fits(galaxies).write(folder / NAME.replace(".fits", "_fits.fits"))
    return galaxies


def _catalog(galaxies, rms):
    n = len(galaxies.flux)
    return Table(
        {
            "IDENT": np.arange(n) + 100,
            "MAG": ZERO_POINT - 2.5 * np.log10(galaxies.flux[:, 0]),
            "BAND": np.full(n, "F814W"),
            "WEIGHT": np.ones(n),
            "GAL_FILENAME": np.full(n, "real_galaxy_images.fits"),
            "PSF_FILENAME": np.full(n, "real_galaxy_PSF_images.fits"),
            "NOISE_FILENAME": np.full(n, _CF.name),
            "GAL_HDU": np.arange(n) + 1,
            "PSF_HDU": np.arange(n) + 1,
            "PIXEL_SCALE": np.full(n, SCALE),
            "NOISE_MEAN": np.zeros(n),
            "NOISE_VARIANCE": np.full(n, rms**2),
            "stamp_flux": galaxies.flux[:, 0],
        }
    )


def _fits(galaxies):
    n = len(galaxies.flux)
    flux, radius, ratio = (
        galaxies.flux[:, 0],
        galaxies.disk_half_light_radius,
        galaxies.disk_axis_ratio,
    )
    sersic = np.zeros((n, 8))
    sersic[:, 1], sersic[:, 2], sersic[:, 3] = radius / SCALE, 1.0, ratio
    sersic[:, 7] = np.radians(galaxies.disk_position_angle)
    return Table(
        {
            "IDENT": np.arange(n) + 100,
            "sersicfit": sersic,
            "bulgefit": np.zeros((n, 16)),
            "fit_status": np.ones((n, 5), int),
            "use_bulgefit": np.zeros(n, int),
            "viable_sersic": np.ones(n, int),
            "hlr": np.stack([radius * ratio**0.5] * 3, axis=1),
            "flux": np.stack([flux] * 4, axis=1),
        }
    )
