import json
import shutil

import jax
import numpy as np
import pytest
from compiled import moved

from vaedeblend.deblend import network as deblender
from vaedeblend.deblend.calibration import (
    Calibration,
    Calibrations,
    Response,
    write_calibrations,
)
from vaedeblend.deblend.joint import deblend_stamps, make_deblend_stamps
from vaedeblend.deblend.network import CompanionTest, Deblender
from vaedeblend.exceptions import StampError, WorkdirError
from vaedeblend.io import checkpoint
from vaedeblend.io.workdir import export
from vaedeblend.models.companions import Companions, init_companions
from vaedeblend.models.vae import VAE, init_params
from vaedeblend.pixels.psf import PSF_SIZE, write_native_psfs

FIELDS = {
    "latent_dim": 4,
    "encoder_widths": (4,),
    "encoder_hidden": 8,
    "encoder_blocks": 1,
    "decoder_hidden": (8,),
    "flow_hidden": (8,),
    "flow_couplings": 4,
    "stamp_size": 16,
}
ONES = np.ones(1, np.float32)
CORRECTION = Calibration(*(a * ONES for a in (0.0, -0.7, 0.0, 0.5, 0.0, -0.2, 0.1)))
IDENTITY = Calibration(*7 * [0 * ONES])
CORRECTIONS = Calibrations(CORRECTION, IDENTITY, IDENTITY)


def gaussian_psf(sigma, size=15):
    y, x = np.indices((size, size)) - size // 2
    light = np.exp(-(y**2 + x**2) / (2 * sigma**2))
    return (light / light.sum()).astype(np.float32)[..., None]


@pytest.fixture(scope="module")
def network():
    model = VAE(**FIELDS, bands=1)
    params = init_params(model, jax.random.key(0))
    return model, jax.tree.map(lambda p: p + 0.02, params)


@pytest.fixture(scope="module")
def deblend(network):
    return Deblender(*network, gaussian_psf(1.2))


@pytest.fixture
def image(rng):
    return rng.normal(1.0, 1.0, (3, 16, 16, 1)).astype(np.float32)


@pytest.fixture
def variance(rng):
    return rng.uniform(0.5, 2.0, (3, 16, 16, 1)).astype(np.float32)


@pytest.fixture
def mask(rng):
    return rng.random((3, 16, 16, 1)) < 0.2


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_shapes_and_signs(deblend, image, variance):
    result = deblend(image, variance)
    assert result.flux.shape == result.flux_err.shape == result.purity.shape == (3, 1)
    assert result.image.shape == image.shape
    assert result.latent_mean.shape == result.latent_std.shape == (3, 4)
    assert (result.flux > 0).all() and (result.flux_err > 0).all() and (result.image >= 0).all()
    assert (result.purity > 0).all() and (result.purity < 1).all()


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_units_of_the_image_are_the_callers(scale, deblend, image, variance):
    one = deblend(image, variance, gain=3.0)
    many = deblend(scale * image, scale**2 * variance, gain=3.0 / scale)
    for name in ("flux", "flux_err", "image"):
        np.testing.assert_allclose(getattr(many, name), scale * getattr(one, name), rtol=1e-3)
    for name in ("latent_mean", "latent_std", "purity"):
        np.testing.assert_allclose(getattr(many, name), getattr(one, name), rtol=1e-3, atol=1e-3)


def test_image_holds_no_more_than_the_flux(deblend, image, variance):
    result = deblend(image, variance)
    assert (result.image.sum(axis=(1, 2)) <= result.flux * (1 + 1e-5)).all()


def test_psf_beyond_those_trained_on_is_taken_for_the_nearest(deblend, image, variance):
    own = deblend(image, variance)
    for sharper in (gaussian_psf(0.8), gaussian_psf(1.2)[5:-5, 5:-5]):
        found = deblend(image, variance, psf=sharper / sharper.sum())
        np.testing.assert_allclose(found.flux, own.flux, rtol=1e-3)
    wide, wider = (deblend(image, variance, psf=gaussian_psf(s, 31)) for s in (3.0, 4.0))
    np.testing.assert_allclose(wide.flux, wider.flux, rtol=1e-5)
    assert np.abs(wide.flux / own.flux - 1).max() > 1e-3


