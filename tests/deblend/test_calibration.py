from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend.deblend import calibration as module
from vaedeblend.deblend.calibration import (
    Calibration,
    Calibrations,
    calibrate,
    calibrate_fluxes,
    calibrated,
    fit_calibration,
    read_calibrations,
    write_calibrations,
)
from vaedeblend.deblend.network import make_deblend
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, normal_score, quantile
from vaedeblend.models.vae import VAE, Observation, Posterior
from vaedeblend.training.loop import init_params
from vaedeblend.training.observe import observe_examples

N = 40_000


def galaxies(rng, scale, n=N):
    """True and stated ln(flux) of a network whose errors are off by the given functions."""
    brightness, purity = rng.normal(4, 1, n), rng.normal(1, 2, n)
    std = np.exp(rng.normal(-2, 0.3, n))
    z = rng.normal(size=n) * scale(brightness, purity)
    return {
        "residual": z * std,
        "std": std,
        "brightness": brightness,
        "purity": purity,
    }


def honest(brightness, purity):
    return 1.0


def off_scale(brightness, purity):
    return np.exp(0.3 * np.tanh(brightness - 4) - 0.4 * np.tanh(purity / 2))


def standardised(found, sample):
    """Residuals over their standard deviations as `calibrated` corrects them."""
    n = len(sample["std"])
    columns = {name: jnp.asarray(a, jnp.float32)[:, None] for name, a in sample.items()}
    zeros = jnp.zeros((n, 1))
    log_flux = SinhArcsinh(columns["brightness"], jnp.log(columns["std"]), zeros, zeros)
    posterior = Posterior(zeros, zeros, log_flux, columns["purity"])
    stamp = zeros[:, None, None]
    seen = Observation(stamp, 1 + stamp, zeros, zeros, stamp)
    after = calibrated(found, posterior, seen)
    truth = columns["brightness"] + columns["residual"]
    return np.asarray(normal_score(after.log_flux, truth))[:, 0]


def assert_calibrated(z, by):
    """Coverage, overall and in bins of an estimate."""
    quarter = np.digitize(by, np.quantile(by, [0.25, 0.5, 0.75]))
    for part in [z, *(z[quarter == i] for i in range(4))]:
        assert np.mean(np.abs(part) < 1) == pytest.approx(0.6827, abs=0.025)


@pytest.mark.parametrize("scale", [honest, off_scale])
def test_errors_are_right_on_galaxies_that_were_not_fitted(scale, rng):
    found = fit_calibration(**galaxies(rng, scale))
    fresh = galaxies(rng, scale)
    z = standardised(found, fresh)
    assert_calibrated(z, fresh["brightness"])
    assert_calibrated(z, fresh["purity"])


def test_errors_may_be_off_for_uncertain_galaxies(rng):
    sample = galaxies(rng, honest)

    def spoilt(sample):
        noise = sample["brightness"] + np.log(sample["std"])
        return sample | {"residual": sample["residual"] * np.where(noise > 2, 1.5, 0.8)}

    found, fresh = fit_calibration(**spoilt(sample)), spoilt(galaxies(rng, honest))
    z = standardised(found, fresh)
    noise = fresh["brightness"] + np.log(fresh["std"])
    for part in (noise < 1.7, noise > 2.3):
        assert np.mean(np.abs(z[part]) < 1) == pytest.approx(0.6827, abs=0.03)


def test_errors_were_wrong_before(rng):
    z = galaxies(rng, off_scale)
    z = z["residual"] / z["std"]
    with pytest.raises(AssertionError):
        assert_calibrated(z, z)


def test_network_that_is_right_is_left_alone(rng):
    found = fit_calibration(**galaxies(rng, honest))
    for name, values in found._asdict().items():
        if name.endswith("scale"):
            np.testing.assert_allclose(values, 0, atol=0.06)


def test_knots_are_quantiles_of_the_estimates(rng):
    sample = galaxies(rng, honest)
    found = fit_calibration(**sample)
    for name in ("brightness", "purity"):
        below = [(sample[name] < knot).mean() for knot in getattr(found, name)]
        np.testing.assert_allclose(below, (np.arange(8) + 0.5) / 8, atol=1e-3)


def test_corrections_are_constant_beyond_the_knots(rng):
    found = fit_calibration(**galaxies(rng, off_scale))
    for side, sign in ((0, -1), (-1, 1)):
        ends = found.brightness[side], found.purity[side], found.noise[side]
        at, far = (
            module._log_scale(found, [e + sign * d for e in ends], jnp.interp) for d in (0, 100)
        )
        np.testing.assert_allclose(at, far, rtol=1e-6)


