"""Options that say something of an input that is not there are refused, not passed over."""

import numpy as np
import pytest
from astropy.nddata import CCDData
from fitsfolder import folder, network, sky  # noqa: F401

from vaedeblend.cli import main
from vaedeblend.image.options import ImageOptions, check_company


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--no-add", "no list to add to; wanted --catalog"),
        ("--mask-bits 0 3", "no mask; wanted --mask"),
        ("--psf-scale 0.05", "no PSF; wanted --psf"),
        ("--tile-id 7", "tile 7 of an image; wanted a folder"),
    ],
)
def test_what_is_said_of_nothing_is_refused(folder, capsys, words, said):  # noqa: F811
    files = [folder / "image.fits", "--rms", folder / "rms.fits", "--out", folder / "out"]
    assert main(["deblend", *map(str, files), *words.split()]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (folder / "out").exists()


def test_the_mask_of_an_image_in_memory_may_have_bits():
    ccd = CCDData(np.zeros((4, 4)), unit="uJy", mask=np.eye(4, dtype=int))
    check_company(ccd, ImageOptions(mask_bits=(0,)))
