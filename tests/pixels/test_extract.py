import numpy as np
import pytest
import sep
from scipy.ndimage import gaussian_filter

from vaedeblend.deblend.detect import detect
from vaedeblend.pixels import extract as module
from vaedeblend.pixels.extract import extract, noise_gain, sep_extract, separable

SMOOTH = separable((1.0, np.array([1.0, 2.0, 1.0])))
MARGIN = 64


def blended_field(rng, size, n):
    """Round galaxies of many fluxes, in noise of unit rms."""
    light = np.zeros((size, size))
    for width in (1.0, 1.5, 2.5):
        points = np.zeros((size, size))
        place = tuple(rng.integers(0, size, (2, n // 3)))
        np.add.at(points, place, 10 ** rng.uniform(1.5, 3, n // 3))
        light += gaussian_filter(points, width)
    return light + rng.normal(size=light.shape)


@pytest.fixture(scope="module")
def field():
    """Blends everywhere: a galaxy for every 110 pixels, in noise of unit rms."""
    return blended_field(np.random.default_rng(5), 300, 800)


def test_kernel_is_normed_as_sep_norms_it():
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    assert noise_gain(SMOOTH) == pytest.approx(np.sqrt(np.square(kernel).sum()))


def test_places_are_those_of_sep_where_nothing_is_cleaned(field, monkeypatch):
    monkeypatch.setattr("vaedeblend.pixels.extract._cleaned", lambda place, _: place[:, 0] > -1)
    ones, options = np.ones_like(field), {"minarea": 5, "deblend_cont": 1e-4, "clean": False}
    theirs = sep.extract(field, 1.5, err=ones, filter_type="conv", **options)
    ours = detect(field, ones)
    theirs = np.stack([theirs["y"], theirs["x"]], axis=1)
    np.testing.assert_allclose(*(a[np.lexsort(a.round(3).T)] for a in (ours, theirs)), atol=1e-4)


def test_as_many_sources_as_sep_finds(field):
    found = detect(field, np.ones_like(field))
    options = {"minarea": 5, "deblend_cont": 1e-4, "filter_type": "conv"}
    theirs = sep.extract(field, 1.5, err=np.ones_like(field), **options)
    assert abs(len(found) - len(theirs)) <= 0.01 * len(theirs)


@pytest.mark.parametrize("size", [47, 60, 71, 83, 97, 110, 130, 151, 190, 256])
def test_tiles_find_what_the_whole_image_shows(field, size):
    ones = np.ones_like(field)
    whole = detect(field, ones)
    found = [np.zeros((0, 2))]
    for corner in np.ndindex(*(-(-n // size) for n in field.shape)):
        low = np.array(corner) * size
        first = np.maximum(low - MARGIN, 0)
        window = tuple(slice(a, b + size + MARGIN) for a, b in zip(first, low, strict=True))
        place = detect(field[window], ones[window]) + first
        found.append(place[((place >= low) & (place < low + size)).all(axis=1)])
    tiled = np.concatenate(found)
    assert len(tiled) == len(whole)
    key = np.lexsort(tiled.round(6).T), np.lexsort(whole.round(6).T)
    np.testing.assert_allclose(tiled[key[0]], whole[key[1]], atol=1e-6)


def test_an_object_of_any_size_does_not_end_the_image(monkeypatch):
    """More pixels and parts than sep's own buffers hold: 300 000 and 1024."""
    rng = np.random.default_rng(1)
    y, x = np.indices((700, 700))
    light = 3e4 * np.exp(-np.hypot(y - 350, x - 350) / 60) + rng.normal(size=(700, 700))
    light[30:60, 30:60] += blended_field(rng, 30, 3)
    level = np.full(light.shape, 1.5)
    whole = extract(light, level, SMOOTH, 5)
    monkeypatch.setattr(module, "_PIXELS", 2**17)
    parts = extract(light, level, SMOOTH, 5)
    for found in (whole, parts):
        assert np.hypot(*(found.position - 350).T).min() < 1
    assert not whole.coarse.any() and parts.coarse.mean() > 0.3


def test_noise_far_above_the_rms_ends(field):
    ones = np.ones_like(field)
    assert len(extract(field, 0.1 * ones, SMOOTH, 5).position)
    assert not len(extract(ones, ones, SMOOTH, 5).position)


def test_negative_rms_is_no_measurement(field):
    rms = np.where(np.arange(300) < 150, -1.0, 1.0) * np.ones_like(field)
    assert detect(field, rms)[:, 1].min() > 145


def test_limits_of_sep_are_as_before():
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    noise = 5 + np.random.default_rng(0).normal(size=(64, 64))
    with pytest.raises(Exception, match="pixel buffer"):
        sep_extract(noise, 0.0, pixels=10)
    assert len(sep_extract(noise, 1.0, pixels=5000))
    assert (sep.get_extract_pixstack(), sep.get_sub_object_limit()) == before
