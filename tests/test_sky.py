"""Fields: what is on the image is what the truth says, to the pixel, the photon and the seed."""

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable

from vaedeblend import catalogue, egg
from vaedeblend.catalogue import CatalogueError
from vaedeblend.galaxies import Galaxies
from vaedeblend.library import render_library, stamp_sizes
from vaedeblend.psf import make_psf
from vaedeblend.sampling import make_galaxies
from vaedeblend.sky import (
    MAX_RADIUS,
    STAMP_SIZES,
    SkyError,
    Sources,
    make_truth,
    place,
    render_sources,
    simulate_field,
)
from vaedeblend.survey import Band, Survey, flux_to_magnitude

VIS = Survey()
TWO_BANDS = ("vis", "h")
ARCMIN2 = 600**2
"""Pixels in a square arcminute."""


def gaussian_psf(sigma=0.1):
    axis = np.exp(-0.5 * (np.arange(-20, 21) * 0.05 / sigma) ** 2)
    return make_psf(np.outer(axis, axis), 0.05)


PSFS = (gaussian_psf(),)


def disks(flux, radius, ratio=0.7, angle=20.0):
    """Disks with a fifth of their light in a bulge a tenth as large; stars where radius is 0."""
    flux, radius = np.asarray(flux, float), np.asarray(radius, float)
    light = 0.2 * flux[:, None], 0.8 * flux[:, None]
    shape = (np.full(len(flux), value) for value in (ratio, ratio, angle, angle))
    return Galaxies(*light, 0.1 * radius, radius, *shape)


def sources_at(pixel, flux, radius, seed=0):
    pixel = np.asarray(pixel)
    phase = np.random.default_rng(seed).uniform(-0.5, 0.5, pixel.shape).astype(np.float32)
    return Sources(np.arange(len(pixel)), disks(flux, radius), pixel, phase)


def render(sources, shape, psfs=PSFS):
    return render_sources(sources, shape, psfs, 0.1)


def field(size=96, seed=1, survey=VIS, magnitude_limit=23.0, psfs=PSFS, **options):
    return simulate_field(
        size=size, seed=seed, survey=survey, magnitude_limit=magnitude_limit, psfs=psfs, **options
    )


@pytest.fixture(scope="module")
def sparse():
    return field()


@pytest.fixture(scope="module")
def crowded():
    return field(size=(420, 380), magnitude_limit=25.5, density=2.0, star_fraction=0.2)


@pytest.fixture
def catalogue_file(tmp_path):
    """Writes 40 small galaxies of 20 to 22.5 mag in the bands asked for."""

    def write(bands, radius=0.1, flux=None):
        rng = np.random.default_rng(3)
        table = QTable({"id": np.arange(100, 140)}, meta={"bands": bands})
        light = rng.uniform(4, 30, (40, len(bands))) if flux is None else np.full((40, 1), flux)
        table["flux_bulge"], table["flux_disk"] = 0.3 * light * u.uJy, 0.7 * light * u.uJy
        for component in ("bulge", "disk"):
            table[f"{component}_half_light_radius"] = np.full(40, radius) * u.arcsec
            table[f"{component}_axis_ratio"] = rng.uniform(0.3, 1, 40)
            table[f"{component}_position_angle"] = np.full(40, 10.0) * u.deg
        catalogue.write(table, tmp_path / "galaxies.fits", overwrite=True)
        return str(tmp_path / "galaxies.fits")

    return write


def area_for(n, size, n_rows=40):
    """deg2 that a catalogue covers if n of its galaxies are expected on a field and its margin."""
    return n_rows / n * (size + 511) ** 2 / ARCMIN2 / 3600


