import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matched import SIZE, gaussian, matched_filter, recording_psfs

from vaedeblend.deblend import sources
from vaedeblend.deblend.network import Deblended
from vaedeblend.image.catalogue.columns import FLAGS, POOR
from vaedeblend.image.measure import measure_field
from vaedeblend.models.companions import Verdicts, find_candidates
from vaedeblend.models.sinh_arcsinh import SinhArcsinh, quantile
from vaedeblend.models.vae import Observation

BIT = {name: bit for bit, (name, _) in FLAGS.items()}


PLACES = np.array([[40.5, 50.5], [43.5, 58.5], [90.5, 30.5], [100.5, 100.5]])
FLUX = np.array([500.0, 200.0, 300.0, 80.0])
SHAPE = 130, 140


@pytest.fixture
def image(rng):
    light = sum(f * gaussian(*at, SHAPE) for f, at in zip(FLUX, PLACES, strict=True))
    return light + 0.3 * rng.normal(size=SHAPE)


def measure(image, rms=0.3, **options):
    rms = np.broadcast_to(rms, image.shape).astype(float)
    found = measure_field(matched_filter, image, rms, size=SIZE, **options)
    position = np.asarray(found.table["position"])
    nearest = [np.argmin(np.hypot(*(position - at).T)) for at in PLACES] if len(position) else []
    return found, np.array(nearest, int)


def test_all_sources_are_found_with_their_flux_and_place(image):
    found, row = measure(image)
    assert len(found.table) == len(PLACES) == len(set(row))
    np.testing.assert_allclose(found.table["position"][row], PLACES, atol=0.6)
    flux = np.asarray(found.table["flux"])[row]
    np.testing.assert_allclose(flux, FLUX, rtol=0.1)


def test_overlapping_sources_form_a_group_and_know_of_each_other(image):
    found, row = measure(image)
    group, neighbours = found.groups.group[row], np.asarray(found.table["n_neighbours"])[row]
    assert group[0] == group[1] and len(set(group)) == 3
    np.testing.assert_array_equal(neighbours, [1, 1, 0, 0])
    purity = np.asarray(found.table["purity"])[row]
    assert purity[1] < 0.98 and (purity[2:] > 0.99).all()
    assert (found.groups.correlation < 0).all()


def test_good_fits_have_a_chi2_of_one_and_no_flag(image):
    found, row = measure(image, positions=PLACES)
    chi2 = np.asarray(found.table["chi2"])[row]
    np.testing.assert_allclose(chi2, 1, atol=0.5)
    np.testing.assert_array_equal(np.asarray(found.table["flags"])[row], 0)


def test_positions_that_are_given_are_used(image):
    found, _ = measure(image, positions=PLACES[:2], passes=0)
    assert len(found.table) == 2 and not found.table["hidden"].any()


def test_sources_at_the_edge_are_flagged(image):
    edge = np.array([[1.5, 80.5]])
    found, _ = measure(image + 400 * gaussian(*edge[0], SHAPE), positions=edge, passes=0)
    assert found.table["flags"][0] & BIT["edge"]
    assert not measure(image, positions=PLACES, passes=0)[0].table["flags"].any()


def test_masked_sources_are_flagged_and_the_rest_goes_on(image):
    rms = np.full(SHAPE, 0.3)
    rms[85:96, 29:33], image[85:96, 29:33] = np.inf, 1e6
    found, row = measure(image, rms, positions=PLACES, passes=0)
    flags = np.asarray(found.table["flags"])[row]
    assert flags[2] & BIT["masked"] and not (flags[:2] & BIT["masked"]).any()
    np.testing.assert_allclose(found.table["flux"][row[2]], FLUX[2], rtol=0.1)


def test_purity_is_that_of_the_light_on_pixels_that_count(image):
    """The brighter neighbour's side of a source is ignored: it lies there in no one's light."""
    rms = np.full(SHAPE, 0.3)
    rms[85:96, 30:36] = np.inf
    image += 5000 * gaussian(90.5, 38.5, SHAPE)
    found, row = measure(image, rms, positions=np.append(PLACES, [[90.5, 38.5]], 0), passes=0)
    purity = np.asarray(found.table["purity"])
    assert (purity <= 1).all() and purity[row[2]] < 0.9


