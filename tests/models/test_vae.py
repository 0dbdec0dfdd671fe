from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply, moved
from scipy import stats

from vaedeblend.models import vae as model
from vaedeblend.models.sinh_arcsinh import SinhArcsinh
from vaedeblend.models.vae import (
    VAE,
    Observation,
    Posterior,
    background_rms,
    correlation_features,
    matched_filter_fluxes,
    psf_features,
    reparameterize,
)
from vaedeblend.survey import Survey, magnitude_to_flux

SIZE = 16
FIELDS = {
    "latent_dim": 3,
    "encoder_widths": (4, 8),
    "encoder_hidden": 16,
    "encoder_blocks": 1,
    "decoder_hidden": (16,),
    "flow_hidden": (8,),
    "flow_couplings": 4,
    "stamp_size": SIZE,
    "bands": 2,
    "coadds": True,
}

KEY = jax.random.key(7)
features_of = jax.jit(psf_features)
filter_fluxes = jax.jit(matched_filter_fluxes)


def gaussian(sigma, size=SIZE):
    y, x = np.indices((size, size)) - (size - 1) / 2
    return np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def elliptical(angle, ratio=1.3, size=31):
    """A Gaussian of unit sum, longer along `angle` from +x towards +y [rad]."""
    y, x = np.indices((size, size)) - size // 2
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    light = np.exp(-((along / ratio) ** 2 + (across * ratio) ** 2) / (2 * 1.5**2))
    return jnp.asarray(light / light.sum(), jnp.float32)[..., None]


def observation(image, variance, gain=2.0):
    """In two bands, under a PSF that differs between them."""
    image, variance = (jnp.asarray(a, jnp.float32) for a in (image, variance))
    psf = jnp.tile(jnp.arange(20.0) / 10, (len(image), 1))
    gain, nobody = jnp.full((len(image), 2), gain), jnp.zeros_like(image)
    numbers = jnp.tile(jnp.arange(10.0) / 9, (len(image), 1))
    return Observation(image, variance, gain, psf, nobody, numbers)


@pytest.fixture(scope="module")
def vae():
    return VAE(**FIELDS)


@pytest.fixture(scope="module")
def stamps():
    """Noisy images of unit variance with a Gaussian of 100 in the middle."""
    noise = np.random.default_rng(3).normal(size=(4, SIZE, SIZE, 2))
    return observation(noise + 100 * gaussian(1.5)[..., None], np.ones_like(noise))


@pytest.fixture(scope="module")
def initial(vae, stamps):
    return jax.jit(vae.init)(jax.random.key(0), stamps, jax.random.key(1))


@pytest.fixture(scope="module")
def params(initial):
    """As though trained: no head is zero."""
    return moved(initial, jax.random.key(2))


@pytest.fixture(scope="module")
def encode(vae):
    return partial(apply, vae, method="encode")


def test_shapes_in_two_bands(vae, params, stamps, key):
    posterior, profile, log_prior = apply(vae, params, stamps, key)
    shapes = [a.shape for a in jax.tree.leaves(posterior)]
    assert shapes == [*2 * [(4, 3)], *5 * [(4, 2)], (4,)]
    assert profile.shape == (4, SIZE, SIZE, 2)
    assert log_prior.shape == (4,)


def test_call_is_encode_sample_decode_and_prior(vae, params, stamps, key):
    posterior, profile, log_prior = apply(vae, params, stamps, key)
    z = reparameterize(key, apply(vae, params, stamps, method="encode"))
    decoded = apply(vae, params, z, stamps.psf, method="decode")
    np.testing.assert_allclose(profile, decoded, rtol=1e-5)
    np.testing.assert_allclose(log_prior, apply(vae, params, z, method="log_prior"), rtol=1e-5)


def test_prior_of_the_untrained_model_is_a_unit_gaussian(vae, initial, key):
    u = jax.random.normal(key, (5, 3))
    expected = stats.norm.logpdf(u).sum(axis=-1)
    np.testing.assert_allclose(apply(vae, initial, u, method="log_prior"), expected, rtol=1e-5)
    np.testing.assert_array_equal(apply(vae, initial, u, method="from_base"), u)


