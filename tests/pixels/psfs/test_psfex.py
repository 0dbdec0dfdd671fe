import galsim
import galsim.des
import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psf import effective_fwhm
from vaedeblend.pixels.psfs.psfex import is_psfex, read_psfex
from vaedeblend.pixels.psfs.read import read_psfs

SIDE, SHAPE = 25, (1000, 1400)
CARDS = {
    "POLNAXIS": 2,
    "POLGRP1": 1,
    "POLNAME1": "X_IMAGE",
    "POLZERO1": 700.0,
    "POLSCAL1": 1300.0,
    "POLGRP2": 1,
    "POLNAME2": "YWIN_IMAGE",
    "POLZERO2": 480.0,
    "POLSCAL2": 900.0,
    "POLNGRP": 1,
    "POLDEG1": 2,
    "PSF_FWHM": 2.3,
    "PSF_SAMP": 0.5,
    "PSFNAXIS": 3,
    "PSFAXIS1": SIDE,
    "PSFAXIS2": SIDE,
    "PSFAXIS3": 6,
}


def write(path, cards=(), terms=6):
    """A model that is wider towards the right, and has small terms of all other orders."""
    square = np.square(np.indices((SIDE, SIDE)) - SIDE // 2).sum(axis=0)
    core = np.exp(-square / 18) / (18 * np.pi)
    rng = np.random.default_rng(2)
    basis = 1e-2 * rng.normal(size=(terms, 1, 1)) * core
    basis[0] += core
    if terms > 1:
        basis[1] += core * (square / 18 - 1) * 0.3
    column = fits.Column("PSF_MASK", f"{basis.size}E", dim=f"({SIDE},{SIDE},{terms})")
    table = fits.BinTableHDU.from_columns([column], nrows=1, name="PSF_DATA")
    table.data["PSF_MASK"][0] = basis
    table.header.update(CARDS | dict(cards))
    table.writeto(path)
    return path


def test_a_model_is_what_galsim_makes_of_it(tmp_path):
    path = write(tmp_path / "model.psf")
    model, other = read_psfex(path), galsim.des.DES_PSFEx(str(path))
    for y, x in ((0, 0), (480.5, 1399), (999, 20), (479, 699)):
        wanted = other.getPSFArray(galsim.PositionD(x + 1, y + 1))
        np.testing.assert_allclose(model.at(np.array([y, x])), wanted, rtol=1e-5, atol=1e-9)


def test_cells_of_a_model_are_evaluated_at_their_centres(tmp_path):
    path = write(tmp_path / "model.psf")
    found, model = read_psfs(path, SHAPE, given=None, default=0.1), read_psfex(path)
    assert (len(found.grid), len(found.grid[0])) == (2, 2)
    assert found.sampling == pytest.approx(0.05) and found.origin == "PSF_SAMP of 0.5 pixels"
    wanted = model.at(np.array([749.5, 1049.5]))
    np.testing.assert_allclose(found.grid[1][1].image, wanted / wanted.sum())
    assert found.total == 1 and found.grid[0][0].encircled_energy == 1
    left, right = (effective_fwhm(found.grid[0][i].image[None])[0] for i in (0, 1))
    assert right > 1.02 * left


def test_a_model_of_one_psf_is_that_everywhere(tmp_path):
    path = write(tmp_path / "model.psf", {"POLNAXIS": 0, "PSFAXIS3": 1}, terms=1)
    model = read_psfex(path)
    np.testing.assert_array_equal(model.at(np.array([3, 4])), model.at(np.array([900, 2])))
    assert is_psfex(path)


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"POLNAME1": "MAG_AUTO"}, "in MAG_AUTO, YWIN_IMAGE .*wanted one in X_IMAGE and Y_IMAGE"),
        ({"POLNAXIS": 1}, r"in X_IMAGE \(1 groups\)"),
        ({"POLNGRP": 2}, "2 groups"),
        ({"POLDEG1": 3}, "6 images; wanted 10, those of degree 3"),
        ({"PSF_SAMP": 0}, "PSF_SAMP 0.0.*wanted numbers above 0"),
        ({"PSF_SAMP": "half"}, "damaged model of PSFEx"),
    ],
)
def test_models_that_are_none_of_an_image_s_are_refused(tmp_path, cards, words):
    path = write(tmp_path / "model.psf", cards)
    with pytest.raises(PsfError, match=words):
        read_psfex(path)


def test_a_psf_image_is_no_model(tmp_path):
    fits.writeto(tmp_path / "psf.fits", np.ones((5, 5)))
    assert not is_psfex(tmp_path / "psf.fits") and not is_psfex(tmp_path / "absent.psf")
