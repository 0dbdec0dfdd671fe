"""A MER tile's folder as the one argument: the same as its products given by hand."""

import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import GAIN, SHAPE, folder, network, sky  # noqa: F401
from matched import gaussian

from vaedeblend.cli import main
from vaedeblend.euclid.mer.layout import product_name
from vaedeblend.exceptions import MerError
from vaedeblend.image.pipeline import deblend_image

TILE, TIME = 102018211, "20241018T142710.276838"
MASKED = np.s_[20:60, 30:80]


def path_of(folder, name, tile=TILE):
    return folder / "tile" / product_name(name, tile, TIME)


@pytest.fixture
def tile(folder):  # noqa: F811
    """The fields of the folder as MER calls them; a bit of its flags is fatal, another is not."""
    (folder / "tile").mkdir()
    for name in ("image", "rms"):
        shutil.copy(folder / f"{name}.fits", path_of(folder, name))
    flags = np.full(SHAPE, 1 << 4, np.int32)
    flags[MASKED] |= 1 << 3
    fits.writeto(path_of(folder, "flags"), flags)
    stamp = gaussian(10, 10, (21, 21), sigma=1.3)
    image = np.zeros(SHAPE, np.float32)
    image[90:111, 90:111] = stamp / stamp.sum()
    stamps = fits.ImageHDU(image, fits.Header({"STMPSIZE": 21}))
    table = fits.BinTableHDU(Table(rows=[(101.0, 101.0)], names=("x", "y")))
    fits.HDUList([fits.PrimaryHDU(), stamps, table]).writeto(path_of(folder, "grid_psf"))
    fits.writeto(folder / "psf.fits", stamp / stamp.sum())
    return folder


def test_a_tile_is_its_products_given_by_hand(tile):
    found = deblend_image(tile / "tile", tile / "out", gain=GAIN)
    paths = {"rms": path_of(tile, "rms"), "mask": path_of(tile, "flags"), "psf": tile / "psf.fits"}
    by_hand = deblend_image(
        path_of(tile, "image"), tile / "hand", gain=GAIN, mask_bits=(0, 3, 22), **paths
    )
    for name in ("x", "y", "flux", "flux_err", "flags"):
        np.testing.assert_array_equal(found.table[name], by_hand.table[name])
    residual = fits.getdata(tile / "out" / "residual.fits")
    assert np.isnan(residual[MASKED]).all() and np.isfinite(residual[100:]).all()
    said = "\n".join(found.said)
    assert f"tile {TILE} of " in said and "BGSUB-MOSAIC-VIS" in said and "3 (SAT)" in said


def test_what_is_given_goes_before_the_tile_s_own(tile):
    whole = deblend_image(tile / "tile", tile / "out", gain=GAIN, mask_bits=(7,))
    assert np.isfinite(fits.getdata(tile / "out" / "residual.fits")).all()
    assert not any("are ignored" in line for line in whole.said)


def test_missing_products_are_said(tile, capsys):
    for name in ("rms", "flags", "grid_psf"):
        path_of(tile, name).unlink()
    assert main(["deblend", str(tile / "tile"), "--out", str(tile / "out")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "no rms of MER; background and rms are estimated" in said
    assert "no mask of MER; no pixel is masked" in said and "no psf of MER" in said


def test_one_of_several_tiles_is_asked_for(tile):
    shutil.copy(path_of(tile, "image"), path_of(tile, "image", 102018212))
    with pytest.raises(MerError, match=r"--tile-id"):
        deblend_image(tile / "tile", tile / "out")
    assert deblend_image(tile / "tile", tile / "out", tile_id=102018212, gain=GAIN).table
