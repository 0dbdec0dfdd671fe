import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calibrated import galaxies, honest, standardised

from vaedeblend.deblend.calibration import (
    Calibration,
    Calibrations,
    estimates,
    log_error_factor,
    read_calibrations,
    write_calibrations,
)
from vaedeblend.exceptions import CalibrationError
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, quantile
from vaedeblend.models.vae import Observation, Posterior


def calibration(rng):
    """Any one: knots in order, and factors of the error between a half and two."""
    knots = [np.sort(rng.normal(2, 3, 8)).astype(np.float32) for _ in range(3)]
    scales = [rng.uniform(-0.7, 0.7, 8).astype(np.float32) for _ in range(3)]
    columns = [a for pair in zip(knots, scales, strict=True) for a in pair]
    return Calibration(*columns, rng.uniform(-0.3, 0.3, 1).astype(np.float32))


def test_corrections_are_constant_beyond_the_knots(rng):
    found = calibration(rng)
    for side, sign in ((0, -1), (-1, 1)):
        ends = found.brightness[side], found.purity[side], found.noise[side]
        at, far = (
            log_error_factor(found, [e + sign * d for e in ends], jnp.interp) for d in (0, 100)
        )
        np.testing.assert_allclose(at, far, rtol=1e-6)


def test_identity_changes_nothing(rng):
    zeros, knots = np.zeros(8, np.float32), np.arange(8, dtype=np.float32)
    identity = Calibration(*3 * (knots, zeros), np.zeros(1, np.float32))
    sample = galaxies(rng, honest, n=100)
    expected = sample["residual"] / sample["std"]
    np.testing.assert_allclose(standardised(identity, sample), expected, atol=1e-3)


def test_written_calibration_is_read_again(rng, tmp_path):
    found = Calibrations(*(calibration(rng) for _ in range(3)))
    write_calibrations(found, tmp_path / "calibration.json")
    again = read_calibrations(tmp_path / "calibration.json")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, again)
    assert {values.dtype for values in jax.tree.leaves(again)} == {np.dtype(np.float32)}
    assert [p.name for p in tmp_path.iterdir()] == ["calibration.json"]


def test_numbers_that_are_not_finite_are_not_written(rng, tmp_path):
    broken = calibration(rng)._replace(log_tail=np.full(1, np.nan, np.float32))
    with pytest.raises(CalibrationError, match="not finite; wanted a training that converged"):
        write_calibrations(Calibrations(broken, broken, broken), tmp_path / "calibration.json")
    assert not (tmp_path / "calibration.json").exists()


def test_without_a_file_there_is_no_calibration(tmp_path):
    assert read_calibrations(tmp_path / "calibration.json") is None


def test_sources_of_an_image_are_calibrated_as_such():
    first, again, field = (Calibration(*(np.full(8, k, np.float32),) * 7) for k in range(3))
    found = Calibrations(first, again, field).of_fields()
    assert found.first is found.again is found.field is field


@pytest.mark.parametrize("skew", [0.0, 0.7, -0.7])
def test_noise_is_the_stated_error_that_was_fitted_whatever_the_skew(skew):
    width = jnp.array([[0.01], [0.3], [1.5]])
    zeros = jnp.zeros_like(width)
    stated = SinhArcsinh(zeros + 3, jnp.log(width), zeros + skew, zeros - 0.1)
    stamp = zeros[:, None, None]
    seen = Observation(stamp, 4 + stamp, zeros, zeros, stamp, zeros)
    *_, noise = estimates(Posterior(zeros, zeros, stated, zeros), seen)
    low, flux, high = (np.exp(quantile(stated, z)) for z in (-1.0, 0.0, 1.0))
    error = (high - low) / 2  # as `Deblended` states it, from which a calibration is fitted
    fitted = np.log(flux / 2) + np.log(np.arcsinh(error / flux))
    np.testing.assert_allclose(noise, fitted, atol=1e-3)
    assert (abs(noise - np.log(flux / 2) - stated.log_width).max() > 0.1) == (skew != 0)
