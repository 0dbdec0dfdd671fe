import jax.numpy as jnp
import numpy as np
import pytest

from vaedeblend.deblend.iterative import measure
from vaedeblend.deblend.network import Deblended
from vaedeblend.deblend.together import find_and_measure, make_deblend_stamps
from vaedeblend.models.sinh_arcsinh import SinhArcsinh
from vaedeblend.pixels.stamps import Frames

SIZE = 32


def gaussian(size=SIZE, y=0.0, x=0.0, sigma=2.0):
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    square = (rows - y) ** 2 + (columns - x) ** 2
    return (np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2))[..., None]


def matched_filter(image, variance, psf=None, gain=None, neighbours=None):
    """A deblender that knows the profile and nothing of neighbours."""
    weight = 1 / jnp.asarray(variance)
    flux = (image * weight * gaussian()).sum((1, 2)) / (weight * gaussian() ** 2).sum((1, 2))
    error = (weight * gaussian() ** 2).sum((1, 2)) ** -0.5
    light = flux[:, None, None] * gaussian()
    zeros = jnp.zeros((len(image), 3))
    log_flux = SinhArcsinh(jnp.log(flux), jnp.log(error / flux), 0 * flux, 0 * flux)
    return Deblended(flux, error, light, zeros, zeros, flux / flux, log_flux)


def field(shape, places, flux):
    """Gaussians whose stamps' first pixels lie at `places` of one image."""
    image = np.zeros((1, *shape, 1))
    for (y, x), each in zip(places, flux, strict=True):
        whole = np.zeros((shape[0] + 2 * SIZE, shape[1] + 2 * SIZE, 1))
        whole[y + SIZE : y + 2 * SIZE, x + SIZE : x + 2 * SIZE] = each * gaussian()
        image[0] += whole[SIZE:-SIZE, SIZE:-SIZE]
    return image


PLACES, FLUX = np.array([[10, 12], [13, 14], [10, 40], [-12, 60]]), np.array([100, 300, 50.0, 80])
INDEX = np.zeros(4, int)


def run(image, variance=1e-4, looks=30, batch_size=3, **options):
    frames = Frames(image, variance, size=SIZE)
    options = {"looks": looks, "batch_size": batch_size} | options
    return measure(matched_filter, frames, INDEX, PLACES, **options)


def test_neighbours_that_overlap_are_told_apart():
    found = run(field((60, 90), PLACES, FLUX))
    np.testing.assert_allclose(found.flux[:, 0], FLUX, rtol=1e-3)


def test_first_look_counts_the_neighbours_light():
    found = run(field((60, 90), PLACES, FLUX), looks=1)
    assert found.flux[0, 0] > 200 and found.flux[1, 0] > 330


def test_answer_is_that_of_the_joint_fit(rng):
    """Linear profiles: least squares of all fluxes at once."""
    image = field((60, 90), PLACES, FLUX) + rng.normal(size=(1, 60, 90, 1))
    design = np.stack([field((60, 90), [at], [1.0]).ravel() for at in PLACES], axis=1)
    joint, *_ = np.linalg.lstsq(design, image.ravel(), rcond=None)
    np.testing.assert_allclose(run(image).flux[:, 0], joint, rtol=2e-3)