@pytest.mark.parametrize("value", [0.0, 1e9, -1e9, np.nan, np.inf])
def test_what_lies_under_the_mask_changes_nothing(value, deblend, image, variance, mask):
    other = np.where(mask, value, image).astype(np.float32)
    assert_same(deblend(image, variance, mask), deblend(other, variance, mask))


def test_mask_is_an_infinite_variance(deblend, image, variance, mask):
    infinite = np.where(mask, np.inf, variance).astype(np.float32)
    assert_same(deblend(image, variance, mask), deblend(image, infinite))
    assert np.abs(deblend(image, infinite).flux / deblend(image, variance).flux - 1).max() > 1e-3


def test_mask_may_lack_the_band_axis(deblend, image, variance, mask):
    assert_same(deblend(image, variance, mask), deblend(image, variance, mask[..., 0]))


def test_empty_mask_is_none(deblend, image, variance, mask):
    assert_same(deblend(image, variance), deblend(image, variance, mask & False))


def test_stamp_without_a_valid_pixel_is_nan_and_leaves_the_others_alone(deblend, image, variance):
    mask = np.zeros(image.shape, bool)
    mask[1] = True
    found = deblend(image, variance, mask)
    fields, others = (jax.tree.leaves(each) for each in (found, deblend(image, variance)))
    for field, whole in zip(fields, others, strict=True):
        np.testing.assert_array_equal(field[::2], whole[::2])
    for field in (found.flux, found.flux_err, found.image, found.purity, found.latent_mean):
        assert np.isnan(field[1]).all()


def test_psf_is_by_default_the_one_trained_for(deblend, image, variance):
    assert_same(deblend(image, variance), deblend(image, variance, psf=gaussian_psf(1.2)))
    wide = deblend(image, variance, psf=gaussian_psf(2.0))
    assert np.abs(wide.flux / deblend(image, variance).flux - 1).max() > 1e-3


def test_psf_may_have_another_size(deblend, image, variance):
    small, large = (deblend(image, variance, psf=gaussian_psf(1.2, size)) for size in (15, 31))
    np.testing.assert_allclose(small.flux, large.flux, rtol=1e-3)


def test_gain_is_by_default_infinite(deblend, image, variance):
    assert_same(deblend(image, variance), deblend(image, variance, gain=np.inf))
    poisson = deblend(image, variance, gain=0.5)
    assert np.abs(poisson.flux / deblend(image, variance).flux - 1).max() > 1e-3


def test_gain_may_be_a_number_or_have_bands_and_stamps(deblend, image, variance):
    number = deblend(image, variance, gain=2.0)
    for gain in (np.full(1, 2.0), np.full((3, 1), 2.0)):
        assert_same(number, deblend(image, variance, gain=gain))
    each = deblend(image, variance, gain=np.array([[2.0], [9.0], [np.inf]]))
    np.testing.assert_allclose(each.flux[0], number.flux[0], rtol=1e-6)
    np.testing.assert_allclose(each.flux[2], deblend(image, variance).flux[2], rtol=1e-6)


def test_variance_may_be_one_number_a_band(deblend, image):
    assert_same(deblend(image, np.full(1, 2.0)), deblend(image, np.full_like(image, 2.0)))


def test_double_precision_is_taken(deblend, image, variance):
    arrays = (a.astype(float) for a in (image, variance))
    double = deblend(*arrays, psf=gaussian_psf(1.2).astype(float), gain=np.full((3, 1), 2.0))
    assert_same(double, deblend(image, variance, gain=2.0))


def test_neighbours_are_looked_at_where_they_are_not_masked(deblend, image, variance):
    light = np.zeros_like(image)
    assert_same(deblend(image, variance), deblend(image, variance, neighbours=light))
    light[:, 5:9] = 3.0
    told = deblend(image, variance, neighbours=light)
    assert np.abs(told.flux / deblend(image, variance).flux - 1).max() > 1e-4
    mask = light[..., 0] > 0
    assert_same(deblend(image, variance, mask), deblend(image, variance, mask, neighbours=light))


