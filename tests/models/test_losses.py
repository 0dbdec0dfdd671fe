import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from vaedeblend.models import losses
from vaedeblend.models.sinh_arcsinh import SinhArcsinh
from vaedeblend.models.vae import Posterior

SHAPE = (3, 8, 8, 2)
BACKGROUND = np.tile([400.0, 90.0], (3, 1, 1, 1))
GAIN = np.tile([2.0, 4.0], (3, 1, 1, 1))


def under_jit(name, *args):
    """The loss in single precision, as training computes it."""
    args = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), args)
    return jax.jit(getattr(losses, name))(*args)


@pytest.fixture
def weight(rng):
    return rng.uniform(0.5, 2, SHAPE[1:3])


@pytest.fixture
def posterior(rng):
    mean, log_std, *flux, purity_logit = (rng.uniform(-1, 1, (3, n)) for n in (4, 4, 2, 2, 2, 2, 2))
    return Posterior(mean, log_std, SinhArcsinh(*flux), purity_logit)


@pytest.fixture
def counts(rng):
    """Electrons expected and counted, background included."""
    expected = BACKGROUND + rng.uniform(0, 500, SHAPE)
    return expected, rng.poisson(expected)


def weighted(per_pixel, weight):
    return np.sum(per_pixel * weight[:, :, None], axis=(1, 2, 3))


def light(electrons):
    return (electrons - BACKGROUND) / GAIN


def test_gaussian_is_scipys_without_its_constant(rng, weight):
    data, model = rng.normal(size=(2, *SHAPE))
    variance = rng.uniform(0.5, 3, SHAPE)
    norm = stats.norm(model, np.sqrt(variance))
    expected = weighted(norm.logpdf(model) - norm.logpdf(data), weight)
    actual = under_jit("gaussian_nll", data, model, variance, weight)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_poisson_is_scipys_beside_a_perfect_model(counts, weight):
    expected, counted = counts
    per_pixel = stats.poisson(counted).logpmf(counted) - stats.poisson(expected).logpmf(counted)
    actual = under_jit("poisson_nll", light(counted), light(expected), BACKGROUND, GAIN, weight)
    np.testing.assert_allclose(actual, weighted(per_pixel, weight), rtol=1e-3)


def test_poisson_is_nearly_gaussian_at_high_counts(rng, weight):
    expected = rng.uniform(1e4, 2e4, SHAPE)
    counted = rng.poisson(expected)
    data, model = light(counted), light(expected)
    poisson = under_jit("poisson_nll", data, model, BACKGROUND, GAIN, weight)
    gaussian = under_jit("gaussian_nll", data, model, expected / GAIN**2, weight)
    np.testing.assert_allclose(poisson, gaussian, rtol=0.02)


def test_kl_is_the_mean_difference_of_scipys_densities(rng, posterior):
    z = rng.normal(posterior.mean, np.exp(posterior.log_std), (200_000, 3, 4))
    density = stats.norm(posterior.mean, np.exp(posterior.log_std)).logpdf(z)
    expected = np.sum(density - stats.norm.logpdf(z), axis=-1).mean(axis=0)
    np.testing.assert_allclose(under_jit("kl_divergence", posterior), expected, rtol=0.02)


def test_flux_is_scipys_without_its_constant(rng, posterior):
    flux = rng.uniform(0.1, 10, (3, 2))
    normal = posterior.log_flux._replace(skew=np.zeros((3, 2)), log_tail=np.zeros((3, 2)))
    posterior = posterior._replace(log_flux=normal)
    norm = stats.norm(normal.median, np.exp(normal.log_width))
    expected = -np.sum(norm.logpdf(np.log(flux)) + np.log(2 * np.pi) / 2, axis=-1)
    np.testing.assert_allclose(under_jit("flux_nll", posterior, flux), expected, rtol=1e-4)


def test_latent_is_scipys_without_its_constant(rng, posterior):
    z = rng.normal(size=(3, 4))
    norm = stats.norm(posterior.mean, np.exp(posterior.log_std))
    expected = -np.sum(norm.logpdf(z) + np.log(2 * np.pi) / 2, axis=-1)
    np.testing.assert_allclose(under_jit("latent_nll", posterior, z), expected, rtol=1e-4)


