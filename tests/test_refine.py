import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from vaedeblend import refine as module
from vaedeblend.losses import poisson_nll
from vaedeblend.refine import make_refine

pytestmark = pytest.mark.usefixtures("optimised")

STAMP, FRAME, BANDS = 16, 20, 2
FAR = 60
HOME = (FRAME - STAMP) // 2
RMS, GAIN = 1.0, 30.0


def blobs(latent, condition, xp=jnp):
    """Round Gaussians; latent: y, x [pixel], ln(width) / 0.2; condition: width [pixel]."""
    grid = xp.arange(STAMP) - (STAMP - 1) / 2
    square = (grid[:, None] - latent[:, 0, None, None]) ** 2
    square = square + (grid - latent[:, 1, None, None]) ** 2
    width = condition[:, :1] * xp.exp(0.2 * latent[:, 2:3]) * xp.array([1.0, 1.3])
    variance = width[:, None, None] ** 2
    return xp.exp(-square[..., None] / (2 * variance)) / (2 * np.pi * variance)


refine_blobs = make_refine(blobs)
refine_once = make_refine(blobs, steps=1)
refine_to_the_end = make_refine(blobs, steps=12)
refine_known = make_refine(lambda latent, condition: blobs(0 * latent, condition))
"""The last of shapes that are known: its latent changes nothing."""


def truth(rng, groups, members, flux=(100, 1000)):
    """Arguments of a refinement with its start at the truth, and its image without noise."""
    latent = rng.normal(size=(groups, members, 3))
    flux = np.exp(rng.uniform(*np.log(flux), size=(groups, members, BANDS)))
    corner = HOME + rng.integers(-4, 5, size=(groups, members, 2))
    corner[:, 0] = HOME
    shape = (groups, FRAME, FRAME, BANDS)
    scene = {
        "variance": np.full(shape, RMS**2),
        "gain": np.full((groups, BANDS), GAIN),
        "condition": np.full((groups, 1), 1.6),
        "latent": latent,
        "flux": flux,
        "corner": corner,
        "present": np.ones((groups, members), bool),
    }
    images = [model_image({k: v[i] for k, v in scene.items()}) for i in range(groups)]
    return {"image": np.array(images).reshape(shape), **scene}


def model_image(group, flux=None, latent=None):
    """The model of one group in NumPy's doubles, cut out of a sky that all stamps are within."""
    flux = group["flux"] if flux is None else flux
    latent = group["latent"] if latent is None else latent
    profiles = blobs(latent, np.broadcast_to(group["condition"], (len(latent), 1)), np)
    sky = np.zeros((FRAME + 2 * FAR, FRAME + 2 * FAR, BANDS))
    for profile, each, (y, x) in zip(profiles, flux, group["corner"] + FAR, strict=True):
        sky[y : y + STAMP, x : x + STAMP] += each * profile
    return sky[FAR:-FAR, FAR:-FAR]


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


def noisy(rng, scene):
    noise = rng.normal(size=scene["image"].shape)
    sigma = np.sqrt(scene["variance"] + scene["image"] / scene["gain"][:, None, None])
    return {**scene, "image": scene["image"] + sigma * noise}


def shaken(rng, scene, latent=0.3, log_flux=0.1):
    """The same with a start away from the truth."""
    moved = scene["latent"] + latent * rng.normal(size=scene["latent"].shape)
    factor = np.exp(log_flux * rng.normal(size=scene["flux"].shape))
    return {**scene, "latent": moved, "flux": scene["flux"] * factor}


def group_of(scene, i):
    return {name: value[i] for name, value in scene.items()}


def call(refine, scene):
    types = {"corner": jnp.int32, "present": bool}
    arrays = {name: jnp.asarray(v, types.get(name, jnp.float32)) for name, v in scene.items()}
    return jax.tree.map(np.asarray, refine(*arrays.values()))


def assert_same(a, b, **tolerance):
    for name, one, other in zip(a._fields, a, b, strict=True):
        np.testing.assert_allclose(one, other, err_msg=name, **tolerance)


@pytest.fixture(scope="module")
def blends():
    """48 noisy pairs, as a network would leave them, and their refinement."""
    rng = np.random.default_rng(7)
    true = truth(rng, 48, 2)
    start = shaken(rng, noisy(rng, true))
    return start, call(refine_blobs, start)


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


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, -1e6])
def test_masked_pixels_have_no_influence(value, blends):
    start, _ = blends
    masked = {**start, "variance": start["variance"].copy(), "image": start["image"].copy()}
    masked["variance"][:, 7:10, 5:9] = np.inf
    before = call(refine_blobs, masked)
    masked["image"][:, 7:10, 5:9] = value
    assert_same(call(refine_blobs, masked), before)
    assert np.isfinite(before.flux_covariance).all()


