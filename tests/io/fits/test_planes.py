"""Planes of files of several, by number, name, and the part that they play."""

import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.exceptions import MosaicError
from vaedeblend.io.fits.planes import split_plane
from vaedeblend.io.mosaic import open_mosaic

SHAPE = 8, 9
ALL = slice(0, 8), slice(0, 9)


@pytest.fixture
def observation(tmp_path):
    """A file with planes of the values 1, 2, ..., by their names."""

    def written(*names, name="obs.fits"):
        planes = [fits.ImageHDU(np.full(SHAPE, i, "f4"), name=n) for i, n in enumerate(names, 1)]
        fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / name)
        return str(tmp_path / name)

    return written


def opened(image, **options):
    """Values of image and rms, and how many pixels the mask leaves out."""
    with open_mosaic(image, **options) as mosaic:
        image, noise, bad = mosaic.read_raw(*ALL)
    return image[0, 0], None if noise is None else noise[0, 0], bad.sum()


@pytest.mark.parametrize(
    "names", [("SCI", "RMS", "FLG"), ("CCDID 1-1.SCI", "CCDID 1-1.RMS", "CCDID 1-1.FLG")]
)
def test_one_file_of_several_parts_has_a_plane_for_each(observation, names):
    path = observation(*names)
    assert opened(path, rms=path, mask=path) == (1, 2, 72)


@pytest.mark.parametrize(("role", "name"), [("weight", "WHT"), ("variance", "VAR"), ("rms", "ERR")])
def test_noise_is_found_by_its_name(observation, role, name):
    path = observation("DQ", name, "SCI")
    assert opened(path, **{role: path}) == (3, 2, 0)


def test_the_plane_beside_the_images_is_taken(observation):
    path = observation("DES_BGSUB", "DES_RMS", "VIS_BGSUB", "VIS_RMS")
    assert opened(path, hdu="VIS_BGSUB", rms=path)[:2] == (3, 4)
    assert opened(f"{path}[vis_bgsub]", rms=path)[:2] == (3, 4)
    assert opened(f"{path}[3]", rms=f"{path}[2]")[:2] == (3, 2)
    with pytest.raises(MosaicError, match=r"planes DES_RMS, VIS_RMS; wanted one, as FILE\[NAME\]"):
        opened(observation("A", name="other.fits"), rms=path)


def test_none_of_the_images_of_several_bands_is_taken(observation):
    path = observation("DES_BGSUB", "DES_RMS", "VIS_BGSUB", "VIS_RMS")
    with pytest.raises(MosaicError, match=r"images DES_BGSUB, VIS_BGSUB; wanted one, as FILE"):
        opened(path, rms=f"{path}[VIS_RMS]")
    one = observation("VIS_BGSUB", "VIS_RMS", name="one.fits")
    assert opened(one, rms=one)[:2] == (1, 2)


def test_versions_of_a_name_are_told_apart(observation):
    path = observation("SCI", "SCI")
    with fits.open(path, mode="update") as hdus:
        hdus[2].ver = 2
    assert opened(f"{path}[SCI,2]")[0] == 2
    with pytest.raises(MosaicError, match=r"HDU SCI,abc holds no image of two axes; there are"):
        opened(f"{path}[SCI,abc]")


@pytest.mark.parametrize("role", ["rms", "weight", "mask"])
def test_a_plane_is_never_the_images_own(observation, role):
    path = observation("A")
    for given in (path, f"{path}[1]"):
        with pytest.raises(MosaicError, match="obs.fits.A.: is the image already; wanted another"):
            opened(path, **{role: given})


@pytest.mark.parametrize("role", ["rms", "weight"])
def test_a_plane_of_another_part_is_not_taken(observation, role):
    path = observation("SCI", "DQ")
    with pytest.raises(MosaicError, match=f"planes SCI, DQ; wanted one of {role}"):
        opened(path, **{role: path})


def test_what_is_not_there_is_named(observation):
    path = observation("SCI")
    with pytest.raises(MosaicError, match="HDU RMS holds no image of two axes.*SCI"):
        opened(path, rms=f"{path}[RMS]")
    with pytest.raises(MosaicError, match=r"HDU 2 and plane \[1\]; wanted one of the two"):
        opened(f"{path}[1]", hdu=2)


def test_brackets_of_a_files_own_name_name_no_plane(tmp_path):
    own = tmp_path / "a[1].fits[2]"
    assert split_plane(own) == (tmp_path / "a[1].fits", "2")
    fits.writeto(own, np.ones(SHAPE))
    assert split_plane(own) == (own, None)


def test_further_axes_of_one_pixel_are_left_out(tmp_path):
    for i, shape in enumerate([(1, *SHAPE), (1, 1, *SHAPE)]):
        fits.writeto(tmp_path / f"{i}.fits", np.arange(72.0).reshape(shape))
        fits.CompImageHDU(np.arange(72, dtype=np.int32).reshape(shape)).writeto(
            tmp_path / f"{i}.fits.fz"
        )
        for name in (f"{i}.fits", f"{i}.fits.fz"):
            with open_mosaic(tmp_path / name) as mosaic:
                assert mosaic.shape == SHAPE
                np.testing.assert_array_equal(mosaic.read(*ALL).image.ravel(), np.arange(72))


def test_noise_has_three_forms(tmp_path):
    values = {"rms": [2, 0, np.nan], "variance": [4, 0, -1], "weight": [0.25, 0, np.inf]}
    fits.writeto(tmp_path / "a.fits", np.zeros((3, 3)))
    for form, row in values.items():
        fits.writeto(tmp_path / f"{form}.fits", np.tile(np.array(row, "f4"), (3, 1)))
        with open_mosaic(tmp_path / "a.fits", **{form: tmp_path / f"{form}.fits"}) as mosaic:
            found = mosaic.read(slice(0, 3), slice(0, 3))
        np.testing.assert_array_equal(found.rms, [[2, np.inf, np.inf]] * 3)
        np.testing.assert_array_equal(found.bad, [[False, True, True]] * 3)


def test_noise_is_given_once(tmp_path):
    fits.writeto(tmp_path / "a.fits", np.zeros(SHAPE))
    given = {"rms": tmp_path / "b.fits", "weight": tmp_path / "c.fits"}
    with pytest.raises(MosaicError, match="rms and weight are given; wanted one of rms, variance"):
        opened(tmp_path / "a.fits", **given)


def test_a_cube_of_many_planes_says_what_is_wanted(tmp_path):
    fits.PrimaryHDU(np.zeros((3, 4, 5))).writeto(tmp_path / "cube.fits")
    with pytest.raises(MosaicError, match=r"\(3, 4, 5\); wanted each plane of a cube"):
        opened(tmp_path / "cube.fits")
