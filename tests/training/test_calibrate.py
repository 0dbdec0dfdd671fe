from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calibrated import N, galaxies, honest, off_scale, standardised
from matched import PROFILE, SIZE, matched_filter

from vaedeblend.deblend.calibration import calibrated
from vaedeblend.deblend.network import Deblender
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, normal_score, quantile
from vaedeblend.models.vae import VAE, init_params
from vaedeblend.training.calibrate import (
    calibrate_field,
    calibrate_fluxes,
    calibrate_stamps,
    fit_calibration,
)
from vaedeblend.training.observe import observe_examples


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


def test_network_is_calibrated_on_what_it_is_shown(rng):
    """An untrained one, whose errors are far off before and right after."""
    model = VAE(2, (4,), 8, 1, (8,), (8,), 2, 16, 1)
    params = init_params(model, jax.random.key(0))
    y, x = np.indices((16, 16)) - 7.5
    profile = (np.exp(-(y**2 + x**2) / 8) / (8 * np.pi))[..., None]
    flux = np.exp(rng.normal(5, 0.5, (500, 1))).astype(np.float32)
    light = (flux[:, None, None] * profile).astype(np.float32)
    examples = {"blend": light, "isolated": light, "flux": flux}
    psf, ones = profile[:15, :15].astype(np.float32), np.ones(1, np.float32)
    batches = observe_examples(jax.random.key(1), examples, psf=psf, variance=ones, gain=ones)
    deblend = Deblender(model, params, psf)
    found = calibrate_stamps(deblend, batches)
    encode = jax.jit(lambda seen: model.apply({"params": params}, seen, method="encode"))
    z = []
    for batch in batches:
        posterior = encode(batch.observation)
        after = calibrated(found, posterior, batch.observation)
        z.append(normal_score(after.log_flux, jnp.log(batch.flux)))
    z = np.concatenate(z)
    assert np.mean(np.abs(z) < 1) == pytest.approx(0.68, abs=0.06)


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


def test_errors_of_other_causes_are_not_laid_to_the_network(rng):
    """A right network, beside whose errors stand others, is left alone; where none stands, too."""
    n = 40_000
    zeros = np.zeros((n, 1))
    stated = SinhArcsinh(zeros + 3, zeros - 3, zeros, zeros)
    beside = np.where(rng.random((n, 1)) < 0.5, 0, 0.3)
    off = np.exp(beside * rng.normal(size=(n, 1)))
    truth, flux = off * np.exp(quantile(stated, rng.normal(size=(n, 1)))), np.exp(stated.median)
    low, high = (np.exp(quantile(stated, z)) for z in (-1.0, 1.0))
    found = Found(flux, (high - low) / 2, zeros + 0.9, stated)
    known = calibrate_fluxes(truth, found, np.ones((n, 1)), beside=beside)
    unknown = calibrate_fluxes(truth, found, np.ones((n, 1)))
    right, wide = (
        sum(values.mean() for name, values in each._asdict().items() if "scale" in name)
        for each in (known, unknown)
    )
    assert abs(right) < 0.03 and wide > 0.2
    assert known.log_tail[0] == pytest.approx(0, abs=0.05)


def test_galaxies_without_a_flux_calibrate_nothing(rng):
    n = 2000
    zeros = np.zeros((n, 1))
    stated = SinhArcsinh(zeros + 3, zeros - 2, zeros, zeros)
    truth, flux = np.exp(quantile(stated, rng.normal(size=(n, 1)))), np.exp(stated.median)
    found = Found(flux, 0.14 * flux, zeros + 0.9, stated)
    some = jax.tree.map(lambda values: values[5:], found)
    flux, error = flux.copy(), found.flux_err.copy()
    flux[:4], error[4] = np.nan, 0.0
    lacking = found._replace(flux=flux, flux_err=error)
    made = [
        calibrate_fluxes(truth, lacking, np.ones((n, 1))),
        calibrate_fluxes(truth[5:], some, np.ones((n - 5, 1))),
    ]
    jax.tree.map(np.testing.assert_array_equal, *made)


class Found(NamedTuple):
    flux: np.ndarray
    flux_err: np.ndarray
    purity: np.ndarray
    log_flux: SinhArcsinh


def test_errors_are_calibrated_on_what_is_found(rng):
    """A deblender whose errors are too small by three."""

    def sure(image, variance, **options):
        found = matched_filter(image, variance, **options)
        return found._replace(flux_err=found.flux_err / 3, purity=0.9 * found.purity)

    places = np.stack(np.meshgrid(*[np.arange(60.5, 1000, 40)] * 2), axis=-1).reshape(-1, 2)
    flux = rng.uniform(30, 300, len(places))
    image = 0.3 * rng.normal(size=(1040, 1040))
    for f, (y, x) in zip(flux, places.astype(int), strict=True):
        image[y - 31 : y + 33, x - 31 : x + 33] += f * PROFILE[..., 0]
    rms = np.full(image.shape, 0.3)
    found = calibrate_field(sure, image, rms, places, flux, size=SIZE, gain=None)
    total = sum(values.mean() for name, values in found._asdict().items() if "scale" in name)
    assert total == pytest.approx(np.log(3), abs=0.2)