def assert_same(one, other):
    for a, b in zip(one[:3], other[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.truth.colnames == other.truth.colnames
    for name in one.truth.colnames:
        np.testing.assert_array_equal(one.truth[name], other.truth[name])


def test_light_is_what_the_catalogue_says():
    table = catalogue.select(egg.catalogue(0.002, seed=1), {"magnitude": (22.0, 25.0)})[:25]
    pixel = np.random.default_rng(0).integers(256, 384, (25, 2))
    poses = np.zeros((25, 2), np.float32)
    sources = Sources(np.asarray(table["id"]), make_galaxies(table), pixel, poses)
    light, _ = render(sources, (640, 640))
    total = sources.galaxies.flux.sum()
    assert 0.99 * total < light.sum() < 1.001 * total
    truth = make_truth(sources, np.ones((25, 1)), (640, 640), VIS)
    np.testing.assert_allclose(truth["flux"].value, sources.galaxies.flux)
    np.testing.assert_allclose(truth["mag"].value[:, 0], catalogue.magnitude(table))


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.9, 1.6, 3.0])
def test_centroid_of_a_lone_source_is_its_position(radius):
    sources = sources_at([(301, 287)], [10.0], [radius])
    light, purities = render(sources, (600, 600))
    truth = make_truth(sources, purities, (600, 600), VIS)
    window = light[270:331, 256:317, 0].astype(float)  # symmetric about neither axis
    y, x = np.indices(light.shape[:2])
    light = light[..., 0].astype(float)
    centroid = (light * x).sum() / light.sum(), (light * y).sum() / light.sum()
    np.testing.assert_allclose(
        centroid, (truth["x"][0].value, truth["y"][0].value), atol=0.02 if radius < 1 else 0.1
    )
    brightest = np.add(np.unravel_index(window.argmax(), window.shape), (270, 256))
    assert np.abs(brightest - (truth["y"][0].value, truth["x"][0].value)).max() < 0.75
    assert truth["star"][0] == (radius == 0)


@pytest.mark.parametrize("pixel", [(60, 40), (1, 119), (0, 0)])
def test_purity_of_a_lone_source_is_one_even_at_the_edge(pixel):
    sources = sources_at([pixel], [1e-6], [0.3])._replace(phase=np.full((1, 2), 0.2, np.float32))
    _, purities = render(sources, (120, 120))
    np.testing.assert_allclose(purities, 1, atol=4e-4)


def test_sources_off_the_image_have_no_purity():
    assert np.isnan(render(sources_at([(-9, 4)], [3.0], [0.3]), (120, 120))[1]).all()


def test_purity_of_two_overlapping_sources():
    sources = sources_at([(60, 40), (65, 44)], [3.0, 1.0], [0.3, 0.6])
    light, purities = render(sources, (120, 120))
    each = [render(sources_at([(60, 40), (65, 44)], flux, [0.3, 0.6]), (120, 120))[0]
            for flux in ([3.0, 1e-9], [1e-9, 1.0])]  # fmt: skip
    np.testing.assert_allclose(light, each[0] + each[1], atol=1e-6)
    for source, own, (y, x) in zip(purities, each, sources.pixel, strict=True):
        core = np.s_[y - 32 : y + 32, x - 32 if x > 32 else 0 : x + 32]
        direct = (own[core] ** 2).sum() / (own[core] * light[core]).sum()
        assert source[0] == pytest.approx(direct, abs=3e-4)
    assert purities[1, 0] < 0.6 < purities[0, 0] < 0.96


def test_source_beyond_the_edge_reaches_in_and_is_no_truth():
    sources = sources_at([(-40, 50), (50, 140)], [30.0, 30.0], [1.0, 0.2])
    light, purities = render(sources, (100, 100))
    assert light[0, 50, 0] > light[20, 50, 0] > 1e-6
    assert not light[40:60, 90].any()  # a small source farther off than its stamp reaches
    assert len(make_truth(sources, purities, (100, 100), VIS)) == 0