def test_identity_changes_nothing(rng):
    zeros, knots = np.zeros(8, np.float32), np.arange(8, dtype=np.float32)
    identity = Calibration(*3 * (knots, zeros), np.zeros(1, np.float32))
    sample = galaxies(rng, honest, n=100)
    expected = sample["residual"] / sample["std"]
    np.testing.assert_allclose(standardised(identity, sample), expected, atol=1e-3)


def test_network_without_purity_is_corrected_by_brightness_alone(rng):
    """Stage I's, whose head of the purity is not trained."""

    def without_purity():
        scale = lambda brightness, purity: np.exp(0.5 * np.tanh(brightness - 4))  # noqa: E731
        return galaxies(rng, scale) | {"purity": np.full(N, 2.0)}

    found = fit_calibration(**without_purity())
    fresh = without_purity()
    assert all(np.isfinite(values).all() for values in found)
    assert_calibrated(standardised(found, fresh), fresh["brightness"])


@pytest.mark.parametrize("n", [1, 8, 60])
def test_few_galaxies_correct_nothing(n, rng):
    found = fit_calibration(**galaxies(rng, off_scale, n=n))
    for name, values in found._asdict().items():
        assert np.isfinite(values).all()
        assert not name.endswith("scale") or (values == 0).all()


def test_written_calibration_is_read_again(rng, tmp_path):
    found = Calibrations(
        *(fit_calibration(**galaxies(rng, scale, n=2000)) for scale in (honest, off_scale, honest))
    )
    write_calibrations(found, tmp_path / "calibration.json")
    again = read_calibrations(tmp_path / "calibration.json")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, again)
    assert {values.dtype for values in jax.tree.leaves(again)} == {np.dtype(np.float32)}
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]


def test_without_a_file_there_is_no_calibration(tmp_path):
    assert read_calibrations(tmp_path / "calibration.json") is None


def test_network_is_calibrated_on_what_it_is_shown(rng):
    """An untrained one, whose errors are far off before and right after."""
    model = VAE(2, (4,), 8, 1, (8,), (8,), 2, 16, 1)
    params = jax.jit(init_params, static_argnums=0)(model, jax.random.key(0))
    y, x = np.indices((16, 16)) - 7.5
    profile = (np.exp(-(y**2 + x**2) / 8) / (8 * np.pi))[..., None]
    flux = np.exp(rng.normal(5, 0.5, (500, 1))).astype(np.float32)
    light = (flux[:, None, None] * profile).astype(np.float32)
    examples = {"blend": light, "isolated": light, "flux": flux}
    psf, ones = profile[:15, :15].astype(np.float32), np.ones(1, np.float32)
    batches = observe_examples(jax.random.key(1), examples, psf=psf, variance=ones, gain=ones)
    deblend = make_deblend(model, params, psf=psf)
    found = calibrate(deblend, batches)
    encode = jax.jit(lambda seen: model.apply({"params": params}, seen, method="encode"))
    z = []
    for batch in batches:
        posterior = encode(batch.observation)
        after = calibrated(found, posterior, batch.observation)
        z.append(normal_score(after.log_flux, jnp.log(batch.flux)))
    z = np.concatenate(z)
    assert np.mean(np.abs(z) < 1) == pytest.approx(0.68, abs=0.06)


def test_sources_of_an_image_are_calibrated_as_such():
    first, again, field = (Calibration(*(np.full(8, k, np.float32),) * 7) for k in range(3))
    found = Calibrations(first, again, field).of_fields()
    assert found.first is found.again is found.field is field


@pytest.mark.parametrize("tail", [-0.3, 0.0, 0.2])
def test_tails_are_corrected_to_what_they_are(rng, tail):
    """Fluxes of a posterior whose tails are others than it states."""
    n = 40_000
    zeros = np.zeros((n, 1))
    stated = SinhArcsinh(zeros + 3, zeros - 2, zeros, zeros - 0.1)
    truth = np.exp(
        quantile(stated._replace(log_tail=stated.log_tail + tail), rng.normal(size=(n, 1)))
    )
    flux = np.exp(stated.median)
    low, high = (np.exp(quantile(stated, z)) for z in (-1.0, 1.0))
    found = Found(flux, (high - low) / 2, zeros + 0.9, stated)
    calibration = calibrate_fluxes(truth, found, np.ones((n, 1)))
    assert calibration.log_tail[0] == pytest.approx(tail, abs=0.05)
    assert all(abs(v).max() < 0.1 for k, v in calibration._asdict().items() if "scale" in k)


class Found(NamedTuple):
    flux: np.ndarray
    flux_err: np.ndarray
    purity: np.ndarray
    log_flux: SinhArcsinh
