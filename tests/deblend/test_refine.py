import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blobs import (
    BANDS,
    FRAME,
    GAIN,
    HOME,
    RMS,
    blobs,
    call,
    group_of,
    model_image,
    noisy,
    refine_blobs,
    refined_pairs,
    shaken,
    truth,
)
from scipy import optimize

from vaedeblend.deblend import refine as module
from vaedeblend.deblend.refine import make_refine
from vaedeblend.models.losses import poisson_nll

pytestmark = pytest.mark.usefixtures("optimised")

refine_once = make_refine(blobs, steps=1)
refine_to_the_end = make_refine(blobs, steps=12)
refine_known = make_refine(lambda latent, condition: blobs(0 * latent, condition))
"""The last of shapes that are known: its latent changes nothing."""


def objective(group, flux, latent):
    """-ln(posterior) of one group: Poisson's of all electrons, background's included, and prior.

    Gauss' with the background's variance goes on from there to models below zero.
    """
    model = model_image(group, flux, latent)
    below = np.minimum(model, 0)
    background = group["variance"] * group["gain"] ** 2
    expected = (model - below) * group["gain"] + background
    count = group["image"] * group["gain"] + background
    deviance = expected - count + count * np.log(count / expected)
    deviance += below * (below / 2 - group["image"]) / group["variance"]
    return deviance.sum() + (latent**2).sum() / 2


@pytest.fixture(scope="module")
def blends():
    return refined_pairs()


def test_recovers_the_truth_without_noise(rng):
    true = truth(rng, 48, 2)
    true["corner"][:, 1] = HOME + np.array([5, -4])
    true["image"] = np.array([model_image(group_of(true, i)) for i in range(48)])
    true["variance"] *= 1e-6
    true["gain"][:] = np.inf
    refined = call(refine_to_the_end, shaken(rng, true))
    np.testing.assert_allclose(refined.flux, true["flux"], rtol=2e-3)
    np.testing.assert_allclose(refined.latent, true["latent"], atol=2e-2)
    np.testing.assert_allclose(refined.image.sum(axis=1), true["image"], atol=2e-2)
    assert (refined.chi2 < 1).all()


def test_errors_cover(rng):
    """Laplace's covariance of the fluxes, its diagonal and the rest, over the prior's galaxies."""
    true = truth(rng, 320, 2)
    refined = call(refine_blobs, shaken(rng, noisy(rng, true)))
    off = refined.flux - true["flux"]
    pull = off / np.sqrt(np.einsum("gkkb->gkb", refined.flux_covariance))
    assert np.mean(np.abs(pull) < 1) == pytest.approx(0.683, abs=0.04)
    assert np.mean(np.abs(pull) < 2) == pytest.approx(0.954, abs=0.02)
    assert pull.mean() == pytest.approx(0, abs=0.1)
    inverse = np.linalg.inv(np.moveaxis(refined.flux_covariance, -1, 1))
    square = np.einsum("gkb,gbkj,gjb->gb", off, inverse, off)
    assert square.mean() == pytest.approx(2, abs=0.25)
    assert refined.chi2.mean() == pytest.approx(1, abs=0.02)


def test_errors_of_known_shapes(rng):
    """Sigma is that of an isolated source / sqrt(1 - rho^2), and -rho the correlation."""
    scene = truth(rng, 16, 2)
    fixed = np.zeros((2, 3))
    refined = call(refine_known, {**scene, "gain": np.full((16, BANDS), np.inf)})
    for i in range(16):
        group = group_of(scene, i)
        alone = [model_image(group, np.eye(2)[k][:, None] * np.ones(BANDS), fixed) for k in (0, 1)]
        gram = np.einsum("khwb,jhwb->bkj", alone, alone) / RMS**2
        for band in range(BANDS):
            norm = np.sqrt(np.diag(gram[band]))
            rho = gram[band, 0, 1] / norm.prod()
            covariance = refined.flux_covariance[i, :, :, band]
            sigma = np.sqrt(np.diag(covariance))
            np.testing.assert_allclose(sigma, 1 / norm / np.sqrt(1 - rho**2), rtol=1e-3)
            np.testing.assert_allclose(covariance[0, 1] / sigma.prod(), -rho, atol=1e-3)


def test_light_has_noise_of_its_own(rng):
    """Of one source of known shape: 1 / sigma^2 = sum P^2 / (background + F P / gain)."""
    scene = truth(rng, 16, 1, flux=(3000, 10000))
    profile = model_image(group_of(scene, 0), np.ones((1, BANDS)), np.zeros((1, 3)))
    light = scene["flux"][:, 0, None, None] * profile
    refined = call(refine_known, {**scene, "image": light})
    information = (profile**2 / (RMS**2 + light / GAIN)).sum(axis=(1, 2))
    assert (information < 0.6 * (profile**2).sum(axis=(0, 1)) / RMS**2).all()
    np.testing.assert_allclose(refined.flux_covariance[:, 0, 0], 1 / information, rtol=1e-3)