def test_a_source_without_a_valid_pixel_is_flagged_and_has_no_flux(image):
    rms = np.full(SHAPE, 0.3)
    rms[:, 70:] = np.inf
    place = np.array([[40.5, 50.5], [60.5, 125.5]])
    found, _ = measure(image, rms, positions=place, passes=0)
    np.testing.assert_array_equal(found.table["flags"] & BIT["unmeasured"] > 0, [False, True])
    np.testing.assert_array_equal(np.isnan(found.table["flux"]), [False, True])
    np.testing.assert_allclose(found.table["position"][1], place[1], atol=1)


def test_bad_fits_are_flagged(image):
    spoilt = (
        image
        + 5 * gaussian(100.5, 100.5, SHAPE, sigma=1.0) * np.sign(np.indices(SHAPE)[1] - 100.5) * 60
    )
    found, row = measure(spoilt, positions=PLACES, passes=0)
    assert found.table["flags"][row[3]] & BIT["poor"]


class Suspicious:
    """A deblender that finds no companion, and suspects one of each source by its brightness."""

    companions = True

    def __call__(self, image, variance, **options):
        return matched_filter(image, variance, **options)

    def judge(self, image, variance, light, purity, neighbours, psf, gain):
        gains = jnp.full((len(image), 1), jnp.inf)
        seen = Observation(*map(jnp.asarray, (image, variance, gains, 0, neighbours, 0)))
        found = find_candidates(seen, jnp.asarray(light))
        none = jnp.full(found.significance.shape[:2], -50.0)
        blend = jnp.log(light.sum(axis=(1, 2, 3)) / 300)
        return found, Verdicts(none, jnp.zeros((*none.shape, 2)), blend)


def test_errors_hold_what_a_source_may_hide(image):
    given = {"size": SIZE, "positions": PLACES}
    rms = np.full(SHAPE, 0.3)
    plain, doubted = (
        measure_field(deblend, image, rms, **given).table
        for deblend in (matched_filter, Suspicious())
    )
    np.testing.assert_allclose(doubted["flux"], plain["flux"], rtol=1e-5)
    blend, flux = doubted["blend_prob"], plain["flux"] - plain["flux_correction"]
    np.testing.assert_allclose(blend, flux / (flux + 300), rtol=0.02)
    hidden = sources._HIDDEN_ERROR * np.sqrt(blend) * flux
    np.testing.assert_allclose(doubted["flux_err"], np.hypot(plain["flux_err"], hidden), rtol=1e-3)
    wide, plainly = (each["flux_err_95"] / each["flux_err"] for each in (doubted, plain))
    np.testing.assert_allclose(wide, plainly, rtol=1e-3)


def test_saturated_pixels_flag_whoever_is_near(image):
    image[88:93, 28:33] = 1e6
    found, row = measure(image, positions=PLACES, passes=0)
    flags = np.asarray(found.table["flags"])[row]
    assert flags[2] & BIT["bright"] and not (flags[[0, 1, 3]] & BIT["bright"]).any()


def test_sources_without_an_error_are_flagged_and_found_once(image):
    """As the network's, whose exponentials vanish beside pixels that it never saw."""

    def dark(image, variance, **options):
        found = matched_filter(image, variance, **options)
        nothing = 0 * found.flux
        return found._replace(flux=nothing, flux_err=nothing, image=0 * found.image)

    rms = np.full(SHAPE, 0.3)
    table = measure_field(dark, image, rms, size=SIZE).table
    assert len(table) == len(PLACES) and (table["flags"] & BIT["poor"] > 0).all()
    assert (table["flags"] & BIT["unmeasured"] > 0).all()
    assert np.isnan(table["flux"]).all() and np.isnan(table["flux_err"]).all()


@pytest.mark.parametrize("flux, error", [(np.inf, 1), (300, np.nan), (300, 1e-6), (1e-20, 1e-22)])
def test_a_posterior_that_ran_away_gives_no_flux(image, flux, error):
    def wild(image, variance, **options):
        found = matched_filter(image, variance, **options)
        values = {"flux": 0 * found.flux + flux, "flux_err": 0 * found.flux + error}
        return found._replace(**values)

    options = {"positions": PLACES, "passes": 0, "size": SIZE}
    table = measure_field(wild, image, np.full(SHAPE, 0.3), **options).table
    assert np.isnan(table["flux"]).all() and (table["flags"] & BIT["unmeasured"] > 0).all()


def test_sources_that_are_not_resolved_are_flagged(image):
    places = np.concatenate([PLACES, PLACES[2:3] + [0.8, 1.5]])
    found, row = measure(image, positions=places, passes=0)
    unresolved = np.asarray(found.table["flags"]) & BIT["unresolved"] > 0
    np.testing.assert_array_equal(unresolved, [False, False, True, False, True])
    fainter = np.asarray(found.table["flux"])[unresolved].min().clip(0)
    assert (np.asarray(found.table["flux_err"])[unresolved] > fainter / 2).all()


