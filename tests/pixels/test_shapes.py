import itertools

import numpy as np
import pytest

from vaedeblend.pixels.shapes import annuli, measure_shapes, turned

SIZE = 64


def gaussian(y=0.0, x=0.0, major=3.0, ratio=1.0, angle=0.0):
    rows, columns = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = (columns - x) * cos + (rows - y) * sin, (rows - y) * cos - (columns - x) * sin
    square = (along / major) ** 2 + (across / (major * ratio)) ** 2
    return np.exp(-square / 2) / (2 * np.pi * major**2 * ratio)


def test_centre_is_that_of_the_light():
    stamps = np.stack([gaussian(0.3, -0.4), gaussian(-2.0, 1.5), gaussian()])
    expected = [[0.3, -0.4], [-2.0, 1.5], [0, 0]]
    np.testing.assert_allclose(measure_shapes(stamps, np.ones(3)).centre, expected, atol=1e-3)


@pytest.mark.parametrize("sigma", [1.2, 2.0, 5.0, 9.0])
def test_half_of_a_round_gaussians_light_lies_within_1177_sigma(sigma):
    found = measure_shapes(gaussian(0.2, 0.1, sigma)[None], np.ones(1))
    np.testing.assert_allclose(found.half_light_radius, 1.1774 * sigma, rtol=0.03)
    np.testing.assert_allclose(found.axis_ratio, 1, atol=0.01)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
@pytest.mark.parametrize("ratio", [0.4, 0.8])
def test_axis_ratio_is_the_lights_at_any_angle(angle, ratio):
    found = measure_shapes(gaussian(major=4.0, ratio=ratio, angle=angle)[None], np.ones(1))
    np.testing.assert_allclose(found.axis_ratio, ratio, rtol=0.02)


@pytest.mark.parametrize("ratio", [0.4, 1.0])
def test_semi_major_axis_and_fwhm_are_a_gaussians(ratio):
    found = measure_shapes(gaussian(major=4.0, ratio=ratio, angle=20)[None], np.ones(1))
    np.testing.assert_allclose(found.semi_major_axis, 4, rtol=0.01)
    np.testing.assert_allclose(found.fwhm, 2.3548 * 4 * np.sqrt(ratio), rtol=0.02)


def test_light_outside_of_the_stamp_counts_for_the_half():
    stamps = np.stack([gaussian(), gaussian(), gaussian()])
    radius = measure_shapes(stamps, np.array([1.0, 1.5, 2.5])).half_light_radius
    assert radius[1] > 1.2 * radius[0] and np.isnan(radius[2])


def test_flux_does_not_matter():
    one, other = (
        measure_shapes(f * gaussian(major=4.0, ratio=0.6, angle=30)[None], np.array([f]))
        for f in (1e-3, 1e4)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_dark_profiles_have_no_shape():
    found = measure_shapes(np.zeros((1, SIZE, SIZE)), np.zeros(1))
    assert all(np.isnan(a).all() for a in found)
    assert all(len(a) == 0 for a in measure_shapes(np.zeros((0, SIZE, SIZE)), np.zeros(0)))


@pytest.mark.parametrize("angle", [-60, 0, 30, 90, 135])
def test_position_angle_runs_from_x_towards_y(angle):
    found = measure_shapes(gaussian(major=4.0, ratio=0.6, angle=angle)[None], np.ones(1))
    np.testing.assert_allclose(turned(found.position_angle, np.array([float(angle)])), 0, atol=0.5)


def test_axes_turn_by_no_more_than_a_quarter():
    found = turned(np.array([80.0, -89.0, 10.0, np.nan]), np.array([-80.0, 89.0, 10.0, 0.0]))
    np.testing.assert_allclose(found, [-20, 2, 0, np.nan])


def test_rings_hold_the_mean_of_their_pixels():
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    edges = np.array([0.0, 1.0, 3.0, 3.01, 10.0])
    stamps, centre = (
        np.stack([np.hypot(y - 0.3, x + 0.2), np.ones((SIZE, SIZE))]),
        [[0.3, -0.2]] * 2,
    )
    found = annuli(stamps, np.array(centre), edges)
    rings = [stamps[0][(stamps[0] >= a) & (stamps[0] < b)] for a, b in itertools.pairwise(edges)]
    expected = [ring.mean() if len(ring) else np.nan for ring in rings]
    np.testing.assert_allclose(found[0], expected)
    np.testing.assert_allclose(found[1], np.where(np.isnan(expected), np.nan, 1))
