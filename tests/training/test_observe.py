import jax
import jax.numpy as jnp
import numpy as np
import pytest
from observed import SIZE, N, assert_unit_noise, blobs, residual
from scipy import stats

from vaedeblend.models.vae import correlation_features
from vaedeblend.training import observe as module
from vaedeblend.training.observe import Observing, observe, observe_examples

VARIANCE, GAIN = np.array([1.0, 4.0], np.float32), np.array([0.5, 2.0], np.float32)


@pytest.fixture(scope="module")
def scenes():
    return blobs()


def observed(key, scenes, **options):
    """Not under jit, which every test would compile anew."""
    noise = {"variance": jnp.asarray(VARIANCE), "gain": jnp.asarray(GAIN)}
    return observe(key, scenes, Observing(**options), **noise)


def of_stamps(array):
    """The one value that each stamp of (n, 1, 1, 1) or (n, height, width, 1) has."""
    flat = np.asarray(array).reshape(len(array), -1)
    np.testing.assert_array_equal(flat, flat[:, :1].repeat(flat.shape[1], axis=1))
    return flat[:, 0]


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["white", "correlated"])
def test_noise_of_every_pixel_is_the_maps_and_the_lights(share, scenes, key):
    batch = observed(key, scenes, correlated_share=share)
    noise = residual(batch.observation, scenes.light)
    assert_unit_noise(noise)
    assert stats.kstest(noise[::7, ::5, ::5].ravel(), "norm").pvalue > 0.001


def test_plain_observation_is_the_surveys(scenes, key):
    seen = observed(key, scenes).observation
    np.testing.assert_array_equal(seen.variance, np.broadcast_to(VARIANCE, seen.image.shape))
    np.testing.assert_array_equal(seen.gain, np.tile(GAIN, (N, 1)))
    np.testing.assert_array_equal(seen.psf, scenes.psf)


def test_white_noise_is_independent_of_pixels_bands_and_examples(scenes, key):
    noise = residual(observed(key, scenes).observation, scenes.light)
    for one, other in (
        (noise[:, :, 1:], noise[:, :, :-1]),
        (noise[:, 1:], noise[:, :-1]),
        (noise[..., 0], noise[..., 1]),
        (noise[1:], noise[:-1]),
    ):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01


def test_noise_of_co_adds_is_correlated_as_its_scene_says(scenes, key):
    """White-equivalent: a pixel scatters less, the correlation at each lag is the covariance's."""
    along = np.array([[0.1, 0.8, 0.1], [0.25, 0.5, 0.25]], np.float32)
    covariance = jnp.stack([jnp.outer(a, b) for a, b in (along, along[::-1])], axis=-1)
    seen = scenes._replace(correlation=jnp.tile(covariance, (N, 1, 1, 1)))
    batch = observed(key, seen, gainless_share=1.0)
    noise = residual(batch.observation, scenes.light)
    for y, x in [(0, 0), (0, 1), (1, 0), (1, -1), (0, 2)]:
        shifted = np.roll(noise, (y, x), axis=(1, 2))
        found = (noise * shifted)[:, 2:-2, 2:-2].mean(axis=(0, 1, 2))
        wanted = covariance[1 + y, 1 + x] if max(y, x) < 2 else np.zeros(2)
        np.testing.assert_allclose(found, wanted, atol=0.01)
    numbers = correlation_features(covariance)
    np.testing.assert_array_equal(batch.observation.correlation, np.tile(numbers, (N, 1)))
    np.testing.assert_array_equal(batch.deep.correlation, np.zeros((N, 10)))


