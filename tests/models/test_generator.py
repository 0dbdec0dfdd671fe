"""The generator: galaxies in their own frame, learned, made up, and put on the sky as asked for."""

import json

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import special

from vaedeblend.catalogues import egg
from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.cli import train
from vaedeblend.configs import flowvae, quick
from vaedeblend.exceptions import CheckpointError, VaedeblendError, WorkdirError
from vaedeblend.io import checkpoint
from vaedeblend.models.generator import (
    Examples,
    Generator,
    init_generator,
    load_generator,
    make_generate,
    random_examples,
)
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate.examples import canonical_galaxies
from vaedeblend.simulate.fields import simulate_field
from vaedeblend.simulate.galaxies import canonical
from vaedeblend.simulate.galaxies.profiles import dominant_shape, half_light_radius
from vaedeblend.simulate.galaxies.styles import find_style
from vaedeblend.simulate.library import render_library
from vaedeblend.survey import Survey
from vaedeblend.training import loop, objectives

pytestmark = pytest.mark.usefixtures("optimised")

STEPS = 4
MODEL = {
    "latent_dim": 4,
    "encoder_widths": (4, 4),
    "encoder_hidden": 8,
    "decoder_widths": (8, 4),
    "decoder_hidden": 16,
    "flow_hidden": (8,),
    "flow_couplings": 4,
}


def tiny() -> ConfigDict:
    config = flowvae.get_config()
    config.data.update(area=0.03, magnitude=(20.0, 24.0), style="sersic")
    config.data.processes = 1
    config.sizes.canonical = {"train": 12, "validation": 4}
    config.model.update(MODEL)
    for stage in config.stages.values():
        stage.update(steps=STEPS, batch_size=4, log_every=2, checkpoint_every=2)
        stage.optimizer.warmup_steps = 2
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    train.train(tiny(), workdir)
    return workdir


@pytest.fixture(scope="module")
def params():
    """Of the tiny generator; random, and none of its flow is zero."""
    params = init_generator(Generator(**tiny().model), jax.random.key(3))
    return params | {"flow": jax.tree.map(lambda p: p + 0.1, params["flow"])}


@pytest.fixture(scope="module")
def untrained(params, tmp_path_factory):
    """The workdir of a generator whose galaxies look like nothing."""
    workdir = tmp_path_factory.mktemp("untrained")
    decoder = jax.tree.map(lambda p: 1.5 * p, params["decoder"])
    checkpoint.save_params(workdir / "flow" / "checkpoints", 1, params | {"decoder": decoder})
    (workdir / "config.json").write_text(tiny().to_json_best_effort())
    return workdir


@pytest.fixture(scope="module")
def sample() -> Galaxies:
    table = egg.sample(0.02, np.random.default_rng(4), 24.0)
    return make_galaxies(table[:24])


def look(pixels, angle=0.0, axis_ratio=1.0):
    """Half-light radius along the major axis, and axis ratio of second moments, pixel by pixel."""
    y, x = np.indices(pixels.shape) - (len(pixels) - 1) / 2
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    across = (y * np.cos(np.radians(angle)) - x * np.sin(np.radians(angle))) / axis_ratio
    radii = np.hypot(along, across).ravel()
    order = np.argsort(radii)
    radius = np.interp(0.5, np.cumsum(pixels.ravel()[order]) / pixels.sum(), radii[order])
    near = pixels * (np.hypot(along, across) < 4 * radius)
    x, y = along - np.average(along, weights=near), across - np.average(across, weights=near)
    moments = np.cov([x.ravel(), y.ravel()], aweights=near.ravel(), ddof=0)
    low, high = np.linalg.eigvalsh(moments)
    return radius, np.sqrt(moments[1, 1] / moments[0, 0]) * axis_ratio, np.sqrt(low / high)


@pytest.mark.parametrize("style", ["structured", "analytic"])
def test_canonical_stamps_have_unit_sum_one_radius_and_are_round(sample, style):
    light = [find_style(style)(sample.take(i), (1, i)) for i in range(12)]
    stamps = [canonical.canonical_stamp(each, sample.take(i)) for i, each in enumerate(light)]
    assert np.sum(stamps, axis=(1, 2)) == pytest.approx(1, abs=1e-6) and np.min(stamps) >= 0
    radius, _, ratio = np.transpose([look(stamp) for stamp in stamps])
    disk = sample.take(slice(12))
    share = (disk.flux_bulge / disk.flux)[:, 0]
    assert radius[share < 0.5] == pytest.approx(canonical.CANONICAL_RADIUS, rel=0.12)
    assert np.median(radius) == pytest.approx(canonical.CANONICAL_RADIUS, rel=0.03)
    assert np.median(ratio) > 0.96 and ratio.min() > 0.8