def test_centres_up_to_the_outer_edge_of_the_pixels_are_on_the_image():
    phase = np.array([[0.01, 0], [-0.01, 0], [-0.01, 0], [0.01, 0]], np.float32)
    sources = sources_at([(0, 9), (0, 9), (20, 9), (20, 9)], np.ones(4), np.full(4, 0.1))
    truth = make_truth(sources._replace(phase=phase), np.ones((4, 1)), (20, 20), VIS)
    np.testing.assert_array_equal(truth["id"], [0, 2])
    np.testing.assert_allclose(truth["y"].value, [-0.49, 19.49])
    np.testing.assert_allclose(truth["x"].value, 8.5)


def test_every_row_lies_once_anywhere_on_field_and_margin():
    table = egg.catalogue(0.01, seed=2)
    sources = place([table, catalogue.stars(50, np.random.default_rng(0))], (300, 100), 5)
    np.testing.assert_array_equal(sources.id, [*table["id"], *-np.arange(1, 51)])
    np.testing.assert_array_equal(sources.galaxies.flux[:-50], make_galaxies(table).flux)
    for axis, side in enumerate((300, 100)):
        assert -256 < sources.position[:, axis].min() < -250
        assert side + 249 < sources.position[:, axis].max() < side + 255
        share = (sources.pixel[:, axis] < side / 2).mean()
        assert share == pytest.approx(0.5, abs=0.04)
    assert np.unique(sources.phase).size > 1.99 * len(table)


def test_radii_that_no_stamp_holds_are_cut():
    table = egg.catalogue(0.002, seed=2)
    table["disk_half_light_radius"][:] = 9 * u.arcsec
    assert (place([table], (9, 9), 0).galaxies.disk_half_light_radius == MAX_RADIUS).all()


def test_stamps_grow_with_what_they_hold():
    galaxies = disks(np.ones(5), [0.0, 0.2, 0.8, 1.6, 4.0])
    assert list(stamp_sizes(galaxies, PSFS, 0.1, STAMP_SIZES)) == [64, 64, 128, 256, 512]
    ones = np.ones(1)
    bulge = Galaxies(ones[:, None], 0 * ones[:, None], 0.3 * ones, 0 * ones, ones, ones, ones, ones)
    assert stamp_sizes(bulge, PSFS, 0.1, STAMP_SIZES)[0] > 128
    wings = np.pad(np.ones((1, 1)), 50, constant_values=1e-4)
    assert stamp_sizes(galaxies, (make_psf(wings, 0.1),), 0.1, STAMP_SIZES)[0] == 128


def test_what_stamps_lose_is_what_growth_curves_say():
    galaxies = disks(np.ones(3), [0.2, 0.8, 1.4])
    sizes = stamp_sizes(galaxies, PSFS, 0.1, STAMP_SIZES)
    for i, size in enumerate(sizes):
        one = galaxies.take(slice(i, i + 1))
        drawing = {"seed": (0,), "psfs": [PSFS], "size": int(size), "pixel_scale": 0.1}
        stamp = render_library(one, np.zeros(1, int), np.ones(1, bool), **drawing).stamps[0]
        assert 0.995 < stamp.sum() < 1.0005


def test_noise_is_the_surveys(sparse):
    residual = (sparse.image - sparse.light) / np.sqrt(
        VIS.variance + sparse.light.clip(0) / VIS.gain
    )
    assert abs(residual.mean()) < 4 / 96
    assert residual.std() == pytest.approx(1, abs=4 / 96 / 2**0.5)
    np.testing.assert_array_equal(sparse.rms, np.full((96, 96, 1), VIS.rms))
    assert {a.dtype for a in sparse[:3]} == {np.dtype(np.float32)}


@pytest.mark.parametrize("correlated", [0.0, 0.4])
def test_noise_of_the_sources_is_poisson(catalogue_file, correlated):
    source = catalogue_file(("euclid-vis",), radius=0.05, flux=500.0)
    got = field(80, source=source, area=area_for(1500, 80), correlated=correlated)
    variance = VIS.variance + got.light / VIS.gain
    seen = variance > 4 * VIS.variance
    assert seen.sum() > 500
    residual = ((got.image - got.light) / np.sqrt(variance))[seen]
    # Steep sources: noise that is resampled before its variance is evened out leaks from them.
    assert residual.std() == pytest.approx(1, abs=5 / np.sqrt(2 * seen.sum()))


