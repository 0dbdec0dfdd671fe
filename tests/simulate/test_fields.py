"""Fields: what is on the image is what the truth says, to the pixel, the photon and the seed."""

import re

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS
from skies import PSFS, VIS, gaussian_psf

from vaedeblend.catalogues import catalogue, egg
from vaedeblend.cli import main
from vaedeblend.exceptions import CatalogueError, FileError, SkyError
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.pixels.psf import read_psf
from vaedeblend.simulate.fields import field_shape, simulate_field, write_field
from vaedeblend.simulate.library import place_sources
from vaedeblend.survey import Band, Survey, flux_to_magnitude

TWO_BANDS = ("vis", "h")
ARCMIN2 = 600**2
"""Pixels in a square arcminute."""


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


@pytest.mark.slow
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
    many = place_sources([catalogue.stars(9, np.random.default_rng(0))], (9, 9), 0)
    assert not many.galaxies.disk_half_light_radius.any()


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


def test_a_field_of_a_split_holds_no_other_galaxies_and_as_many(catalogue_file):
    source = catalogue_file(("any",))
    options = {"survey": Survey((Band(name="any"),)), "source": source, "area": area_for(100, 320)}
    table = catalogue.read(source, ("any",))
    mine, tested = ({*catalogue.split(table, n, 5)["id"]} for n in ("validation", "test"))
    whole = field(320, **options).truth["id"]
    part = field(320, split=("validation", 5), **options).truth["id"]
    assert {*part} <= mine and {*whole} & tested and len(part) > 0.6 * len(whole)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"size": 0}, "size is 0; wanted one or two whole numbers from a stamp's 64 on"),
        ({"size": (64, -1)}, r"size is \(64, -1\); wanted one or two whole numbers"),
        ({"seed": -1}, "seed is -1; wanted 0 or more"),
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


@pytest.fixture(scope="module")
def rectangle():
    return simulate_field(size=(90, 120), seed=4, survey=Survey(), density=3.0)


@pytest.fixture
def folder(rectangle, tmp_path):
    write_field(rectangle, Survey(), tmp_path / "field")
    return tmp_path / "field"


def test_files_are_those_of_a_real_field(folder, rectangle):
    names = {path.name for path in folder.iterdir()}
    assert names == {"image.fits", "rms.fits", "psf.fits", "truth.fits"}
    with open_mosaic(folder / "image.fits", rms=folder / "rms.fits") as mosaic:
        pixels = mosaic.read(slice(0, 90), slice(0, 120))
        assert mosaic.zero_point == 23.9 and mosaic.gain == pytest.approx(float(Survey().gain[0]))
        assert mosaic.pixel_scale == pytest.approx(0.1)
    np.testing.assert_array_equal(pixels.image, rectangle.image[..., 0])
    np.testing.assert_array_equal(pixels.rms, rectangle.rms[..., 0])


def test_psf_is_effective_centred_and_of_unit_sum(folder):
    psf = read_psf(folder / "psf.fits", default_pixel_scale=0.5)
    assert psf.pixel_scale == 0.1 and psf.image.sum() == pytest.approx(1)
    assert np.unravel_index(np.argmax(psf.image), psf.image.shape) == (32, 32)


def test_psf_is_the_one_that_the_field_was_drawn_with(rectangle, tmp_path):
    write_field(rectangle._replace(psfs=(gaussian_psf(0.15),)), Survey(), tmp_path / "field")
    psf = read_psf(tmp_path / "field" / "psf.fits", default_pixel_scale=0.1)
    area = np.square(psf.image).sum()
    assert area == pytest.approx(1 / (4 * np.pi * 1.5**2), rel=0.1)  # pixels of 0.1 arcsec


def test_truth_is_read_again_with_its_units(folder, rectangle):
    truth = Table.read(folder / "truth.fits", hdu="TRUTH")
    np.testing.assert_array_equal(truth["id"], rectangle.truth["id"])
    np.testing.assert_allclose(truth["flux"], rectangle.truth["flux"].value[:, 0])
    assert truth["flux"].unit == "uJy" and truth["x"].unit == "pix" and truth["ra"].unit == "deg"
    truth.write(folder / "truth.csv")  # which takes one number a row


def test_truth_knows_the_places_on_the_sky(folder):
    truth, wcs = Table.read(folder / "truth.fits"), WCS(fits.getheader(folder / "image.fits"))
    places = wcs.all_world2pix(truth["ra"], truth["dec"], 0)
    np.testing.assert_allclose(places, [truth["x"], truth["y"]], atol=1e-6)


def test_sky_coordinates_have_their_centre_in_the_middle(folder):
    wcs = WCS(fits.getheader(folder / "image.fits"))
    np.testing.assert_allclose(wcs.all_pix2world(59.5, 44.5, 0), (150.1, 2.2))


def test_a_folder_that_cannot_be_made_is_an_error(rectangle, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="file/field"):
        write_field(rectangle, Survey(), tmp_path / "file" / "field")


def test_command_writes_the_same_field(tmp_path, capsys):
    arguments = ["--size", "90", "--density", "2", "--seed", "5", "--processes", "1"]
    assert main(["simulate", "--out", str(tmp_path / "one"), *arguments]) == 0
    assert "galaxies and stars" in capsys.readouterr().out
    expected = simulate_field(size=90, seed=5, survey=Survey(), density=2.0)
    np.testing.assert_array_equal(
        fits.getdata(tmp_path / "one" / "image.fits"), expected.image[..., 0]
    )


def test_command_refuses_what_makes_no_sense(tmp_path, capsys):
    assert main(["simulate", "--out", str(tmp_path / "one"), "--density", "-1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error:") and "density is -1" in said


@pytest.mark.parametrize("size", [64.5, (64, 64, 1), "64", True, 10, (64, 63), -1])
def test_a_size_is_of_whole_numbers_and_no_less_than_a_stamp_s(size):
    with pytest.raises(SkyError, match=f"size is {re.escape(str(size))}; wanted one or two whole"):
        field_shape(size)


def test_a_size_may_be_numpy_s():
    assert field_shape(np.int64(80)) == (80, 80)
    assert field_shape(np.array([80, 90])) == (80, 90)
