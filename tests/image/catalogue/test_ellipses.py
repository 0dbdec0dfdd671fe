import numpy as np
import pytest
from astropy.wcs import WCS

from vaedeblend.image.catalogue.ellipses import ellipticities, sky_angles, sky_axes, sky_errors

PLACE = np.array([[30.0, 60.0]])


def wcs(turn=0.0, east=-1, ra=150.0):
    """North turned by so many degrees from +y; east to the left, or to the right."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    found = WCS(naxis=2)
    found.wcs.ctype, found.wcs.crval = ["RA---TAN", "DEC--TAN"], (ra, 60)
    found.wcs.crpix = 61, 31
    found.wcs.cd = np.array([[east, 0], [0, 1]]) @ [[cos, sin], [-sin, cos]] * 0.1 / 3600
    return found


@pytest.mark.parametrize(("angle", "expected"), [(0, (0.6, 0)), (45, (0, 0.6)), (90, (-0.6, 0))])
def test_ellipticities_are_of_twice_the_angle(angle, expected):
    found = ellipticities(np.array([0.5]), np.array([float(angle)]))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize("ra", [150.0, 0.0])
@pytest.mark.parametrize(("angle", "expected"), [(90, 0), (0, 90), (120, 30), (-60, 30)])
def test_angles_on_the_sky_go_from_north_to_east(angle, expected, ra):
    axes = sky_axes(wcs(ra=ra), PLACE)
    found = sky_angles(np.array([0.5]), np.array([float(angle)]), axes)
    np.testing.assert_allclose((found - expected + 90) % 180 - 90, 0, atol=1e-3)


def test_a_turned_and_a_mirrored_image_show_the_same_sky():
    q = np.array([0.5])
    turned = sky_angles(q, np.array([120.0]), sky_axes(wcs(turn=20), PLACE))
    np.testing.assert_allclose(turned, 30 - 20, atol=1e-3)
    mirrored = sky_angles(q, np.array([60.0]), sky_axes(wcs(east=1), PLACE))
    np.testing.assert_allclose(mirrored, 30, atol=1e-3)


def test_errors_follow_the_sky():
    variance = np.array([[0.04, 0.09, 0.0]])  # y, x
    east, north = sky_errors(variance, sky_axes(wcs(), PLACE))
    np.testing.assert_allclose([east[0], north[0]], [0.03, 0.02], rtol=1e-4)
    east, north = sky_errors(variance, sky_axes(wcs(turn=90), PLACE))
    np.testing.assert_allclose([east[0], north[0]], [0.02, 0.03], rtol=1e-4)


def test_without_coordinates_there_is_no_sky():
    assert np.isnan(sky_axes(None, PLACE)).all()
    assert np.isnan(sky_axes(wcs(), np.full((1, 2), np.nan))).all()
    assert sky_axes(wcs(), np.zeros((0, 2))).shape == (0, 2, 2)
