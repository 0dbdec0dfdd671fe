"""What a residual tells of a model, and what is believed of it."""

import numpy as np
import pytest

from vaedeblend.deblend import missed
from vaedeblend.deblend.network import Deblended
from vaedeblend.deblend.sources import make_sources
from vaedeblend.models.sinh_arcsinh import SinhArcsinh
from vaedeblend.pixels.stamps import PaddedImages
from vaedeblend.survey import stamp_centre

SIZE, N, RMS = 64, 128, 1.0
CORNER = np.array([[32, 32]])


def gaussian(y, x, sigma, flux, shape):
    rows, columns = np.indices(shape)
    light = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
    return flux * light / light.sum()


MIDDLE = 32 + stamp_centre(SIZE)
GALAXY = gaussian(MIDDLE, MIDDLE, 4.0, 2e4, (N, N))
OTHER = gaussian(MIDDLE + 5, MIDDLE + 4, 1.0, 1.5e3, (N, N))


def images(light, seed=0):
    noise = RMS * np.random.default_rng(seed).standard_normal(light.shape)
    image = (light + noise)[None, ..., None].astype(np.float32)
    return PaddedImages(image, RMS**2, size=SIZE)


def sources(scale=1.0):
    """The smooth galaxy, as a network would have it."""
    stamp = scale * GALAXY[32 : 32 + SIZE, 32 : 32 + SIZE][None, ..., None].astype(np.float32)
    flux, none = stamp.sum(axis=(1, 2)), np.zeros((1, 1), np.float32)
    found = Deblended(flux, none, stamp, none, none, none, SinhArcsinh(*[none] * 4))
    return make_sources(np.zeros(1, int), CORNER, (SIZE, SIZE, 1))._replace(found=found)


def misfit(light, scale=1.0):
    arguments = images(light), sources(scale)
    model = arguments[0].paste(arguments[1].found.image, np.zeros(1, int), CORNER)
    return missed._misfit(*arguments, model)[0] / missed._MISFIT


def knotty(share, seed=1):
    """The galaxy with errors of a share of its light in every pixel."""
    return GALAXY * (1 + share * np.random.default_rng(seed).standard_normal(GALAXY.shape))


def test_the_misfit_is_the_model_s_error_whatever_the_noise():
    assert misfit(GALAXY) < 0.03
    for share in (0.1, 0.3):
        assert misfit(knotty(share)) == pytest.approx(share, rel=0.2)


def test_one_companion_hardly_moves_the_misfit():
    assert misfit(GALAXY + OTHER) < 0.05


def test_faint_galaxies_are_not_studied():
    assert misfit(0.04 * GALAXY, scale=0.04) == 0


@pytest.mark.parametrize("search", [missed.close, missed.hidden])
def test_a_companion_is_found_beside_a_smooth_galaxy_and_no_knot_of_a_structured_one(search):
    index, corner = search(images(GALAXY + OTHER), sources())
    assert index.tolist() == [0]
    np.testing.assert_allclose(corner[0], CORNER[0] + (5, 4), atol=1)
    assert not len(search(images(knotty(0.3)), sources())[0])
