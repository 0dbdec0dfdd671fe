"""A folder with a FITS image of known galaxies, deblended by a matched filter."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from matched import gaussian, matched_filter

from vaedeblend.image import pieces, tiles
from vaedeblend.image.pipeline import deblend_image

SHAPE = 200, 260
RMS, GAIN = 0.3, 50.0


def use_network(monkeypatch, network=matched_filter):
    """A function in the place of the network, whose fluxes need no correction under any PSF."""
    monkeypatch.setattr(tiles, "_network", lambda weights: (network, 64))
    monkeypatch.setattr(pieces, "_responding", lambda job, mosaic: job)


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """A matched filter in the place of the network."""
    use_network(monkeypatch)


def header():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix, wcs.wcs.crval = (100, 100), (150, 2)
    wcs.wcs.cdelt = np.array([-1, 1]) * 0.1 / 3600
    return wcs.to_header()


@pytest.fixture(scope="module")
def sky():
    """Places and fluxes of galaxies, some of which overlap."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(np.arange(20, 190, 28), np.arange(20, 250, 28), indexing="ij"), -1)
    place = np.rint(grid.reshape(-1, 2) + rng.uniform(-6, 6, (grid.size // 2, 2))) + 0.5
    place = np.concatenate([place, place[5:50:9] + [3, 7]])
    return place, rng.uniform(300, 800, len(place))


@pytest.fixture
def folder(tmp_path, sky):
    return write_sky(tmp_path, sky)


def write_sky(path, sky):
    """Writes image.fits and rms.fits of the galaxies into a folder."""
    light = sum(f * gaussian(*at, SHAPE) for at, f in zip(*sky, strict=True))
    noise = RMS * np.random.default_rng(1).normal(size=SHAPE)
    full = header()
    full["BUNIT"], full["GAIN"] = "uJy", GAIN
    fits.writeto(path / "image.fits", (light + noise).astype(np.float32), full)
    fits.writeto(path / "rms.fits", np.full(SHAPE, RMS, np.float32))
    return path


def run(folder, name="out", **options):
    options = {"rms": folder / "rms.fits"} | options
    deblend_image(folder / "image.fits", folder / name, **options)
    return Table.read(folder / name / "catalog.fits", hdu="CATALOG")
