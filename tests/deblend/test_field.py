import numpy as np
from matched import SIZE, gaussian, matched_filter

from vaedeblend.deblend.field import find_sources

PLACES = np.array([[40.5, 50.5], [43.5, 60.5], [70.5, 90.5]])
SHAPE = 100, 120


def test_sources_of_an_image_lie_where_its_galaxies_do(rng):
    image = sum(300 * gaussian(*at, SHAPE) for at in PLACES) + 0.3 * rng.normal(size=SHAPE)
    frames, sources, _ = find_sources(matched_filter, image, np.full(SHAPE, 0.3), size=SIZE)
    found = sources.positions(SIZE)
    assert frames.size == SIZE and len(found) == len(PLACES)
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], PLACES, atol=0.6)


def test_an_image_without_galaxies_has_no_sources():
    image, rms = np.zeros(SHAPE), np.full(SHAPE, 0.3)
    _, sources, _ = find_sources(matched_filter, image, rms, size=SIZE)
    assert sources.corner.shape == (0, 2) and sources.found.image.shape == (0, SIZE, SIZE, 1)
