"""Styles: whatever a galaxy looks like, it has the catalogue's flux, size, shape and place."""

import astropy.units as u
import galsim
import numpy as np
import pytest
from astropy.table import QTable

from data_builders.galaxy_scenes import galaxy_scenes_dataset_builder as builder
from vaedeblend.catalogues import catalogue, egg
from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.cli import main
from vaedeblend.exceptions import StyleError
from vaedeblend.io import dataset
from vaedeblend.pixels.psf import make_psf
from vaedeblend.simulate import examples
from vaedeblend.simulate.fields import simulate_field
from vaedeblend.simulate.galaxies import profiles, structured, styles
from vaedeblend.simulate.galaxies.structured import REACH, disk_image
from vaedeblend.simulate.galaxies.styles import STYLES, find_style
from vaedeblend.simulate.library import PlacedSources, render_library, render_sources, stamp_sizes
from vaedeblend.simulate.render import make_draw, survey_psfs
from vaedeblend.survey import Survey

N = 40
SIDE = 160
"""Of images without the survey's PSF [pixel]."""


def galaxy(bulge=(1.0,), disk=(3.0,), *, radii=(0.1, 0.5), ratios=(0.8, 0.6), angles=(30.0, 30.0)):
    numbers = [np.float64(value) for value in (*radii, *ratios, *angles)]
    return Galaxies(np.array(bulge, float), np.array(disk, float), *numbers)


STAR = galaxy([0.0], [2.0], radii=(0.0, 0.0))


@pytest.fixture(scope="module")
def sample():
    """EGG's galaxies to 25 mag."""
    table = egg.sample(0.02, np.random.default_rng(4), 25.0)
    return make_galaxies(table[table["disk_half_light_radius"] < 1 * u.arcsec][:N])


def gaussian_psf(sigma=0.08):
    axis = np.exp(-0.5 * (np.arange(-20, 21) * 0.04 / sigma) ** 2)
    return (make_psf(np.outer(axis, axis), 0.04),)


def image(light, radius):
    """Light under a small PSF, and places (x, y) from its centre in units of a radius."""
    scale = max(14 * radius / SIDE, 0.02)
    blurred = galsim.Convolve(light, galsim.Gaussian(sigma=0.04))
    pixels = blurred.drawImage(nx=SIDE, ny=SIDE, scale=scale, method="no_pixel", dtype=float).array
    y, x = (np.indices(pixels.shape) - (SIDE - 1) / 2) * scale / radius
    return pixels, x, y


def measure(style, galaxy, i):
    """Of the light before the PSF: flux, half-light radius, axis ratio, centroid and asymmetry."""
    radius = float(galaxy.disk_half_light_radius)
    light, x, y = image(find_style(style)(galaxy, (8, i))[0], radius)
    angle = np.radians(galaxy.disk_position_angle)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    ellipse = np.hypot(along, across / galaxy.disk_axis_ratio).ravel()
    order = np.argsort(ellipse)
    growth = np.cumsum(light.ravel()[order])
    near = light * (np.hypot(x, y) < 5) / light[np.hypot(x, y) < 5].sum()
    cx, cy = (near * x).sum(), (near * y).sum()
    xx, yy, xy = (
        (near * each).sum() for each in ((x - cx) ** 2, (y - cy) ** 2, (x - cx) * (y - cy))
    )
    spread = np.hypot(xx - yy, 2 * xy)
    return {
        "flux": light.sum(),
        "radius": np.interp(0.5 * growth[-1], growth, ellipse[order]),
        "ratio": np.sqrt((xx + yy - spread) / (xx + yy + spread)),
        "centroid": np.hypot(cx, cy),
        "asymmetry": abs(light - light[::-1, ::-1]).sum() / (2 * light.sum()),
        "minimum": light.min() / light.max(),
    }


