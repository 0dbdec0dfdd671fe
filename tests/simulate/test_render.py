import numpy as np
import pytest
from astropy.io import fits
from scipy.interpolate import RectBivariateSpline
from scipy.stats import kstest

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.pixels.psf import PSF_SIZE, make_psf
from vaedeblend.simulate.render import (
    PsfRecipe,
    add_noise,
    default_psf,
    make_draw,
    optical_psf,
    psf_family,
    resampled_psf,
    survey_psfs,
)
from vaedeblend.survey import Survey, make_survey

SCALE = 0.1
PSF_SIGMA = 0.1
SCALE_LENGTHS = 1.67834699
"""Half-light radius of an exponential disk over its scale length."""


def galaxy(bulge=(0.0,), disk=(0.0,), *, radii=(0.02, 0.3), ratios=(1.0, 1.0), angles=(0.0, 0.0)):
    numbers = [np.float64(value) for value in (*radii, *ratios, *angles)]
    return Galaxies(np.array(bulge, float), np.array(disk, float), *numbers)


def star(*flux):
    return galaxy(np.zeros(len(flux)), flux, radii=(0.0, 0.0))


def gaussian_psf():
    axis = np.exp(-0.5 * (np.arange(-30, 31) * 0.05 / PSF_SIGMA) ** 2)
    return make_psf(np.outer(axis, axis), 0.05)


def moments(image):
    """Total, centroid (y, x) from the stamp's centre and second moments (yy, xx, xy)."""
    image = image.astype(float)
    y, x = np.indices(image.shape) - (image.shape[0] - 1) / 2
    total = image.sum()
    cy, cx = (image * y).sum() / total, (image * x).sum() / total
    products = (y - cy) ** 2, (x - cx) ** 2, (y - cy) * (x - cx)
    return total, (cy, cx), [(image * each).sum() / total for each in products]


@pytest.fixture(scope="module")
def draw():
    return make_draw(survey_psfs(Survey(), 64), size=128, pixel_scale=SCALE)


@pytest.fixture(scope="module")
def draw_gaussian():
    return make_draw((gaussian_psf(),), size=128, pixel_scale=SCALE)


CASES = {
    "bulge and disk": galaxy([1.0], [3.0], ratios=(0.8, 0.4), angles=(20.0, 70.0)),
    "bulge": galaxy([2.0], [0.0]),
    "disk": galaxy([0.0], [2.0], ratios=(1.0, 0.3)),
    "star": star(5.0),
}


@pytest.mark.parametrize("case", CASES)
def test_total_flux_is_the_catalogue_s(draw, case):
    total = moments(draw(CASES[case], (0.3, -0.2))[..., 0])[0]
    assert total == pytest.approx(CASES[case].flux[0], rel=1e-3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.3, -0.2), (-0.49, 0.41), (7.25, -3.5)])
def test_centroid_is_where_asked(draw_gaussian, case, offset):
    centroid = moments(draw_gaussian(CASES[case], offset)[..., 0])[1]
    np.testing.assert_allclose(centroid, offset, atol=0.01)


def test_centroid_under_the_optical_psf(draw):
    centroid = moments(draw(CASES["star"], (0.3, -0.2))[..., 0])[1]
    np.testing.assert_allclose(centroid, (0.3, -0.2), atol=0.01)


@pytest.mark.parametrize("radius", [0.1, 0.2, 0.3, 0.4])
def test_sizes_add_in_quadrature_with_the_psf(draw_gaussian, radius):
    yy, xx, _ = moments(draw_gaussian(galaxy(disk=[1.0], radii=(0.0, radius)), (0.2, 0.1))[..., 0])[
        2
    ]
    wanted = (3 * (radius / SCALE_LENGTHS) ** 2 + PSF_SIGMA**2) / SCALE**2
    np.testing.assert_allclose([yy, xx], wanted, rtol=1e-3)


def test_radius_is_the_major_axis_s_and_angles_run_from_x_to_y(draw_gaussian):
    radius, ratio, angle = 0.4, 0.5, np.radians(30)
    disk = galaxy(disk=[1.0], radii=(0.0, radius), ratios=(1.0, ratio), angles=(0.0, 30.0))
    major = 3 * (radius / SCALE_LENGTHS / SCALE) ** 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    light = turn @ np.diag([major, major * ratio**2]) @ turn.T
    (xx, xy), (_, yy) = light + np.eye(2) * (PSF_SIGMA / SCALE) ** 2
    np.testing.assert_allclose(
        moments(draw_gaussian(disk, (0.0, 0.0))[..., 0])[2], [yy, xx, xy], rtol=1e-3
    )


def test_components_add(draw):
    both = draw(CASES["bulge and disk"], (0.1, 0.2))
    bulge = CASES["bulge and disk"]._replace(flux_disk=np.zeros(1))
    disk = CASES["bulge and disk"]._replace(flux_bulge=np.zeros(1))
    np.testing.assert_allclose(both, draw(bulge, (0.1, 0.2)) + draw(disk, (0.1, 0.2)), atol=2e-5)