def test_stamps_do_not_see_each_other(deblend, image, variance):
    found = deblend(image, variance)
    turned = deblend(image[::-1], variance[::-1])
    jax.tree.map(
        lambda field, back: np.testing.assert_allclose(back[::-1], field, rtol=1e-5, atol=1e-5),
        found,
        turned,
    )


def test_calibration_scales_the_error_of_the_flux_alone(network, deblend, image, variance):
    corrected = Deblender(*network, gaussian_psf(1.2), CORRECTIONS)
    before, after = deblend(image, variance), corrected(image, variance)
    again = corrected(image, variance, neighbours=np.zeros_like(image))
    for found, width, tail in ((after, -0.4, 0.1), (again, 0.0, 0.0)):
        for name, change in (("log_width", width), ("log_tail", tail)):
            changed = getattr(found.log_flux, name) - getattr(before.log_flux, name)
            np.testing.assert_allclose(changed, change, atol=1e-5)
    assert (after.flux_err < before.flux_err).all()
    for name in ("flux", "image", "latent_mean", "latent_std", "purity"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-6)


@pytest.fixture(scope="module")
def workdir(network, tmp_path_factory):
    """As a training of both stages leaves it, but for the optimizer's state."""
    folder = tmp_path_factory.mktemp("workdir")
    config = {"model": FIELDS, "stages": {"isolated": {}, "blended": {}}}
    config["survey"] = {"pixel_scale": 0.1, "bands": {"euclid-vis": {}}}
    config["data"] = {"style": "analytic"}
    (folder / "config.json").write_text(json.dumps(config))
    write_native_psfs(folder / "psf.fits", gaussian_psf(1.2, PSF_SIZE), 0.1)
    for i, stage in enumerate(deblender.STAGES):
        params = jax.tree.map(lambda p, i=i: p + 0.01 * i, network[1])
        checkpoint.save_params(folder / stage / "checkpoints", 7, params)
        write_calibrations(CORRECTIONS, folder / stage / "calibration.json")
    return folder


def test_loaded_deblender_is_the_stages_with_its_calibration(workdir, network, image, variance):
    model, params = network
    expected = Deblender(model, params, gaussian_psf(1.2, PSF_SIZE), CORRECTIONS)
    found = deblender.load_deblender(workdir, "isolated")(image, variance)
    assert_same(found, expected(image, variance))
    other = deblender.load_deblender(workdir)(image, variance)
    assert not np.array_equal(found.flux, other.flux)


def test_exported_weights_deblend_the_same_by_name(workdir, tmp_path, image, variance, monkeypatch):
    export(workdir, tmp_path / "mine")
    assert not (tmp_path / "mine" / "isolated").exists()
    monkeypatch.setattr("vaedeblend.io.workdir.WEIGHTS", tmp_path)
    found = deblender.load_deblender("mine")(image, variance)
    full = deblender.load_deblender(workdir)(image, variance)
    assert (abs(found.flux - full.flux) < 1e-3 * full.flux_err).all()
    np.testing.assert_allclose(found.image, full.image, rtol=1e-3, atol=1e-4 * full.image.max())


def test_exported_parameters_are_those_of_16_significant_bits(workdir, tmp_path):
    export(workdir, tmp_path / "mine")
    kept, full = (
        jax.tree.leaves(checkpoint.load_params(each / "blended" / "checkpoints"))
        for each in (tmp_path / "mine", workdir)
    )
    for one, other in zip(kept, full, strict=True):
        np.testing.assert_allclose(one, other, rtol=2.0**-16)
        assert not (np.asarray(one, np.float32).view(np.uint32) & 0xFF).any()


