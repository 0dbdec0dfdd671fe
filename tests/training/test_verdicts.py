"""What is true of candidates for companions, and what the test of companions minimises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import moved
from libraries import N_CENTRAL, gaussians

from vaedeblend.models.companions import Companions, find_candidates, init_companions
from vaedeblend.models.vae import VAE, init_params
from vaedeblend.training import verdicts
from vaedeblend.training.objectives import cleaned, light_of
from vaedeblend.training.observe import observe
from vaedeblend.training.placement import Composing
from vaedeblend.training.scenes import random_scenes

SIZE, N = 52, 32
COMPOSING = Composing(2, 1, (0.5, 10.0), 1.0, isolated_share=0.3, unselected_share=0.7)
LOSS = {"known_share": 0.5, "offset_weight": 0.1, "companion_share": 0.2}
candidates_of, what_is_true = map(jax.jit, (find_candidates, verdicts.what_is_true))


@pytest.fixture(scope="module")
def batch():
    library = gaussians(side=80)[0]
    numbers = {"n_central": N_CENTRAL, "batch_size": N, "size": SIZE}
    noise = {"variance": jnp.array([0.3, 0.3]), "gain": jnp.array([50.0, 50.0])}

    @jax.jit
    def make(library):
        scenes = random_scenes(jax.random.key(0), library, COMPOSING, **numbers)
        return observe(jax.random.key(1), scenes, **noise)

    return make(library)


@pytest.fixture(scope="module")
def deblender():
    model = VAE(3, (4,), 8, 1, (8,), (8,), 4, SIZE, 2, coadds=True)
    initial = init_params(model, jax.random.key(0))
    return model, moved(initial, jax.random.key(2))


@pytest.fixture(scope="module")
def test():
    model = Companions((4, 4), (8,))
    sizes = {"size": SIZE, "bands": 2, "psf": 20, "correlation": 10}
    return model, moved(init_companions(model, jax.random.key(0), **sizes), jax.random.key(3))


def perfect(batch):
    """Candidates of a model that is the central galaxy's light."""
    found = jnp.where(batch.found, batch.companion_flux, 0)
    hidden = batch._replace(found=jnp.zeros_like(batch.found))
    assert found.shape == hidden.found.shape
    candidates = candidates_of(batch.observation, batch.target)
    return hidden, candidates, what_is_true(hidden, candidates)


def test_peaks_on_companions_are_true_and_no_others(batch):
    hidden, candidates, truth = perfect(batch)
    position = np.asarray(hidden.position) + (SIZE - 1) / 2
    there = np.asarray(hidden.companion_flux) > 0
    for i in range(N):
        apart = np.asarray(candidates.pixel[i])[:, None] - position[i][there[i]]
        distance = np.linalg.norm(apart, axis=-1)
        expected = (distance < 1.5).any(axis=1) if there[i].any() else np.zeros(len(distance))
        np.testing.assert_array_equal(truth.companion[i], expected)
        for k in np.flatnonzero(expected):
            nearest = -apart[k, distance[k].argmin()]
            np.testing.assert_allclose(truth.offset[i, k], nearest, atol=1e-4)
    first = np.asarray(truth.companion[:, 0])[there.any(axis=1)]
    assert first.mean() > 0.9  # of a perfect model, the highest peak is a companion


def test_known_companions_are_none(batch):
    known = batch._replace(found=batch.companion_flux > 0)
    truth = what_is_true(known, candidates_of(batch.observation, batch.target))
    assert truth.companion.sum() == 0 and truth.blend.sum() == 0


def test_a_source_hides_what_is_near_and_not_too_faint(batch):
    _, _, truth = perfect(batch)
    near = np.linalg.norm(batch.position, axis=-1) < 5
    bright = np.asarray(batch.companion_flux) > 0.1 * np.asarray(batch.flux[:, :1])
    np.testing.assert_array_equal(truth.blend, (near & bright).any(axis=1))
    assert 0.1 < truth.blend.mean() < 0.9


@pytest.mark.slow
def test_losses_are_the_cross_entropies_of_the_truth(batch, deblender, test):
    (vae, trained), (model, params), key = deblender, test, jax.random.key(5)
    objective = verdicts.verdict_losses(model, vae, trained, **LOSS)
    parts = jax.jit(objective)({"companions": params}, batch, key, 0)
    known = batch.found & jax.random.bernoulli(key, 0.5, batch.found.shape)
    less = cleaned(vae, trained, batch._replace(found=known), N, 1)
    found, light = light_of(vae, trained, less.observation)
    candidates = find_candidates(less.observation, light)
    purity = jax.nn.sigmoid(found.purity_logit)
    said = model.apply({"params": params}, less.observation, light, purity, candidates)
    truth = verdicts.what_is_true(less, candidates)
    p, real = jax.nn.sigmoid(said.logit), np.asarray(candidates.real)
    entropy = -np.log(np.where(truth.companion == 1, p, 1 - p))
    expected = [e[r].mean() if r.any() else 0 for e, r in zip(entropy, real, strict=True)]
    np.testing.assert_allclose(parts["companion"], expected, rtol=1e-3)
    blend = jax.nn.sigmoid(said.blend_logit)
    np.testing.assert_allclose(
        parts["blend"], -np.log(np.where(truth.blend == 1, blend, 1 - blend)), rtol=1e-3
    )
    total = parts["companion"] + parts["blend"] + 0.1 * parts["place"]
    paired = np.asarray(batch.companion_flux > 0).any(axis=1)
    weight = np.where(paired, 0.2 / paired.mean(), 0.8 / (1 - paired).mean())
    np.testing.assert_allclose(parts["loss"], weight * total, rtol=1e-5)


@pytest.mark.slow
def test_only_the_test_is_taught(batch, deblender, test):
    (vae, trained), (model, params) = deblender, test

    def loss(params, trained):
        objective = verdicts.verdict_losses(model, vae, trained, **LOSS)
        return objective({"companions": params}, batch, jax.random.key(5), 0)["loss"].mean()

    own, others = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, trained)
    assert sum(jnp.abs(g).sum() for g in jax.tree.leaves(own)) > 0
    assert sum(jnp.abs(g).sum() for g in jax.tree.leaves(others)) == 0