def test_sources_of_a_blend_too_large_are_flagged(image, monkeypatch):
    monkeypatch.setattr("vaedeblend.pixels.extract._PIXELS", 150)
    found, row = measure(image, passes=0)
    incomplete = np.asarray(found.table["flags"])[row] & BIT["incomplete"] > 0
    np.testing.assert_array_equal(incomplete, [True, True, False, False])


@pytest.mark.parametrize("sky", [0.3, -0.3])
def test_sources_moved_by_a_sky_that_is_left_are_flagged(image, sky):
    """A halo, or a hole where too much was subtracted; the bright galaxy hardly notices it."""
    found, row = measure(image + sky, positions=PLACES, passes=0)
    moved = np.asarray(found.table["flags"])[row] & BIT["sky"] > 0
    np.testing.assert_array_equal(moved[[0, 3]], [False, True])


def test_one_pixel_of_low_rms_changes_no_flag(image):
    rms = np.full(SHAPE, 0.3)
    before, _ = measure(image, rms)
    rms[70, 80] = rms[90, 60] = 1e-4
    after, _ = measure(image, rms)
    for name in ("flags", "binning", "hidden"):
        np.testing.assert_array_equal(before.table[name], after.table[name])


@pytest.mark.parametrize("positions", [None, np.zeros((0, 2))])
def test_an_image_without_sources_gives_an_empty_table(rng, positions):
    found, _ = measure(0.01 * rng.normal(size=SHAPE), positions=positions)
    assert len(found.table) == 0 and found.profiles.pages.shape == (0, SIZE, SIZE)
    assert {"flux", "position", "flags", "chi2"} <= set(found.table.colnames)


def test_psf_may_vary_from_source_to_source(image):
    given = []

    def psf(index, position):
        return np.broadcast_to(position[:, :1, None, None], (len(index), 3, 3, 1)).astype(
            np.float32
        )

    rms = np.full(SHAPE, 0.3)
    options = {"positions": PLACES, "passes": 0, "iterations": 1, "psf": psf}
    measure_field(recording_psfs(given), image, rms, size=SIZE, **options)
    jax.effects_barrier()
    np.testing.assert_allclose(given[0][: len(PLACES), 0, 0, 0], PLACES[:, 0], atol=0.6)


def test_a_galaxy_too_large_for_its_stamp_is_seen_from_farther_away(rng):
    """A deblender that sums what it sees: a stamp of the image's own pixels holds too little."""

    def sums(image, variance, psf=None, gain=None, neighbours=None):
        light = jnp.maximum(jnp.asarray(image), 0)
        flux = light.sum((1, 2))
        zeros = jnp.zeros((len(light), 3))
        log_flux = SinhArcsinh(jnp.log(flux), 0 * flux - 4, 0 * flux, 0 * flux)
        return Deblended(flux, 0.01 * flux, light, zeros, zeros, flux / flux, log_flux)

    shape, place = (300, 300), np.array([[150.5, 149.5]])
    image = 1e5 * gaussian(*place[0], shape, sigma=28.0)
    rms = np.full(shape, 0.3)
    found = measure_field(sums, image, rms, size=SIZE, positions=place, passes=0)
    row = found.table[0]
    assert row["binning"] == 4 and row["flags"] & BIT["large"]
    assert row["flux"] == pytest.approx(1e5, rel=0.01)
    assert row["half_light_radius"] == pytest.approx(28.0 * np.sqrt(2 * np.log(2)), rel=0.02)
    np.testing.assert_allclose(row["position"], place[0], atol=0.1)
    assert row["flux_err"] > 0.05 * row["flux"]


def test_profiles_that_leave_light_about_them_are_seen_from_farther_away(rng):
    """The matched filter knows one small profile; an even sky is no light of a galaxy's."""
    place = np.array([[100.5, 100.5], [200.5, 200.5], [214.5, 200.5]])
    noise = 0.3 * rng.normal(size=(300, 300)) + 0.1
    small = sum(f * gaussian(*p, noise.shape) for f, p in zip((400, 4000, 200), place, strict=True))
    rms = np.full(noise.shape, 0.3)
    options = {"size": SIZE, "positions": place, "passes": 0}
    found = measure_field(matched_filter, small + noise, rms, **options).table
    np.testing.assert_array_equal(found["binning"], 1)
    halo = 4000 * gaussian(*place[1], noise.shape, sigma=12.0)
    found = measure_field(matched_filter, small + halo + noise, rms, **options).table
    np.testing.assert_array_equal(found["binning"] > 1, [False, True, False])


