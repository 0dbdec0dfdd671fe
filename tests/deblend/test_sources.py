import jax
import numpy as np
import pytest
from gaussians import SIZE, field, gaussian, matched_filter

from vaedeblend.deblend.sources import Sources, make_sources, measure
from vaedeblend.pixels.stamps import PaddedImages

PLACES, FLUX = np.array([[10, 12], [13, 14], [10, 40], [-12, 60]]), np.array([100, 300, 50.0, 80])
SHAPE = SIZE, SIZE, 1


def sources_at(places=PLACES) -> Sources:
    return make_sources(np.zeros(len(places), int), places, SHAPE)


def run(image, variance=1e-4, iterations=30, batch_size=3, places=PLACES) -> Sources:
    images = PaddedImages(image, variance, size=SIZE)
    options = {"iterations": iterations, "batch_size": batch_size}
    return measure(matched_filter, images, sources_at(places), **options)


def test_neighbours_that_overlap_are_told_apart():
    found = run(field((60, 90), PLACES, FLUX)).found
    np.testing.assert_allclose(found.flux[:, 0], FLUX, rtol=1e-3)


def test_flux_is_uncertain_by_what_a_source_may_hide():
    """By nothing where none was sought, and in quadrature by how probable it is."""
    share = sources_at()._replace(blend_prob=np.array([0.0, 0.25, 1.0, np.nan])).hidden_error
    assert 0.1 < share[2] < 0.5
    np.testing.assert_allclose(share / share[2], [0, 0.5, 1, 0], rtol=1e-6)


def test_first_measurement_counts_the_neighbours_light():
    found = run(field((60, 90), PLACES, FLUX), iterations=1).found
    assert found.flux[0, 0] > 200 and found.flux[1, 0] > 330


def test_answer_is_that_of_the_joint_fit(rng):
    """Linear profiles: least squares of all fluxes at once."""
    image = field((60, 90), PLACES, FLUX) + rng.normal(size=(1, 60, 90, 1))
    design = np.stack([field((60, 90), [at], [1.0]).ravel() for at in PLACES], axis=1)
    joint, *_ = np.linalg.lstsq(design, image.ravel(), rcond=None)
    np.testing.assert_allclose(run(image).found.flux[:, 0], joint, rtol=2e-3)