def test_decoder_is_told_the_psf(vae, params, key):
    z = jax.random.normal(key, (2, 3))
    one, other = (apply(vae, params, z, jnp.full((2, 20), p), method="decode") for p in (0.0, 1.0))
    assert jnp.abs(one / other - 1).max() > 0.01


def test_profile_is_a_share_of_the_light(vae, params, key):
    z, psf = 5 * jax.random.normal(key, (50, 3)), jnp.zeros((50, 20))
    profile = apply(vae, params, z, psf, method="decode")
    total = profile.sum(axis=(1, 2))
    assert (profile >= 0).all()
    assert (total > 0).all()
    assert (total <= 1 + 1e-6).all()


@pytest.mark.parametrize("scale", [1e-3, 0.1, 7.0, 1e3])
def test_encoder_is_scale_free(scale, encode, params, stamps):
    image, variance, gain, psf, _, white = stamps
    neighbours = jnp.roll(image, 5, axis=1)
    before = encode(params, stamps._replace(neighbours=neighbours))
    scaled = scale * image, scale**2 * variance, gain / scale, psf, scale * neighbours, white
    after = encode(params, Observation(*scaled))
    scaled = before.log_flux._replace(median=before.log_flux.median + np.log(scale))
    for one, other in zip(after.log_flux, scaled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    for name in ("mean", "log_std", "purity_logit"):
        np.testing.assert_allclose(
            getattr(after, name), getattr(before, name), rtol=1e-4, atol=1e-5
        )


@pytest.fixture(scope="module")
def bright_to_faint(encode, initial):
    """ln(flux) of Gaussians of 19 to 26 mag, and what the untrained encoder says of them."""
    flux = magnitude_to_flux(np.linspace(19, 26, 15))
    image = flux[:, None, None, None] * gaussian(1.5)[..., None].repeat(2, -1)
    variance = np.broadcast_to(Survey().variance, image.shape)
    return np.log(flux), encode(initial, observation(image, variance))


def test_every_magnitude_is_finite(bright_to_faint):
    assert all(np.isfinite(a).all() for a in bright_to_faint[1])


def test_first_guess_of_the_flux_does_not_saturate(bright_to_faint):
    truth, posterior = bright_to_faint
    slope = np.diff(posterior.log_flux.median[:, 0]) / np.diff(truth)
    np.testing.assert_allclose(slope, 1, atol=0.05)


def test_trained_encoder_is_finite_in_darkness(encode, params):
    dark = np.zeros((1, SIZE, SIZE, 2))
    assert all(np.isfinite(a).all() for a in encode(params, observation(dark - 1e3, dark + 1)))


def test_light_without_poisson_noise_is_an_infinite_gain(encode, params, stamps):
    gainless = encode(params, stamps._replace(gain=jnp.full((4, 2), jnp.inf)))
    assert all(np.isfinite(a).all() for a in gainless)
    nearly = encode(params, stamps._replace(gain=jnp.full((4, 2), 1e9)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), gainless, nearly)


@pytest.mark.parametrize("name", ["gain", "psf", "variance", "correlation"])
def test_encoder_uses_all_that_it_is_shown(name, encode, params, stamps):
    other = stamps._replace(**{name: 3 * getattr(stamps, name)})
    assert jnp.abs(encode(params, other).mean - encode(params, stamps).mean).max() > 1e-3


def test_a_network_that_knows_no_coadds_depends_on_neither_correlation_nor_wings(stamps):
    plain = VAE(**FIELDS | {"coadds": False})
    params = moved(jax.jit(plain.init)(jax.random.key(0), stamps, jax.random.key(1)), KEY)
    wings = jnp.arange(20) >= 12
    other = stamps._replace(correlation=1 + stamps.correlation, psf=stamps.psf + wings)
    found = [apply(plain, params, each, KEY) for each in (stamps, other)]
    np.testing.assert_array_equal(*(each[1] for each in found))
    assert found[0][0].point_logit is None


def test_a_network_of_coadds_is_shown_the_wings_of_the_psf(vae, encode, params, stamps):
    other = stamps._replace(psf=stamps.psf + (jnp.arange(20) >= 12))
    z = jnp.ones((len(stamps.psf), 3))
    shown = [apply(vae, params, z, each.psf, method="decode") for each in (stamps, other)]
    assert jnp.abs(shown[1] - shown[0]).max() > 1e-6
    assert jnp.abs(encode(params, other).point_logit - encode(params, stamps).point_logit).max() > 0


def test_numbers_of_the_correlation():
    """Bilinear interpolation by a half and a quarter of a pixel, by hand."""
    along_y, along_x = np.array([1, 2, 1]) / 4, np.array([3, 10, 3]) / 16
    covariance = jnp.asarray(np.outer(along_y, along_x), jnp.float32)[None, ..., None]
    x, y = 0.3, 0.5
    wanted = [4 * x, 4 * y, 4 * x * y, 4 * x * y, 2 * np.log(0.5 * 0.625)]
    np.testing.assert_allclose(correlation_features(covariance)[0], wanted, rtol=1e-6)
    np.testing.assert_array_equal(correlation_features(jnp.ones((1, 1, 1, 2))), np.zeros((1, 10)))


def test_a_masked_pixel_is_seen_to_be_masked(encode, params, stamps):
    """A dark pixel is another thing than an unknown one."""
    image = stamps.image.at[:, 7:9, 7:9].set(0.0)
    dark = stamps._replace(image=image)
    masked = dark._replace(variance=stamps.variance.at[:, 7:9, 7:9].set(jnp.inf))
    found = [encode(params, each) for each in (dark, masked)]
    assert all(np.isfinite(a).all() for a in found[1])
    assert jnp.abs(found[0].log_flux.median - found[1].log_flux.median).max() > 0.05


def test_background_rms_is_that_of_the_valid_pixels():
    variance = np.full((2, 6, 6, 1), 9.0)
    variance[1, 2:, :, 0] = np.inf
    np.testing.assert_allclose(background_rms(jnp.asarray(variance)), [[3], [3]], rtol=1e-6)


def test_background_rms_is_the_harmonic_mean_of_an_uneven_map(rng):
    variance = rng.uniform(1, 4, (3, 6, 6, 2))
    expected = 1 / np.sqrt(np.mean(1 / variance, axis=(1, 2)))
    np.testing.assert_allclose(background_rms(jnp.asarray(variance)), expected, rtol=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 1.4, 2.0, 3.0])
