import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.cli import main
from vaedeblend.euclid.mer.grid import TileGrid, simulate_grid
from vaedeblend.euclid.mer.layout import FATAL_BITS, find_tile
from vaedeblend.euclid.mer.simulate import DEAD_RMS, ZERO_POINT, TileRecipe, simulate_tile
from vaedeblend.pixels.psfs.product import read_psf_product

SIZE = 260


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mer")
    recipe = TileRecipe(exposures=2, swarp=False)
    simulate_tile(folder, size=SIZE, seed=4, star_fraction=0.3, recipe=recipe)
    return find_tile(folder)


def test_products_are_mer_s(tile):
    assert tile.number == 102_000_004 and tile.image.parent.name == "102000004"
    image, rms = fits.getheader(tile.image), fits.getheader(tile.rms)
    assert image["MAGZERO"] == rms["MAGZERO"] == ZERO_POINT and "GAIN" not in image
    assert "MAGZERO" not in fits.getheader(tile.flags)
    assert fits.getdata(tile.flags).dtype.kind == "i"
    psfs = read_psf_product(tile.psf, (SIZE, SIZE))
    assert psfs.stamps.shape[1:] == (33, 33)
    assert ((psfs.stamps.sum(axis=(1, 2)) > 0.93) & (psfs.stamps.sum(axis=(1, 2)) < 0.99)).all()


def test_bright_sources_are_where_the_truth_says(tile):
    image, truth = fits.getdata(tile.image), Table.read(tile.image.parent / "truth.fits")
    wcs = WCS(fits.getheader(tile.image))
    x, y = wcs.all_world2pix(truth["ra"], truth["dec"], 0)
    np.testing.assert_allclose([x, y], [truth["x"], truth["y"]], atol=1e-6)
    flux = np.asarray(truth["flux"], float)
    inside = truth["star"] & (np.minimum(x, y) > 20) & (np.maximum(x, y) < SIZE - 20)
    flags = fits.getdata(tile.flags)
    for i in np.flatnonzero(inside):
        row, column = np.rint([y[i], x[i]]).astype(int)
        inside[i] = not flags[row - 5 : row + 6, column - 5 : column + 6].any()
    brightest = np.flatnonzero(inside)[np.argsort(-flux[inside])[:3]]
    for i in brightest:
        row, column = np.rint([y[i], x[i]]).astype(int)
        stamp = image[row - 12 : row + 13, column - 12 : column + 13]
        peak = np.unravel_index(stamp.argmax(), stamp.shape)
        assert np.hypot(*np.subtract(peak, (12, 12))) < 2.5
        unit = 10 ** (0.4 * (ZERO_POINT - 23.9))
        assert 0.85 < stamp.sum() / (unit * flux[i]) < 1.15


def test_the_rms_map_holds_the_sources_photon_noise(tile):
    image, rms = fits.getdata(tile.image), fits.getdata(tile.rms)
    flags = fits.getdata(tile.flags)
    dead = rms == np.float32(DEAD_RMS)
    fatal = sum(1 << bit for bit in (FATAL_BITS["INVALID"], FATAL_BITS["NO_DATA"]))
    np.testing.assert_array_equal(dead, (flags & fatal) == fatal)
    assert not image[dead].any()
    sky = np.median(rms[~dead])
    bright = ~dead & (image > 50 * sky)
    assert bright.any() and rms[bright].min() > 1.2 * sky
    depths = np.unique(rms[~dead & (image <= 0)])
    assert depths.max() / depths.min() == pytest.approx(np.sqrt(2), rel=1e-3)


def test_tiles_are_reproducible(tile, tmp_path):
    recipe = TileRecipe(exposures=2, swarp=False)
    simulate_tile(tmp_path, size=SIZE, seed=4, star_fraction=0.3, recipe=recipe)
    for one in (tile.image, tile.rms, tile.flags, tile.psf):
        assert (tmp_path / one.parent.name / one.name).read_bytes() == one.read_bytes()


def test_tiles_of_a_grid_are_pieces_of_one_sky(tile, tmp_path):
    whole, drawn = tile, {"seed": 4, "star_fraction": 0.3}
    drawn |= {"recipe": TileRecipe(exposures=2, swarp=False)}
    simulate_grid(tmp_path, TileGrid(2, 2, 40), size=SIZE // 2, **drawn)
    truth = Table.read(whole.image.parent / "truth.fits")
    numbers = sorted(int(each.name) for each in tmp_path.iterdir())
    assert numbers == [102_000_004 + 10_000 * k for k in range(4)]
    low, high = slice(0, SIZE // 2 + 40), slice(SIZE // 2 - 40, SIZE)
    for number, span in zip(
        numbers, [(a, b) for a in (low, high) for b in (low, high)], strict=True
    ):
        tile = find_tile(tmp_path, number)
        for name in ("image", "rms", "flags"):
            wanted = fits.getdata(getattr(whole, name))[span]
            np.testing.assert_array_equal(fits.getdata(getattr(tile, name)), wanted)
        own, wcs = Table.read(tile.image.parent / "truth.fits"), WCS(fits.getheader(tile.image))
        x, y = wcs.all_world2pix(own["ra"], own["dec"], 0)
        np.testing.assert_allclose([x, y], [own["x"], own["y"]], atol=1e-6)
        assert len(own) and set(own["id"]) < set(truth["id"])
        stamps, all_stamps = (read_psf_product(e.psf, (SIZE, SIZE)) for e in (tile, whole))
        places = all_stamps.position.tolist()
        for place, stamp in zip(
            stamps.position + [s.start for s in span], stamps.stamps, strict=True
        ):
            np.testing.assert_array_equal(stamp, all_stamps.stamps[places.index(place.tolist())])


def test_the_command_says_which_tile_it_wrote(tmp_path, capsys):
    words = ["--style", "mer", "--size", "150", "--seed", "7", "--interpolation", "lanczos3"]
    assert main(["simulate", "--out", str(tmp_path), *words]) == 0
    assert "102000007" in capsys.readouterr().out.replace("\n", "")
    assert find_tile(tmp_path).number == 102_000_007


def test_a_tile_has_its_own_noise(tmp_path, capsys):
    words = ["simulate", "--out", str(tmp_path), "--style", "mer", "--correlated", "0.5"]
    assert main(words) == 1
    assert "has its own" in " ".join(capsys.readouterr().err.split())