def test_share_of_the_bulge_is_the_catalogue_s(draw):
    """Against the two components drawn alone, by least squares."""
    bulge, disk = draw(CASES["bulge"], (0.0, 0.0)), draw(galaxy(disk=[2.0]), (0.0, 0.0))
    image = draw(galaxy([1.0], [3.0]), (0.0, 0.0))
    templates = np.stack([bulge.ravel(), disk.ravel()], axis=1)
    np.testing.assert_allclose(np.linalg.lstsq(templates, image.ravel())[0], [0.5, 1.5], rtol=1e-3)


def test_component_without_radius_is_a_point(draw):
    point = draw(galaxy([1.0], [0.0], radii=(0.0, 0.3)), (0.0, 0.0))
    np.testing.assert_allclose(point, draw(star(1.0), (0.0, 0.0)), atol=1e-6)


def test_bands_have_their_own_flux_and_psf():
    survey = make_survey({"blue": {"wavelength": 500.0}, "red": {"wavelength": 1500.0}}, SCALE)
    draw = make_draw(survey_psfs(survey, 64), size=128, pixel_scale=SCALE)
    image = draw(galaxy([1.0, 2.0], [0.0, 5.0]), (0.0, 0.0))
    assert image.shape == (128, 128, 2)
    np.testing.assert_allclose(image.sum(axis=(0, 1)), [1, 7], rtol=1e-3)
    points = draw(star(1.0, 1.0), (0.0, 0.0)).max(axis=(0, 1))
    assert points[0] > points[1]


def noise_variance(level, survey, rng):
    light = np.broadcast_to(np.float32(level), (400, 400, len(survey.bands)))
    noise = add_noise(light, survey, rng) - light
    return noise.mean(axis=(0, 1)), noise.var(axis=(0, 1))


def test_noise_of_empty_sky_is_the_survey_s_variance(rng):
    mean, variance = noise_variance(0.0, Survey(), rng)
    np.testing.assert_allclose(variance, Survey().variance, rtol=0.015)
    assert (np.abs(mean) < 5 * Survey().rms / 400).all()


def test_bright_source_adds_its_poisson_noise(rng):
    light = 0.3
    mean, variance = noise_variance(light, Survey(), rng)
    wanted = Survey().variance + light / Survey().gain
    np.testing.assert_allclose(variance, wanted, rtol=0.015)
    assert (np.abs(mean) < 5 * np.sqrt(wanted) / 400).all()


def test_noise_follows_each_band_s_depth(rng):
    survey = make_survey({"deep": {"n_exposures": 16}, "shallow": {"read_noise": 9.0}}, SCALE)
    variance = noise_variance(0.0, survey, rng)[1]
    np.testing.assert_allclose(variance, survey.variance, rtol=0.015)


def family(survey, n=24, *, fwhm=(0.15, 0.25), default_share=0.25, seed=(3, 1)):
    recipe = PsfRecipe(n, fwhm, default_share)
    return psf_family(survey, recipe, stamp_size=64, seed=seed).psfs


def width(psf):
    """FWHM [arcsec]: of the circle whose area is that above half the maximum."""
    spline = RectBivariateSpline(*2 * [np.arange(psf.image.shape[0])], psf.image)
    pixels = np.arange(-0.4, 0.4, 0.002) / psf.pixel_scale + psf.image.shape[0] // 2
    fine = spline(pixels, pixels)
    return 2 * np.sqrt((fine > fine.max() / 2).sum() / np.pi) * 0.002


POINTLIKE = Survey(pixel_scale=1e-3)
"""A survey without pixel response."""


@pytest.fixture(scope="module")
def widths():
    return np.array([width(psfs[0]) for psfs in family(POINTLIKE, 64)])


def test_family_begins_with_the_survey_s_own():
    psfs = family(Survey(), 8)
    (own,) = survey_psfs(Survey(), 64)
    for (psf,) in psfs[:2]:
        np.testing.assert_array_equal(psf.image, own.image)
    assert all((psf.image != own.image).any() for (psf,) in psfs[2:])


@pytest.mark.parametrize(("n", "share", "own"), [(1, 0.5, 1), (5, 0.0, 1), (4, 1.0, 4)])
def test_family_has_at_least_one_of_the_survey_s_own(n, share, own):
    first, *others = family(Survey(), n, default_share=share)
    assert sum(np.array_equal(first[0].image, psf.image) for (psf,) in others) == own - 1
    assert len(others) == n - 1


def test_widths_of_the_family_are_uniform_in_logarithm(widths):
    np.testing.assert_allclose(widths[:16], 0.1448, atol=0.001)
    assert widths[16:].min() > 0.149 and widths[16:].max() < 0.251
    share = np.log(widths[16:] / 0.15) / np.log(0.25 / 0.15)
    assert kstest(share, "uniform").pvalue > 0.01


