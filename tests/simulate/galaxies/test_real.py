"""Real galaxies of FITS planes, on planes of synthetic ones as another telescope would see them."""

import galsim
import hubble
import numpy as np
import pytest
from astropy.io import fits

from vaedeblend.exceptions import CatalogueError, PsfError, StyleError
from vaedeblend.simulate import examples
from vaedeblend.simulate.galaxies import cutouts, parts, real
from vaedeblend.simulate.galaxies.profiles import analytic
from vaedeblend.simulate.galaxies.styles import find_style
from vaedeblend.survey import Survey

SCALE, SIDE, N = 0.06, 101, 6
PSF = galsim.Gaussian(fwhm=0.15)


def drawn(light, side=SIDE, offset=(0, 0)):
    return (
        galsim.Convolve(light, PSF)
        .drawImage(nx=side, ny=side, scale=SCALE, method="no_pixel", offset=offset, dtype=float)
        .array
    )


def sample():
    """Disks of 0.25 to 0.6 arcsec in counts."""
    galaxies = hubble.sample(N)
    return galaxies._replace(flux_bulge=0 * galaxies.flux, flux_disk=galaxies.flux)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A galaxy on each plane, and a star at the corner of each; sky of 3."""
    path, rng = tmp_path_factory.mktemp("planes") / "made_cube.fits", np.random.default_rng(1)
    disks = sample()
    star = drawn(galsim.DeltaFunction(flux=20.0), offset=(33, 33))
    light = np.stack([drawn(analytic(disks.take(i))[0]) + star for i in range(N)])
    cube = light + 3 + 0.002 * rng.standard_normal(light.shape)
    header = fits.Header({"PIXSCALE": SCALE})
    psf = fits.ImageHDU(drawn(galsim.DeltaFunction(), 31), header, name="PSF")
    fits.HDUList([fits.PrimaryHDU(cube, header), psf]).writeto(path)
    return path


def asked(i, magnitude=24.5):
    wanted = sample().take(i)
    return wanted._replace(
        flux_disk=np.array([10 ** (-0.4 * (magnitude - 23.9))]),
        disk_half_light_radius=0.8 * wanted.disk_half_light_radius,
        disk_position_angle=wanted.disk_position_angle + 50,
    )


def test_galaxies_are_found_with_size_and_shape_and_stars_are_not(file):
    found, disks = real.find_galaxies(file), sample()
    assert [each.name for each in found] == [f"made_cube.fits 0 {i}" for i in range(N)]
    radii = [each.radius for each in found] / disks.disk_half_light_radius
    np.testing.assert_allclose(radii, 1, atol=0.08)
    ratios = [each.axis_ratio for each in found]
    np.testing.assert_allclose(ratios, disks.disk_axis_ratio, atol=0.08)
    noises = [each.noise * flux for each, flux in zip(found, disks.flux[:, 0], strict=True)]
    np.testing.assert_allclose(noises, 0.002 / SCALE, rtol=0.15)


def test_they_are_drawn_at_the_flux_radius_shape_and_place_asked_for(file):
    style = find_style(f"real:{file}")
    for i in range(3):
        wanted = asked(i)
        light = style(wanted, (5, i))
        assert [each.flux for each in light] == pytest.approx(wanted.flux, rel=1e-6)
        images = [galsim.Image(drawn(each)) for each in (light[0], analytic(wanted)[0])]
        found, like = (galsim.hsm.FindAdaptiveMom(each) for each in images)
        assert found.moments_sigma == pytest.approx(like.moments_sigma, rel=0.06)
        assert abs(found.observed_shape.e - like.observed_shape.e) < 0.08
        centroid = found.moments_centroid - images[0].true_center
        assert np.hypot(centroid.x, centroid.y) < 0.3
        assert style(wanted, (5, i)) == light


def test_stars_are_points(file):
    star = sample().take(0)._replace(disk_half_light_radius=0.0, bulge_half_light_radius=0.0)
    assert find_style(f"real:{file}")(star, (1,)) == [galsim.DeltaFunction(float(star.flux[0]))]


def test_the_quiet_and_large_are_chosen_before_the_similar():
    def found(radius, ratio, noise):
        return real.Found("", (), radius, ratio, noise)

    galaxies = [found(0.5, 0.5, 1e-3), found(0.5, 0.7, 1e-4), found(0.2, 0.5, 1e-5)]
    quiet = real.choose_quiet(galaxies, 500.0, 0.5, 0.5).tolist()
    assert quiet[0] == 1  # the first has 0.5 of the background's noise, the last is magnified
    assert real.choose_quiet(galaxies, 50.0, 0.5, 0.5).tolist()[:2] == [0, 1]
    many = [found(0.5, 0.5, 1e-4)] * 30
    assert len(real.choose_quiet(many, 50.0, 0.5, 0.5)) == real.N_SIMILAR


def test_neighbours_give_way_to_the_light_of_the_other_side():
    disk, star = analytic(sample().take(0))[0], galsim.DeltaFunction(flux=20.0)
    alone = drawn(disk)
    plane = alone + drawn(star, offset=(26, 26))
    labels = (plane > 0.01).astype(int)
    labels[60:, 60:] *= 2
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(labels == 1))
    stamp = real._cut(plane, labels, 1, box)
    side = len(stamp)
    middle = slice((SIDE - side) // 2, (SIDE + side) // 2)
    np.testing.assert_allclose(stamp, alone[middle, middle], atol=0.02 * alone.max())


def distance(x=0.0, y=0.0):
    """Of each pixel from the middle of a stamp, in sigmas of a Gaussian of 0.3 arcsec."""
    row, column = SCALE * (np.indices((SIDE, SIDE)) - SIDE // 2)
    return np.hypot(column - x, row - y) / 0.3


@pytest.mark.parametrize(
    ("apart", "flux", "fwhm"), [(0.9, 0.02, 0.01), (0.9, 0.1, 0.01), (1.5, 0.1, 0.4)]
)
def test_a_source_on_the_wing_of_a_galaxy_is_made_up_for(apart, flux, fwhm):
    galaxy, noise = galsim.Gaussian(sigma=0.3), 1e-5
    other = flux * galsim.Gaussian(fwhm=fwhm).shift(apart, 0)
    rng = np.random.default_rng(2)
    alone = drawn(galaxy) + noise * rng.standard_normal((SIDE, SIDE))
    light = alone + drawn(other)
    found = cutouts.without_neighbours(light, noise, distance())
    assert abs(found - alone).sum() < 0.2 * flux
    np.testing.assert_array_equal(found[:, : SIDE // 2], light[:, : SIDE // 2])


def test_knots_tails_and_noise_are_the_galaxy_s():
    galaxy, rng = galsim.Gaussian(sigma=0.3), np.random.default_rng(3)
    knot = 0.1 * galsim.Gaussian(fwhm=0.1).shift(0.3, 0.1)
    tail = 0.1 * galsim.Gaussian(sigma=0.3).shear(q=0.2, beta=0 * galsim.degrees).shift(0.6, 0)
    light = drawn(galaxy + knot + tail) + 1e-4 * rng.standard_normal((SIDE, SIDE))
    np.testing.assert_array_equal(cutouts.without_neighbours(light, 1e-4, distance()), light)


@pytest.mark.parametrize(("fwhm", "same"), [(0.12, False), (0.17, True)])
def test_a_galaxy_is_deconvolved_only_where_euclid_sees_no_more_than_its_telescope(fwhm, same):
    """At its own size: Hubble's stamps are, Webb's, whose PSF is Euclid's, are drawn as seen."""
    galaxy, psf = galsim.Exponential(half_light_radius=0.5), galsim.Gaussian(fwhm=fwhm)
    image = galsim.Convolve(galaxy, psf).drawImage(nx=101, ny=101, scale=SCALE, method="no_pixel")
    psf_image = psf.drawImage(nx=31, ny=31, scale=SCALE, method="no_pixel")
    noise = galsim.UncorrelatedNoise(1e-10, scale=SCALE)
    pair = cutouts.make_real_galaxies(cutouts.RealStamp(image, psf_image, noise))
    assert pair[0].psf_sigma == pytest.approx(fwhm / 2.355, rel=0.04)
    shape = 1.02 * pair[0].axes
    (light,) = cutouts.as_asked(pair, np.ones(1), shape, np.random.default_rng(0))
    assert (light.original == pair[1].light.original) is same