def test_absent_members_change_nothing(blends):
    start, refined = blends
    padded = dict(start)
    for name in ("latent", "flux", "corner", "present"):
        fill = np.full_like(start[name][:, :1], {"corner": 3, "present": 0}.get(name, np.nan))
        padded[name] = np.concatenate([start[name], fill], axis=1)
    padded = call(refine_blobs, padded)
    for name in ("flux", "latent", "image"):
        assert (getattr(padded, name)[:, 2:] == 0).all()
    assert (padded.flux_covariance[:, 2:] == 0).all()
    assert (padded.flux_covariance[:, :, 2:] == 0).all()
    cut = padded._replace(
        flux=padded.flux[:, :2],
        flux_covariance=padded.flux_covariance[:, :2, :2],
        latent=padded.latent[:, :2],
        image=padded.image[:, :2],
    )
    assert_same(cut, refined, rtol=1e-2, atol=1e-2)


def test_groups_do_not_depend_on_their_neighbours(blends):
    start, refined = blends
    order = np.random.default_rng(0).permutation(48)
    turned = call(refine_blobs, {name: value[order] for name, value in start.items()})
    assert_same(turned, jax.tree.map(lambda x: x[order], refined), rtol=1e-4, atol=1e-4)


def spoilt_start(scene):
    scene["latent"][5, 1] = np.nan


def spoilt_flux(scene):
    scene["flux"][5] = np.inf


def spoilt_mask(scene):
    scene["variance"][5] = np.inf


@pytest.mark.parametrize("spoil", [spoilt_start, spoilt_flux, spoilt_mask])
def test_a_bad_group_leaves_the_others_alone(spoil, blends):
    start, refined = blends
    bad = {name: value.copy() for name, value in start.items()}
    spoil(bad)
    spoilt = call(refine_blobs, bad)
    others = np.arange(48) != 5
    assert_same(*(jax.tree.map(lambda x: x[others], r) for r in (spoilt, refined)))
    np.testing.assert_array_equal(spoilt.flux[5], np.float32(bad["flux"][5]))
    np.testing.assert_array_equal(spoilt.latent[5], np.float32(bad["latent"][5]))
    assert np.isinf(np.einsum("kkb->kb", spoilt.flux_covariance[5])).all()


def test_members_partly_and_wholly_outside(rng):
    scene = truth(rng, 48, 3)
    scene["corner"][:, 1] = rng.integers(-8, 12, size=(48, 2))
    beyond = [(2 * FRAME + 9, 0), (-3 * FRAME, 2), (0, -STAMP), (3, FRAME)]
    scene["corner"][:, 2] = beyond * 12
    groups = [group_of(scene, i) for i in range(48)]
    scene["image"] = np.array([model_image(group) for group in groups])
    refined = call(refine_blobs, scene)
    np.testing.assert_allclose(refined.image.sum(axis=1), scene["image"], atol=1)
    assert (refined.image[:, 2] == 0).all()
    np.testing.assert_array_equal(refined.flux[:, 2], np.float32(scene["flux"][:, 2]))
    np.testing.assert_array_equal(refined.latent[:, 2], np.float32(scene["latent"][:, 2]))
    assert np.isinf(np.einsum("gkkb->gkb", refined.flux_covariance)[:, 2]).all()
    assert np.isfinite(refined.flux_covariance[:, :2, :2]).all()


def test_a_band_without_pixels_keeps_its_flux(blends):
    start, refined = blends
    variance = start["variance"].copy()
    variance[..., 1] = np.inf
    one = call(refine_blobs, {**start, "variance": variance})
    np.testing.assert_array_equal(one.flux[..., 1], np.float32(start["flux"][..., 1]))
    assert np.isinf(np.einsum("gkkb->gkb", one.flux_covariance)[..., 1]).all()
    assert np.median(np.abs(one.flux[..., 0] / refined.flux[..., 0] - 1)) < 0.03
    wider = np.einsum("gkkb->gkb", one.flux_covariance / refined.flux_covariance)[..., 0]
    assert np.median(wider) > 1


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


def test_scale_of_the_image_is_of_no_account(blends):
    start, refined = blends
    scaled = dict(start)
    for name, power in (("image", 1), ("flux", 1), ("variance", 2), ("gain", -1)):
        scaled[name] = start[name] * 1e-3**power
    scaled = call(refine_blobs, scaled)
    np.testing.assert_allclose(scaled.flux * 1e3, refined.flux, rtol=1e-3)
    np.testing.assert_allclose(scaled.flux_covariance * 1e6, refined.flux_covariance, rtol=1e-2)
