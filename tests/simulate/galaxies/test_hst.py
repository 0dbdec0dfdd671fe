"""Real galaxies, on a catalogue in GalSim's format of synthetic ones as Hubble would see them."""

import shutil

import galsim
import hubble
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vaedeblend.cli import main
from vaedeblend.exceptions import CatalogueError
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate.galaxies.cutouts import make_real_galaxies
from vaedeblend.simulate.galaxies.hst import (
    Sample,
    _cosmos,
    choose_similar,
    open_catalog,
    read_sample,
    read_stamp,
    residual_rms,
)
from vaedeblend.simulate.galaxies.parts import is_in_part
from vaedeblend.simulate.galaxies.profiles import analytic
from vaedeblend.simulate.galaxies.styles import find_style
from vaedeblend.simulate.library import render_library
from vaedeblend.simulate.render import make_draw
from vaedeblend.survey import Survey

N = 8
PSF = galsim.Gaussian(fwhm=0.17)
SCALE, SIDE = 0.05, 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Structured galaxies with the noise of COSMOS."""
    folder = tmp_path_factory.mktemp("cosmos")
    hubble.write(folder, N)
    return folder


@pytest.fixture(scope="module")
def disks():
    galaxies = hubble.sample(N)
    return galaxies._replace(flux_bulge=0 * galaxies.flux, flux_disk=galaxies.flux)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory, disks):
    """Exponential disks without noise."""
    folder = tmp_path_factory.mktemp("smooth")
    hubble.write(folder, galaxies=disks, draw=analytic, rms=0)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def asked(disks, i=0):
    """Other galaxies than those of the catalogue, of 24 mag."""
    wanted = disks.take(i)
    return wanted._replace(
        flux_disk=np.array([0.9]),
        disk_half_light_radius=0.8 * wanted.disk_half_light_radius,
        disk_position_angle=wanted.disk_position_angle + 50,
    )


def image(light):
    profile = galsim.Convolve(light, PSF)
    return profile.drawImage(nx=SIDE, ny=SIDE, scale=SCALE, method="no_pixel", dtype=float)


def half_light_radius(pixels, galaxy):
    y, x = (np.indices(pixels.shape) - (SIDE - 1) / 2) * SCALE
    angle = np.radians(galaxy.disk_position_angle)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radii = np.hypot(along, across / galaxy.disk_axis_ratio).ravel()
    order = np.argsort(radii)
    return np.interp(0.5 * pixels.sum(), np.cumsum(pixels.ravel()[order]), radii[order])


def compare(light, galaxy):
    """Half-light radius [ratio], ellipticity [difference] and centroid [arcsec] to the analytic."""
    images = [image(each) for each in (light, analytic(galaxy)[0])]
    found, wanted = (half_light_radius(each.array, galaxy) for each in images)
    moments = [galsim.hsm.FindAdaptiveMom(each) for each in images]
    shapes = [each.observed_shape.e1 + 1j * each.observed_shape.e2 for each in moments]
    centroid = moments[0].moments_centroid - images[0].true_center
    return found / wanted, abs(shapes[0] - shapes[1]), SCALE * np.hypot(centroid.x, centroid.y)


def test_smooth_disks_are_drawn_at_the_flux_radius_shape_and_angle_asked_for(smooth, disks):
    style = find_style(f"cosmos:{smooth}")
    for i in range(N):
        wanted = asked(disks, i)
        light = style(wanted, (5, i))[0]
        radius, shape, centroid = compare(light, wanted)
        assert light.flux == pytest.approx(0.9, rel=1e-6)
        assert radius == pytest.approx(1, abs=0.03) and shape < 0.02 and centroid < 0.005


def test_a_galaxy_at_its_own_parameters_is_itself(smooth, disks):
    """Deconvolved, so that it looks as it did before Hubble's PSF."""
    catalog = open_catalog(smooth)
    for i in range(3):
        found = image(make_real_galaxies(read_stamp(catalog, i))[0].light * disks.flux[i, 0]).array
        # Its centre is half a pixel of the stamp off neither.
        wanted = image(analytic(disks.take(i))[0]).array
        np.testing.assert_allclose(found, wanted, atol=0.02 * wanted.max())


