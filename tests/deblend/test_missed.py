"""Which detections are sources before any test, and what becomes of the test's verdicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gaussians import SIZE, field, gaussian, matched_filter

from vaedeblend.deblend import joint, missed
from vaedeblend.deblend.joint import find_and_measure, make_deblend_stamps
from vaedeblend.models.companions import Verdicts, find_candidates
from vaedeblend.models.vae import Observation
from vaedeblend.pixels.stamps import PaddedImages

SHAPE = 80, 80
PLACES, FLUX = np.array([[20, 20], [20, 29]]), np.array([3000.0, 150.0])


class Judge:
    """A deblender whose test takes every candidate of some significance for a companion."""

    companions = True

    def __init__(self, threshold=6.0, measure=matched_filter):
        self.threshold, self.measure, self.asked = threshold, measure, []

    def __call__(self, *args, **options):
        return self.measure(*args, **options)

    def judge(self, image, variance, light, purity, neighbours, psf, gain):
        n = len(image)
        self.asked.append(n)
        gains = jnp.full((n, 1), jnp.inf)
        seen = Observation(*map(jnp.asarray, (image, variance, gains, 0, neighbours, 0)))
        found = find_candidates(seen, jnp.asarray(light))
        logit = found.significance[..., 0] - self.threshold
        sure = jnp.full(n, 2.0)
        return found, Verdicts(logit, jnp.zeros((*logit.shape, 2)), sure)


@pytest.fixture
def images(rng):
    return PaddedImages(
        field(SHAPE, PLACES, FLUX) + rng.normal(size=(1, *SHAPE, 1)), 1.0, size=SIZE
    )


def measured(deblend, images, places=PLACES, **options):
    return find_and_measure(deblend, images, np.zeros(len(places), int), places, **options)


def test_a_companion_joins_with_its_probability_and_all_are_judged(images):
    found = measured(Judge(), images, PLACES[:1], iterations=20)
    np.testing.assert_allclose(found.corner, PLACES, atol=1)
    np.testing.assert_array_equal(found.hidden, [False, True])
    assert np.isnan(found.p_companion[0]) and found.p_companion[1] > 0.9
    np.testing.assert_allclose(found.found.flux[:, 0], FLUX, rtol=0.15)
    np.testing.assert_allclose(found.blend_prob, 1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize(("x", "there"), [(79.4, 1), (79.6, 0), (-0.4, 1), (-0.6, 0)])
def test_companions_lie_on_the_pixels_of_the_image(images, x, there):
    sources = measured(matched_filter, images, PLACES[:1])
    position = np.array([[20.0, x]])
    assert len(missed._apart(images, sources, np.zeros(1, int), position, np.ones(1))) == there


def test_a_detection_beside_a_brighter_one_is_a_source_if_the_test_finds_it(images):
    for threshold, n in ((6.0, 2), (1e3, 1)):
        found = measured(Judge(threshold), images, iterations=20)
        assert len(found.corner) == n and not found.hidden[0]
    for options in ({"passes": 0}, {"certain": np.ones(2, bool)}):
        found = measured(Judge(1e3), images, iterations=20, **options)
        assert len(found.corner) == 2 and not found.hidden.any()


def test_stamps_give_their_own_galaxies_where_detections_beside_them_are_none(rng):
    true = np.array([200.0, 300.0, 400.0])
    image = true[:, None, None, None] * gaussian() + 60 * gaussian(y=1.0, x=9.0)
    image += 0.1 * rng.normal(size=image.shape)
    for threshold in (1.0, 1e4):
        found = make_deblend_stamps(Judge(threshold), iterations=20)(
            image, np.full((3, 1, 1, 1), 0.01)
        )
        np.testing.assert_allclose(found.flux[:, 0], true, rtol=0.1)


def test_a_deblender_without_a_test_takes_detections_as_they_are(images):
    found = measured(matched_filter, images, PLACES[:1], iterations=20)
    assert len(found.corner) == 1 and np.isnan(found.blend_prob).all()


def test_only_sources_that_changed_are_judged_again(images):
    judge = Judge()
    far = np.array([[20, 20], [55, 55]])
    measured(judge, images, far, iterations=20)
    assert set(judge.asked) == {missed._BATCH} and len(judge.asked) <= 4


def test_the_brightest_are_primary_and_the_fainter_of_the_faint_again():
    """In a row 9 pixels apart: the third is beside the second alone, which is no source yet."""
    places = np.array([[20, 10], [20, 19], [20, 28], [50, 50]])
    images = PaddedImages(field(SHAPE, places, np.array([900, 500, 300, 100.0])), 1.0, size=SIZE)
    index = np.zeros(4, int)
    none = np.zeros(len(places), bool)
    assert missed.is_primary(images, index, places, none).tolist() == [True, False, True, True]
    listed = np.array([False, True, False, False])  # a brighter one beside it is no knot of it
    assert missed.is_primary(images, index, places, listed).tolist() == [True, True, False, True]


def test_a_companion_whose_light_came_to_lie_on_another_is_that_one(images):
    found = measured(matched_filter, images, np.array([[20, 20], [20, 22]]), passes=0, iterations=1)
    hidden = found._replace(p_companion=np.array([np.nan, 0.6]))
    assert len(joint._without_doubtful(images, hidden).corner) == 2
    light = np.array(hidden.found.image)
    light[1] = np.roll(light[1], -2, axis=1)
    moved = hidden._replace(found=hidden.found._replace(image=light))
    kept = joint._without_doubtful(images, moved)
    assert kept.corner.tolist() == [[20, 20]] and kept.pending.all()
    seen = moved._replace(p_companion=np.full(2, np.nan))
    assert len(joint._without_doubtful(images, seen).corner) == 2


def test_what_is_hardly_there_is_forgotten_again(images):
    def doubting(image, variance, **options):
        found = matched_filter(image, variance, **options)
        bright = found.flux > 1000
        return found._replace(flux_err=jnp.where(bright, found.flux_err, found.flux))

    forgotten = measured(Judge(measure=doubting), images, PLACES[:1], iterations=20)
    assert len(forgotten.corner) == 1 and jax.tree.leaves(forgotten.found)[0].shape[0] == 1


def test_a_candidate_on_a_known_source_or_off_the_image_is_none(images):
    class Everything(Judge):
        def judge(self, *args):
            found, said = super().judge(*args)
            beside = jnp.array([[0.2, 0.0], [-60.0, 0.0]])
            offset = (
                jnp.zeros_like(said.offset).at[:, :2].set(SIZE // 2 + beside - found.pixel[:, :2])
            )
            return found._replace(real=found.real.at[:].set(False).at[:, :2].set(True)), (
                said._replace(offset=offset, logit=jnp.full_like(said.logit, 9.0))
            )

    found = measured(Everything(), images, PLACES[:1], iterations=5)
    assert len(found.corner) == 1