def test_widths_begin_where_the_optics_end():
    found = [width(psfs[0]) for psfs in family(POINTLIKE, 24, fwhm=(0.05, 0.15))[6:]]
    assert 0.117 < min(found) < 0.125
    assert 0.13 < max(found) < 0.151


def test_family_is_normalised_centred_and_slightly_elliptical():
    shears = []
    for (psf,) in family(Survey(), 40)[10:]:
        image = resampled_psf(psf, SCALE, 31)
        assert psf.image.sum() == pytest.approx(1)
        assert image.sum() == pytest.approx(1)
        centre = np.where(psf.image > 0.05 * psf.image.max(), psf.image, 0)
        _, centroid, (yy, xx, xy) = moments(centre)
        np.testing.assert_allclose(centroid, 0, atol=0.1)
        shears.append([(xx - yy) / (xx + yy) / 2, xy / (xx + yy)])
    assert 0.008 < np.std(shears) < 0.03


def test_variants_depend_on_seed_and_index_alone():
    one, more = family(Survey(), 4), family(Survey(), 5, default_share=0.2)
    np.testing.assert_array_equal(one[3][0].image, more[3][0].image)
    assert (family(Survey(), 4, seed=(3, 2))[3][0].image != one[3][0].image).any()


def test_family_of_an_image_is_the_image_blurred(tmp_path):
    optical = optical_psf(Survey().bands[0], SCALE)
    header = fits.Header({"PIXSCALE": optical.pixel_scale})
    fits.writeto(tmp_path / "psf.fits", optical.image, header)
    survey = make_survey({"red": {"psf": str(tmp_path / "psf.fits")}}, SCALE)
    first, *others = family(survey, 8, fwhm=(0.22, 0.28), default_share=0.0)
    np.testing.assert_allclose(first[0].image, optical.image)
    found = [width(psf) for (psf,) in others]
    assert width(optical) < 0.2 < 0.218 < min(found) < max(found) < 0.282
    assert all(psf.image.shape == optical.image.shape for (psf,) in others)


def test_bands_of_a_variant_are_blurred_apart():
    survey = make_survey({"blue": {"wavelength": 500.0}, "red": {"wavelength": 720.0}}, 1e-3)
    pairs = family(survey, 6, default_share=0.0)[1:]
    found = np.array([[width(psf) for psf in pair] for pair in pairs])
    assert found.shape == (5, 2)
    assert (found > 0.149).all() and (found < 0.251).all()
    assert (abs(found[:, 0] - found[:, 1]) > 0.002).any()


def test_default_psf_is_centred_of_unit_sum():
    psf = default_psf(Survey())
    assert psf.shape == (PSF_SIZE, PSF_SIZE, 1) and psf.dtype == np.float32
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    middle = PSF_SIZE // 2
    assert psf[..., 0].argmax() == middle * PSF_SIZE + middle


def test_given_psfs_sum_to_what_they_hold_of_the_light():
    """Some are cut and whole all the same: their light ends where they do."""
    recipe = PsfRecipe(24, (0.15, 0.25), 0.25, psf_cut_share=0.5, psf_sides=(19, 49))
    found = psf_family(Survey(), recipe, stamp_size=64, seed=(3, 1))
    uncut = family(Survey())
    for (psf,), (before,), given in zip(found.psfs, uncut, found.given[..., 0], strict=True):
        side = 1 + 2 * np.abs(np.argwhere(given) - PSF_SIZE // 2).max()
        held = resampled_psf(before, SCALE, PSF_SIZE)[given != 0].sum()
        assert psf.image.sum() == pytest.approx(1)
        if len(psf.image) == len(before.image):
            assert given.sum() == pytest.approx(held, abs=1e-5)
        else:
            assert len(psf.image) * psf.pixel_scale == pytest.approx(side * SCALE, abs=0.06)
            assert given.sum() == pytest.approx(1, abs=2e-3) and held < 0.9999
    ended = [len(psf.image) for (psf,) in found.psfs]
    assert set(ended[:6]) == {101} and 3 < sum(each < 101 for each in ended) < 15
    sides = (found.given[6:, PSF_SIZE // 2, :, 0] != 0).sum(axis=1)
    assert sides.min() >= 19 and sides.max() <= 49 and np.ptp(sides) > 20
    assert (found.given[:6].sum(axis=(1, 2)) > 0.99999).all()


def test_wings_take_their_share_of_the_light():
    recipe = PsfRecipe(3, (0.2, 0.2), 0.0, psf_wings=(0.05, 0.05))
    winged = psf_family(Survey(), recipe, stamp_size=64, seed=(3, 1)).psfs[1:]
    plain = family(Survey(), 3, fwhm=(0.2, 0.2), default_share=0.0)[1:]
    for (one,), (other,) in zip(winged, plain, strict=True):
        core = [psf.image[40:61, 40:61].sum() for psf in (one, other)]
        assert 0.005 < core[1] - core[0] < 0.05