def test_frame_of_a_sheared_image_is_the_sheared_frame():
    blob = galsim.Exponential(half_light_radius=6).shift(2, -1) + galsim.Gaussian(sigma=3)
    for q, angle in ((0.9, 10.0), (0.5, 70.0)):
        light = galsim.Convolve(blob.shear(q=q, beta=angle * galsim.degrees).shift(1, 2))
        image = light.drawImage(nx=96, ny=96, scale=0.7, method="no_pixel").array
        frame, plain = (
            canonical.measure_frame(each.clip(0).astype(float), 8.0)
            for each in (image, blob.drawImage(nx=96, ny=96, scale=0.7, method="no_pixel").array)
        )
        shear = galsim.Shear(q=q, beta=angle * galsim.degrees).getMatrix()
        inertia = [np.linalg.inv(f.plane.T @ f.plane) for f in (frame, plain)]
        np.testing.assert_allclose(inertia[0], shear @ inertia[1] @ shear.T, rtol=0.03, atol=2)
        wanted = shear @ plain.centre + np.array([1, 2]) / 0.7
        np.testing.assert_allclose(frame.centre, wanted, atol=0.05)


def test_generated_galaxies_are_as_asked_for_whatever_the_decoder_draws(sample, untrained):
    """Before the PSF, at high resolution."""
    style, errors = find_style(f"generator:{untrained}"), []
    for i in range(24):
        galaxy = sample.take(i)
        (light,) = style(galaxy, (5, i))
        assert light.flux == pytest.approx(float(galaxy.flux[0]), rel=1e-6)
        radius, (ratio, angle) = half_light_radius(galaxy), dominant_shape(galaxy)
        image = light.drawImage(nx=240, ny=240, scale=radius / 20, method="no_pixel").array
        found = look(image.clip(0).astype(float), angle, ratio)
        errors.append([image.sum() / light.flux, found[0] / 20, found[1] / ratio])
    errors = np.abs(np.array(errors) - 1)
    assert (np.median(errors, axis=0) < [1e-3, 0.05, 0.02]).all()
    assert (
        np.quantile(errors, 0.9, axis=0) < [0.03, 0.08, 0.08]
    ).all()  # some light lies beyond the images


def test_seed_and_parameters_decide_on_the_morphology(sample, untrained):
    style = find_style(f"generator:{untrained}")
    first, again, other = (
        style(sample.take(0), seed)[0].drawImage(nx=32, ny=32, scale=0.05).array
        for seed in ((1, 2), (1, 2), (1, 3))
    )
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 1e-3 * first.max()


def test_bands_share_a_morphology_and_keep_their_fluxes(sample, untrained):
    two = sample.take(0)._replace(flux_bulge=np.array([1.0, 2.0]), flux_disk=np.array([3.0, 3.0]))
    light = find_style(f"generator:{untrained}")(two, (1,))
    assert [each.flux for each in light] == pytest.approx([4.0, 5.0])
    images = [each.drawImage(nx=32, ny=32, scale=0.05).array for each in light]
    np.testing.assert_allclose(images[0] * 5, images[1] * 4, rtol=1e-4, atol=1e-6)


def test_stars_are_points(untrained):
    numbers = [np.float64(value) for value in (0, 0, 1, 1, 0, 0)]
    star = Galaxies(np.array([0.0]), np.array([2.0]), *numbers)
    (light,) = find_style(f"generator:{untrained}")(star, ())
    assert light == galsim.DeltaFunction(flux=2.0)


@pytest.mark.slow
def test_any_number_of_processes_draws_the_same(sample, untrained):
    axis = np.exp(-0.5 * (np.arange(-10, 11) * 0.05 / 0.08) ** 2)
    options = {
        "seed": (7,),
        "psfs": [(make_psf(np.outer(axis, axis), 0.05),)],
        "size": 128,
        "pixel_scale": 0.1,
        "style": f"generator:{untrained}",
    }
    many = Galaxies(*(np.resize(field, (66, *field.shape[1:])) for field in sample))
    arguments = many, np.arange(66), np.full(66, True)
    one, two = (render_library(*arguments, processes=n, **options).stamps for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.isfinite(one).all() and one.any(axis=(1, 2, 3)).all()


def test_canonical_galaxies_do_not_depend_on_how_many_there_are(sample):
    options = {"survey": Survey(), "seed": 1, "area": 0.03, "magnitude": (20.0, 24.0)}
    few, more = (list(canonical_galaxies("train", n, **options)) for n in (2, 4))
    for a, b in zip(few, more, strict=False):
        np.testing.assert_array_equal(a["stamp"], b["stamp"])
    assert not np.array_equal(more[0]["stamp"], more[1]["stamp"])


def test_both_stages_train_and_the_flow_leaves_the_vae_alone(trained):
    shapes, flow = (
        checkpoint.load_params(trained / stage / "checkpoints") for stage in ("shapes", "flow")
    )
    for part in ("encoder", "decoder"):
        jax.tree.map(np.testing.assert_array_equal, shapes[part], flow[part])
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), shapes["flow"], flow["flow"])
    assert max(jax.tree.leaves(moved)) > 0
    records = loop.read_records(trained / "shapes" / "metrics.jsonl")
    assert records[-1]["step"] == STEPS
    assert records[-1]["validation_loss"] < records[0]["validation_loss"]