def test_unknown_name_lists_what_is_shipped(tmp_path, monkeypatch):
    for name in ("euclid_vis", "another"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("vaedeblend.io.workdir.WEIGHTS", tmp_path)
    with pytest.raises(WorkdirError, match=r"one of \['another', 'euclid_vis'\]"):
        deblender.load_deblender("euclid_viz")


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
    with pytest.raises(WorkdirError, match="wanted the workdir of a training"):
        deblender.load_deblender(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WorkdirError, match="not valid JSON"):
        deblender.load_deblender(tmp_path)
    (tmp_path / "config.json").write_text('{"stages": {"isolated": {}}}')
    with pytest.raises(WorkdirError, match="has no data, model, survey; wanted that of a training"):
        deblender.load_deblender(tmp_path)
    others = '"data": {}, "model": {}, "survey": {}'
    (tmp_path / "config.json").write_text(f'{{"stages": {{"isolated": {{}}}}, {others}}}')
    with pytest.raises(WorkdirError, match="no stage 'blended'; wanted one of"):
        deblender.load_deblender(tmp_path)


def test_a_workdir_without_its_psf_is_refused(workdir, tmp_path):
    shutil.copy(workdir / "config.json", tmp_path)
    with pytest.raises(WorkdirError, match=r"psf.fits: not found; wanted the PSF that train.py"):
        deblender.load_deblender(tmp_path)


def test_other_parameters_need_no_other_program(network, image, variance):
    """They are arguments of the compiled program, not constants in it."""
    (model, params), psf = network, gaussian_psf(1.2)
    first = Deblender(model, params, psf)(image, variance)
    compiled = deblender._deblend._cache_size()
    other = Deblender(model, jax.tree.map(lambda p: p + 0.1, params), psf)(image, variance)
    assert deblender._deblend._cache_size() == compiled
    assert not np.array_equal(first.flux, other.flux)


@pytest.fixture(scope="module")
def sample(network):
    return Deblender(*network, gaussian_psf(1.2), CORRECTIONS).sample


def test_samples_have_the_fluxes_posterior(network, sample, image, variance):
    """Its median and width, as the deblender states them; the profile holds less than all of it."""
    stated = Deblender(*network, gaussian_psf(1.2), CORRECTIONS)
    found = stated(image, variance, gain=50.0)
    light = np.asarray(sample(jax.random.key(0), 400, image, variance, gain=50.0))
    assert light.shape == (400, *image.shape)
    held = np.log(light.sum(axis=(2, 3))) - np.log(np.asarray(found.flux))
    width = np.exp(np.asarray(found.log_flux.log_width))
    assert (np.median(held, axis=0) < 3 * width / np.sqrt(400)).all()
    low, high = np.quantile(held, [0.1587, 0.8413], axis=0)
    assert (high - low > 2 * 0.85 * width).all()


def test_samples_differ_by_key_and_repeat_by_key(sample, image, variance):
    one, other = (sample(jax.random.key(i), 2, image, variance) for i in range(2))
    assert_same(one, sample(jax.random.key(0), 2, image, variance))
    assert not np.array_equal(one, other) and not np.array_equal(one[0], one[1])


def test_stamps_are_deblended_by_name_in_one_call(workdir, image, variance):
    deblend = make_deblend_stamps(deblender.load_deblender(workdir))
    wanted = deblend(image, variance, gain=2.0)
    found = deblend_stamps(image, variance, weights=workdir, gain=2.0)
    np.testing.assert_array_equal(found.flux, wanted.flux)
    with pytest.raises(WorkdirError, match="no stage 'none'"):
        deblend_stamps(image, variance, weights=workdir, stage="none")


def test_a_deblender_under_noise_is_given_its_correlation():
    covariance = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    model = VAE(2, (4,), 8, 1, (8,), (8,), 2, 16, 1, coadds=True)
    initial = init_params(model, jax.random.key(0))
    deblend = Deblender(model, moved(initial, jax.random.key(1)), gaussian_psf(1.2, 31))
    image = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
    white, known = deblend(image, 1.0), deblend.under_noise(covariance)(image, 1.0)
    given = deblend(image, 1.0, correlation=covariance[..., None])
    assert np.abs(known.flux - white.flux).max() > 1e-4
    np.testing.assert_allclose(known.flux, given.flux, rtol=1e-6)
    assert ((white.point_source_prob > 0) & (white.point_source_prob < 1)).all()


def test_the_test_of_companions_sees_what_the_deblender_is_given():
    size, key = 32, jax.random.key(0)
    model = VAE(2, (4,), 8, 1, (8,), (8,), 2, size, 1, coadds=True)
    test = Companions((4, 4), (8,))
    initial = init_companions(test, key, size=size, bands=1, psf=10, correlation=5)
    judge = CompanionTest(test, moved(initial, key))
    deblend = Deblender(model, {}, gaussian_psf(1.2, 31), companions=judge)
    image = np.random.default_rng(0).normal(size=(2, size, size, 1)).astype(np.float32)
    given = {"light": 0.5 * image, "purity": np.full((2, 1), 0.8), "neighbours": 0 * image}
    candidates, said = deblend.judge(image, np.ones_like(image), **given)
    assert said.logit.shape == candidates.real.shape and said.blend_logit.shape == (2,)
    correlated = deblend.under_noise(np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25]))
    others = [
        correlated.judge(image, np.ones_like(image), **given),
        deblend.judge(image, np.ones_like(image), **given, psf=gaussian_psf(1.6, 31)),
        deblend.judge(image, np.ones_like(image), **given, gain=np.full((2, 1), 0.5)),
        deblend.judge(image, np.ones_like(image), **given | {"purity": given["purity"] / 2}),
    ]
    for _, other in others:
        assert np.abs(other.blend_logit - said.blend_logit).max() > 1e-4
    scaled = {name: 8 * each if name != "purity" else each for name, each in given.items()}
    _, same = deblend.judge(8 * image, 64 * np.ones_like(image), **scaled)
    np.testing.assert_allclose(same.logit, said.logit, atol=1e-3)


