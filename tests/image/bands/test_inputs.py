"""What is said of a band that its pixels contradict; nothing is, of one that is as it is given."""

import numpy as np
import pytest
from banded import NOISE, Sky

from vaedeblend.image.bands.inputs import open_band
from vaedeblend.image.bands.sources import read_sources


@pytest.fixture(scope="module")
def sky():
    return Sky(np.random.default_rng(11), 14)


@pytest.fixture
def vis(sky, tmp_path):
    return read_sources(sky.deblended(tmp_path / "out"))


@pytest.fixture
def band(sky, tmp_path):
    return sky.band(tmp_path, rng=np.random.default_rng(2))


def warned(given, vis):
    """The lines that warn."""
    return [line for line in open_band(given, vis).said if line.startswith("warned: ")]


def test_a_band_as_it_is_given_has_no_warning(band, vis):
    assert not warned(band, vis) and not warned(band._replace(rms=None), vis)
    assert not warned(band._replace(gain=5.1 / NOISE), vis)


def test_a_gain_that_makes_the_sky_less_than_any_is_said(band, vis):
    (said,) = warned(band._replace(gain=0.1 / NOISE), vis)
    assert "--gain 25 makes the background's rms 0.1 electrons; wanted 5 at least" in said
