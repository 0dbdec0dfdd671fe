"""The sky of fourteen Gaussians, and its deblending, on which bands are measured."""

import numpy as np
import pytest
from banded import Sky


@pytest.fixture(scope="module")
def sky():
    return Sky(np.random.default_rng(11), 14)


@pytest.fixture
def out(sky, tmp_path):
    return sky.deblended(tmp_path / "out", flux_err=0.005)
