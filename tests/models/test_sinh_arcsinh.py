import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from vaedeblend.models.sinh_arcsinh import SinhArcsinh, nll, normal_score, quantile

SHAPES = [(0.0, 0.0), (0.7, -0.5), (-1.2, -1.0), (0.3, 0.1)]


def sinh_arcsinh(skew, log_tail, median=1.3, log_width=-1.0):
    return SinhArcsinh(*(jnp.float32(a) for a in (median, log_width, skew, log_tail)))


def density(of, x):
    return np.exp(-np.asarray(nll(of, jnp.asarray(x)), float)) / np.sqrt(2 * np.pi)


def test_without_skew_and_tails_it_is_scipys_normal():
    x = np.linspace(-1, 4, 11)
    expected = stats.norm(1.3, np.exp(-1)).pdf(x)
    np.testing.assert_allclose(density(sinh_arcsinh(0.0, 0.0), x), expected, rtol=1e-4)


@pytest.mark.parametrize(("skew", "log_tail"), SHAPES)
def test_density_integrates_to_the_share_below_each_quantile(skew, log_tail):
    of = sinh_arcsinh(skew, log_tail)
    x = 1.3 + np.sinh(np.linspace(-9, 9, 200_001)) / 20  # dense at the median, far at the ends
    share = integrate.cumulative_simpson(density(of, x), x=x, initial=0)
    assert share[-1] == pytest.approx(1, abs=2e-3)
    z = np.array([-1.96, -1.0, 0.0, 1.0, 1.96])
    below = np.interp(np.asarray(quantile(of, jnp.asarray(z))), x, share)
    np.testing.assert_allclose(below, stats.norm.cdf(z), atol=2e-3)


@pytest.mark.parametrize(("skew", "log_tail"), SHAPES)
def test_parameters_are_median_and_half_of_the_68_per_cent_interval(skew, log_tail):
    of = sinh_arcsinh(skew, log_tail)
    assert float(quantile(of, 0.0)) == pytest.approx(1.3)
    width = float(quantile(of, 1.0) - quantile(of, -1.0)) / 2
    assert width == pytest.approx(np.exp(-1), rel=1e-5)


@pytest.mark.parametrize(("skew", "log_tail"), SHAPES)
def test_score_is_the_inverse_of_the_quantile(skew, log_tail):
    of, z = sinh_arcsinh(skew, log_tail), jnp.linspace(-4, 4, 17)
    np.testing.assert_allclose(normal_score(of, quantile(of, z)), z, atol=1e-3)


def test_skew_lengthens_the_upper_tail_and_tails_both():
    def reach(of):
        return [abs(float(quantile(of, z)) - 1.3) for z in (-3.0, 3.0)]

    normal, skewed, heavy = (reach(sinh_arcsinh(*each)) for each in [(0, 0), (0.5, 0), (0, -0.5)])
    assert skewed[1] > 1.1 * normal[1] and skewed[0] < normal[0]
    assert min(heavy) > 1.3 * max(normal)


def test_far_outliers_cost_little_and_have_finite_gradients():
    def cost(median):
        return nll(sinh_arcsinh(0.2, -1.0)._replace(median=median), jnp.float32(0.0))

    value, slope = jax.value_and_grad(cost)(jnp.float32(100.0))
    assert np.isfinite(slope) and value < 100
