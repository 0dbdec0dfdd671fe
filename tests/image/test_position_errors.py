"""How often positions lie within their errors, by the shipped network on a simulated field."""

import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

from vaedeblend.cli import main


@pytest.mark.slow
def test_two_thirds_of_the_positions_lie_within_their_errors(tmp_path):
    assert main(["simulate", "--out", str(tmp_path), "--size", "1024", "--seed", "3"]) == 0
    maps = [f"--{name}={tmp_path}/{name}.fits" for name in ("rms", "psf")]
    out = tmp_path / "out"
    assert main(["deblend", str(tmp_path / "image.fits"), *maps, "--out", str(out)]) == 0
    found, truth = (
        Table.read(out / "catalog.fits", hdu="CATALOG"),
        Table.read(tmp_path / "truth.fits"),
    )
    found = found[found["flags"] == 0]
    place, true = (np.stack([np.ravel(t[c]) for c in "yx"], axis=1) for t in (found, truth))
    (distance, nearest), (_, back) = cKDTree(true).query(place), cKDTree(place).query(true)
    own = (distance < 2.5) & (back[nearest] == np.arange(len(found)))
    error = np.stack([found["y_err"], found["x_err"]], axis=1)
    inside = np.abs(place - true[nearest])[own] < error[own]
    assert own.sum() > 150 and 0.6 < inside.mean() < 0.78
