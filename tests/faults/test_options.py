"""Options that say something of an input that is not there are refused, not passed over."""

import numpy as np
import pytest
from astropy.nddata import CCDData
from fitsfolder import folder, network, sky  # noqa: F401

from vaedeblend.cli import main
from vaedeblend.exceptions import MosaicError
from vaedeblend.image.options import ImageOptions, check_company
from vaedeblend.image.pipeline import deblend_image


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rms": 0}, "rms is 0.0; wanted a finite number above 0"),
        ({"rms": -0.3}, "rms is -0.3; wanted"),
        ({"mask": np.zeros((64, 64)), "mask_bits": 63}, "bit 63 of the mask; wanted"),
        (
            {"mask": np.zeros((64, 64)), "mask_bits": [1.5]},
            "bit of the mask is 1.5; wanted",
        ),
        ({"mask": np.zeros((64, 64), "i2"), "mask_bits": 32}, "bit 32 of numbers of 16 bits; wan"),
        ({"rms_kind": "Background"}, "rms_kind is 'Background'; wanted one of auto, background"),
        (
            {"catalog": np.ones((3, 2))},
            "catalog of ndarray: .*wanted a table, a data fr",
        ),
    ],
)
def test_numbers_and_lists_in_memory_are_refused_in_a_sentence(tmp_path, options, said):
    image = np.random.default_rng(0).normal(size=(64, 64))
    with pytest.raises(MosaicError, match=said):
        deblend_image(image, tmp_path / "out", **{"rms": 1.0} | options)
