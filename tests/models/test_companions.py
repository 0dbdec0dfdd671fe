"""Candidates for companions of a source, and what the network is shown of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import moved
from matched import gaussian

from vaedeblend.models.companions import (
    CANDIDATE_REACH,
    N_RESIDUAL,
    N_SHARP,
    Companions,
    find_candidates,
    init_companions,
)
from vaedeblend.models.vae import Observation
from vaedeblend.training import stages

SIZE, MIDDLE = 64, 31.5
SHAPE = SIZE, SIZE


def observed(light, rms=1.0, gain=np.inf, masked=None):
    """Stamps of light, one a row, without noise."""
    image = np.stack(light)[..., None].astype(np.float32)
    variance = np.full(image.shape, rms**2, np.float32)
    if masked is not None:
        variance[:, masked], image[:, masked] = np.inf, 0
    n = len(image)
    one = np.full((n, 1), gain, np.float32)
    features = jnp.zeros((n, 10)), jnp.zeros_like(image), jnp.zeros((n, 5))
    return Observation(jnp.asarray(image), jnp.asarray(variance), jnp.asarray(one), *features)


GALAXY = 3000 * gaussian(MIDDLE, MIDDLE, SHAPE, 2.0)
POINT = gaussian(MIDDLE + 4, MIDDLE - 3, SHAPE, 1.0)


def candidates(light, model, **options):
    found = jax.jit(find_candidates)(
        observed([light], **options), jnp.asarray(model)[None, ..., None]
    )
    return jax.tree.map(lambda a: np.asarray(a)[0], found)


def test_a_companion_on_the_residual_is_the_first_candidate_with_its_significance():
    found = candidates(GALAXY + 100 * POINT, GALAXY)
    assert np.abs(found.pixel[0] - [MIDDLE + 4, MIDDLE - 3]).max() <= 0.5
    # A filter matched to a Gaussian of sigma 1: flux over rms sqrt(4 pi); it lies between pixels.
    assert found.significance[0, 0] == pytest.approx(100 / np.sqrt(4 * np.pi), rel=0.15)
    assert found.real[0] and len(found.pixel) == N_RESIDUAL + N_SHARP + 1


def test_a_close_companion_is_a_peak_of_the_sharpened_image_where_the_model_took_its_light():
    pair = 600 * gaussian(MIDDLE, MIDDLE, SHAPE, 0.9) + 400 * gaussian(
        MIDDLE, MIDDLE + 3, SHAPE, 0.9
    )
    found = candidates(pair, pair)
    sharp = found.pixel[N_RESIDUAL:-1][found.real[N_RESIDUAL:-1]]
    assert np.abs(sharp - [MIDDLE, MIDDLE + 3]).max(axis=1).min() <= 0.5
    assert not found.real[:N_RESIDUAL].any()


def test_the_source_itself_comes_last_and_is_no_peak():
    found = candidates(GALAXY, GALAXY)
    np.testing.assert_array_equal(found.pixel[-1], [32, 32])
    assert not found.real[-1]


def test_candidates_lie_within_reach_and_not_on_ignored_pixels():
    light = 1e4 * sum(gaussian(y, x, SHAPE, 1.0) for y, x in ((10, 10), (35, 35), (27, 31)))
    masked = np.zeros(SHAPE, bool)
    masked[33:38, 33:38] = True
    found = candidates(light, 0 * light, masked=masked)
    real = found.pixel[found.real]
    assert (np.abs(real - MIDDLE) <= CANDIDATE_REACH + 0.5).all()
    assert np.hypot(*(real - [27, 31]).T).min() < 1
    assert np.hypot(*(real - [35, 35]).T).min() > 2.5


def test_photons_of_the_source_make_its_residual_less_significant():
    few, many = (
        candidates(GALAXY + 50 * POINT, GALAXY, gain=g).significance[0, 0] for g in (1, 100)
    )
    assert 0 < few < 0.9 * many


SIZES = {"size": SIZE, "bands": 1, "psf": 10, "correlation": 5}


@pytest.mark.parametrize("context", [(), (4, 8)])
def test_verdicts_are_equal_whatever_the_unit_and_see_all_that_they_are_given(context):
    model = Companions((4, 8, 8), (16,), context)
    initial = init_companions(model, jax.random.key(0), **SIZES)
    params = moved(initial, jax.random.key(1))
    seen, light = (
        observed([GALAXY + 100 * POINT, GALAXY], gain=2.0),
        jnp.stack([GALAXY] * 2)[..., None],
    )
    purity, apply, peaks = jnp.full((2, 1), 0.7), jax.jit(model.apply), jax.jit(find_candidates)

    def verdict(seen, light, purity):
        return apply({"params": params}, seen, light, purity, peaks(seen, light))

    first = verdict(seen, light, purity)
    assert first.logit.shape == (2, N_RESIDUAL + N_SHARP + 1) and first.blend_logit.shape == (2,)
    scaled = seen._replace(image=8 * seen.image, variance=64 * seen.variance, gain=seen.gain / 8)
    other = verdict(scaled, 8 * light, purity)
    np.testing.assert_allclose(first.logit, other.logit, atol=1e-4)
    for name in ("psf", "correlation", "neighbours"):
        changed = seen._replace(**{name: 1 + getattr(seen, name)})
        assert np.abs(verdict(changed, light, purity).logit - first.logit).max() > 1e-4
    assert np.abs(verdict(seen, light, 1 - purity).blend_logit - first.blend_logit).max() > 1e-4


def test_only_with_context_does_a_verdict_know_what_lies_far_from_its_candidates():
    far = observed([GALAXY + 100 * POINT + 500 * gaussian(MIDDLE - 28, MIDDLE, SHAPE, 1.0)])
    near, light = observed([GALAXY + 100 * POINT]), jnp.asarray(GALAXY)[None, ..., None]
    peaks = jax.jit(find_candidates)(near, light)
    for context in ((), (4, 8)):
        model = Companions((4, 8, 8), (16,), context)
        initial = init_companions(model, jax.random.key(0), **SIZES)
        params = moved(initial, jax.random.key(1))

        def logit(seen, model=model, params=params):
            found = model.apply({"params": params}, seen, light, jnp.ones((1, 1)), peaks)
            return found.logit[peaks.real]

        assert bool((logit(far) == logit(near)).all()) == (not context)


def test_a_test_without_context_goes_on_from_where_it_is_with_one(tmp_path, monkeypatch):
    """Layers that are new say nothing yet: the same verdicts, to the bit of a sum of zeros."""
    without, with_context = (Companions((4, 8, 8), (16,), c) for c in ((), (4, 8)))
    plain, fresh = (
        {"companions": init_companions(m, jax.random.key(0), **SIZES)}
        for m in (without, with_context)
    )
    plain = moved(plain, jax.random.key(1))
    monkeypatch.setattr(stages.checkpoint, "load_params", lambda path: jax.device_get(plain))
    renewed = ("companions/Conv_3", "companions/Conv_4")
    params = stages.initial_params(lambda: fresh, "first", ["first"], tmp_path, renewed)
    seen, light = observed([GALAXY + 100 * POINT]), jnp.asarray(GALAXY)[None, ..., None]
    arguments = seen, light, jnp.ones((1, 1)), find_candidates(seen, light)
    before = without.apply({"params": plain["companions"]}, *arguments)
    after = with_context.apply({"params": params["companions"]}, *arguments)
    np.testing.assert_allclose(before.logit, after.logit, atol=1e-5)