def kernels(key, n, share, size=9):
    """What resampling makes of a single bright pixel."""
    point = np.zeros((n, size, size, 1), np.float32)
    point[:, size // 2, size // 2] = 1.0
    return np.asarray(module._resampled(key, jnp.asarray(point), share))[..., 0]


def test_resampling_is_a_bilinear_interpolation_that_keeps_the_variance(key):
    found = kernels(key, 50, 1.0)
    np.testing.assert_allclose((found**2).sum(axis=(1, 2)), 1, rtol=1e-5)
    weights = found / found.sum(axis=(1, 2), keepdims=True)
    corners = weights[:, 4:6, 4:6]
    np.testing.assert_allclose(corners.sum(axis=(1, 2)), 1, rtol=1e-5)
    y, x = corners[:, 1].sum(axis=1), corners[:, :, 1].sum(axis=1)
    assert ((y > 0) & (y < 0.5) & (x > 0) & (x < 0.5)).all()
    expected = [np.outer([1 - a, a], [1 - b, b]) for a, b in zip(y, x, strict=True)]
    np.testing.assert_allclose(corners, expected, atol=1e-5)
    assert abs(np.corrcoef(y, x)[0, 1]) < 0.5


@pytest.mark.parametrize("lag", [(0, 1), (1, 0), (1, 1), (0, 2), (2, 1)])
def test_covariance_of_correlated_noise_is_that_of_its_interpolation(lag, key, rng):
    kernel = kernels(key, 1, 1.0)[0]
    expected = np.sum(kernel * np.roll(kernel, lag, axis=(0, 1)))
    white = jnp.asarray(rng.normal(size=(1, 600, 600, 1)), jnp.float32)
    noise = np.asarray(module._resampled(key, white, 1.0))[0, ..., 0]
    actual = np.mean(noise * np.roll(noise, lag, axis=(0, 1)))
    np.testing.assert_allclose(actual, expected, atol=0.01)


def test_share_of_correlated_stamps_is_as_asked(key):
    found = kernels(key, N, 0.3)
    white = found[:, 4, 4] == 1
    assert 1 - white.mean() == pytest.approx(0.3, abs=0.04)


@pytest.fixture(scope="module")
def depths(scenes):
    """Squared scales of stamps of random depth."""
    batch = observed(jax.random.key(1), scenes, depth=(0.1, 2.0), depth_share=1.0)
    return batch, of_stamps(batch.observation.variance[..., :1] / VARIANCE[0])


def test_depth_is_uniform_in_logarithm(depths):
    _, square = depths
    scale = np.log(square) / 2
    width = np.log(20)
    assert stats.kstest(scale, stats.uniform(np.log(0.1), width).cdf).pvalue > 0.001


def test_gain_goes_with_the_exposure_time(depths):
    batch, square = depths
    gain = np.asarray(batch.observation.gain)
    np.testing.assert_allclose(gain * square[:, None], np.tile(GAIN, (N, 1)), rtol=1e-5)
    second = of_stamps(batch.observation.variance[..., 1:])
    np.testing.assert_allclose(second, VARIANCE[1] * square, rtol=1e-5)


def test_noise_of_any_depth_is_what_the_map_and_the_gain_say(depths, scenes):
    assert_unit_noise(residual(depths[0].observation, scenes.light))


def test_share_of_other_depths_is_as_asked(scenes, key):
    batch = observed(key, scenes, depth=(0.1, 2.0), depth_share=0.4)
    drawn = of_stamps(batch.observation.variance[..., :1]) != VARIANCE[0]
    assert drawn.mean() == pytest.approx(0.4, abs=0.05)


def test_gainless_stamps_have_no_poisson_noise(scenes, key):
    seen = observed(key, scenes, gainless_share=1.0).observation
    assert np.isinf(seen.gain).all()
    assert_unit_noise(np.asarray(seen.image - scenes.light) / np.sqrt(VARIANCE))


def test_share_of_gainless_stamps_is_as_asked(scenes, key):
    gain = np.asarray(observed(key, scenes, gainless_share=0.2).observation.gain)
    without = np.isinf(gain)
    np.testing.assert_array_equal(without[:, 0], without[:, 1])
    assert without[:, 0].mean() == pytest.approx(0.2, abs=0.04)
    np.testing.assert_array_equal(gain[~without[:, 0]][0], GAIN)


def test_sky_is_off_by_one_number_a_band(scenes, key):
    plain, off = (observed(key, scenes, sky_share=s, sky_rms=0.5).observation for s in (1e-9, 1.0))
    offset = np.asarray(off.image - plain.image)
    each = offset.mean(axis=(1, 2))
    np.testing.assert_allclose(offset - each[:, None, None], 0, atol=1e-4)
    np.testing.assert_allclose(each.std(axis=0), 0.5 * np.sqrt(VARIANCE), rtol=0.06)
    np.testing.assert_allclose(each.mean(axis=0), 0, atol=0.1)
    assert abs(np.corrcoef(each.T)[0, 1]) < 0.1


def test_sky_is_off_by_the_stamps_own_rms(scenes, key):
    options = {"depth": (3.0, 3.0001), "depth_share": 1.0, "sky_rms": 0.5}
    plain, off = (observed(key, scenes, sky_share=s, **options).observation for s in (1e-9, 1.0))
    each = np.asarray(off.image - plain.image).mean(axis=(1, 2))
    np.testing.assert_allclose(each.std(axis=0), 1.5 * np.sqrt(VARIANCE), rtol=0.06)
    share = observed(key, scenes, sky_share=0.3, **options).observation
    assert np.mean(abs(share.image - plain.image).max(axis=(1, 2, 3)) > 1e-4) == pytest.approx(
        0.3, abs=0.04
    )


@pytest.fixture(scope="module")
def corrupted(scenes):
    """Everything at once, and what is masked of it."""
    shares = dict.fromkeys([c for c in Observing._fields if c.endswith("share")], 0.5)
    seen = observed(jax.random.key(5), scenes, depth=(0.1, 2.0), **shares).observation
    return seen, np.isinf(seen.variance)


def test_masked_pixels_are_zero_of_infinite_variance(corrupted):
    seen, masked = corrupted
    assert 0.02 < masked.mean() < 0.3
    assert (np.asarray(seen.image)[masked] == 0).all()
    assert (np.asarray(seen.image)[~masked] != 0).all()
    np.testing.assert_array_equal(masked[..., 0], masked[..., 1])


def test_everything_at_once_is_finite_and_not_all_masked(corrupted):
    seen, masked = corrupted
    assert np.isfinite(seen.image).all() and (np.asarray(seen.variance) > 0).all()
    assert not masked.all(axis=(1, 2, 3)).any()


def test_valid_pixels_of_uneven_masked_stamps_have_the_maps_noise(scenes, key):
    seen = observed(key, scenes, uneven_share=1.0, masked_share=1.0, edge_share=0.5).observation
    noise = residual(seen, scenes.light)[np.isfinite(seen.variance)]
    np.testing.assert_allclose(noise.var(), 1, atol=0.01)


def test_deep_image_has_a_tenth_of_the_surveys_noise(scenes, key):
    batch = observed(key, scenes, depth=(0.1, 2.0), depth_share=1.0, masked_share=0.5)
    deep = batch.deep
    np.testing.assert_allclose(deep.variance, np.broadcast_to(VARIANCE / 100, deep.image.shape))
    np.testing.assert_allclose(deep.gain, np.tile(100 * GAIN, (N, 1)))
    assert_unit_noise(residual(deep, scenes.target))
    np.testing.assert_array_equal(deep.psf, scenes.psf)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["white", "correlated"])
