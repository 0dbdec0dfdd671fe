import numpy as np
import pytest
from banded import BAND_SIGMA, SCALE, Sky, drawn, gaussian, sky_wcs

from vaedeblend.image.bands.fitting.kernels import PsfField, make_kernels
from vaedeblend.image.bands.fitting.matched import make_templates, on_window, place_on_band
from vaedeblend.image.bands.sources import read_sources
from vaedeblend.pixels.psf import make_psf


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    sky = Sky(np.random.default_rng(3), 6)
    return sky, read_sources(sky.deblended(tmp_path_factory.mktemp("out")))


@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"shift": (0.3, -0.4)},
        {"angle": 30.0},
        {"scale": 0.2, "angle": -100.0, "shift": (3.3, 1.7)},
    ],
)
def test_templates_are_the_light_of_the_band(sources, grid):
    sky, vis = sources
    scale = grid.get("scale", SCALE)
    shape = (200, 220)
    wcs = sky_wcs(shape, **grid)
    psf = make_psf(gaussian(2 * int(1.5 / scale) + 1, BAND_SIGMA, scale), scale)
    placed = place_on_band(vis, wcs, shape)
    kernels = make_kernels(
        vis.psfs, PsfField([[psf]], shape, scale), placed.matrix, vis.position, placed.position
    )
    rows = np.arange(6)
    made = make_templates(vis, kernels, placed, rows, np.zeros((6, 2)))
    light, _, shares = on_window(made, (slice(0, 200), slice(0, 220)), np.ones(shape, bool))
    sigma = np.hypot(sky.width, BAND_SIGMA)
    for i in rows:
        expected = drawn(shape, placed.position[[i]], sigma[[i]], [1.0], scale).ravel()
        found = light[:, [i]].toarray()[:, 0]
        assert found.sum() == pytest.approx(1, abs=0.004)
        assert found @ expected / (expected @ expected) == pytest.approx(1, abs=2e-3)
        assert np.abs(found - expected).max() < 0.01 * expected.max()
    assert shares[:, :2] == pytest.approx(1) and shares[:, 2].all()


def test_a_point_is_the_bands_psf_at_its_place(tmp_path):
    sky = Sky(np.random.default_rng(5), 2)
    vis = read_sources(sky.deblended(tmp_path / "out", point=True))
    placed = place_on_band(vis, sky.wcs, sky.shape)
    psf = PsfField([[make_psf(gaussian(31, BAND_SIGMA), SCALE)]], sky.shape, SCALE)
    kernels = make_kernels(vis.psfs, psf, placed.matrix, vis.position, placed.position)
    for shift in ((0.0, 0.0), (0.3, -0.2)):
        (made,) = make_templates(vis, kernels, placed, np.array([1]), np.array([shift]))
        place = placed.position[[1]] - made.corner + shift
        expected = drawn(made.light.shape, place, BAND_SIGMA, [1.0])
        assert np.abs(made.light - expected).max() < 2e-3 * expected.max()


def test_templates_change_with_the_size_of_their_profile(sources):
    _, vis = sources
    placed = place_on_band(vis, vis.wcs, vis.psfs.shape)
    kernels = make_kernels(vis.psfs, vis.psfs, placed.matrix, vis.position, placed.position)
    for each in make_templates(vis, kernels, placed, np.arange(6), np.zeros((6, 2))):
        # Under even noise a template too large by a share has too large a flux by that share.
        assert -(each.grown * each.light).sum() / np.square(each.light).sum() == pytest.approx(
            1, abs=0.2
        )
        assert abs(each.grown.sum()) < 0.02


def test_only_valid_pixels_of_the_window_count(sources):
    _, vis = sources
    placed = place_on_band(vis, vis.wcs, vis.psfs.shape)
    kernels = make_kernels(vis.psfs, vis.psfs, placed.matrix, vis.position, placed.position)
    (made,) = make_templates(vis, kernels, placed, np.array([0]), np.zeros((1, 2)))
    y, x = np.rint(placed.position[0]).astype(int)
    window = slice(y, y + 50), slice(0, 160)
    valid = np.ones((50, 160), bool)
    valid[:, :x] = False
    light, grown, shares = on_window([made], window, valid)
    assert shares[0, 1] < 0.8 * shares[0, 0] < 0.6
    rows, columns = np.divmod(light.indices, 160)
    assert columns.min() == x and rows.min() == 0 and len(light.data) == len(grown.data)