def test_masked_pixels_are_never_seen():
    image, variance = field((60, 90), PLACES, FLUX), np.full((1, 60, 90, 1), 1e-4)
    image[0, 25:28, 20:40], variance[0, 25:28, 20:40] = 1e6, np.inf
    np.testing.assert_allclose(run(image, variance).found.flux[:, 0], FLUX, rtol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batches_do_not_matter(batch_size):
    image = field((60, 90), PLACES, FLUX)
    one, other = run(image), run(image, batch_size=batch_size)
    np.testing.assert_allclose(one.found.flux, other.found.flux, rtol=1e-5)
    np.testing.assert_array_equal(one.count, other.count)


def test_the_network_is_given_what_was_subtracted():
    given = []

    def listen(image, variance, psf=None, gain=None, neighbours=None):
        jax.debug.callback(lambda *a: given.append([np.asarray(x) for x in a]), image, neighbours)
        return matched_filter(image, variance)

    image = field((60, 90), PLACES, FLUX)
    images = PaddedImages(image, 1e-4, size=SIZE)
    measure(listen, images, sources_at(), iterations=3, batch_size=4)
    jax.effects_barrier()
    assert len(given) == 3
    stamps = images.cut(images.image, np.zeros(4, int), PLACES)
    assert not given[0][1].any()
    for less, neighbours in given[1:]:
        assert neighbours.any()
        for each in (less + neighbours)[neighbours.any(axis=(1, 2, 3))]:
            assert np.abs(each - stamps).max(axis=(1, 2, 3)).min() < 1e-4


def always_the_same(image, variance, psf=None, gain=None, neighbours=None):
    """A deblender that finds one galaxy, whatever it is given."""
    found = matched_filter(image, variance)
    return found._replace(image=jax.numpy.broadcast_to(100 * gaussian(), image.shape))


@pytest.mark.parametrize("most", [1, 4])
def test_neighbours_are_the_light_of_the_others_pasted_and_cut_out_again(rng, most):
    """On stamps of several binnings, some of which reach out of their image or over gaps."""
    n, shape = 24, (2, 150, 160, 1)
    variance = np.full(shape, 1e-9)
    variance[0, 60:66] = np.inf
    images = PaddedImages(np.zeros(shape), variance, size=SIZE, most=most)
    index, corner = rng.integers(0, 2, n), rng.integers(-10, 130, (n, 2))
    binning = rng.choice([1, 1, 1, 2, 4], n) if most > 1 else np.ones(n, int)
    start = make_sources(index, corner, SHAPE).place(corner, binning)
    found = measure(always_the_same, images, start, iterations=2, batch_size=3)
    assert (found.count == 2).sum() > n / 2
    at = index, corner, binning
    for i in np.flatnonzero(found.count == 2):
        others = np.arange(n) != i
        canvas = np.zeros_like(images.image)
        canvas += images.paste(found.found.image[others], *(a[others] for a in at))
        expected = images.cut(canvas, *(a[[i]] for a in at))[0]
        seen = np.isfinite(images.noise(*(a[[i]] for a in at))[0])
        whole = binning[i] == 1  # of a binned stamp, boxes in a gap hold all light of the model
        near_gap = ~seen.all() and not whole
        if not near_gap:
            np.testing.assert_allclose(found.neighbours[i], expected * seen, atol=1e-4)
    assert not found.neighbours[found.count == 1].any()


def test_sources_whose_neighbours_do_not_change_are_measured_once():
    places = np.concatenate([PLACES[:2], [[10, 150]]])
    image = field((60, 200), places, [100, 300, 80])
    found = run(image, variance=1e-2, iterations=2, batch_size=1, places=places)
    assert found.count.tolist() == [2, 2, 1]


def test_going_on_from_what_is_known_ends_where_a_fresh_start_does():
    image = field((60, 90), PLACES, FLUX)
    images = PaddedImages(image, 1e-4, size=SIZE)
    options = {"iterations": 40, "batch_size": 3}
    first = measure(matched_filter, images, sources_at(PLACES[:2]), **options)
    joined = first.append(np.zeros(2, int), PLACES[2:], np.full(2, 0.8))
    assert joined.pending.tolist() == joined.hidden.tolist() == [False, False, True, True]
    found = measure(matched_filter, images, joined, **options)
    np.testing.assert_allclose(found.found.flux[:, 0], FLUX, rtol=1e-3)
    assert not found.pending.any()
    same = measure(matched_filter, images, found, **options)
    np.testing.assert_array_equal(same.found.flux, found.found.flux)


def test_what_is_known_is_not_measured_again_unless_its_neighbours_change():
    places = np.array([[20, 20], [20, 28], [20, 150]])
    image = field((60, 200), places, [100, 300, 80])
    images = PaddedImages(image, 1e-2, size=SIZE)
    found = measure(matched_filter, images, sources_at(places), iterations=30)
    again = found.mark(np.array([False, False, True]))
    later = measure(matched_filter, images, again, iterations=9)
    assert (later.count - found.count).tolist() == [0, 0, 1]
    moved = found.shift(np.array([[0, 0], [0, 0], [0, 1]]))
    assert moved.pending.tolist() == [False, False, True] and moved.count[2] == 0
    assert moved.corner[2].tolist() == [20, 151]


def test_neighbours_of_a_source_that_left_are_measured_without_it():
    image = field((60, 90), PLACES[:2], FLUX[:2])
    images = PaddedImages(image, 1e-2, size=SIZE)
    both = measure(matched_filter, images, sources_at(PLACES[:2]), iterations=30)
    left = both.mark(np.array([True, False])).drop(np.array([False, True]))
    alone = measure(matched_filter, images, left, iterations=30)
    np.testing.assert_allclose(alone.found.flux[0, 0], _alone(image), rtol=1e-4)


def _alone(image):
    images = PaddedImages(image, 1e-2, size=SIZE)
    stamp = images.cut(images.image, np.zeros(1, int), PLACES[:1])
    return float(matched_filter(stamp, np.full(stamp.shape, 1e-2)).flux[0, 0])


def test_implausible_light_is_never_subtracted():
    def wild(image, variance, **options):
        found = matched_filter(image, variance, **options)
        bright = found.flux > 200
        scale = jax.numpy.where(bright, 1e12, 1.0)
        return found._replace(image=found.image * scale[..., None, None])

    image = field((60, 90), PLACES[:2], FLUX[:2])
    images = PaddedImages(image, 1e-2, size=SIZE)
    found = measure(wild, images, sources_at(PLACES[:2]), iterations=1)
    assert not found.found.image[1].any() and np.isfinite(found.neighbours).all()
    spoilt = measure(wild, images, sources_at(PLACES[:2]), iterations=3)
    assert np.isfinite(spoilt.found.flux).all()


def test_sources_that_cannot_change_may_be_left_out(rng, monkeypatch):
    """The same to the last digit, whether all are handed to the device or those within reach."""
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(5), indexing="ij"), axis=-1).reshape(-1, 2)
    places = np.concatenate([10 + 70 * grid, [[13, 18], [290, 297]]])
    image = field((400, 400), places, rng.uniform(50, 300, len(places)))
    images = PaddedImages(image, 1e-3, size=SIZE)
    start = measure(matched_filter, images, sources_at(places[:-1]), iterations=9)
    joined = start.append(np.zeros(1, int), places[-1:], np.ones(1))
    found = []
    for part in (-1.0, 0.25):
        monkeypatch.setattr("vaedeblend.deblend.sources._PART", part)
        found.append(measure(matched_filter, images, joined, iterations=9))
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert 0 < (found[0].count != joined.count).sum() < 4
