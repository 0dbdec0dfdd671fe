import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend.deblend.network import Deblender
from vaedeblend.evaluate import latents
from vaedeblend.evaluate.latents import GALAXY_PARAMETERS
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, draw_galaxies
from vaedeblend.models.vae import VAE, init_params


def blob(z, size=24):
    """Light whose first latent is its size, whose second its place along x, the third nothing."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    sigma, place = 2 + 0.3 * z[:, 0, None, None], z[:, 1, None, None]
    light = jnp.exp(-(y**2 + (x - place) ** 2) / (2 * sigma**2))
    return (light / light.sum(axis=(1, 2), keepdims=True))[..., None]


@pytest.fixture
def space(rng):
    mean = rng.normal(size=(300, 4)) * [1.0, 0.5, 0.2, 0.01]
    column = {name: mean[:, 0] + 0.05 * rng.normal(size=300) for name in GALAXY_PARAMETERS}
    column["bulge_fraction"] = rng.normal(size=300)
    column["purity"] = np.ones(300)
    return mean, np.full_like(mean, 0.1), column


def test_dimensions_are_active_that_tell_galaxies_apart(space):
    mean, std, _ = space
    found = latents.usage(mean, std)
    assert found["n_dimensions"] == 4 and found["n_active"] == 3
    np.testing.assert_allclose(found["variance"], mean.var(axis=0))
    np.testing.assert_allclose(found["noise"], 0.01)
    expected = (mean**2 + std**2 - np.log(std**2) - 1).mean(axis=0) / 2
    np.testing.assert_allclose(found["kl"], expected)


def test_neighbours_know_what_the_space_is_laid_out_by(space):
    mean, _, column = space
    found = latents.layout(mean, column)
    assert found["magnitude"] > 0.8 and found["bulge_fraction"] < 0.3
    assert found["purity"] is None
    assert set(latents.layout(mean[:5], {k: v[:5] for k, v in column.items()}).values()) == {None}


def test_study_names_best_and_worst_and_what_dimensions_do(space):
    mean, std, column = space
    numbers, place, images = latents.study(mean, std, column, blob, seed=0)
    assert numbers["worst"]["name"] == "bulge fraction" and numbers["best"]["r2"] > 0.8
    assert images.shape == (4, 5, 24, 24) and place.shape == (300, 2)
    first, second, third = numbers["traversals"][:3]
    assert [each["dimension"] for each in (first, second, third)] == [0, 1, 2]
    spread = mean[:, 0].std()
    assert first["radius_factor"] == pytest.approx((2 + 0.6 * spread) / (2 - 0.6 * spread), rel=0.1)
    assert second["shift"] == pytest.approx(4 * mean[:, 1].std(), rel=0.05)
    assert third["radius_factor"] == pytest.approx(1) and third["shift"] == pytest.approx(0)


def test_embedding_keeps_neighbours_together_and_marks_the_rest(rng):
    mean = rng.normal(size=(60, 3)).astype(np.float32)
    mean[:30] += 50
    mean[7] = np.nan
    place = latents.embed(mean, seed=0)
    assert np.isnan(place[7]).all() and np.isfinite(np.delete(place, 7, axis=0)).all()
    one, other = np.delete(place[:30], 7, axis=0), place[30:]
    apart = np.hypot(*(one.mean(axis=0) - other.mean(axis=0)))
    assert apart > one.std() and np.isnan(latents.embed(mean[:3], 0)).all()


def test_decoder_is_the_models(key):
    model = VAE(
        latent_dim=3,
        encoder_widths=(4,),
        encoder_hidden=4,
        encoder_blocks=1,
        decoder_hidden=(4,),
        flow_hidden=(4,),
        flow_couplings=2,
        stamp_size=16,
        bands=1,
    )
    params = init_params(model, key)
    psf = np.full((31, 31, 1), 1 / 961, np.float32)
    profile = Deblender(model, params, psf).decode(jnp.ones((2, 3)))
    assert profile.shape == (2, 16, 16, 1)
    np.testing.assert_allclose(profile[0], profile[1])


def test_draws_scatter_as_the_posterior_does(key):
    n = 2000
    zeros = np.zeros((n, 1), np.float32)
    log_flux = SinhArcsinh(np.log(3.0) + zeros, np.log(0.1) + zeros, zeros, zeros)
    found = jnp.zeros((n, 2)), jnp.full((n, 2), 0.5), log_flux
    images = draw_galaxies(lambda z: blob(z, 16), *found, key)[1]
    total = images.sum(axis=(1, 2, 3))
    assert np.median(total) == pytest.approx(3, rel=0.02)
    assert np.std(np.log(total)) == pytest.approx(0.1, rel=0.1)
    x = (images[..., 0].sum(axis=1) * (np.arange(16) - 7.5)).sum(axis=1) / total
    assert x.std() == pytest.approx(0.5, rel=0.15)
    other = draw_galaxies(lambda z: blob(z, 16), *found, jax.random.key(1))[1]
    assert not np.array_equal(images, other)
