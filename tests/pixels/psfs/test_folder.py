"""PSFs of a folder: those whose place is not on the image's sky are left out."""

import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psfs.folder import read_psf_folder

SHAPE = 100, 100
DOT = np.pad([[1.0]], 4)


def write(folder, *places):
    for i in range(len(places)):
        fits.writeto(folder / f"{i}.fits", DOT)
    rows = "".join(f"{i}.fits,{x},{y}\n" for i, (x, y) in enumerate(places))
    (folder / "places.csv").write_text("file,x,y\n" + rows)
    return folder


def test_psfs_without_a_place_on_the_sky_are_left_out(tmp_path):
    folder = write(tmp_path, ("nan", 20.0), (30.0, 40.0))
    psfs, _ = read_psf_folder(folder, SHAPE, default_pixel_scale=0.1)
    np.testing.assert_array_equal(psfs.position, [(39, 29)])
    assert psfs.stamps.shape == (1, *DOT.shape)


def test_a_folder_of_another_sky_is_refused(tmp_path):
    folder = write(tmp_path, ("nan", 20.0))
    with pytest.raises(PsfError, match="no PSF has a place on the image's sky; wanted one"):
        read_psf_folder(folder, SHAPE, default_pixel_scale=0.1)
