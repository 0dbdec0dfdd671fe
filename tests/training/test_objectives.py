import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import apply, moved

from vaedeblend.models import losses
from vaedeblend.models.vae import VAE, Observation, init_params, reparameterize
from vaedeblend.pixels.stamps_jax import cut_stamps
from vaedeblend.training import objectives
from vaedeblend.training.observe import Batch

SIZE, N = 16, 4
LOSS = {
    "likelihood": "gaussian",
    "model_error": 0.0,
    "flux_error": 0.0,
    "kl_weight": 1.0,
    "kl_warmup_steps": 4,
    "kl_cycles": 1,
    "free_bits": 0.0,
    "flux_weight": 2.0,
    "centre_boost": 0.0,
    "centre_sigma": 3.0,
}
WEIGHTS = {
    "latent_weight": 2.0,
    "flux_weight": 10.0,
    "purity_weight": 3.0,
    "point_weight": 5.0,
    "cleaned_share": 0.0,
    "cleaned_from": 10,
    "cleaned_looks": 1,
}
LATE = jnp.int32(1000)


@pytest.fixture(scope="module")
def model():
    return VAE(3, (4,), 8, 1, (8,), (8,), 4, SIZE, 1, coadds=True)


@pytest.fixture(scope="module")
def params(model):
    """As though trained: no head is zero."""
    initial = init_params(model, jax.random.key(0))
    return moved(initial, jax.random.key(2))


@pytest.fixture(scope="module")
def batch():
    """Gaussians of several fluxes, each beside the next one."""
    rng = np.random.default_rng(6)
    y, x = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    flux = np.array([50.0, 100.0, 200.0, 400.0])[:, None]
    target = flux[:, None, None] * (np.exp(-(y**2 + x**2) / 8) / (8 * np.pi))[..., None]
    light = target + np.roll(target, 4, axis=2)

    def seen(light, sigma):
        image = light + sigma * rng.normal(size=light.shape)
        arrays = image, np.full(light.shape, sigma**2), np.full((N, 1), 2 / sigma**2)
        arrays = (jnp.asarray(a, jnp.float32) for a in arrays)
        return Observation(*arrays, jnp.ones((N, 10)), jnp.zeros(light.shape), jnp.zeros((N, 5)))

    own, all_light = (target**2).sum(axis=(1, 2)), (target * light).sum(axis=(1, 2))
    truth = (jnp.asarray(a, jnp.float32) for a in (target, flux, own / all_light))
    corner, found = jnp.tile(jnp.array([[0, 4], [3, 0]]), (N, 1, 1)), jnp.array([[True, False]] * N)
    star = jnp.arange(N) % 2 == 0
    place = corner.astype(float)
    fluxes = jnp.full(found.shape, 100.0)
    return Batch(seen(light, 1.0), seen(target, 0.1), *truth, corner, found, star, place, fluxes)


def evidence(model, **changes):
    return jax.jit(objectives.evidence(model, **LOSS | changes))


def posterior(model, teacher, **changes):
    return jax.jit(objectives.posterior(model, teacher, **WEIGHTS | changes))


subtract = jax.jit(objectives.cleaned, static_argnums=(0, 3, 4))


def posterior_and_light(model, params, batch, key):
    posterior, profile, _ = apply(model, {"params": params}, batch.observation, key)
    return posterior, batch.flux[:, None, None] * profile


def size_of(gradient):
    return sum(float(jnp.abs(g).sum()) for g in jax.tree.leaves(gradient))


def test_every_part_is_one_number_an_example(model, params, batch, key):
    for function in (evidence(model), posterior(model, params["encoder"])):
        parts = function(params, batch, key, LATE)
        assert {part.shape for part in parts.values()} == {(N,)}
        assert all(np.isfinite(part).all() for part in parts.values())