def test_killed_training_goes_on_where_it_was(trained, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def dies(step, record):
        if step == 2:  # of which there is no checkpoint yet
            raise Killed

    config = tiny()
    config.data_dir = str(trained / "data")
    del config.stages["flow"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(train, "_reporter", lambda *stage: dies)
        train.train(config, tmp_path)
    train.train(config, tmp_path)
    found, wanted = (
        checkpoint.load_params(each / "shapes" / "checkpoints") for each in (tmp_path, trained)
    )
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_a_field_of_a_trained_generator(trained):
    field = simulate_field(
        size=192, seed=2, survey=Survey(), magnitude_limit=25.0, style=f"generator:{trained}"
    )
    plain = simulate_field(size=192, seed=2, survey=Survey(), magnitude_limit=25.0)
    assert np.isfinite(field.image).all()
    assert field.light.sum() == pytest.approx(plain.light.sum(), rel=0.15)
    assert not np.allclose(field.light, plain.light, rtol=0.01)


def test_side_of_a_stamp_is_the_renderer_s():
    assert Generator(**tiny().model).side == canonical.SIDE


def test_generate_draws_a_stamp_for_each_condition(trained, key):
    conditions = jnp.array([[22.0, -0.3, 0.1, 0.8], [35.0, 9.0, 0.9, 0.1]])
    stamps = load_generator(trained)(key, conditions)
    assert stamps.shape == (2, 64, 64) and (stamps >= 0).all()
    np.testing.assert_allclose(stamps.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_conditions_beyond_those_trained_on_are_their_like(params, key):
    generate = make_generate(Generator(**tiny().model), params)
    typical, far, farther = (
        generate(key, jnp.array([[m, -0.5, 0.2, 0.5]])) for m in (24.0, 40.0, 99.0)
    )
    np.testing.assert_array_equal(far, farther)
    assert jnp.abs(typical - far).max() > 0


def test_reconstruction_is_the_poisson_deviance_of_counted_photons(params, key):
    model = Generator(**tiny().model)
    loss = objectives.light(model, photons=1e4, background=2.0, kl_weight=0.5, kl_warmup_steps=4)
    stamps = jax.random.uniform(key, (3, 64, 64)) + 1
    batch = Examples(stamps / stamps.sum(axis=(1, 2), keepdims=True), jnp.zeros((3, 4)))
    parts = loss(params, batch, key, 1)  # of four: half of the KL's weight
    drawn = model.apply({"params": params}, key, batch)[1]
    count, expected = (1e4 * np.asarray(a, float) + 2 for a in (batch.stamp, drawn))
    wanted = (special.rel_entr(count, expected) - count + expected).sum(axis=(1, 2))
    np.testing.assert_allclose(parts["reconstruction"], wanted, rtol=1e-3)
    np.testing.assert_allclose(parts["loss"], parts["reconstruction"] + parts["kl"] / 4, rtol=1e-5)


def test_mirror_images_are_the_only_change(key):
    stamps = jax.random.uniform(key, (3, 64, 64)).astype(jnp.float16)
    examples = Examples(stamps, jnp.arange(12.0).reshape(3, 4))
    drawn, seen = jax.device_get(random_examples(key, examples, 32)), set()
    for stamp, condition in zip(*drawn, strict=True):
        source = np.asarray(stamps)[int(condition[0]) // 4]
        views = [source, source[::-1], source[:, ::-1], source[::-1, ::-1]]
        seen.add([np.array_equal(stamp, view) for view in views].index(True))
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("place", ["model", "stages.shapes.loss", "data"])
def test_a_misspelt_key_is_an_error(place, tmp_path, trained):
    config = tiny()
    config.data_dir = str(trained / "data")
    where = config
    for name in place.split("."):
        where = where[name]
    where.latnet_dim = 3
    with pytest.raises((TypeError, VaedeblendError), match="latnet_dim"):
        train.train(config, tmp_path)


def test_stages_of_two_kinds_are_refused(tmp_path):
    config = tiny()
    config.stages.isolated = quick.get_config().stages.isolated
    with pytest.raises(ValueError, match="wanted some of"):
        train.train(config, tmp_path)


def test_what_is_no_generator_is_refused(tmp_path, trained):
    with pytest.raises(WorkdirError, match="not found"):
        find_style(f"generator:{tmp_path / 'nothing'}")
    (tmp_path / "config.json").write_text(json.dumps({"stages": {"isolated": {}}}))
    with pytest.raises(WorkdirError, match="wanted those of a generator"):
        find_style(f"generator:{tmp_path}")
    (tmp_path / "config.json").write_text((trained / "config.json").read_text())
    with pytest.raises(CheckpointError, match="no checkpoint"):
        find_style(f"generator:{tmp_path}")
