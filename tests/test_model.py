import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend import model
from vaedeblend.model import VAE, Posterior, matched_filter_fluxes, reparameterize
from vaedeblend.survey import Survey, magnitude_to_flux

SIZE = 16
FIELDS = {
    "latent_dim": 3,
    "encoder_widths": (4, 8),
    "encoder_hidden": 16,
    "decoder_hidden": (16,),
    "stamp_size": SIZE,
    "bands": 2,
}


def gaussian(sigma):
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    return np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@pytest.fixture(scope="module")
def vae():
    return VAE(**FIELDS)


@pytest.fixture(scope="module")
def stamps():
    """Noisy images of unit variance with a Gaussian of 100 in the middle."""
    noise = np.random.default_rng(3).normal(size=(4, SIZE, SIZE, 2))
    image = jnp.asarray(noise + 100 * gaussian(1.5)[..., None], jnp.float32)
    return image, jnp.ones_like(image)


@pytest.fixture(scope="module")
def initial(vae, stamps):
    return jax.jit(vae.init)(jax.random.key(0), *stamps, jax.random.key(1))


@pytest.fixture(scope="module")
def params(initial):
    """As though trained: no head is zero."""
    leaves, tree = jax.tree.flatten(initial)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [p + 0.1 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.fixture(scope="module")
def encode(vae):
    return jax.jit(lambda params, *inputs: vae.apply(params, *inputs, method="encode"))


def test_shapes_in_two_bands(vae, params, stamps, key):
    posterior, profile = vae.apply(params, *stamps, key)
    assert [a.shape for a in posterior] == [(4, 3), (4, 3), (4, 2), (4, 2)]
    assert profile.shape == (4, SIZE, SIZE, 2)


def test_profile_is_a_share_of_the_light(vae, params, key):
    profile = vae.apply(params, 5 * jax.random.normal(key, (50, 3)), method="decode")
    total = profile.sum(axis=(1, 2))
    assert (profile >= 0).all()
    assert (total > 0).all()
    assert (total <= 1 + 1e-6).all()


@pytest.mark.parametrize("scale", [1e-3, 0.1, 7.0, 1e3])
def test_encoder_is_scale_free(scale, encode, params, stamps):
    image, variance = stamps
    before = encode(params, image, variance)
    after = encode(params, scale * image, scale**2 * variance)
    np.testing.assert_allclose(after.log_flux, before.log_flux + np.log(scale), rtol=1e-4)
    for name in ("mean", "log_std", "log_flux_log_std"):
        np.testing.assert_allclose(
            getattr(after, name), getattr(before, name), rtol=1e-4, atol=1e-5
        )


@pytest.fixture(scope="module")
def bright_to_faint(encode, initial):
    """ln(flux) of Gaussians of 19 to 26 mag, and what the untrained encoder says of them."""
    flux = magnitude_to_flux(np.linspace(19, 26, 15))
    image = flux[:, None, None, None] * gaussian(1.5)[..., None].repeat(2, -1)
    variance = np.broadcast_to(Survey().variance, image.shape)
    posterior = encode(initial, *(jnp.asarray(a, jnp.float32) for a in (image, variance)))
    return np.log(flux), posterior


def test_every_magnitude_is_finite(bright_to_faint):
    assert all(np.isfinite(a).all() for a in bright_to_faint[1])


def test_first_guess_of_the_flux_does_not_saturate(bright_to_faint):
    truth, posterior = bright_to_faint
    slope = np.diff(posterior.log_flux[:, 0]) / np.diff(truth)
    np.testing.assert_allclose(slope, 1, atol=0.05)


def test_trained_encoder_is_finite_in_darkness(encode, params):
    dark = jnp.zeros((1, SIZE, SIZE, 2))
    assert all(np.isfinite(a).all() for a in encode(params, dark - 1e3, dark + 1))


@pytest.mark.parametrize(("i", "sigma"), list(enumerate(model._FILTER_SIGMAS)))
def test_matched_filter_recovers_its_gaussian(i, sigma, rng):
    image = 37 * gaussian(sigma)[None, ..., None]
    variance = rng.uniform(1, 3, image.shape)
    flux = matched_filter_fluxes(*(jnp.asarray(a, jnp.float32) for a in (image, variance)))
    np.testing.assert_allclose(flux[0, i, 0], 37, rtol=1e-5)


def test_matched_filter_ignores_pixels_of_infinite_variance(stamps):
    image, variance = stamps
    masked = variance.at[:, 3:6, 8].set(jnp.inf)
    np.testing.assert_array_equal(
        matched_filter_fluxes(image.at[:, 3:6, 8].set(1e6), masked),
        matched_filter_fluxes(image, masked),
    )


def test_sample_has_the_posteriors_mean_and_width(key):
    mean, std = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    n = 20_000
    flux = jnp.zeros((n, 1))
    posterior = Posterior(jnp.tile(mean, (n, 1)), jnp.tile(jnp.log(std), (n, 1)), flux, flux)
    sample = np.asarray(reparameterize(key, posterior))
    assert (abs(sample.mean(axis=0) - mean) < 4 * std / np.sqrt(n)).all()
    np.testing.assert_allclose(sample.std(axis=0), std, rtol=0.02)


def test_sample_is_differentiable_in_mean_and_width(key):
    zero = jnp.zeros((1, 1))
    gradient = jax.grad(lambda p: reparameterize(key, p).sum())(Posterior(zero, zero, zero, zero))
    noise = jax.random.normal(key, (1, 1))
    np.testing.assert_allclose(gradient.mean, 1)
    np.testing.assert_allclose(gradient.log_std, noise, rtol=1e-6)


def test_bounded_is_nearly_the_identity_inside():
    x = jnp.linspace(-3.5, -1.5, 21)
    np.testing.assert_allclose(model._bounded(x, -7.0, 2.0), x, atol=0.02)


def test_bounded_keeps_its_bounds():
    y = model._bounded(jnp.array([-1e6, 1e6]), -7.0, 2.0)
    np.testing.assert_allclose(y, [-7, 2], rtol=1e-6)


def test_misspelt_field_is_an_error():
    with pytest.raises(TypeError, match="latent_dims"):
        VAE(**FIELDS, latent_dims=4)


def test_latent_may_be_large(stamps, key):
    vae = VAE(**FIELDS | {"latent_dim": 100})
    params = jax.eval_shape(vae.init, key, *stamps, key)
    posterior, _ = jax.eval_shape(vae.apply, params, *stamps, key)
    assert posterior.mean.shape == (4, 100)