def test_half_precision_changes_no_loss_by_more_than_its_rounding(model, params, batch, key):
    half = model.clone(dtype="bfloat16")
    fresh = jax.eval_shape(lambda key: init_params(half, key), key)
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}
    for make in (evidence, lambda each: posterior(each, params["encoder"])):
        whole, rounded = (make(each)(params, batch, key, LATE) for each in (model, half))
        for name, part in whole.items():
            assert rounded[name].dtype == jnp.float32
            np.testing.assert_allclose(rounded[name], part, rtol=0.02, atol=0.02)
        assert not np.array_equal(whole["loss"], rounded["loss"])


def test_evidence_is_the_weighted_sum_of_its_parts(model, params, batch, key):
    parts = evidence(model, kl_weight=0.5)(params, batch, key, LATE)
    expected = parts["reconstruction"] + 0.5 * parts["kl"] + 2 * parts["flux"]
    np.testing.assert_allclose(parts["loss"], expected, rtol=1e-6)


@pytest.mark.parametrize(("model_error", "flux_error"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.01)])
def test_reconstruction_is_the_likelihood_of_the_noise_free_light(
    model, params, batch, key, model_error, flux_error
):
    _, light = posterior_and_light(model, params, batch, key)
    variance = 1 + batch.target / 2 + (model_error * batch.target) ** 2
    variance += (flux_error * batch.flux[:, None, None]) ** 2
    expected = ((batch.target - light) ** 2 / variance / 2).sum(axis=(1, 2, 3))
    errors = {"model_error": model_error, "flux_error": flux_error}
    parts = evidence(model, **errors)(params, batch, key, LATE)
    np.testing.assert_allclose(parts["reconstruction"], expected, rtol=1e-4)


def test_poisson_reconstruction_is_nearly_gaussian_where_the_model_is_close(batch):
    close = 1.02 * batch.target
    gain, one = jnp.full((N, 1, 1, 1), 2.0), jnp.ones((SIZE, SIZE))
    poisson = losses.poisson_nll(batch.target, close, 400 * gain**0, gain, one)
    gaussian = losses.gaussian_nll(batch.target, close, 100 + batch.target / 2, one)
    np.testing.assert_allclose(poisson, gaussian, rtol=0.05)


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
@pytest.mark.parametrize("trouble", ["masked", "gainless"])
def test_troubled_stamps_have_finite_losses_and_gradients(
    model, params, batch, key, likelihood, trouble
):
    seen = batch.observation
    if trouble == "masked":
        seen = seen._replace(variance=seen.variance.at[:, 5:9].set(jnp.inf))
        seen = seen._replace(image=seen.image.at[:, 5:9].set(0.0))
    else:
        seen = seen._replace(gain=jnp.full((N, 1), jnp.inf))
    function = evidence(model, likelihood=likelihood, model_error=0.03)

    def loss(params):
        return function(params, batch._replace(observation=seen), key, LATE)["loss"].mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_free_bits_reach_the_loss(model, params, batch, key):
    posterior, _ = posterior_and_light(model, params, batch, key)
    parts = evidence(model, free_bits=2.0)(params, batch, key, LATE)
    np.testing.assert_allclose(parts["kl"], losses.kl_divergence(posterior, 2.0), rtol=1e-5)
    assert (parts["kl"] >= 6).all()