def test_width_of_a_gaussian_psf_is_its_own_at_every_scale(sigma):
    features = features_of(jnp.asarray(gaussian(sigma, 31))[..., None])
    np.testing.assert_allclose(features[:4], 4 * np.log(sigma**2), atol=0.05)
    np.testing.assert_allclose(features[4:6], 0, atol=1e-4)
    # A Gaussian through a Gaussian aperture of unit peak: 1 / (1 + (sigma / aperture)^2).
    shares = [sigma**2 / (sigma**2 + aperture**2) for aperture in (4.5, 8.0, 14.0)]
    np.testing.assert_allclose(features[6:], [*(10 * np.array(shares)), 0], atol=2e-3)


def test_psf_features_are_told_band_by_band():
    bands = jnp.stack([jnp.asarray(gaussian(sigma, 31)) for sigma in (1.4, 2.0)], axis=-1)
    features = features_of(jnp.stack([bands, bands[..., ::-1]]))
    assert features.shape == (2, 20)
    for i in range(2):
        alone = features_of(bands[..., i : i + 1])
        np.testing.assert_allclose(features[0, 6 * i :][:6], alone[:6], atol=1e-4)
        np.testing.assert_allclose(features[0, 12 + 4 * i :][:4], alone[6:], atol=1e-4)
    core, wings = jnp.roll(features[0, :12], 6), jnp.roll(features[0, 12:], 4)
    np.testing.assert_allclose(features[1], [*core, *wings], atol=1e-4)


