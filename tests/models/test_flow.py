import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import apply, moved
from scipy import stats

from vaedeblend.models.flow import Flow

DIMS = (2, 5, 16)


def trained(flow, key, condition=None):
    """As though trained: no layer is zero."""
    params = jax.jit(flow.init)(key, jnp.zeros((1, flow.latent_dim)), condition)
    return moved(params, key)


@pytest.fixture(scope="module", params=[2, pytest.param(5, marks=pytest.mark.slow), 16])
def case(request):
    """A flow that is not the identity, its parameters and a batch."""
    flow = Flow(request.param, (16, 16), 7)
    params = trained(flow, jax.random.key(1))
    return flow, params, jax.random.normal(jax.random.key(2), (32, request.param))


def test_inverse_of_each_other(case):
    flow, params, z = case
    u, _ = apply(flow, params, z, method="to_base")
    assert jnp.abs(u - z).max() > 0.2
    np.testing.assert_allclose(apply(flow, params, u, method="from_base"), z, atol=2e-4)
    there = apply(flow, params, z, method="from_base")
    back, _ = apply(flow, params, there, method="to_base")
    np.testing.assert_allclose(back, z, atol=2e-4)


def test_log_determinant_is_the_jacobians(case):
    flow, params, z = case

    def one(z):
        return apply(flow, params, z[None], method="to_base")[0][0]

    _, log_det = apply(flow, params, z, method="to_base")
    _, expected = jnp.linalg.slogdet(jax.jit(jax.vmap(jax.jacfwd(one)))(z))
    assert jnp.ptp(expected) > 0.1
    np.testing.assert_allclose(log_det, expected, atol=1e-4)


def test_every_element_depends_on_every_other(case):
    flow, params, z = case
    one = jax.jacfwd(lambda z: apply(flow, params, z[None], method="to_base")[0][0])
    assert (jax.jit(one)(z[0]) != 0).all()


@pytest.mark.parametrize("dim", DIMS)
def test_any_two_elements_are_on_different_sides_once(dim, key):
    """What one element does to another directly, no third one passing it on."""
    flow = Flow(dim, (4,), 2 * int(np.ceil(np.log2(dim))))
    bound = flow.bind(jax.jit(flow.init)(key, jnp.zeros((1, dim))))
    direct = {(a, b) for fixed, moved in bound._halves for a in fixed for b in moved}
    assert direct == {(a, b) for a in range(dim) for b in range(dim) if a != b}


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("couplings", [5, 6])
def test_starts_as_a_unit_gaussian(dim, couplings, key):
    flow = Flow(dim, (8,), couplings)
    z = jax.random.normal(key, (20, dim))
    log_prob, params = jax.jit(flow.init_with_output)(key, z)
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(z).sum(axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(apply(flow, params, z, method="from_base"), z)


def test_integrates_to_one():
    flow = Flow(2, (16,), 4)
    params = trained(flow, jax.random.key(5))
    axis = np.linspace(-25, 25, 1001)
    z = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), jnp.float32)
    density = jnp.exp(apply(flow, params, z))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=2e-3)


def test_scale_is_bounded(key):
    """Even absurd weights give finite numbers in both directions."""
    flow = Flow(4, (8,), 6)
    params = jax.tree.map(lambda p: 100 * p, trained(flow, key))
    z = jax.random.normal(key, (10, 4))
    u, log_det = apply(flow, params, z, method="to_base")
    assert jnp.isfinite(u).all()
    assert (jnp.abs(log_det) <= 2.0 * 2 * 6 + 1e-3).all()
    assert jnp.isfinite(apply(flow, params, z, method="from_base")).all()


@pytest.fixture(scope="module")
def conditional():
    """A flow in two dimensions with a condition of three numbers."""
    flow = Flow(2, (16,), 4)
    params = trained(flow, jax.random.key(5), jnp.zeros((1, 3)))
    return flow, params


def test_conditional_flow_is_inverted_by_the_same_condition(conditional, key):
    flow, params = conditional
    z, condition = jax.random.normal(key, (32, 2)), jax.random.normal(key, (32, 3))
    u, log_det = apply(flow, params, z, condition, method="to_base")
    back = apply(flow, params, u, condition, method="from_base")
    np.testing.assert_allclose(back, z, atol=2e-4)
    other = apply(flow, params, u, condition + 1, method="from_base")
    assert jnp.abs(other - z).max() > 0.01

    def one(z, condition):
        return apply(flow, params, z[None], condition[None], method="to_base")[0][0]

    jacobian = jax.jit(jax.vmap(jax.jacfwd(one)))(z, condition)
    _, expected = jnp.linalg.slogdet(jacobian)
    np.testing.assert_allclose(log_det, expected, atol=1e-4)


@pytest.mark.parametrize("value", [-1.0, 2.0])
def test_conditional_density_integrates_to_one_and_is_that_of_its_samples(conditional, key, value):
    flow, params = conditional
    axis = np.linspace(-25, 25, 1001)
    z = jnp.asarray(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), jnp.float32)
    density = jnp.exp(apply(flow, params, z, jnp.full((len(z), 3), value)))
    area = (axis[1] - axis[0]) ** 2
    assert density.sum() * area == pytest.approx(1, abs=2e-3)
    u = jax.random.normal(key, (20000, 2))
    drawn = apply(flow, params, u, jnp.full((len(u), 3), value), method="from_base")
    np.testing.assert_allclose(drawn.mean(axis=0), density @ z * area, atol=0.05)
    np.testing.assert_allclose((drawn**2).mean(axis=0), density @ z**2 * area, rtol=0.05)


def banana(rng, size):
    """Unit Gaussian in the first element, 0.3 wide about a parabola in the second."""
    x = rng.normal(size=size)
    z = np.stack([x, x**2 - 1 + 0.3 * rng.normal(size=size)], axis=-1)
    return jnp.asarray(z, jnp.float32)


@pytest.mark.slow
def test_learns_a_banana(rng, key):
    flow = Flow(2, (32, 32), 6)
    data = banana(rng, 4096)
    params = jax.jit(flow.init)(key, data)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, batch):
        loss = lambda params: -apply(flow, params, batch).mean()  # noqa: E731
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for i in range(600):
        params, state = step(params, state, data[512 * (i % 8) :][:512])

    fresh = banana(rng, 4096)
    entropy = np.log(2 * np.pi * np.e) + np.log(0.3)  # of the density itself: the best there is
    assert -apply(flow, params, fresh).mean() == pytest.approx(entropy, abs=0.1)
    drawn = apply(flow, params, jax.random.normal(key, (4096, 2)), method="from_base")
    for power in (1, 2):
        moment = jnp.cov(drawn[:, 0] ** power, drawn[:, 1])[0, 1]
        assert moment == pytest.approx(np.cov(fresh[:, 0] ** power, fresh[:, 1])[0, 1], abs=0.4)