def test_structured_galaxies_with_noise_keep_flux_and_about_radius_and_shape(folder, disks):
    style = find_style(f"cosmos:{folder}")
    found = np.array([compare(style(asked(disks, i), (i,))[0], asked(disks, i)) for i in range(N)])
    assert style(asked(disks), (0,))[0].flux == pytest.approx(0.9, rel=1e-6)
    assert np.median(abs(found[:, 0] - 1)) < 0.03 and abs(found[:, 0] - 1).max() < 0.15
    assert np.median(found[:, 1]) < 0.12 and np.median(found[:, 2]) < 0.01


def test_a_galaxy_larger_than_those_of_the_catalogue_is_drawn_as_hubble_saw_it(smooth, disks):
    wanted = asked(disks)._replace(disk_half_light_radius=np.float64(1.5))
    light = find_style(f"cosmos:{smooth}")(wanted, (1,))[0]
    radius, shape, _ = compare(light, wanted)
    assert radius == pytest.approx(1, abs=0.05) and shape < 0.05


def test_noise_of_hubble_is_as_large_as_it_is_said_to_be_and_cut_off(tmp_path, disks):
    """The difference to the same galaxies without noise, close to their centres."""
    for name, rms in (("noisy", hubble.RMS), ("clean", 0)):
        hubble.write(tmp_path / name, galaxies=disks.take(slice(4)), draw=analytic, rms=rms)
    noisy, clean = (open_catalog(tmp_path / name) for name in ("noisy", "clean"))
    ratios = []
    for i in range(4):
        pair = [make_real_galaxies(read_stamp(each, i))[0] for each in (noisy, clean)]
        light, truth = (each.light.withFlux(1.0) for each in pair)
        difference = image(light).array - image(truth).array
        y, x = (np.indices((SIDE, SIDE)) - (SIDE - 1) / 2) * SCALE
        radius = np.hypot(x, y) / disks.disk_half_light_radius[i]
        ring = (radius > 0.8) & (radius < 1.6)  # further in lie errors of the centroid
        ratios.append(difference[ring].std() / residual_rms(light, PSF, SCALE))
        assert difference[radius > 8].std() < 0.02 * difference[ring].std()
    assert np.mean(ratios) == pytest.approx(1, abs=0.25)


def test_noise_scales_with_the_flux_and_is_below_euclid_s(folder, disks):
    lights = find_style(f"cosmos:{folder}")(
        asked(disks)._replace(flux_bulge=np.zeros(2), flux_disk=np.array([0.9, 0.45])), (3,)
    )
    one, half = (residual_rms(each, PSF, 0.1) for each in lights)
    assert half == pytest.approx(one / 2)
    assert 0 < one < 0.3 * Survey().rms.item()


def test_seed_chooses_the_galaxy_and_nothing_else_does(folder, disks):
    draw = make_draw((small_psf(),), size=64, pixel_scale=0.1, style=f"cosmos:{folder}")
    stamps = [draw(asked(disks), (0.0, 0.0), seed) for seed in ((1, 2), (1, 2), (1, 3), (1, 4))]
    np.testing.assert_array_equal(stamps[0], stamps[1])
    _cosmos.cache_clear()
    draw = make_draw((small_psf(),), size=64, pixel_scale=0.1, style=f"cosmos:{folder}")
    draw(asked(disks, 3), (0.0, 0.0), (9,))
    np.testing.assert_array_equal(stamps[0], draw(asked(disks), (0.0, 0.0), (1, 2)))
    assert max(abs(stamps[0] - each).max() for each in stamps[2:]) > 0.05 * stamps[0].max()


def small_psf():
    axis = np.exp(-0.5 * (np.arange(-20, 21) * 0.04 / 0.08) ** 2)
    return make_psf(np.outer(axis, axis), 0.04)


def test_stars_are_points(folder, disks):
    star = disks.take(0)._replace(bulge_half_light_radius=0.0, disk_half_light_radius=0.0)
    assert find_style(f"cosmos:{folder}")(star, (1,)) == analytic(star)