@pytest.mark.parametrize("shift", [0.2, 0.5])
def test_correlated_noise_is_that_of_bilinear_interpolation(sparse, shift):
    got = field(correlated=shift)
    np.testing.assert_array_equal(got.light, sparse.light)
    noise = (got.image - got.light) / np.sqrt(VIS.variance + got.light.clip(0) / VIS.gain)
    noise = noise[..., 0]
    assert noise.std() == pytest.approx(1, abs=0.05)
    next_one = shift * (1 - shift) / (shift**2 + (1 - shift) ** 2)
    lags = {(0, 1): next_one, (1, 0): next_one, (1, 1): next_one**2, (0, 2): 0.0, (2, 1): 0.0}
    for (dy, dx), wanted in lags.items():
        covariance = (noise[: 96 - dy, : 96 - dx] * noise[dy:, dx:]).mean()
        assert covariance == pytest.approx(wanted, abs=0.06)


def test_sky_is_added_to_the_image_alone(sparse):
    got = field(sky_offset=0.3)
    sky = (got.image - sparse.image)[..., 0] / VIS.rms
    np.testing.assert_allclose(sky, np.tile(np.linspace(0, 0.6, 96), (96, 1)), atol=1e-3)
    np.testing.assert_array_equal(got.light, sparse.light)
    np.testing.assert_array_equal(got.rms, sparse.rms)


def test_seed_is_the_field(sparse):
    assert_same(field(), sparse)
    other = field(seed=2)
    assert not np.isclose(other.image, sparse.image).all(axis=-1).any(axis=-1).any()
    assert set(other.truth["x"].value).isdisjoint(sparse.truth["x"].value)


def test_number_of_processes_changes_nothing(catalogue_file):
    source = catalogue_file(("euclid-vis",))
    options = {"source": source, "area": area_for(2000, 96)}
    assert_same(field(**options), field(processes=2, **options))


@pytest.mark.parametrize("density", [1.0, 4.0])
def test_density_is_in_units_of_the_sky(density):
    got = field((500, 300), magnitude_limit=24.0, density=density)
    counts = [len(egg.catalogue(0.1, seed=s, magnitude_limit=24.0)) / 360 for s in range(3)]
    wanted = density * np.mean(counts) * 500 * 300 / ARCMIN2
    assert abs(len(got.truth) - wanted) < 4 * np.sqrt(wanted)
    assert len(set(got.truth["id"])) == len(got.truth)


def test_truth_is_complete_and_on_the_image(crowded):
    truth = crowded.truth
    assert (truth["mag"][~truth["star"]].value < 25.5).all()
    assert ((truth["x"].value >= -0.5) & (truth["x"].value < 379.5)).all()
    assert ((truth["y"].value >= -0.5) & (truth["y"].value < 419.5)).all()
    np.testing.assert_allclose(truth["flux"], truth["flux_bulge"] + truth["flux_disk"])
    np.testing.assert_allclose(truth["mag"].value, flux_to_magnitude(truth["flux"].value))
    assert truth.meta["bands"] == VIS.band_names
    units = {"x": u.pix, "flux": u.uJy, "mag": u.mag, "disk_half_light_radius": u.arcsec}
    assert all(truth[name].unit == unit for name, unit in units.items())
    purities = truth["purity"]
    assert (purities > 0).all() and (purities < 1.001).all() and (purities < 0.95).any()


def test_stars_are_as_many_as_asked_for(crowded):
    star = crowded.truth["star"]
    np.testing.assert_array_equal(star, crowded.truth["id"] < 0)
    assert 0 < star.sum() < 0.5 * len(star)
    many = place([catalogue.stars(9, np.random.default_rng(0))], (9, 9), 0)
    assert not many.galaxies.disk_half_light_radius.any()


