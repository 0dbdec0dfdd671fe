import numpy as np
from gaussians import gaussian, matched_filter

from vaedeblend.deblend.joint import make_deblend_stamps


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


def test_pixels_without_variance_or_value_are_as_masked_ones():
    image = np.tile(200 * gaussian() + 500 * gaussian(y=1.0, x=11.0), (2, 1, 1, 1))
    mask, variance = np.zeros(image.shape, bool), np.ones(image.shape)
    mask[:, :4, :4] = True
    deblend = make_deblend_stamps(matched_filter, iterations=3)
    wanted = deblend(image, variance, mask)
    for given in (
        (image, np.where(mask, 0, variance)),
        (image, np.where(mask, np.nan, variance)),
        (np.where(mask, np.nan, image), variance),
    ):
        found = deblend(*given)
        np.testing.assert_allclose(found.flux, wanted.flux, rtol=1e-6)
        np.testing.assert_allclose(found.image, wanted.image, rtol=1e-6)