def test_deep_noise_is_not_the_examples_own(share, scenes, key):
    batch = observed(key, scenes, correlated_share=share)
    own = residual(batch.observation, scenes.light).reshape(N, -1)
    deep = residual(batch.deep, scenes.target).reshape(N, -1)
    correlation = np.mean(own * deep, axis=1)
    assert np.abs(correlation).max() < 6 / np.sqrt(own.shape[1])
    assert abs(correlation.mean()) < 5 / np.sqrt(own.size)


def test_truth_does_not_reach_what_the_network_is_shown(scenes, key):
    options = dict.fromkeys([c for c in Observing._fields if c.endswith("share")], 0.5)
    other = scenes._replace(target=3 * scenes.target, flux=7 * scenes.flux)
    one, two = (observed(key, each, **options) for each in (scenes, other))
    jax.tree.map(np.testing.assert_array_equal, one.observation, two.observation)
    assert not np.array_equal(one.purity, two.purity)


def test_batch_knows_the_truth_of_its_scenes(scenes, key):
    batch = observed(key, scenes)
    for name in ("target", "flux", "purity"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(scenes, name))


def test_same_key_same_batch(scenes, key):
    jax.tree.map(np.testing.assert_array_equal, observed(key, scenes), observed(key, scenes))


def as_examples(scenes):
    return {"blend": scenes.light, "isolated": scenes.target, "flux": scenes.flux}