def test_masked_pixels_are_never_seen():
    image, variance = field((60, 90), PLACES, FLUX), np.full((1, 60, 90, 1), 1e-4)
    image[0, 25:28, 20:40], variance[0, 25:28, 20:40] = 1e6, np.inf
    np.testing.assert_allclose(run(image, variance).flux[:, 0], FLUX, rtol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batches_do_not_matter(batch_size):
    image = field((60, 90), PLACES, FLUX)
    one, other = run(image), run(image, batch_size=batch_size)
    np.testing.assert_allclose(one.flux, other.flux, rtol=1e-5)


def test_the_deblender_is_told_what_was_subtracted():
    told = []

    def listen(image, variance, psf=None, gain=None, neighbours=None):
        told.append(np.asarray(image + neighbours))
        return matched_filter(image, variance)

    image = field((60, 90), PLACES, FLUX)
    measure(listen, Frames(image, 1e-4, size=SIZE), INDEX, PLACES, looks=3, batch_size=4)
    assert len(told) == 3
    for later in np.concatenate(told[1:]):
        assert np.abs(later - told[0]).max(axis=(1, 2, 3)).min() < 1e-4


def test_sources_whose_neighbours_do_not_change_are_looked_at_once():
    seen = []

    def count(image, **options):
        seen.append(len(image))
        return matched_filter(image, **options)

    alone, pair = np.array([[10, 150]]), PLACES[:2]
    places = np.concatenate([pair, alone])
    image = field((60, 200), places, [100, 300, 80])
    frames = Frames(image, 1e-2, size=SIZE)
    measure(count, frames, np.zeros(3, int), places, looks=2, batch_size=1)
    assert len(seen) == 3 + 2


def test_going_on_from_what_is_known_ends_where_a_fresh_start_does():
    image = field((60, 90), PLACES, FLUX)
    frames = Frames(image, 1e-4, size=SIZE)
    options = {"looks": 40, "batch_size": 3}
    first = measure(matched_filter, frames, INDEX[:2], PLACES[:2], **options)
    found = measure(
        matched_filter,
        frames,
        INDEX,
        PLACES,
        found=first,
        stale=np.arange(len(INDEX)) >= 2,
        **options,
    )
    np.testing.assert_allclose(found.flux[:, 0], FLUX, rtol=1e-3)
    same = measure(
        matched_filter,
        frames,
        INDEX,
        PLACES,
        found=found,
        stale=np.zeros(len(INDEX), bool),
        **options,
    )
    np.testing.assert_array_equal(same.flux, found.flux)


def test_what_is_known_is_not_looked_at_again_unless_its_neighbours_change():
    seen = []

    def count(image, **options):
        seen.append(len(image))
        return matched_filter(image, **options)

    places = np.array([[20, 20], [20, 28], [20, 150]])
    image = field((60, 200), places, [100, 300, 80])
    frames, index = Frames(image, 1e-2, size=SIZE), np.zeros(3, int)
    found = measure(matched_filter, frames, index, places, looks=30, batch_size=1)
    measure(count, frames, index, places, looks=9, batch_size=1, found=found, stale=index < 0)
    assert not seen
    stale = np.array([False, False, True])
    measure(count, frames, index, places, looks=9, batch_size=1, found=found, stale=stale)
    assert len(seen) == 1


def test_a_galaxy_behind_a_brighter_one_is_found_on_the_residual(rng):
    places, flux = np.array([[20, 20], [20, 29]]), [3000.0, 150.0]
    image = field((80, 80), places, flux) + rng.normal(size=(1, 80, 80, 1))
    frames = Frames(image, 1.0, size=SIZE)
    arguments = matched_filter, frames, np.zeros(1, int), places[:1]
    found = find_and_measure(*arguments, looks=20)
    np.testing.assert_allclose(found.corner, places, atol=1)
    np.testing.assert_array_equal(found.hidden, [False, True])
    # This deblender cannot move its profile by the pixel by which the companion is off.
    np.testing.assert_allclose(found.found.flux[:, 0], flux, rtol=0.15)
    never = find_and_measure(*arguments, looks=20, passes=0)
    assert len(never.corner) == 1 and not never.hidden.any()


def test_stamps_give_their_central_galaxies(rng):
    beside = gaussian(y=1.0, x=11.0)
    true = np.array([200.0, 300.0, 400.0])
    image = true[:, None, None, None] * gaussian() + 500 * beside
    image += 0.1 * rng.normal(size=image.shape)
    deblend = make_deblend_stamps(matched_filter, looks=20)
    found = deblend(image, np.full(image.shape, 0.01))
    assert found.flux.shape == (3, 1) and found.image.shape == image.shape
    np.testing.assert_allclose(found.flux[:, 0], true, rtol=0.05)


def test_masked_galaxies_of_a_stamp_are_not_measured():
    image = np.tile(200 * gaussian() + 500 * gaussian(y=1.0, x=11.0), (2, 1, 1, 1))
    mask = np.zeros(image.shape[:3], bool)
    mask[:, :, 21:] = True
    spoilt = np.where(mask[..., None], np.nan, image)
    deblend = make_deblend_stamps(matched_filter, looks=3)
    flux = [deblend(each, np.ones(1), mask).flux for each in (image, spoilt)]
    np.testing.assert_allclose(*flux, rtol=1e-6)
    np.testing.assert_allclose(flux[0][:, 0], 200, rtol=0.05)


def test_what_is_hardly_there_is_forgotten_again():
    """A lump that no galaxy has: found on the residual, it is measured to be next to nothing."""

    def doubting(image, variance, **options):
        found = matched_filter(image, variance, **options)
        bright = found.flux > 1000
        return found._replace(flux_err=np.where(bright, found.flux_err, found.flux))

    places, flux = np.array([[20, 20], [20, 29]]), [3000.0, 150.0]
    frames = Frames(field((80, 80), places, flux), 1.0, size=SIZE)
    arguments = frames, np.zeros(1, int), places[:1]
    kept, forgotten = (
        find_and_measure(each, *arguments, looks=20) for each in (matched_filter, doubting)
    )
    assert len(kept.corner) == 2 and len(forgotten.corner) == 1
    alone = measure(matched_filter, *arguments, looks=1)
    np.testing.assert_allclose(forgotten.found.flux, alone.flux, rtol=1e-4)
