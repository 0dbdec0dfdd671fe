"""The command `vaedeblend photometry`: its words, and its status."""

import numpy as np
import pytest
from astropy.io import fits
from banded import Sky

from vaedeblend.cli import main


@pytest.fixture
def words(tmp_path):
    """A sky of three sources in the middle, and the command that measures it in a band."""
    sky = Sky(np.random.default_rng(7), 3, shape=(96, 96), margin=36)
    band = sky.band(tmp_path, rng=np.random.default_rng(3))
    out = str(sky.deblended(tmp_path / "out"))
    given = {"image": band.image, "rms": band.rms, "psf": band.psf, "band": band.name}
    return ["photometry", out, *(f"--{name}={value}" for name, value in given.items())]


def test_fluxes_of_which_none_is_measured_are_said_on_stderr(words, tmp_path, capsys):
    assert main(words) == 0 and not capsys.readouterr().err
    mask = np.zeros((96, 96), np.int16)
    mask[8:-8, 8:-8] = 1
    fits.writeto(tmp_path / "mask.fits", mask)
    assert main([*words, f"--mask={tmp_path}/mask.fits"]) == 3
    captured = capsys.readouterr()
    assert "each of 3 sources is flagged unmeasured in h; check rms, mask" in captured.err
    assert "index.html" in captured.out
