"""The noise of a band's image, of which pixels without data tell nothing."""

import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.exceptions import BandError
from vaedeblend.image.bands.pipeline import photometry

UNMEASURED = 32
HALF, REACH = 80, 8
"""Columns without data, and how far from them no light of a source is on the other side [pixel]."""


@pytest.mark.parametrize("given", [{}, {"rms": None}], ids=["rms", "scatter"])
def test_an_empty_half_is_no_sky(sky, out, tmp_path, given):
    band = sky.band(tmp_path, rng=np.random.default_rng(2))._replace(**given)
    whole = photometry(out, [band])
    with fits.open(band.image, mode="update") as hdus:
        hdus[0].data[:, :HALF] = 0.0
    half = photometry(out, [band])
    assert "50 % of its pixels are exactly 0 in one piece: no data" in str(half.meta)
    x, unmeasured = sky.position[:, 1], np.asarray(half["flags_h"]) & UNMEASURED > 0
    there, away = x > HALF + REACH, x < HALF - REACH
    assert unmeasured[away].all() and not unmeasured[there].any()
    assert np.isnan(half["flux_h"][away]).all()
    errors = np.asarray(half["flux_err_h"])[there] / np.asarray(whole["flux_err_h"])[there]
    assert np.median(errors) == pytest.approx(1, abs=0.3)  # the scatter is that of less sky


def test_a_scatter_of_0_is_no_noise(sky, out, tmp_path):
    """Whole numbers far coarser than the noise are 0 where there is no light."""
    band = sky.band(tmp_path)
    with fits.open(band.image, mode="update") as hdus:
        hdus[0].data = np.rint(100 * hdus[0].data)
    with pytest.raises(BandError, match="its pixels scatter by 0; wanted noise, or --rms"):
        photometry(out, [band._replace(rms=None)])