def test_profiles_of_bright_galaxies_are_corrected_and_stamps_fill_pages(rng):
    place = np.array([[100.5, 100.5], [200.5, 200.5]])
    image = 0.3 * rng.normal(size=(300, 300))
    image += 1e4 * gaussian(*place[0], image.shape, sigma=2.6)  # not the filter's profile
    image += 60 * gaussian(*place[1], image.shape)
    image += 2000 * gaussian(*place[0], image.shape, sigma=14.0)
    found = measure_field(
        matched_filter, image, np.full(image.shape, 0.3), size=SIZE, positions=place, passes=0
    )
    binning = np.asarray(found.table["binning"])
    assert binning[0] > 1 and binning[1] == 1 and len(found.profiles.pages) == (binning**2).sum()
    side = binning[0] * SIZE
    bright = found.profiles.pages[: binning[0] ** 2].reshape(side, side)
    y, x = found.profiles.corner[0]
    around = np.s_[max(y, 0) : y + side, max(x, 0) : x + side]
    light = bright[max(-y, 0) :, max(-x, 0) :][: image[around].shape[0], : image[around].shape[1]]
    near = np.hypot(*(np.indices(image.shape) - 100)) < 20
    assert np.square((image[around] - light) / 0.3)[near[around]].mean() < 2
    assert found.table["chi2"][0] > 3 and found.table["flags"][0] & BIT["poor"]


def test_the_interval_of_95_per_cent_is_the_posteriors_with_its_skew_and_tails(image, rng):
    skew, tail, width = 0.3, -0.25, 0.1

    def tailed(image, variance, **options):
        found = matched_filter(image, variance, **options)
        zeros = 0 * found.flux
        numbers = jnp.log(found.flux), zeros + np.log(width), zeros + skew, zeros + tail
        log_flux = SinhArcsinh(*numbers)
        low, high = (jnp.exp(quantile(log_flux, z)) for z in (-1.0, 1.0))
        return found._replace(log_flux=log_flux, flux_err=(high - low) / 2)

    options = {"positions": PLACES, "passes": 0, "size": SIZE}
    table = measure_field(tailed, image, np.full(SHAPE, 0.3), **options).table
    z = rng.standard_normal(400_000)
    one = SinhArcsinh(*(np.full(1, value) for value in (0.0, np.log(width), skew, tail)))
    ends = [
        np.subtract(*np.quantile(np.exp(quantile(one, z)), p))
        for p in ([0.975, 0.025], [0.8413, 0.1587])
    ]
    ratio = np.asarray(table["flux_err_95"] / table["flux_err"])
    np.testing.assert_allclose(ratio, ends[0] / ends[1], rtol=0.01)
    assert ratio.min() > 2.1


def test_what_the_network_knows_of_stars_is_a_column(image):
    def knowing(image, variance, **options):
        found = matched_filter(image, variance, **options)
        return found._replace(point_source_prob=jnp.full(len(image), 0.25))

    rms = np.full(SHAPE, 0.3)
    given = {"size": SIZE, "positions": PLACES, "passes": 0}
    found = measure_field(knowing, image, rms, **given).table["point_source_prob"]
    np.testing.assert_array_equal(found, 0.25)
    assert np.isnan(
        measure_field(matched_filter, image, rms, **given).table["point_source_prob"]
    ).all()


@pytest.mark.parametrize("chance", [0.9, 0.1])
def test_a_star_that_is_measured_in_a_circle_is_not_poor_where_its_profile_is(chance):
    """Profiles that are too wide: a galaxy's flux is not to be used, a star's is not of it."""
    middle, psf = SIZE / 2 - 0.5, gaussian(20, 20, (41, 41))[..., None]
    profile = gaussian(middle, middle, (SIZE, SIZE), 3.5)[None, ..., None]

    def wide(image, variance, **options):
        found = matched_filter(image, variance, **options)
        light = found.flux[:, None, None] * profile
        return found._replace(image=light, point_source_prob=jnp.full(len(image), chance))

    star, rms = 3000 * gaussian(*PLACES[0], SHAPE), np.full(SHAPE, 0.3)
    given = {"size": SIZE, "positions": PLACES[:1], "passes": 0, "psf": psf}
    (row,) = measure_field(wide, star, rms, **given).table
    assert row["chi2"] > 3
    assert bool(row["flags"] & POOR) is (chance < 0.5)
