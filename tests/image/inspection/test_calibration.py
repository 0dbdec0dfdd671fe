"""Coordinates of an image and its maps, in whatever frame they are."""

import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.image.inspection.calibration import corner_distance
from vaedeblend.io.fits.header import read_facts
from vaedeblend.io.mosaic import open_mosaic


def cards(names, shift=0.0):
    ends = {"CTYPE1": names[0], "CTYPE2": names[1], "CRVAL1": 10.0, "CRVAL2": 20.0}
    steps = {"CRPIX1": 50.0 + shift, "CRPIX2": 50.0, "CDELT1": -0.1 / 3600, "CDELT2": 0.1 / 3600}
    return fits.Header(ends | steps)


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize("frame", ["RA---TAN DEC--TAN", "SLON-TAN SLAT-TAN", "ELON-TAN ELAT-TAN"])
def test_corners_are_compared_in_any_frame(tmp_path, frame, shift):
    image = tmp_path / "image.fits"
    fits.writeto(image, np.zeros((100, 100), np.float32), cards(frame.split()))
    with open_mosaic(image) as mosaic:
        other = read_facts(cards(frame.split(), shift)).wcs
        assert corner_distance(mosaic, other) == pytest.approx(shift, abs=1e-3)