def test_twins_on_the_same_place_have_large_errors(rng):
    """Nothing tells their fluxes apart; their sum is known all the same."""
    scene = truth(rng, 16, 2)
    scene["corner"][:] = HOME
    scene["latent"][:] = 0
    scene["image"] = np.array([model_image(group_of(scene, i)) for i in range(16)])
    refined = call(refine_known, {**scene, "flux": scene["flux"] * 1.2})
    np.testing.assert_allclose(refined.image.sum(axis=1), scene["image"], atol=0.3)
    variance = np.einsum("gkkb->gkb", refined.flux_covariance)
    assert (np.sqrt(variance) > 100).all()


def test_agrees_with_another_minimiser(blends):
    """SciPy's least of the objective, in doubles and without derivatives."""
    start, _ = blends
    refined = call(refine_to_the_end, start)
    for i in range(2):
        group = group_of(start, i)
        size = group["flux"].size

        def split(theta, group=group, size=size):
            flux = np.exp(theta[:size]).reshape(group["flux"].shape)
            return group, flux, theta[size:].reshape(group["latent"].shape)

        theta = np.concatenate([np.log(group["flux"]).ravel(), group["latent"].ravel()])
        best = optimize.minimize(lambda theta: objective(*split(theta)), theta, method="BFGS")
        _, flux, latent = split(best.x)
        error = np.sqrt(np.einsum("kkb->kb", refined.flux_covariance[i]))
        np.testing.assert_allclose((refined.flux[i] - flux) / error, 0, atol=0.02)
        np.testing.assert_allclose(refined.latent[i], latent, atol=0.01)


def test_three_steps_reach_the_end(blends):
    start, refined = blends
    end = call(refine_to_the_end, start)
    error = np.sqrt(np.einsum("gkkb->gkb", end.flux_covariance))
    assert np.quantile(np.abs(refined.flux - end.flux) / error, 0.9) < 0.1
    assert np.quantile(np.abs(start["flux"] - end.flux) / error, 0.5) > 1


@pytest.mark.parametrize("latent, log_flux", [(0.3, 0.1), (1.5, 0.5), (4.0, 2.0)])
@pytest.mark.parametrize("refine", [refine_once, refine_blobs], ids=["once", "thrice"])
def test_never_makes_it_worse(latent, log_flux, refine, rng):
    start = shaken(rng, noisy(rng, truth(rng, 48, 2)), latent, log_flux)
    refined = call(refine, start)
    gain = [
        objective(group_of(start, i), start["flux"][i], start["latent"][i])
        - objective(group_of(start, i), refined.flux[i], refined.latent[i])
        for i in range(48)
    ]
    assert min(gain) >= -0.01
    assert np.median(gain) > 1


def test_objective_is_poissons(rng):
    """Differences of it are those of the loss with which networks are trained."""
    scene = noisy(rng, truth(rng, 1, 2))
    image, variance = (jnp.asarray(scene[k][0], jnp.float32) for k in ("image", "variance"))
    gain = jnp.full(BANDS, GAIN)
    counts = jnp.broadcast_to(RMS**2 * gain**2, (3, 1, 1, BANDS))
    models = jnp.stack([image * 0 + 0.5, jnp.abs(image), jnp.asarray(scene["image"][0]) * 0 + 20])
    pixels = module._Pixels(image, 1 / variance, gain)
    ours = jnp.stack([module._objective(pixels, model) for model in models])
    data = jnp.broadcast_to(image, models.shape)
    weight = jnp.ones((FRAME, FRAME))
    theirs = poisson_nll(data, models, counts, counts * 0 + GAIN, weight)
    np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], rtol=1e-3, atol=0.1)


@pytest.mark.parametrize("gain", [0.5, 30.0, 1e4, np.inf])
def test_objective_has_the_gradient_of_its_docstring(gain, rng):
    """Negative pixels and negative models included."""
    image = jnp.asarray(rng.normal(0, 3, (9, 9, 1)) + rng.choice([0, 200], (9, 9, 1)), jnp.float32)
    model = jnp.asarray(rng.normal(0, 20, (9, 9, 1)), jnp.float32)
    pixels = module._Pixels(image, jnp.full_like(image, 1 / 0.7), jnp.array([gain]))
    gradient = jax.grad(lambda model: module._objective(pixels, model))(model)
    variance = 0.7 + np.maximum(model, 0) / gain
    np.testing.assert_allclose(gradient, (model - image) / variance, rtol=1e-4, atol=1e-3)