def test_wings_are_what_a_psf_lacks_of_all_light():
    """Cut at 21 pixels: its core is another's of unit sum, and the share beyond is in the wings."""
    psf = np.asarray(0.95 * gaussian(1.5, 51) + 0.05 * gaussian(8.0, 51))[..., None]
    whole, cut = (features_of(jnp.asarray(psf[k:-k, k:-k])) for k in (5, 15))
    unit = features_of(jnp.asarray(psf[15:-15, 15:-15] / psf[15:-15, 15:-15].sum()))
    np.testing.assert_allclose(cut[:6], unit[:6], atol=1e-4)
    np.testing.assert_allclose(unit[-1], 0, atol=1e-4)
    np.testing.assert_allclose(cut[-1], 10 * (1 - psf[15:-15, 15:-15].sum()), rtol=1e-3)
    assert 0 <= whole[-1] < cut[-1] / 10


def test_psf_features_do_not_depend_on_the_images_size():
    small, large = (features_of(elliptical(0.4, size=size)) for size in (25, 47))
    np.testing.assert_allclose(small, large, atol=1e-3)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 130])
def test_ellipticity_of_a_psf_turns_twice_as_fast_as_it(degrees):
    angle = np.radians(degrees)
    *width, e1, e2 = features_of(elliptical(angle))[:6]
    reference = features_of(elliptical(0.0))
    assert reference[4] > 1
    np.testing.assert_allclose(e1, reference[4] * np.cos(2 * angle), atol=0.02)
    np.testing.assert_allclose(e2, reference[4] * np.sin(2 * angle), atol=0.02)
    np.testing.assert_allclose(width, reference[:4], atol=0.02)


def test_ellipticity_of_a_psf_grows_with_its_shear():
    found = [features_of(elliptical(0.0, ratio))[4] for ratio in (1.0, 1.02, 1.04)]
    np.testing.assert_allclose(found[0], 0, atol=1e-4)
    np.testing.assert_allclose(found[2] / found[1], 2, atol=0.05)


@pytest.mark.parametrize(("i", "sigma"), list(enumerate(model._FILTER_SIGMAS)))
def test_matched_filter_recovers_its_gaussian(i, sigma, rng):
    image = 37 * gaussian(sigma)[None, ..., None]
    variance = rng.uniform(1, 3, image.shape)
    flux = filter_fluxes(*(jnp.asarray(a, jnp.float32) for a in (image, variance)))
    np.testing.assert_allclose(flux[0, i, 0], 37, rtol=1e-5)


def test_matched_filter_ignores_pixels_of_infinite_variance(stamps):
    image, variance, *_ = stamps
    masked = variance.at[:, 3:6, 8].set(jnp.inf)
    np.testing.assert_array_equal(
        filter_fluxes(image.at[:, 3:6, 8].set(1e6), masked),
        filter_fluxes(image, masked),
    )


def test_sample_has_the_posteriors_mean_and_width(key):
    mean, std = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    n = 20_000
    flux = jnp.zeros((n, 1))
    log_flux = SinhArcsinh(flux, flux, flux, flux)
    posterior = Posterior(jnp.tile(mean, (n, 1)), jnp.tile(jnp.log(std), (n, 1)), log_flux, flux)
    sample = np.asarray(reparameterize(key, posterior))
    assert (abs(sample.mean(axis=0) - mean) < 4 * std / np.sqrt(n)).all()
    np.testing.assert_allclose(sample.std(axis=0), std, rtol=0.02)


def test_sample_is_differentiable_in_mean_and_width(key):
    zero = jnp.zeros((1, 1))
    zeros = Posterior(zero, zero, SinhArcsinh(zero, zero, zero, zero), zero)
    gradient = jax.grad(lambda p: reparameterize(key, p).sum())(zeros)
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
    params = jax.eval_shape(vae.init, key, stamps, key)
    posterior, *_ = jax.eval_shape(vae.apply, params, stamps, key)
    assert posterior.mean.shape == (4, 100)
