"""More sources than can be told apart: clusters, and noise that is taken for sources."""

import numpy as np
import pytest
from matched import SIZE, gaussian, matched_filter

from vaedeblend.deblend.field import find_sources
from vaedeblend.exceptions import FieldError


def test_noise_far_above_the_rms_is_refused_in_a_sentence():
    noise = np.random.default_rng(0).normal(size=(700, 700))
    with pytest.raises(
        FieldError, match="sources on 490000 pixels, one for every .* rms too small"
    ):
        find_sources(matched_filter, noise, np.full(noise.shape, 0.1), size=SIZE)


def test_a_crowd_is_measured_once_and_marked(monkeypatch):
    monkeypatch.setattr("vaedeblend.deblend.field._MANY", 10)
    rng = np.random.default_rng(1)
    image = rng.normal(size=(96, 96))
    for place in rng.uniform(5, 90, (70, 2)):
        image += 3000 * gaussian(*place, (96, 96), sigma=1.5)
    padded, sources, marked = find_sources(matched_filter, image, np.ones((96, 96)), size=SIZE)
    assert len(sources.index) > 46 and (sources.count <= 1).all() and marked.all()
    assert padded.most == 1  # binned stamps, of 4 to 16 pages each, took most of time and memory
    half = np.where(np.arange(96) < 5, 1.0, np.inf) * np.ones((96, 96))
    assert len(find_sources(matched_filter, image, half, size=SIZE)[1].index) < 46