@pytest.fixture(scope="module")
def measured(sample):
    def table(style):
        rows = [measure(style, sample.take(i), i) for i in range(N)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    return {style: table(style) for style in STYLES}


@pytest.mark.parametrize("style", STYLES)
def test_flux_is_the_catalogue_s(style, sample, measured):
    for i in range(N):
        light = find_style(style)(sample.take(i), (8, i))
        assert [each.flux for each in light] == pytest.approx(sample.flux[i], rel=1e-6)
    # What little is missing lies outside of the images.
    near = measured["analytic"]["flux"] > 0.99 * sample.flux[:, 0]
    np.testing.assert_allclose(measured[style]["flux"][near], sample.flux[near, 0], rtol=0.01)


@pytest.mark.parametrize(("style", "times"), [("structured", 1), ("clumpy", 1.5)])
def test_structured_galaxies_keep_flux_radius_and_axis_ratio(style, times, measured):
    found, wanted = measured[style], measured["analytic"]
    # Their flux is exact; images lack a little of the wings.
    np.testing.assert_allclose(found["flux"], wanted["flux"], rtol=1e-2)
    for name, typical, most in (("radius", 0.02, 0.05), ("ratio", 0.025, 0.06)):
        error = abs(found[name] / wanted[name] - 1)
        assert np.median(error) < typical and np.quantile(error, 0.95) < times * most
        assert error.max() < 0.2


def test_sersic_galaxies_keep_radius_and_axis_ratio(measured):
    """As far as two components of different shapes have one."""
    for name in ("radius", "ratio"):
        error = abs(measured["sersic"][name] / measured["analytic"][name] - 1)
        assert np.median(error) < 0.02 and np.quantile(error, 0.9) < 0.15


def test_centroids_are_the_catalogue_s(measured):
    for style in ("structured", "clumpy"):
        assert np.median(measured[style]["centroid"]) < 0.01
        assert measured[style]["centroid"].max() < 0.1
    for style in ("analytic", "sersic"):
        assert measured[style]["centroid"].max() < 1e-3


def test_no_light_is_negative(measured):
    for style in STYLES:
        assert measured[style]["minimum"].min() > -3e-4


def test_structure_is_there_unless_the_bulge_dominates(sample, measured):
    share = (sample.flux_bulge / sample.flux)[:, 0]
    asymmetry = measured["structured"]["asymmetry"]
    assert np.median(asymmetry[share < 0.4]) > 0.08 and (asymmetry > 0.2).any()
    assert measured["analytic"]["asymmetry"].max() < 1e-3
    for i in range(3):
        bulge = measure("structured", galaxy([9.0], [1.0]), i)
        assert bulge["asymmetry"] < 1e-3 and bulge["minimum"] > -3e-4


@pytest.mark.parametrize("ratio", [0.2, 0.6, 1.0])
def test_disk_image_without_structure_is_an_exponential_disk(ratio):
    axes = np.diag([1.0, ratio])
    plain = structured.draw_structure(np.random.default_rng(0), 0.0, ratio)
    pixels = disk_image(plain, np.random.default_rng(0), axes, 200)
    y, x = (np.indices(pixels.shape) - 99.5) * 2 * REACH / 200
    wanted = np.exp(-1.6783 * np.hypot(x, y / ratio))
    assert pixels.sum() == pytest.approx(1, rel=1e-5) and pixels.min() >= 0
    np.testing.assert_allclose(pixels, wanted / wanted.sum(), atol=0.01 * pixels.max())


def test_disks_of_any_structure_are_centred_images_of_unit_flux_without_negative_pixels():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        structure = structured.draw_structure(rng, 1.0, 0.5)
        pixels = disk_image(structure, rng, np.diag([1.0, 0.5]), 96)
        assert pixels.sum() == pytest.approx(1, rel=1e-5) and pixels.min() >= 0
        places = (np.arange(96) - 47.5) * 2 * REACH / 96
        assert np.hypot(pixels.sum(axis=0) @ places, pixels.sum(axis=1) @ places) < 0.04


def test_bright_galaxies_have_knots_rings_and_flat_disks_as_real_ones_do():
    """Shares of what Hubble shows of galaxies of 20 to 24 mag, to some 5 of 100."""
    made = [structured.draw_structure(np.random.default_rng(i), 1.0, 0.6) for i in range(400)]
    knotty, ringed = (
        np.mean([getattr(each, name) > least for each in made])
        for name, least in (("knot_share", 0.1), ("ring_contrast", 0.5))
    )
    assert 0.3 < knotty < 0.6 and 0.1 < ringed < 0.2
    assert 0.75 < np.median([each.index for each in made]) < 0.95
    assert max(each.knot_share / each.n_knots for each in made) < 0.0501


def test_clumps_are_few_and_hold_up_to_half_of_the_light():
    made = [structured.draw_clumpy(np.random.default_rng(i), 1.0, 0.6) for i in range(400)]
    share = np.array([each.knot_share for each in made])
    clumps = np.array([each.n_knots for each in made])
    assert 3 < clumps.mean() < 5 and share.max() < 0.61 and 0.2 < np.median(share) < 0.4
    assert (share / clumps).max() < 0.151


def test_clumpy_galaxies_are_less_symmetric_than_structured_ones(measured):
    asymmetry = {style: measured[style]["asymmetry"] for style in ("clumpy", "structured")}
    assert np.median(asymmetry["clumpy"]) > 1.3 * np.median(asymmetry["structured"])


def test_bulges_of_any_index_keep_the_light_within_the_whole_s_radius():
    """So that the whole keeps its half-light radius."""
    both = galaxy([1.0], [1.0], ratios=(1.0, 1.0), radii=(0.2, 0.5))
    indices = {structured.draw_bulge_index(np.random.default_rng(i), 0.5) for i in range(40)}
    assert min(indices) < 2.5 and max(indices) > 3.5
    whole = profiles.half_light_radius(both)
    wanted = profiles.make_bulge(both, 1.0).calculateFWHM()
    light = [structured.smooth_bulge(both, index, whole) for index in (1.0, 2.5, 4.0)]
    shares = [image(each, whole) for each in light]
    inside = [pixels[np.hypot(x, y) < 1].sum() for pixels, x, y in shares]
    np.testing.assert_allclose(inside, inside[-1], rtol=0.02)
    assert light[-1].calculateFWHM() == pytest.approx(wanted, rel=0.01)


def test_structure_survives_the_survey_s_psf():
    """Four times the noise of a galaxy of 21 mag somewhere on it, but for the smooth ones."""
    options = {"psfs": survey_psfs(Survey(), 64), "size": 64, "pixel_scale": 0.1}
    bright = galaxy([1.0], [13.5])
    smooth = make_draw(**options)(bright, (0.0, 0.0))
    noise = np.sqrt(Survey().variance + smooth.clip(0) / Survey().gain)
    draw = make_draw(**options, style="structured")
    residuals = [draw(bright, (0.0, 0.0), (i,)) - smooth for i in range(8)]
    assert sum((abs(each) / noise).max() > 4 for each in residuals) >= 6


def test_structured_light_fits_on_the_stamps_of_the_analytic(sample):
    psfs = gaussian_psf()
    sizes = stamp_sizes(sample, psfs, 0.1, (64, 128, 256))
    for i in np.flatnonzero(sizes < 256)[:20]:
        options = {"psfs": psfs, "size": int(sizes[i]), "pixel_scale": 0.1}
        stamp = make_draw(**options, style="structured")(sample.take(i), (0.0, 0.0), (3, int(i)))
        assert stamp.sum() > 0.985 * sample.flux[i, 0]


@pytest.mark.parametrize("style", STYLES)
def test_stars_are_points(style):
    draw = make_draw(gaussian_psf(), size=33, pixel_scale=0.1, style=style)
    star = draw(STAR, (0.2, -0.3), (5, 6))
    point = make_draw(gaussian_psf(), size=33, pixel_scale=0.1)(STAR, (0.2, -0.3))
    np.testing.assert_array_equal(star, point)


def test_sersic_of_one_component_is_that_component():
    for one in (galaxy([0.0], [2.0]), galaxy([2.0], [0.0])):
        sersic, analytic = (
            image(find_style(s)(one, ())[0], 0.3)[0] for s in ("sersic", "analytic")
        )
        np.testing.assert_allclose(sersic, analytic, atol=2e-3 * analytic.max())


def test_half_light_radius_is_that_of_the_sum():
    both = galaxy([1.0], [1.0], ratios=(1.0, 1.0), radii=(0.2, 0.5))
    light, x, y = image(find_style("analytic")(both, ())[0], profiles.half_light_radius(both))
    # The PSF makes it a little larger.
    assert light[np.hypot(x, y) < 1].sum() == pytest.approx(0.5 * both.flux[0], rel=0.03)


def test_seed_decides_on_the_structure_and_on_nothing_else():
    draw = make_draw(gaussian_psf(), size=64, pixel_scale=0.1, style="structured")
    first, again, other = (draw(galaxy(), (0.0, 0.0), seed) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 0.05 * first.max()
    smooth = make_draw(gaussian_psf(), size=64, pixel_scale=0.1)
    np.testing.assert_array_equal(
        smooth(galaxy(), (0.0, 0.0), (1,)), smooth(galaxy(), (0.0, 0.0), (2,))
    )


def test_bands_share_their_structure():
    """The third band's bulge and disk are the sums of the first two's."""
    draw = make_draw(3 * gaussian_psf(), size=64, pixel_scale=0.1, style="structured")
    stamp = draw(galaxy([1.0, 0.2, 1.2], [1.0, 3.0, 4.0]), (0.1, 0.2), (4,))
    np.testing.assert_allclose(stamp[..., :2].sum(axis=-1), stamp[..., 2], atol=1e-5)


@pytest.mark.slow
def test_library_does_not_depend_on_processes_or_on_what_follows(sample):
    def render(n, processes):
        given = sample.take(slice(n)), np.arange(n), np.ones(n, bool)
        options = {"psfs": [gaussian_psf()], "size": 256, "pixel_scale": 0.1, "seed": (7, 0)}
        return render_library(*given, style="structured", processes=processes, **options).stamps

    stamps = render(20, 1)
    np.testing.assert_array_equal(stamps, render(20, 2))
    np.testing.assert_array_equal(stamps[:5], render(5, 1))


def test_fields_differ_in_structure_alone():
    options = {"size": 128, "seed": 2, "survey": Survey(), "magnitude_limit": 23.0}
    smooth = simulate_field(**options, psfs=gaussian_psf())
    field = simulate_field(**options, psfs=gaussian_psf(), style="structured")
    assert abs(field.light - smooth.light).max() > 0.01 * smooth.light.max()
    # Not equal: some sources lie half on the field.
    assert field.light.sum() == pytest.approx(smooth.light.sum(), rel=0.1)
    for name in ("id", "x", "y", "flux", "disk_half_light_radius"):
        np.testing.assert_array_equal(field.truth[name], smooth.truth[name])


def test_structure_of_a_field_s_source_depends_on_its_index_alone(sample):
    sources = PlacedSources(
        np.arange(2), sample.take(slice(2)), np.array([[30, 30], [400, 400]]), np.zeros((2, 2))
    )
    one, two = (
        render_sources(sources, shape, gaussian_psf(), 0.1, style="structured", seed=3)[0]
        for shape in ((60, 60), (60, 90))
    )
    np.testing.assert_array_equal(one, two[:, :60])


def test_unknown_style_is_refused_with_those_that_there_are(capsys, tmp_path):
    wanted = r"style is 'realistic'; wanted one of \['analytic', 'clumpy', .*'structured'\]"
    with pytest.raises(StyleError, match=wanted):
        make_draw(gaussian_psf(), size=64, pixel_scale=0.1, style="realistic")
    with pytest.raises(StyleError, match=wanted):
        simulate_field(size=64, seed=0, survey=Survey(), style="realistic")
    options = {"survey": Survey(), "seed": 0, "style": "realistic", "processes": 2}
    with pytest.raises(StyleError, match=wanted):
        list(examples.examples("isolated", "test", 2, **options))
    command = ["simulate", "--out", str(tmp_path), "--size", "64", "--style", "realistic"]
    assert main(command) == 1
    assert "wanted one of" in capsys.readouterr().err


def test_style_of_a_path_is_what_its_reader_makes_of_it(monkeypatch):
    def reader(path):
        return lambda galaxy, seed: [path, galaxy, seed]

    monkeypatch.setattr(styles, "READERS", {"made": reader})
    assert find_style("made:/a/b:c")(1, (2,)) == ["/a/b:c", 1, (2,)]
    for name in ("made", "made:", "analytic:/a", ":/a", ""):
        with pytest.raises(StyleError, match=f"style is '{name}'; wanted one of .*'made:PATH'"):
            find_style(name)


def test_dataset_of_structured_galaxies_has_the_labels_of_the_analytic(tmp_path, sample):
    table = QTable({"id": np.arange(N)}, meta={"bands": (egg.BAND,)})
    for name, values in sample._asdict().items():
        table[name] = values * catalogue.COLUMNS[name].unit
    catalogue.write(table, tmp_path / "catalogue.fits")
    options = {"seed": 1, "source": str(tmp_path / "catalogue.fits"), "processes": 1}
    options["selection"] = {"magnitude": (18.0, 25.0)}
    made = {
        style: dataset.load(
            builder.build(
                "isolated",
                sizes={"train": 3},
                survey=Survey(),
                data_dir=tmp_path,
                style=style,
                **options,
            ),
            "train",
        )
        for style in ("analytic", "structured")
    }
    for name in ("flux", "id", "magnitude"):
        np.testing.assert_array_equal(made["analytic"][name], made["structured"][name])
    assert not np.array_equal(made["analytic"]["isolated"], made["structured"]["isolated"])


def test_a_mixture_has_each_galaxy_in_one_of_its_styles(sample):
    """By its seed, in equal shares."""
    styles_of = [find_style(name) for name in ("sersic", "structured")]
    mixture, n = find_style("sersic+structured"), 200
    chosen = []
    for i in range(n):
        one = sample.take(i % N)
        drawn = mixture(one, (3, i))
        assert drawn == mixture(one, (3, i))
        chosen.append([drawn == style(one, (3, i)) for style in styles_of])
    assert all(any(each) for each in chosen)
    assert abs(np.mean([first for first, _ in chosen]) - 0.5) < 4 * 0.5 / n**0.5 + 0.05
    with pytest.raises(StyleError, match="nothing"):
        find_style("analytic+nothing")
