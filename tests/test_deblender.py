import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend import deblender, training
from vaedeblend.model import VAE


@pytest.fixture(scope="module")
def deblend():
    model = VAE(4, (4,), 8, (8,), 16, 1)
    params = training.init_params(model, jax.random.key(0))
    return deblender.make_deblend(model, jax.tree.map(lambda p: p + 0.02, params))


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.normal(1.0, 1.0, (3, 16, 16, 1)), jnp.float32)


def test_shapes_and_signs(deblend, image):
    result = deblend(image, jnp.ones_like(image))
    assert result.flux.shape == result.flux_err.shape == (3, 1)
    assert result.image.shape == image.shape and result.latent_mean.shape == (3, 4)
    assert (result.flux > 0).all() and (result.flux_err > 0).all() and (result.image >= 0).all()


def test_units_of_the_image_are_the_callers(deblend, image):
    one = deblend(image, jnp.ones_like(image))
    many = deblend(1e4 * image, 1e8 * jnp.ones_like(image))
    np.testing.assert_allclose(many.flux, 1e4 * one.flux, rtol=1e-3)
    np.testing.assert_allclose(many.flux_err, 1e4 * one.flux_err, rtol=1e-3)
    np.testing.assert_allclose(many.latent_mean, one.latent_mean, atol=1e-3)


def test_image_holds_no_more_than_the_flux(deblend, image):
    result = deblend(image, jnp.ones_like(image))
    assert (result.image.sum(axis=(1, 2)) <= result.flux * (1 + 1e-5)).all()


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
    with pytest.raises(deblender.WorkdirError, match="wanted the workdir of a training"):
        deblender.load_deblender(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(deblender.WorkdirError, match="not valid JSON"):
        deblender.load_deblender(tmp_path)
    (tmp_path / "config.json").write_text('{"stages": {"isolated": {}}}')
    with pytest.raises(deblender.WorkdirError, match="no stage 'blended'; wanted one of"):
        deblender.load_deblender(tmp_path)