def test_neighbours_are_bright_and_near():
    pixel = [(50, 50), (50, 70), (70, 50), (50, 81), (-5, 10), (20, 10)]
    faint = 10 ** (0.4 * (23.9 - 26.5))
    sources = sources_at(pixel, [1, 1, faint, 1, 1, 1], np.full(6, 0.1))
    sources = sources._replace(phase=np.zeros((6, 2), np.float32))
    truth = make_truth(sources, np.ones((6, 1)), (100, 100), VIS)
    # The faint one is nobody's; the fifth is off the image, and the sixth's all the same.
    np.testing.assert_array_equal(truth["id"], [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(truth["n_neighbours"], [1, 2, 2, 1, 1])


def test_two_bands(catalogue_file):
    survey = Survey((Band(name="vis"), Band(name="h", sky_brightness=21.0)))
    options = {"source": catalogue_file(TWO_BANDS), "area": area_for(400, 96)}
    psfs = (gaussian_psf(), gaussian_psf(0.2))
    got = field(survey=survey, psfs=psfs, magnitude_limit=26.0, **options)
    for array in got[:3]:
        assert array.shape == (96, 96, 2)
    assert len(got.truth) and got.truth["flux"].shape == (len(got.truth), 2)
    assert got.truth["purity"].shape == got.truth["flux"].shape
    flux = catalogue.read(options["source"], TWO_BANDS)
    total = dict(zip(flux["id"], (flux["flux_bulge"] + flux["flux_disk"]).value, strict=True))
    for row in got.truth:
        np.testing.assert_allclose(row["flux"].value, total[row["id"]])
    noise = (got.image - got.light).std(axis=(0, 1))
    assert noise[1] > 1.5 * noise[0]
    with pytest.raises(SkyError, match="number of PSFs is 1; wanted that of the bands, 2"):
        field(survey=survey, **options)


def test_rows_of_a_file_are_used_once_before_any_again(catalogue_file):
    source = catalogue_file(("any",))
    survey = Survey((Band(name="any"),))
    got = field(320, survey=survey, source=source, area=area_for(100, 320), magnitude_limit=21.0)
    kept = catalogue.select(catalogue.read(source, ("any",)), {"magnitude": (0.0, 21.0)})
    assert set(got.truth["id"]) <= set(kept["id"])
    wanted = 100 * len(kept) / 40 * (320 / 831) ** 2
    assert abs(len(got.truth) - wanted) < 4 * np.sqrt(wanted)
    # 40 rows and 100 sources: none is there four times.
    assert np.unique(got.truth["id"], return_counts=True)[1].max() <= 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"size": 0}, "size is 0; wanted positive"),
        ({"size": (64, -1)}, r"size is \(64, -1\); wanted positive"),
        ({"density": 0.0}, r"density is 0\.0; wanted positive"),
        ({"density": np.nan}, "density is nan; wanted positive"),
        ({"density": np.inf}, "density is inf; wanted positive and finite"),
        ({"star_fraction": -0.1}, r"star_fraction is -0\.1; wanted 0 or more"),
        ({"correlated": 0.6}, r"correlated is 0\.6; wanted a shift within 0 and 0\.5"),
        ({"sky_offset": np.nan}, "sky_offset is nan; wanted finite"),
        ({"area": 1.0}, r"area is 1\.0; wanted none for EGG"),
        ({"source": "a.fits"}, r"area is None; wanted the deg2 that a\.fits covers"),
        ({"source": "a.fits", "area": 0.0}, r"area is 0\.0; wanted the deg2"),
    ],
)
def test_impossible_field_is_refused(bad, message):
    with pytest.raises(SkyError, match=message):
        field(**bad)


def test_catalogue_that_is_missing_or_too_faint_is_refused(catalogue_file, tmp_path):
    with pytest.raises(CatalogueError, match="no.fits"):
        field(source=str(tmp_path / "no.fits"), area=1.0)
    with pytest.raises(CatalogueError, match="none of 40 rows"):
        field(source=catalogue_file(("euclid-vis",)), area=1.0, magnitude_limit=15.0)
