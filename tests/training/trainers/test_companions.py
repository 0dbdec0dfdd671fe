"""What follows the training of a test of companions."""

from pathlib import Path

import numpy as np

from vaedeblend.deblend.network import CompanionTest, Deblender
from vaedeblend.models.companions import Companions
from vaedeblend.models.vae import VAE
from vaedeblend.training.trainers import companions


def test_a_deblender_is_calibrated_anew_with_its_test_of_companions(monkeypatch):
    calls = []
    monkeypatch.setattr(companions, "calibrate", lambda *given: calls.append(given))
    model, workdir = Companions(widths=(4,), hidden=(4,)), Path("run")
    vae = VAE(2, (4,), 8, 1, (8,), (8,), 2, 16, 1)
    deblender = Deblender(vae, {"encoder": {}}, np.ones((3, 3, 1), np.float32))
    params = {"companions": {"Conv_0": {}}}
    companions._recalibrate("config", workdir, {}, deblender, model, params)
    ((config, stage, where, directories, calibrated),) = calls
    assert (config, stage, where, directories) == ("config", "blended", workdir, {})
    assert calibrated.companions == CompanionTest(model, {"Conv_0": {}})
    assert calibrated.params == deblender.params and deblender.companions is None
