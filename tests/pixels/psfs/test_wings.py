"""Wings of PSFs: the light that an image lacks lies where it was."""

import numpy as np
import pytest
from matched import gaussian

from vaedeblend.pixels.psf import make_psf
from vaedeblend.pixels.psfs.wings import completed


def falling(end):
    """A PSF that falls as r^-3 and ends somewhere, and distances from its middle."""
    radius = np.hypot(*(np.indices((129, 129)) - 64))
    light = np.where(radius <= end, (1 + radius**2) ** -1.5, 0)
    return light / light.sum(), radius


def test_what_a_psf_lacks_falls_with_the_third_power_of_the_radius_beyond_it():
    cut = make_psf(gaussian(6, 6, (13, 13), 1.22), 0.1)._replace(total=0.95)  # dark where it is cut
    whole = completed(cut, 129)
    inner = slice(58, 71)
    np.testing.assert_allclose(whole.image[inner, inner], 0.95 * cut.image)
    assert whole.image.sum() == pytest.approx(1) and whole.encircled_energy == 1
    near, far = whole.image[64, 64 + 10], whole.image[64, 64 + 40]
    assert near / far == pytest.approx(4**3)
    assert completed(cut._replace(total=1.0), 129).image is cut.image
    assert completed(cut, 13) is cut


@pytest.mark.parametrize("end", [20, 30, 60])
def test_what_a_psf_lacks_goes_on_from_its_edge_to_its_end(end):
    """Of a PSF that falls as r^-3 and ends somewhere: all its light is found where it was."""
    light, radius = falling(end)
    cut = make_psf(light[49:80, 49:80], 0.1)._replace(total=light[49:80, 49:80].sum())
    whole = completed(cut, 129).image
    assert whole.sum() == pytest.approx(1) and not whole[radius > 1.1 * end].any()
    for inside in (17, 19, 25, 40):
        assert whole[radius <= inside].sum() == pytest.approx(
            light[radius <= inside].sum(), abs=2e-3
        )


def test_a_padded_psf_is_completed_from_its_own_edge():
    light, _ = falling(60)
    cut = make_psf(light[44:85, 44:85], 0.1)._replace(total=0.95)
    padded = cut._replace(image=np.pad(cut.image, 12))
    for side in (61, 129):
        np.testing.assert_allclose(completed(padded, side).image, completed(cut, side).image)


@pytest.mark.parametrize("side", [1, 3, 5])
def test_a_tiny_or_dark_psf_is_completed_too(side):
    dark = make_psf(gaussian(side // 2, side // 2, (side, side), 1.0), 0.1)._replace(total=0.95)
    whole = completed(dark, 65).image
    assert whole.sum() == pytest.approx(1) and (whole >= 0).all()
    none = dark._replace(image=np.zeros((5, 5)))
    assert completed(none, 65).image.sum() == pytest.approx(0.05)
