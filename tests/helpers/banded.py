"""A deblended image of round Gaussians, and the same sky in other bands, all known exactly."""

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.image.bands.inputs import BandImage
from vaedeblend.io.write import write_tables
from vaedeblend.pixels.profiles import Profiles, write_profiles

SCALE, STAMP = 0.1, 64
VIS_SIGMA, BAND_SIGMA = 0.09, 0.21
"""PSFs: Gaussians [arcsec]."""
NOISE = 0.004
"""Rms of a pixel of 0.1 arcsec [uJy]."""


def sky_wcs(shape, scale=SCALE, angle=0.0, shift=(0.0, 0.0)):
    """A tangent plane about one place: pixels of a scale, turned [deg], shifted (y, x) [pixel]."""
    wcs, turn = WCS(naxis=2), np.deg2rad(angle)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
    wcs.wcs.crpix = [(shape[1] + 1) / 2 + shift[1], (shape[0] + 1) / 2 + shift[0]]
    cos, sin = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = scale / 3600 * np.array([[-cos, sin], [sin, cos]])
    return wcs


def gaussian(side, sigma, step=SCALE):
    """A Gaussian of unit sum on an odd number of samples."""
    offset = (np.arange(side) - side // 2) * step
    image = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2))
    return image / image.sum()


def drawn(shape, position, sigma, flux, scale=SCALE):
    """Light of Gaussians at places (y, x) [pixel], of widths [arcsec]."""
    image = np.zeros(shape)
    widths = np.broadcast_to(sigma, len(flux)) / scale
    for place, width, each in zip(position, widths, flux, strict=True):
        reach = int(8 * width) + 2
        low = np.clip(np.rint(place).astype(int) - reach, 0, shape)
        high = np.clip(np.rint(place).astype(int) + reach + 1, 0, shape)
        y, x = (np.arange(a, b) - c for a, b, c in zip(low, high, place, strict=True))
        light = np.exp(-(y[:, None] ** 2 + x**2) / (2 * width**2)) / (2 * np.pi * width**2)
        image[low[0] : high[0], low[1] : high[1]] += each * light
    return image


class Sky:
    """Sources of known places, widths and fluxes on an image of a shape."""

    def __init__(self, rng, n, shape=(160, 160), flux=(0.5, 5.0), margin=16):
        self.shape = shape
        self.position = rng.uniform(margin, np.array(shape) - 1 - margin, (n, 2))
        self.width = rng.uniform(0.02, 0.2, n)
        self.flux = np.exp(rng.uniform(*np.log(flux), n))
        self.colour = np.exp(rng.uniform(-1, 1, n))
        self.wcs = sky_wcs(shape)

    @property
    def band_flux(self):
        return self.flux * self.colour

    def deblended(self, folder, flux_err=0.0, point=False, **cards):
        """Writes what a deblending would have left of the sources."""
        folder.mkdir(exist_ok=True)
        n, sigma = len(self.flux), np.hypot(self.width, VIS_SIGMA)
        corner = np.rint(self.position).astype(int) - STAMP // 2
        stamps = [
            drawn((STAMP, STAMP), [p - c], s, [f]).astype(np.float32)
            for p, c, s, f in zip(self.position, corner, sigma, self.flux, strict=True)
        ]
        write_profiles(folder / "stamps.fits", [Profiles.pack(stamps, corner, STAMP)], np.arange(n))
        model = drawn(self.shape, self.position, sigma, self.flux).astype(np.float32)
        header = self.wcs.to_header()
        header["MAGZERO"] = 23.9
        for name, image in (("model", model), ("residual", 0 * model)):
            fits.writeto(folder / f"{name}.fits", image, header, overwrite=True)
        fits.writeto(folder / "vis_psf.fits", gaussian(41, VIS_SIGMA), overwrite=True)
        sky = self.wcs.all_pix2world(self.position[:, ::-1], 0)
        fwhm = np.sqrt(8 * np.log(2)) * sigma
        noise = NOISE * np.sqrt(np.pi) * fwhm / SCALE
        columns = {"id": np.arange(n) + 1, "ra": sky[:, 0], "dec": sky[:, 1]}
        columns |= {"y": self.position[:, 0], "x": self.position[:, 1], "flux": self.flux}
        columns |= {"flux_err": np.full(n, flux_err) * self.flux, "binning": np.ones(n, int)}
        columns |= {"x_stamp": corner[:, 1], "y_stamp": corner[:, 0], "fwhm": fwhm}
        columns |= {"flux_aperture_err": noise}
        columns["point_source_prob"] = np.full(n, 1.0 if point else np.nan)
        table = Table(columns)
        psf = str(folder / "vis_psf.fits")
        table.meta |= {"MAGZERO": 23.9, "VERSION": "0", "FLAG1": "edge", "PSF": psf} | cards
        write_tables(folder / "catalog.fits", {"CATALOG": table})
        return folder

    def band(self, folder, name="H", rng=None, shape=None, bright=None, **grid):
        """Writes the sky in a band, with noise where there is a generator; what is given of it."""
        shape, moved = shape or self.shape, grid.pop("moved", (0.0, 0.0))
        scale = grid.get("scale", SCALE)
        wcs = sky_wcs(shape, **grid)
        sky = self.wcs.all_pix2world(self.position[:, ::-1], 0)
        place = wcs.all_world2pix(sky, 0)[:, ::-1] + moved
        flux = self.band_flux if bright is None else bright
        image = drawn(shape, place, np.hypot(self.width, BAND_SIGMA), flux, scale)
        rms = NOISE * scale / SCALE
        if rng is not None:
            image = image + rms * rng.standard_normal(shape)
        header = wcs.to_header()
        header["MAGZERO"] = 23.9
        paths = {kind: folder / f"{name}_{kind}.fits" for kind in ("image", "rms", "psf")}
        pixels = {"image": image, "rms": np.full(shape, rms)}
        pixels["psf"] = gaussian(2 * int(1.5 / scale) + 1, BAND_SIGMA, scale)
        for kind, values in pixels.items():
            kept = None if kind == "psf" else header
            fits.writeto(paths[kind], values.astype(np.float32), kept, overwrite=True)
        return BandImage(paths["image"], paths["psf"], paths["rms"], name=name)