def test_kl_warms_up(model, params, batch, key):
    function = evidence(model, flux_weight=0.0)
    for step, warmth in ((0, 0.25), (2, 0.75), (3, 1.0), (100, 1.0)):
        parts = function(params, batch, key, jnp.int32(step))
        expected = parts["reconstruction"] + warmth * parts["kl"]
        np.testing.assert_allclose(parts["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("cycles", [1, 2, 3])
def test_kl_rises_once_a_cycle_and_stays(cycles):
    warmth = np.array([objectives._warmth(jnp.int32(step), 10, cycles) for step in range(60)])
    assert np.sum(np.diff(warmth) < 0) == cycles - 1
    last = 10 * (cycles - 1)
    fast, slow = np.minimum(1, np.arange(0, 10) / 5), np.minimum(1, np.arange(0, 61 - last) / 10)
    expected = np.concatenate([*[fast] * (cycles - 1), slow])[1:]
    np.testing.assert_allclose(warmth, expected, atol=1e-6)


def test_kl_without_warm_up_counts_at_once():
    assert objectives._warmth(jnp.int32(0), 0, 1) == 1


def test_unknown_likelihood_is_refused(model):
    with pytest.raises(ValueError, match=r"likelihood is 'cauchy'; wanted one of \['gaussian'"):
        evidence(model, likelihood="cauchy")


def test_misspelt_weight_is_refused(model, params):
    with pytest.raises(TypeError, match="latent_wieght"):
        objectives.posterior(model, params["encoder"], **WEIGHTS, latent_wieght=1.0)


def test_posterior_is_the_weighted_sum_of_the_densities_of_the_truth(model, params, batch, key):
    teacher = jax.tree.map(lambda p: 1.1 * p, params["encoder"])
    parts = posterior(model, teacher)(params, batch, key, LATE)
    found = apply(model, {"params": params}, batch.observation, method="encode")
    taught = {"params": params | {"encoder": teacher}}
    z = reparameterize(key, apply(model, taught, batch.deep, method="encode"))
    expected = {
        "latent": losses.latent_nll(found, z),
        "flux": losses.flux_nll(found, batch.flux),
        "purity": losses.purity_nll(found, batch.purity),
        "point": losses.point_nll(found, batch.star),
        "prior": -apply(model, {"params": params}, z, method="log_prior"),
    }
    for name, part in expected.items():
        np.testing.assert_allclose(parts[name], part, rtol=1e-4)
    total = 2 * parts["latent"] + 10 * parts["flux"] + 3 * parts["purity"] + parts["prior"]
    total += 5 * parts["point"]
    np.testing.assert_allclose(parts["loss"], total, rtol=1e-5)


def part_gradients(model, params, batch, key, part):
    """Of one part of stage II's loss, with respect to the parameters and to the teacher."""

    def loss(params, teacher):
        return objectives.posterior(model, teacher, **WEIGHTS)(params, batch, key, LATE)[part].sum()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(params, params["encoder"])


def test_posterior_teaches_encoder_and_flow_and_neither_decoder_nor_teacher(
    model, params, batch, key
):
    gradient, teacher = part_gradients(model, params, batch, key, "loss")
    assert size_of(gradient["encoder"]) > 0 and size_of(gradient["flow"]) > 0
    assert size_of(gradient["decoder"]) == 0 and size_of(teacher) == 0


@pytest.mark.parametrize(
    ("part", "taught"),
    [*((name, "encoder") for name in ("latent", "flux", "purity", "point")), ("prior", "flow")],
)
def test_each_part_of_the_posterior_teaches_one_network(model, params, batch, key, part, taught):
    gradient, _ = part_gradients(model, params, batch, key, part)
    assert {name for name, g in gradient.items() if size_of(g) > 0} == {taught}


def test_posterior_does_not_show_the_encoder_the_deep_image(model, params, batch, key):
    function = posterior(model, params["encoder"])
    other = batch._replace(deep=batch.deep._replace(image=batch.deep.image[::-1]))
    one, two = (function(params, each, key, LATE) for each in (batch, other))
    for part in ("flux", "purity"):
        np.testing.assert_array_equal(one[part], two[part])
    assert not np.array_equal(one["latent"], two["latent"])


def cleaned(model, params, batch, step, share=0.5):
    """Parts of the loss in whose stamps companions have been subtracted."""
    function = posterior(model, params["encoder"], cleaned_share=share)
    return function(params, batch, jax.random.key(3), jnp.int32(step))


def test_early_steps_see_the_blends_as_they_are(model, params, batch):
    early = cleaned(model, params, batch, step=9)
    never = cleaned(model, params, batch, step=9, share=0.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), early, never)


def test_share_of_late_stamps_is_cleaned(model, params, batch):
    early, late = (cleaned(model, params, batch, step)["flux"] for step in (9, 10))
    np.testing.assert_allclose(early[1::2], late[1::2], rtol=1e-5)
    assert (np.abs(early[::2] - late[::2]) > 1e-4).all()


def test_what_is_subtracted_is_the_light_of_companions_that_were_found(model, params, batch):
    seen = batch.observation
    after = subtract(model, params, batch, 2, 1).observation
    np.testing.assert_allclose(after.image + after.neighbours, seen.image, atol=1e-4)
    subtracted = after.neighbours[::2]
    assert (subtracted.sum(axis=(1, 2, 3)) > 0).all() and not after.neighbours[1::2].any()
    index, corner = jnp.arange(0, 4, 2), batch.corner[:4:2, 0]
    stamps = Observation(
        cut_stamps(seen.image, index, corner, outside=0.0),
        cut_stamps(seen.variance, index, corner, outside=jnp.inf),
        seen.gain[:2],
        seen.psf[index],
        seen.neighbours[:2],
        seen.correlation[:2],
    )
    found = apply(model, {"params": params}, stamps, method="encode")
    profile = apply(model, {"params": params}, found.mean, stamps.psf, method="decode")
    light = jnp.exp(found.log_flux.median)[:, None, None] * profile
    np.testing.assert_allclose(subtracted[:, :, 4:], light[:, :, :-4], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("i", [2, 3])
def test_second_iterations_measure_galaxies_less_the_light_of_the_others(model, params, batch, i):
    """Half of the stamps as after one iteration; of the others, half of a correction is taken."""
    seen = batch.observation
    once, twice = (subtract(model, params, batch, N, n).observation for n in (1, 2))
    np.testing.assert_allclose(once.image[:2], twice.image[:2], rtol=0, atol=2e-6)

    def measured(corner, others):
        first, corner = jnp.array([0]), corner[None]
        variance = cut_stamps(seen.variance[i][None], first, corner, outside=jnp.inf)
        neighbours = cut_stamps(others[None], first, corner, outside=0.0)
        neighbours = jnp.where(jnp.isfinite(variance), neighbours, 0)
        image = cut_stamps(seen.image[i][None], first, corner, outside=0.0) - neighbours
        numbers = (a[i][None] for a in (seen.gain, seen.psf))
        each = Observation(image, variance, *numbers, neighbours, seen.correlation[i][None])
        found = apply(model, {"params": params}, each, method="encode")
        profile = apply(model, {"params": params}, found.mean, each.psf, method="decode")
        light = jnp.exp(found.log_flux.median) * profile
        return cut_stamps(light, first, -corner, outside=0.0)[0]

    central = measured(jnp.zeros(2, int), jnp.zeros_like(seen.image[i]))
    companion = measured(batch.corner[i, 0], central)
    expected = (once.neighbours[i] + companion) / 2
    np.testing.assert_allclose(twice.neighbours[i], expected, rtol=1e-3, atol=1e-4)
    assert np.abs(twice.neighbours[i] - once.neighbours[i]).max() > 1e-2


def test_implausible_light_is_not_subtracted(model, params, batch):
    """Its flux is what the head says in units of the background rms."""
    heads = [name for name in params["encoder"] if name.startswith("Dense_")]
    flux = max(heads, key=lambda name: int(name.split("_")[1]))
    bias = params["encoder"][flux]["bias"]
    for log_ratio, subtracted in ((0.0, True), (60.0, False), (jnp.nan, False)):
        head = params["encoder"][flux] | {"bias": bias.at[0].set(log_ratio)}
        changed = params | {"encoder": params["encoder"] | {flux: head}}
        after = subtract(model, changed, batch, 2, 1).observation
        assert bool(after.neighbours.any()) == subtracted and jnp.isfinite(after.image).all()


def test_no_light_is_subtracted_from_masked_pixels(model, params, batch):
    seen = batch.observation
    masked = seen._replace(
        variance=seen.variance.at[:, 5:9].set(jnp.inf), image=seen.image.at[:, 5:9].set(0.0)
    )
    after = subtract(model, params, batch._replace(observation=masked), N, 2).observation
    assert not after.image[:, 5:9].any() and not after.neighbours[:, 5:9].any()


def test_what_is_subtracted_has_no_gradient(model, params, batch):
    def subtracted(params):
        return subtract(model, params, batch, N, 2).observation.neighbours.sum()

    assert size_of(jax.jit(jax.grad(subtracted))(params)) == 0