@pytest.mark.parametrize(("share", "one"), [(0.04, True), (0.3, False)])
def test_a_galaxy_with_a_knot_is_one_and_a_pair_is_not(share, one):
    disk, knot = analytic(sample().take(0))[0], galsim.Gaussian(sigma=0.05)
    image = drawn(disk + (knot * disk.flux * share).shift(0.45, 0))
    assert cutouts.is_one(image, image > 0.01 * image.max(), 0.1) is one


def test_parts_share_no_galaxy_and_are_all(file):
    names = [f"f {i}" for i in range(400)]
    each = [parts.is_in_part(names, part) for part in ("train", "validation", "test")]
    test = each[-1]
    np.testing.assert_array_equal(np.sum(each, axis=0), 1)
    np.testing.assert_allclose(np.mean(each, axis=1), (0.5, 0.2, 0.3), atol=0.1)
    assert parts.is_in_part(names, None).all()
    # Whatever else is there.
    np.testing.assert_array_equal(parts.is_in_part(names[7:], "test"), test[7:])
    with pytest.raises(StyleError, match="found part 'tset'; wanted one of .*'train'"):
        find_style(f"real:{file}#tset")
    used = {each.name for each in real.find_galaxies(file)}
    assert 0 < parts.is_in_part(used, "train").sum() < N
    style = find_style(f"real:{file}#test")
    assert style(asked(0), (1,))[0].flux == pytest.approx(asked(0).flux[0])