def test_purity_is_the_cross_entropy(rng, posterior):
    truth, estimate = rng.uniform(0, 1, (3, 2)), special.expit(posterior.purity_logit)
    entropy = truth * np.log(estimate) + (1 - truth) * np.log(1 - estimate)
    actual = under_jit("purity_nll", posterior, truth)
    np.testing.assert_allclose(actual, -entropy.sum(axis=-1), rtol=1e-5)


def test_purity_costs_least_where_it_is_the_mean_of_the_truths(posterior):
    truths = jnp.array([[0.2, 0.5], [0.9, 1.0], [1.0, 0.6]])

    def loss(logit):
        each = jnp.broadcast_to(logit, (3, 2))
        return losses.purity_nll(posterior._replace(purity_logit=each), truths).mean()

    best = jnp.asarray(special.logit(truths.mean(axis=0)))
    np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-6)


def test_certain_purities_cost_nothing_and_wrong_ones_are_finite(posterior):
    sure = posterior._replace(purity_logit=np.full((3, 2), 100.0))
    np.testing.assert_allclose(under_jit("purity_nll", sure, np.ones((3, 2))), 0)
    np.testing.assert_allclose(under_jit("purity_nll", sure, np.zeros((3, 2))), 200)


def test_free_bits_are_the_least_that_each_dimension_costs():
    mean = np.array([[0.0, 0.1, 2.0, 3.0]])
    zeros = np.zeros((1, 4))
    posterior = Posterior(mean, zeros, SinhArcsinh(zeros, zeros, zeros, zeros), zeros)
    each = mean[0] ** 2 / 2
    for free in (0.0, 0.5, 3.0):
        expected = np.maximum(each, free).sum()
        actual = losses.kl_divergence(posterior, free)
        np.testing.assert_allclose(actual, [expected], rtol=1e-5)


def test_perfect_model_costs_nothing(counts, weight):
    perfect = light(counts[0])
    gaussian = under_jit("gaussian_nll", perfect, perfect, np.ones(SHAPE), weight)
    poisson = under_jit("poisson_nll", perfect, perfect, BACKGROUND, GAIN, weight)
    np.testing.assert_array_equal(gaussian, np.zeros(3))
    np.testing.assert_array_equal(poisson, np.zeros(3))


def test_prior_has_no_divergence():
    zeros = np.zeros((3, 4))
    prior = Posterior(zeros, zeros, SinhArcsinh(zeros, zeros, zeros, zeros), zeros)
    np.testing.assert_array_equal(under_jit("kl_divergence", prior), np.zeros(3))


def test_poisson_never_rewards_an_imperfect_model(counts):
    expected, counted = counts
    one = np.ones(SHAPE[1:3])
    assert (
        under_jit("poisson_nll", light(counted), light(expected), BACKGROUND, GAIN, one) > 0
    ).all()


def test_poisson_gradient_is_finite_at_zero_light_and_below_zero_counts(weight):
    def loss(model, data):
        args = (jnp.asarray(a, jnp.float32) for a in (BACKGROUND, GAIN, weight))
        return losses.poisson_nll(data, model, *args).sum()

    dark = jnp.zeros(SHAPE)
    for data in (dark, dark - 1e4):
        assert np.isfinite(jax.grad(loss)(dark, data)).all()


def test_poisson_gradient_vanishes_at_the_data(counts, weight):
    def loss(model):
        args = (jnp.asarray(a, jnp.float32) for a in (BACKGROUND, GAIN, weight))
        return losses.poisson_nll(data, model, *args).sum()

    data = jnp.asarray(light(counts[0]), jnp.float32)
    np.testing.assert_allclose(jax.grad(loss)(data), 0, atol=1e-5)


def test_weight_peaks_at_the_centre():
    weight = losses.centre_weight(9, 3.0, 2.0)
    assert weight.shape == (9, 9)
    assert weight.max() == weight[4, 4] == 4
    np.testing.assert_allclose(weight[4, 6], 1 + 3 * np.exp(-0.5), rtol=1e-6)


def test_weight_is_symmetric_on_an_even_stamp():
    weight = np.asarray(losses.centre_weight(8, 3.0, 2.0))
    np.testing.assert_array_equal(weight, weight[::-1])
    np.testing.assert_array_equal(weight, weight.T)


def test_weight_without_boost_is_one():
    np.testing.assert_array_equal(losses.centre_weight(4, 0.0, 2.0), np.ones((4, 4)))
