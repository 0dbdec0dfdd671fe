import jax.numpy as jnp
import numpy as np
from gaussians import SIZE, field, gaussian, matched_filter

from vaedeblend.deblend.joint import find_and_measure, make_deblend_stamps
from vaedeblend.deblend.sources import make_sources, measure
from vaedeblend.pixels.stamps import PaddedImages


def test_a_galaxy_behind_a_brighter_one_is_found_on_the_residual(rng):
    places, flux = np.array([[20, 20], [20, 29]]), [3000.0, 150.0]
    image = field((80, 80), places, flux) + rng.normal(size=(1, 80, 80, 1))
    images = PaddedImages(image, 1.0, size=SIZE)
    arguments = matched_filter, images, np.zeros(1, int), places[:1]
    found = find_and_measure(*arguments, iterations=20)
    np.testing.assert_allclose(found.corner, places, atol=1)
    np.testing.assert_array_equal(found.hidden, [False, True])
    # This deblender cannot move its profile by the pixel by which the companion is off.
    np.testing.assert_allclose(found.found.flux[:, 0], flux, rtol=0.15)
    never = find_and_measure(*arguments, iterations=20, passes=0)
    assert len(never.corner) == 1 and not never.hidden.any()


def test_stamps_give_their_central_galaxies(rng):
    beside = gaussian(y=1.0, x=11.0)
    true = np.array([200.0, 300.0, 400.0])
    image = true[:, None, None, None] * gaussian() + 500 * beside
    image += 0.1 * rng.normal(size=image.shape)
    deblend = make_deblend_stamps(matched_filter, iterations=20)
    found = deblend(image, np.full(image.shape, 0.01))
    assert found.flux.shape == (3, 1) and found.image.shape == image.shape
    np.testing.assert_allclose(found.flux[:, 0], true, rtol=0.05)


def test_masked_galaxies_of_a_stamp_are_not_measured():
    image = np.tile(200 * gaussian() + 500 * gaussian(y=1.0, x=11.0), (2, 1, 1, 1))
    mask = np.zeros(image.shape[:3], bool)
    mask[:, :, 21:] = True
    spoilt = np.where(mask[..., None], np.nan, image)
    deblend = make_deblend_stamps(matched_filter, iterations=3)
    flux = [deblend(each, np.ones(1), mask).flux for each in (image, spoilt)]
    np.testing.assert_allclose(*flux, rtol=1e-6)
    np.testing.assert_allclose(flux[0][:, 0], 200, rtol=0.05)


def test_a_flux_that_ran_away_is_nan_and_never_0():
    def dark(image, variance, **options):
        found = matched_filter(image, variance, **options)
        return found._replace(flux=0 * found.flux, flux_err=0 * found.flux, image=0 * found.image)

    image = np.stack(2 * [300 * gaussian()]).astype(np.float32)
    for network, lost in ((dark, True), (matched_filter, False)):
        found = make_deblend_stamps(network, passes=0)(image, np.ones_like(image))
        assert (np.isnan(found.flux) == lost).all() and (np.isnan(found.flux_err) == lost).all()


def test_what_is_hardly_there_is_forgotten_again():
    """A lump that no galaxy has: found on the residual, it is measured to be next to nothing."""

    def doubting(image, variance, **options):
        found = matched_filter(image, variance, **options)
        bright = found.flux > 1000
        return found._replace(flux_err=jnp.where(bright, found.flux_err, found.flux))

    places, flux = np.array([[20, 20], [20, 29]]), [3000.0, 150.0]
    images = PaddedImages(field((80, 80), places, flux), 1.0, size=SIZE)
    arguments = images, np.zeros(1, int), places[:1]
    kept, forgotten = (
        find_and_measure(each, *arguments, iterations=20) for each in (matched_filter, doubting)
    )
    assert len(kept.corner) == 2 and len(forgotten.corner) == 1
    alone = measure(
        matched_filter, images, make_sources(*arguments[1:], (SIZE, SIZE, 1)), iterations=1
    )
    np.testing.assert_allclose(forgotten.found.flux, alone.found.flux, rtol=1e-4)