def test_a_response_moves_fluxes_and_leaves_light_as_it_is(deblend, image, variance):
    plain = deblend(image, variance)
    observed = np.log(np.asarray(plain.flux)), np.log(np.asarray(plain.flux_err))
    response = Response(
        galaxies=np.array([0.05, 0.02, 0.0], np.float32),
        middle=np.array([observed[0].mean(), 0], np.float32),
        low=np.array([-50, -50], np.float32),
        high=np.array([50, 50], np.float32),
        stars=np.float32(-0.02),
        sky=np.zeros(3, np.float32),
    )
    moved = deblend.responding(response)(image, variance)
    rms = np.mean(1 / variance, axis=(1, 2)) ** -0.5
    shift = 0.05 + 0.02 * (observed[0] - np.log(rms) - response.middle[0])
    if plain.point_source_prob is not None:
        shift += np.asarray(plain.point_source_prob)[:, None] * (-0.02 - shift)
    np.testing.assert_allclose(np.log(moved.flux / plain.flux), shift, atol=2e-4)
    np.testing.assert_allclose(moved.flux_err / moved.flux, plain.flux_err / plain.flux, rtol=1e-4)
    np.testing.assert_array_equal(moved.image, plain.image)


def test_psfs_and_correlations_are_read_as_they_are_meant(deblend, image, variance):
    psf, latent = gaussian_psf(1.6, 31), deblend(image, variance).latent_mean
    wanted = deblend.decode(latent, psf)
    assert np.abs(wanted - deblend.decode(latent)).max() > 1e-4
    for given in (psf.astype(">f4"), 2 * psf):
        np.testing.assert_allclose(deblend.decode(latent, given), wanted, rtol=1e-4, atol=1e-7)
    assert_same(deblend.decode(np.asarray(latent).astype(">f4"), psf), wanted)
    with pytest.raises(StampError, match="psf: 30 x 30 pixels; wanted .* odd side"):
        deblend.decode(latent, psf[:30, :30])
    ninths = (np.full((3, 3, 1), 1 / 9, kind) for kind in ("f4", ">f4"))
    assert_same(*(deblend(image, variance, correlation=each) for each in ninths))
