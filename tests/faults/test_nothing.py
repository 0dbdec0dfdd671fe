"""An image without a source that can be used: a sentence says why, and the status is 3."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fitsfolder import RMS, SHAPE, folder, network, sky, use_network  # noqa: F401
from matched import matched_filter

from vaedeblend.cli import main


@pytest.fixture
def deblend(folder, capsys):  # noqa: F811
    """Runs the command on an image changed in place: its status, and what it says."""

    def run(change, *words):
        with fits.open(folder / "image.fits", mode="update") as hdus:
            hdus[0].data = change(hdus[0].data)
        words = [folder / "image.fits", "--rms", folder / "rms.fits", "--tile", 4096, *words]
        status = main(["deblend", *map(str, words), "--out", str(folder / "out")])
        captured = capsys.readouterr()
        assert captured.err.splitlines()[-1].startswith("no source")  # not among what was found
        return status, " ".join((captured.out + captured.err).split())

    return run


NOISE = np.float32(RMS) * np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def test_an_empty_sky_has_no_sources_and_says_so(deblend, folder):  # noqa: F811
    status, said = deblend(lambda image: NOISE)
    assert status == 3 and "no sources: nothing stands out of the noise" in said
    header = fits.getheader(folder / "out" / "catalog.fits", "CATALOG")
    assert header["REASON"] == "nothing stands out of the noise"


def test_an_image_whose_every_pixel_is_masked_says_so(deblend, folder):  # noqa: F811
    fits.writeto(folder / "mask.fits", np.ones(SHAPE, np.int16))
    status, said = deblend(lambda image: image, "--mask", folder / "mask.fits")
    assert status == 3 and "no sources: every pixel is ignored" in said


def test_an_image_of_one_value_has_no_data_at_all(deblend):
    status, said = deblend(lambda image: 0 * image)
    assert status == 3 and ": 100 % of its pixels are exactly 0" in said


def test_sources_that_are_all_flagged_are_not_passed_over(deblend, monkeypatch):
    """A network without an error for any galaxy, as with a gain that is far too small."""

    def lost(image, variance, **options):
        found = matched_filter(image, variance, **options)
        return found._replace(flux_err=0 * found.flux_err)

    use_network(monkeypatch, lost)
    status, said = deblend(lambda image: image)
    assert status == 3 and "no source can be used: each of " in said and "poor" in said


def test_a_list_of_masked_places_is_unmeasured(deblend, folder):  # noqa: F811
    Table({"x": [50.0, 90.0], "y": [50.0, 90.0]}).write(folder / "list.ecsv")
    mask = np.ones(SHAPE, np.int16)
    mask[:, 200:] = 0
    fits.writeto(folder / "mask.fits", mask)
    words = "--mask", folder / "mask.fits", "--catalog", folder / "list.ecsv", "--no-add"
    status, said = deblend(lambda image: image, *words)
    assert status == 3 and "each of 2 is flagged" in said