def test_each_split_of_a_dataset_draws_by_its_own_part(file, monkeypatch):
    drawn = []

    def draw(*args):
        drawn.append(args)
        return lambda part: iter([])

    monkeypatch.setattr(examples, "EXAMPLES", {"isolated": draw})
    style = f"analytic+real:{file}#split+cosmos:there#split"
    for split in examples.SPLITS:
        list(examples.examples("isolated", split, 2, survey=Survey(), seed=0, style=style))
    wanted = [f"analytic+real:{file}#{split}+cosmos:there#{split}" for split in examples.SPLITS]
    assert [recipe.style for *_, recipe in drawn] == wanted


@pytest.mark.parametrize(
    ("hdus", "said", "error"),
    [
        ([fits.PrimaryHDU()], "found no image", CatalogueError),
        ([fits.PrimaryHDU(np.ones((9, 9)))], "found no pixel scale", CatalogueError),
        (
            [fits.PrimaryHDU(np.ones((9, 9)), fits.Header({"PIXSCALE": 0.1}))],
            "found 0 PSFs; wanted one: a plane PSF, or a file own_psf.fits",
            PsfError,
        ),
        (
            [
                fits.PrimaryHDU(np.ones((9, 9)), fits.Header({"PIXSCALE": 0.1})),
                fits.ImageHDU(np.eye(3), fits.Header({"PIXSCALE": 0.05}), name="PSF"),
            ],
            "found a sampling of 0.05; wanted 0.1",
            PsfError,
        ),
        (
            [
                fits.PrimaryHDU(np.zeros((9, 9)), fits.Header({"PIXSCALE": 0.1})),
                fits.ImageHDU(np.ones((1, 1)), fits.Header({"PIXSCALE": 0.1}), name="PSF"),
            ],
            "found no galaxies; wanted bright ones off the edges",
            CatalogueError,
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name(tmp_path, hdus, said, error):
    path = tmp_path / "own_cube.fits"
    fits.HDUList(hdus).writeto(path)
    with pytest.raises(error, match=said) as refusal:
        find_style(f"real:{path}")
    assert str(path) in str(refusal.value)


def test_a_folder_s_files_are_read_with_the_psf_beside_them(file, tmp_path):
    with fits.open(file) as hdus:
        fits.writeto(tmp_path / "other_1.fits", hdus[0].data[:2], hdus[0].header)
        fits.writeto(tmp_path / "other_psf.fits", hdus["PSF"].data, hdus["PSF"].header)
    style = find_style(f"real:{tmp_path}")
    assert style(asked(1), (1,))[0].flux == pytest.approx(asked(1).flux[0])
    for each in tmp_path.iterdir():
        each.unlink()
    with pytest.raises(CatalogueError, match="found no FITS file; wanted one of cut-outs"):
        find_style(f"real:{tmp_path}")


def test_of_several_psfs_beside_a_file_that_of_its_name_is_read(file, tmp_path):
    with fits.open(file) as hdus:
        for name in ("q1_0635", "q1_07"):
            fits.writeto(tmp_path / f"{name}_sci.fits", hdus[0].data[:2], hdus[0].header)
        fits.writeto(tmp_path / "q1_0635_psf.fits", hdus["PSF"].data, hdus["PSF"].header)
        for name in ("q1_0528", "q1_0650", "q1_07_a", "q1_07_b"):  # of another sampling
            other = fits.Header({"PIXSCALE": 0.7})
            fits.writeto(tmp_path / f"{name}_psf.fits", hdus["PSF"].data, other)
    style = find_style(f"real:{tmp_path / 'q1_0635_sci.fits'}")
    assert style(asked(1), (1,))[0].flux == pytest.approx(asked(1).flux[0])
    with pytest.raises(PsfError, match="q1_07_sci.fits: found 2 PSFs; wanted one: a plane PSF"):
        find_style(f"real:{tmp_path / 'q1_07_sci.fits'}")