def test_examples_are_batched_in_order_with_noise_of_their_own(key):
    scenes = blobs(11)
    scenes = scenes._replace(flux=scenes.flux * np.arange(1, 12)[:, None])
    examples = {name: np.asarray(a) for name, a in as_examples(scenes).items()}
    psf = np.ones((5, 5, 2), np.float32) / 25
    noise = {"variance": VARIANCE, "gain": GAIN}
    batches = observe_examples(key, examples, psf=psf, batch_size=4, **noise)
    assert [len(b.flux) for b in batches] == [4, 4, 3]
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
    np.testing.assert_array_equal(whole.flux, examples["flux"])
    np.testing.assert_array_equal(whole.target, examples["isolated"])
    noise = residual(whole.observation, examples["blend"]).reshape(11, -1)
    np.testing.assert_allclose(np.corrcoef(noise), np.eye(11), atol=0.25)
    assert (whole.observation.psf == whole.observation.psf[0]).all()


def test_companions_are_found_where_they_are_bright_inside_and_apart(key):
    scenes = blobs()
    where = jnp.array([[4.0, 0.2], [0.0, 2.0], [-5.6, 1.0], [40.0, 0.0], [0.0, -5.0]])
    scenes = scenes._replace(
        companions=jnp.tile(where, (N, 1, 1)),
        brightness=jnp.tile(jnp.array([20.0, 20.0, 0.0, 20.0, 4.0]), (N, 1)),
    )
    found = np.asarray(observed(key, scenes).found)
    assert found[:, 0].mean() == pytest.approx(module._FOUND, abs=0.03)
    assert not found[:, 1:].any()
    batch = observed(key, scenes, masked_share=1.0)
    y, x = (jnp.rint(where[0] + (SIZE - 1) / 2)).astype(int)
    masked = np.isinf(batch.observation.variance[:, y, x, 0])
    assert masked.any() and not batch.found[masked].any()
    assert batch.found[~masked][:, 0].mean() == pytest.approx(module._FOUND, abs=0.04)
    deep = observed(key, scenes, depth=(0.5, 0.5), depth_share=1.0).found
    assert deep[:, 4].mean() == pytest.approx(module._FOUND, abs=0.03)


def test_corners_centre_stamps_on_companions_as_a_detection_would(scenes, key):
    corner = np.asarray(observed(key, scenes).corner, float)
    offset = corner - np.asarray(scenes.companions)
    assert (np.abs(offset) < 0.5 + 5 * module.CENTRE_JITTER).all()
    np.testing.assert_allclose(corner.mean(axis=0), scenes.companions[0], atol=0.15)
    assert offset[:, 0, 1].std() > 0.1


@pytest.fixture(scope="module")
def lines():
    return np.asarray(module._beyond_a_line(jax.random.key(3), 4000, SIZE, 1.0))[..., 0]


