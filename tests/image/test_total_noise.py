"""Maps of the total noise: the sources' photons are taken out, steps and dead pixels stay."""

import numpy as np
import pytest
from astropy.io import fits
from fitsfolder import GAIN, RMS, SHAPE, folder, network, run, sky  # noqa: F401
from matched import gaussian
from scipy.spatial import cKDTree

from vaedeblend.exceptions import InspectionError
from vaedeblend.image.inspection.samples import cut_blocks
from vaedeblend.image.inspection.sky.background import _without_photons
from vaedeblend.image.inspection.sky.total import fit_photon_noise, photon_findings
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.io.mosaic import Pixels

STEP, DEAD = 130, np.s_[90:94, 30:36]


def depth():
    """Rms of the background: two exposures on the left, four on the right."""
    rms = np.full(SHAPE, RMS, np.float32)
    rms[:, :STEP] *= np.sqrt(2)
    return rms


@pytest.fixture
def total(folder):  # noqa: F811
    """Image and map of the total noise, whose gain goes with the exposures."""
    clean = fits.getdata(folder / "image.fits").astype(float)
    background = depth()
    gain = GAIN * (RMS / background) ** 2
    rng = np.random.default_rng(8)
    light = (clean - RMS * np.random.default_rng(1).normal(size=SHAPE)).clip(0)
    image = light + np.sqrt(background**2 + light / gain) * rng.normal(size=SHAPE)
    rms = np.sqrt(background**2 + light / gain)
    rms[DEAD] = 1e16
    image[DEAD] = 0
    header = fits.getheader(folder / "image.fits")
    del header["GAIN"]
    fits.writeto(folder / "image.fits", image.astype("f4"), header, overwrite=True)
    fits.writeto(folder / "total.fits", rms.astype("f4"))
    fits.writeto(folder / "background.fits", np.where(rms > 1e15, rms, background).astype("f4"))
    return folder


def test_the_background_and_the_gain_are_recovered(total):
    found = deblend_image(total / "image.fits", total / "out", rms=total / "total.fits")
    rms, true = fits.getdata(total / "out" / "background_rms.fits"), depth()
    alive = np.ones(SHAPE, bool)
    alive[DEAD] = False
    ratio = (rms / true)[alive]
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert np.quantile(ratio, 0.02) > 0.85 and np.quantile(ratio, 0.98) < 1.15
    assert not np.isfinite(rms[DEAD]).any() or (rms[DEAD] > 1e15).all()
    for side in (np.s_[:, :STEP], np.s_[:, STEP:]):
        assert np.median(rms[side] / true[side]) == pytest.approx(1, abs=0.03)
    gain = found.table.meta["GAIN"]
    typical = np.median(depth())
    assert gain == pytest.approx(GAIN * (RMS / typical) ** 2, rel=0.2)


def test_total_and_background_maps_give_the_same_fluxes(total):
    tables = {
        kind: run(total, kind, rms=total / f"{kind}.fits", gain=GAIN)
        for kind in ("total", "background")
    }
    one, other = tables["total"], tables["background"]
    assert abs(len(one) - len(other)) <= 1
    at = cKDTree(np.stack([one["y"], one["x"]], axis=1))
    distance, nearest = at.query(np.stack([other["y"], other["x"]], axis=1))
    assert (distance < 0.3).mean() > 0.95
    apart = np.abs(np.asarray(one["flux"])[nearest] - other["flux"])
    assert (apart < 0.2 * other["flux_err"]).mean() > 0.9
    assert np.median(apart / other["flux"]) < 0.01


def test_a_map_may_be_said_to_be_the_background_s(total, capsys):
    found = deblend_image(
        total / "image.fits", total / "out", rms=total / "total.fits", rms_kind="background"
    )
    assert not (total / "out" / "background_rms.fits").exists()
    assert any(line.startswith("warned") and "photon noise" in line for line in found.said)


def test_dark_skies_hold_no_photon_noise():
    noise = np.random.default_rng(2).normal(size=(64, 64))
    strip = Pixels(noise, np.ones((64, 64)), np.zeros((64, 64), bool))
    assert fit_photon_noise(cut_blocks([strip], strip.image.shape)) is None


@pytest.fixture
def dark():
    """Blocks without a bright pixel."""
    noise = RMS * np.random.default_rng(2).normal(size=(64, 64))
    return cut_blocks([Pixels(noise, np.full((64, 64), RMS), np.zeros((64, 64), bool))], (64, 64))


def test_the_gain_serves_where_few_pixels_are_bright(dark):
    (said,), photons = photon_findings(dark, [], "total", GAIN)
    assert said.kind == "corrected" and "is taken out" in said.text
    assert photons.scale == pytest.approx(GAIN * RMS**2)
    assert photons.gain == pytest.approx(GAIN)


def test_photon_noise_that_stays_is_said(dark):
    (said,), photons = photon_findings(dark, [], "total", None)
    assert photons is None and said.kind == "warned" and "give --gain" in said.text
    assert photon_findings(dark, [], "auto", GAIN) == ([], None)


def test_a_map_s_kind_without_a_map_is_refused(folder):  # noqa: F811
    with pytest.raises(InspectionError, match="rms kind total, and no map of the noise"):
        run(folder, rms=None, rms_kind="total")


@pytest.fixture
def faint():
    """Blocks whose only source has 10 to 20 times the rms in most of its pixels."""
    light = np.zeros((64, 64))
    light[20:32, 30:42] = np.linspace(11, 19, 144).reshape(12, 12) * RMS
    noise = RMS * np.random.default_rng(2).normal(size=light.shape)

    def make(rms):
        strip = Pixels(light + noise, rms * np.ones_like(light), np.zeros(light.shape, bool))
        return cut_blocks([strip], light.shape)

    return light, make


def test_a_faint_field_shows_its_photon_noise_too(faint):
    light, make = faint
    photons = fit_photon_noise(make(np.sqrt(RMS**2 + light / 3.0)))
    assert photons.gain == pytest.approx(3.0, rel=0.2)
    assert fit_photon_noise(make(RMS)) is None


@pytest.mark.parametrize("flux", [30.0, 1e3, 1e5])
def test_the_background_under_a_star_is_that_beside_it(flux):
    """Its map follows the light of each pixel, and not what a smoothed image has."""
    light = flux * gaussian(20, 25, (40, 50), 0.8)
    rng = np.random.default_rng(5)
    background = np.where(np.arange(50) < 30, RMS, 1.5 * RMS) * np.ones(light.shape)
    variance = background**2 * (1 + light / 2.0)
    noise = np.sqrt(variance) * rng.normal(size=light.shape)
    rms = np.sqrt(background**2 * (1 + (light + noise).clip(0) / 2.0)).astype(np.float32)
    found = _without_photons((light + noise).astype(np.float32), rms, 2.0, RMS)
    ratio = (found / background)[15:26, 20:31]
    assert np.median(ratio) == pytest.approx(1, abs=0.05)
    assert ratio[5, 5] == pytest.approx(1, abs=0.12) and ratio.max() < 1.6