@pytest.mark.slow
def test_library_does_not_depend_on_processes(folder, disks):
    given = disks, np.arange(N), np.ones(N, bool)
    options = {"psfs": [(small_psf(),)], "size": 512, "pixel_scale": 0.1, "seed": (7, 0)}
    one, two = (
        render_library(*given, style=f"cosmos:{folder}", processes=n, **options).stamps
        for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_fields_are_simulated_of_real_galaxies(folder, tmp_path, capsys):
    command = ["simulate", "--size", "96", "--processes", "1", "--out", str(tmp_path), "--style"]
    assert main([*command, f"cosmos:{folder}"]) == 0
    assert (tmp_path / "image.fits").is_file()
    assert main([*command, f"cosmos:{tmp_path}"]) == 1
    assert "found catalogues none" in capsys.readouterr().err


def test_similar_galaxies_are_those_that_add_no_noise_and_are_not_magnified():
    magnitude = np.repeat([21.0, 23.0, 25.0], 20)
    sample = Sample(np.arange(60), magnitude, np.tile([0.2, 0.5], 30), np.full(60, 0.5))
    near = choose_similar(sample, 24.6, 0.2, 0.5)
    assert set(magnitude[near[:10]]) == {23.0} and set(magnitude[near[10:]]) == {21.0}
    assert len(near) == 20 and set(sample.radius[near]) == {0.2}
    assert set(magnitude[choose_similar(sample, 23.5, 0.2, 0.5)]) == {21.0}
    # A flat and a round one, of which one knows nothing else.
    two = Sample(np.arange(2), np.full(2, 22.0), np.full(2, np.nan), np.array([0.3, 0.9]))
    assert choose_similar(two, 23.0, 0.3, 0.8).tolist() == [1, 0]
    # Of noisy ones no more than are wanted, and the least noisy.
    few = Sample(np.arange(30), np.linspace(21, 26, 30), np.full(30, 0.4), np.full(30, 0.5))
    assert choose_similar(few, 22.5, 0.3, 0.5).tolist() == list(range(8))


def test_catalogue_without_fits_is_matched_in_magnitude_alone(copy, disks):
    (copy / hubble.NAME.replace(".fits", "_fits.fits")).unlink()
    sample = read_sample(open_catalog(copy))
    assert len(sample.row) == N and np.isnan(sample.radius).all()
    radius, _, _ = compare(find_style(f"cosmos:{copy}")(asked(disks), (2,))[0], asked(disks))
    assert radius == pytest.approx(1, abs=0.15)


def test_main_file_may_be_named_itself_and_is_to_be_where_there_are_two(copy):
    assert len(open_catalog(copy / hubble.NAME)) == N
    shutil.copy(copy / hubble.NAME, copy / "real_galaxy_catalog_other.fits")
    with pytest.raises(CatalogueError, match="found catalogues .*other.* wanted one real_galaxy"):
        open_catalog(copy)


def test_stamps_that_hold_no_galaxy_are_passed_over(copy, disks):
    with fits.open(copy / "real_galaxy_images.fits", mode="update") as hdus:
        for hdu in hdus[2:]:
            hdu.data[:] = 0
    style = find_style(f"cosmos:{copy}")
    one, other = (image(style(asked(disks), (i,))[0]).array for i in (1, 2))
    radii = [half_light_radius(each, asked(disks)) for each in (one, other)]
    assert radii[0] == pytest.approx(radii[1], rel=0.05)
    with fits.open(copy / "real_galaxy_images.fits", mode="update") as hdus:
        hdus[1].data[:] = 0
    _cosmos.cache_clear()
    with pytest.raises(CatalogueError, match="found no galaxy on 8 stamps"):
        find_style(f"cosmos:{copy}")(asked(disks), (1,))


def test_stamps_on_which_two_galaxies_touch_are_passed_over(copy, disks):
    with fits.open(copy / "real_galaxy_images.fits", mode="update") as hdus:
        for hdu in hdus[2:]:
            hdu.data += np.roll(hdu.data, (20, 24), (0, 1))
    style = find_style(f"cosmos:{copy}")
    one, other = (image(style(asked(disks), (i,))[0]).array for i in (1, 2))
    radii = [half_light_radius(each, asked(disks)) for each in (one, other)]
    assert radii[0] == pytest.approx(radii[1], rel=0.05)


def rewrite(path, change):
    table = Table.read(path)
    change(table).write(path, overwrite=True)


def named(column, name):
    def change(table):
        table[column] = name
        return table

    return change


def without(column):
    return lambda table: table[[name for name in table.colnames if name != column]]


FITS = hubble.NAME.replace(".fits", "_fits.fits")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda f: shutil.rmtree(f), "found no such folder"),
        (lambda f: (f / hubble.NAME).unlink(), "found catalogues none; wanted one"),
        (lambda f: (f / hubble.NAME).write_text("no table"), "test.fits: found no table"),
        (lambda f: rewrite(f / hubble.NAME, lambda t: t[:0]), "test.fits: found no rows"),
        (
            lambda f: rewrite(f / hubble.NAME, without("GAL_HDU")),
            r"test.fits: found columns .*wanted \['gal_hdu'\]",
        ),
        (
            lambda f: (f / "real_galaxy_images.fits").unlink(),
            "found no .*real_galaxy_images.fits; wanted that file, .* column gal_filename names",
        ),
        (lambda f: (f / "real_galaxy_PSF_images.fits").unlink(), "column PSF_filename names"),
        (
            lambda f: rewrite(f / hubble.NAME, named("NOISE_FILENAME", "gone_cf.fits")),
            "found no .*gone_cf.fits; wanted that file, which its column noise_filename names",
        ),
        (
            lambda f: rewrite(f / FITS, without("hlr")),
            r"fits.fits: found columns .*wanted \['hlr'\]",
        ),
        (lambda f: rewrite(f / FITS, lambda t: t[:3]), "found 3 rows; wanted 8"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name(copy, break_it, said):
    break_it(copy)
    with pytest.raises(CatalogueError, match=said) as refusal:
        find_style(f"cosmos:{copy}")
    assert str(copy) in str(refusal.value)


def test_a_folder_as_blendingtoolkit_publishes_it_is_read(copy, disks):
    """Radii in place of fits, and the noise that GalSim itself ships not beside it."""
    (copy / "acs_I_unrot_sci_20_cf.fits").unlink()
    radius = disks.disk_half_light_radius / hubble.SCALE
    magnitudes = {f"HSC_{band}": np.full(N, 24.0) for band in "grizy"}
    table = Table({"IDENT": np.arange(N), "flux_radius": radius, **magnitudes})
    table.write(copy / FITS, overwrite=True)
    sample = read_sample(open_catalog(copy))
    np.testing.assert_allclose(sample.radius, disks.disk_half_light_radius)
    assert np.isnan(sample.axis_ratio).all()
    assert find_style(f"cosmos:{copy}")(asked(disks), (1,))[0].flux == pytest.approx(0.9)
    table[:3].write(copy / FITS, overwrite=True)
    with pytest.raises(CatalogueError, match="found 3 rows; wanted 8"):
        find_style(f"cosmos:{copy}")


def test_parts_of_a_catalogue_share_no_galaxy(folder, disks):
    """The two styles differ, and one of them has the whole catalogue's galaxy."""
    train, test, both = (
        find_style(f"cosmos:{folder}{part}")(asked(disks), (3,)) for part in ("#train", "#test", "")
    )
    assert train != test
    names = [str(100 + i) for i in range(N)]
    assert 0 < is_in_part(names, "test").sum() < N
    assert both[0].flux == train[0].flux == test[0].flux


def test_no_galaxy_that_could_be_fitted_is_refused(copy):
    def fail(table):
        table["fit_status"] = 0
        return table

    rewrite(copy / FITS, fail)
    with pytest.raises(CatalogueError, match="found no galaxy that passes GalSim's cuts"):
        find_style(f"cosmos:{copy}")


def test_missing_hdu_is_refused_with_the_galaxy_and_its_file(copy, disks):
    def shift(table):
        table["GAL_HDU"] += 90
        return table

    rewrite(copy / hubble.NAME, shift)
    with pytest.raises(
        CatalogueError, match="no image of galaxy 10.*real_galaxy_images.fits, HDU 9"
    ):
        find_style(f"cosmos:{copy}")(asked(disks), (1,))


def test_galsim_s_own_cuts_are_made_where_their_table_is(copy):
    n = N
    table = Table(
        {
            "sn_ellip_gauss": np.r_[np.full(n - 2, 50.0), 3, 50],
            "min_mask_dist_pixels": np.full(n, 30.0),
            "average_mask_adjacent_pixel_count": np.zeros(n),
            "peak_image_pixel_count": np.ones(n),
            "dmag": np.zeros(n),
        }
    )
    table.write(copy / hubble.NAME.replace(".fits", "_selection.fits"))
    assert read_sample(open_catalog(copy)).row.tolist() == [*range(n - 2), n - 1]