def test_centre_is_never_beyond_the_line(lines):
    assert (lines[:, SIZE // 2, SIZE // 2] == 1).all()
    even = np.asarray(module._beyond_a_line(jax.random.key(3), 4000, 16, 1.0))[..., 0]
    assert (np.sum(even[:, 7:9, 7:9] != 1, axis=(1, 2)) <= 2).all()


def test_beyond_a_line_is_one_side_of_the_centre(lines):
    beyond = lines != 1
    assert not (beyond & beyond[:, ::-1, ::-1]).any()
    for stamp, factors in zip(beyond[:200], lines[:200], strict=True):
        assert len(np.unique(factors[stamp])) <= 1


def test_depth_beyond_a_line_is_uniform_in_logarithm_within_a_factor_of_two(lines):
    factor = np.where(np.isinf(lines), 1, lines)
    at = np.abs(np.log(factor)).reshape(len(lines), -1).argmax(axis=1)
    log = np.log(factor.reshape(len(lines), -1)[np.arange(len(lines)), at])
    assert stats.kstest(log[log != 0], stats.uniform(np.log(0.25), np.log(16)).cdf).pvalue > 0.001


def test_a_fourth_of_the_lines_end_the_image_along_an_axis(lines):
    ended = np.isinf(lines)
    some = ended.any(axis=(1, 2))
    visible = (SIZE - 1) / SIZE  # of ends at up to half the stamp: the others miss every pixel
    assert some.mean() == pytest.approx(visible / 4, abs=0.03)
    rows, columns = ended.all(axis=2).any(axis=1), ended.all(axis=1).any(axis=1)
    np.testing.assert_array_equal(rows ^ columns, some)
    assert rows[some].mean() == pytest.approx(0.5, abs=0.08)


def test_share_of_uneven_stamps_is_as_asked(key):
    found = np.asarray(module._beyond_a_line(key, N, SIZE, 0.3)) != 1
    visible = 0.75 + 0.25 * (SIZE - 1) / SIZE
    assert found.any(axis=(1, 2, 3)).mean() == pytest.approx(0.3 * visible, abs=0.04)


@pytest.fixture(scope="module")
def streaks():
    """On stamps large enough to hold nearly all of them."""
    return np.asarray(module._streak(jax.random.key(4), 1000, 63, 1.0))[..., 0]


def test_half_of_the_streaks_are_whole_columns_or_rows(streaks):
    rows, columns = (streaks.all(axis=axis).any(axis=1) for axis in (2, 1))
    assert not (rows & columns).any()
    assert (rows | columns).mean() == pytest.approx(0.5, abs=0.06)
    assert rows.mean() == pytest.approx(0.25, abs=0.06)
    breadth = streaks.all(axis=1).sum(axis=1)[columns]
    assert set(breadth.tolist()) == {1, 2, 3}


def test_streaks_lie_about_the_centre(streaks):
    columns = streaks.all(axis=1)
    place = [np.mean(np.flatnonzero(row)) - 31 for row in columns if row.any()]
    assert stats.kstest(place, stats.norm(0, module._STREAK_SIGMA).cdf).pvalue > 0.001


def test_cosmic_rays_are_short_and_thin(streaks):
    whole = streaks.all(axis=2).any(axis=1) | streaks.all(axis=1).any(axis=1)
    area = streaks[~whole].sum(axis=(1, 2))
    assert area.max() <= 16 * 3 + 16
    assert 10 < area.mean() < 30


def test_share_of_masked_stamps_is_as_asked(key):
    found = module._streak(key, N, 31, 0.2).any(axis=(1, 2, 3))
    assert np.mean(found) == pytest.approx(0.2, abs=0.04)


@pytest.fixture(scope="module")
def cut():
    return np.asarray(module._outside(jax.random.key(4), 1000, 30, 1.0))[..., 0]


def test_stamps_are_cut_by_the_edges_of_a_square_image(cut):
    """What is inside is a rectangle at one of the stamp's corners, and holds the centre."""
    for outside in cut:
        rows, columns = (~outside.all(axis=axis) for axis in (1, 0))
        np.testing.assert_array_equal(~outside, rows[:, None] & columns)
        for line in (rows, columns):
            assert line[13:17].all() and (line[0] or line[-1]) and np.abs(np.diff(line)).sum() <= 1


def test_galaxies_lie_at_any_distance_from_the_middle_of_their_image(cut):
    shift = np.stack([cut.all(axis=axis).sum(axis=1) for axis in (2, 1)])
    assert np.hypot(*shift).max() == pytest.approx(13, abs=1)
    assert np.hypot(*shift).mean() == pytest.approx(6.5, abs=0.5)
    np.testing.assert_allclose(shift.mean(axis=1), 6.5 * 2 / np.pi, atol=0.5)


def test_share_of_cut_stamps_is_as_asked(key):
    found = module._outside(key, N, 31, 0.2).any(axis=(1, 2, 3))
    assert np.mean(found) == pytest.approx(0.2, abs=0.04)
