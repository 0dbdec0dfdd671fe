"""Maps of the noise that are of other pixels than the image, as their own WCS says."""

import numpy as np
import pytest
from astropy.io import fits
from fitsfolder import folder, header, network, run, sky  # noqa: F401

from vaedeblend.exceptions import InspectionError


@pytest.mark.parametrize("cards", [{"CRVAL1": 151.0}, {"CRPIX2": 120.0}, {"CDELT1": 0.1 / 3600}])
def test_a_map_of_other_pixels_is_refused(folder, cards):  # noqa: F811
    with fits.open(folder / "rms.fits", mode="update") as hdus:
        hdus[0].header.update(header())
        hdus[0].header.update(cards)
    with pytest.raises(InspectionError) as refused:
        run(folder)
    said = str(refused.value)
    assert "its WCS puts a corner of" in said and "wanted a map of the same pixels" in said


def test_a_map_of_the_same_pixels_may_lack_a_wcs_or_have_the_same(folder):  # noqa: F811
    plain = run(folder, "plain")
    with fits.open(folder / "rms.fits", mode="update") as hdus:
        hdus[0].header.update(header())
    np.testing.assert_array_equal(run(folder)["flux"], plain["flux"])
