"""A saturated star: spikes, a clipped core and a bleeding column, and galaxies about it."""

import numpy as np
import pytest
from matched import SIZE, gaussian, matched_filter

from vaedeblend.image.catalogue.columns import FLAGS
from vaedeblend.image.groups import beside_bright
from vaedeblend.image.measure import measure_field

BIT = {name: bit for bit, (name, _) in FLAGS.items()}
SHAPE, STAR, RMS = (320, 340), (160.5, 170.5), 1.0
GALAXIES = np.array([[40.5, 60.5], [280.5, 50.5], [60.5, 300.5], [250.5, 290.5]])


def starry(flux=1e6, full=8e3):
    """Four spikes that fall like 1 / r^2 and have beads, a halo, a trail, and a full well."""
    y, x = np.indices(SHAPE) - np.reshape(STAR, (2, 1, 1))
    r2 = y**2 + x**2 + 4
    across = np.minimum(abs(y), abs(x))
    beads = 1 + 0.8 * np.sin(np.sqrt(r2) / 2.5)
    light = gaussian(*STAR, SHAPE) + 0.2 * np.exp(-(across**2) / 2) * beads / r2 + 0.02 / r2**1.5
    image = flux * light
    image[130:200, 170:172] = 1e9
    return np.minimum(image, full)


@pytest.mark.parametrize("core", ["clipped", "masked"])
def test_no_false_source_about_a_saturated_star_is_unflagged(core):
    rng = np.random.default_rng(2)
    galaxies = sum(3e4 * gaussian(*at, SHAPE) for at in GALAXIES)
    image = starry() + galaxies + RMS * rng.normal(size=SHAPE)
    rms = np.full(SHAPE, RMS)
    if core == "masked":
        rms[image > 7e3] = np.inf
    table = measure_field(matched_filter, image, rms, size=SIZE, passes=0).table
    position, flags = np.asarray(table["position"]), np.asarray(table["flags"])
    bright = flags & BIT["bright"] > 0
    flux, apparent = np.asarray(table["flux"]), np.asarray(table["apparent"])
    doubtful = beside_bright(position, flux, apparent, bright)
    distance = np.hypot(*(position[:, None] - GALAXIES).transpose(2, 0, 1))
    real, own = distance.min(axis=1) < 2, bright | doubtful | (flags > 0)
    assert (~real).sum() > 8 and own[~real].all()
    assert not own[real].any() and real.sum() == len(GALAXIES)
