import numpy as np
import pytest
from matched import SIZE, gaussian

from vaedeblend.pixels.apertures import circle_sums

CENTRE = np.array([[0.0, 0.0], [0.3, -0.4], [-6.2, 8.7]])


@pytest.mark.parametrize("radius", [0.8, 1.7, 12.3])
def test_circles_cover_their_area(radius):
    found = circle_sums(np.ones((3, SIZE, SIZE), np.float32), CENTRE, np.full(3, radius))
    np.testing.assert_allclose(found, np.pi * radius**2, rtol=1e-5)


def test_each_stamp_has_its_own_circle():
    """Half of a round Gaussian's light lies within 1.1774 sigma."""
    sigma = np.array([1.5, 4.0, 2.0])
    middle = (SIZE - 1) / 2
    images = [
        gaussian(y + middle, x + middle, sigma=s) for (y, x), s in zip(CENTRE, sigma, strict=True)
    ]
    found = circle_sums(np.stack(images), CENTRE, 1.1774 * sigma)
    np.testing.assert_allclose(found, 0.5, atol=0.02)


def test_circles_that_leave_the_stamp_or_are_not_known_hold_nothing():
    centre = np.array([[0.0, 25.0], [0.0, 0.0], [np.nan, 0.0]])
    found = circle_sums(np.ones((3, SIZE, SIZE)), centre, np.array([8.0, np.nan, 3.0]))
    assert np.isnan(found).all()
    assert circle_sums(np.ones((0, SIZE, SIZE)), np.zeros((0, 2)), np.zeros(0)).shape == (0,)
