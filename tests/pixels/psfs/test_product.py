import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.psfs.cells import psf_cells
from vaedeblend.pixels.psfs.product import is_psf_product, read_psf_product
from vaedeblend.pixels.psfs.read import read_psfs

SIZE = 9
SHAPE = 240, 360


def psf(sigma, total=0.96):
    y, x = np.indices((SIZE, SIZE)) - SIZE // 2
    light = np.exp(-(y**2 + x**2) / (2 * sigma**2))
    return total * light / light.sum()


def sigma_at(x):
    """Wider towards the right."""
    return 1 + x / SHAPE[1]


def write_grid(path, step=30, drop=()):
    """A GRID-PSF: stamps at their own places on an image of the mosaic's size."""
    image, rows = np.zeros(SHAPE, "f4"), []
    for y in range(step // 2, SHAPE[0], step):
        for x in range(step // 2, SHAPE[1], step):
            if (y, x) in drop:
                rows.append((np.nan, np.nan))
                continue
            image[y - 4 : y + 5, x - 4 : x + 5] = psf(sigma_at(x))
            rows.append((x + 1.0, y + 1.0))
    return write(path, image, Table(rows=rows, names=("x", "y")))


def write_catalog(path, places):
    """A CATALOG-PSF: stamps side by side."""
    image = np.concatenate([psf(sigma_at(x)) for _, x in places], axis=1)
    centre = SIZE * np.arange(len(places)) + SIZE // 2 + 1.0
    y, x = np.array(places, float).T + 1
    table = Table([centre, np.full(len(places), SIZE // 2 + 1.0), x, y])
    table.rename_columns(table.colnames, ("x_center", "y_center", "x", "y"))
    return write(path, image, table)


def write(path, image, table, size=SIZE):
    stamps = fits.ImageHDU(image.astype("f4"), fits.Header({"STMPSIZE": size}))
    fits.HDUList([fits.PrimaryHDU(), stamps, fits.BinTableHDU(table)]).writeto(path)
    return path


def test_stamps_of_a_grid_are_those_of_their_places(tmp_path):
    found = read_psf_product(write_grid(tmp_path / "grid.fits"), SHAPE)
    assert len(found.stamps) == 8 * 12
    for (_, x), stamp in zip(found.position, found.stamps, strict=True):
        np.testing.assert_allclose(stamp, psf(sigma_at(x)), atol=1e-7)


def test_stamps_of_a_catalogue_are_those_of_their_places(tmp_path):
    places = [(10, 300), (200, 5), (120, 180)]
    found = read_psf_product(write_catalog(tmp_path / "catalog.fits", places), SHAPE)
    np.testing.assert_array_equal(found.position, places)
    for (_, x), stamp in zip(places, found.stamps, strict=True):
        np.testing.assert_allclose(stamp, psf(sigma_at(x)), atol=1e-7)


def test_an_incomplete_grid_is_read(tmp_path):
    missing = [(15, 15), (45, 15)]
    found = read_psf_product(write_grid(tmp_path / "grid.fits", drop=missing), SHAPE)
    assert len(found.stamps) == 8 * 12 - 2


def test_cells_hold_the_mean_of_their_psfs(tmp_path):
    found = read_psf_product(write_grid(tmp_path / "grid.fits"), SHAPE)
    cells = psf_cells(found, SHAPE, 120)
    assert cells.shape == (2, 3, SIZE, SIZE)
    for column in range(3):
        x = 120 * column + np.array([15, 45, 75, 105])
        wanted = np.mean([psf(sigma_at(each)) for each in x], axis=0)
        np.testing.assert_allclose(cells[0, column], wanted, atol=1e-7)


def test_an_empty_cell_has_the_nearest_psf(tmp_path):
    found = read_psf_product(write_catalog(tmp_path / "catalog.fits", [(10, 10), (20, 350)]), SHAPE)
    cells = psf_cells(found, SHAPE, 120)
    np.testing.assert_array_equal(cells[1, 0], found.stamps[0])
    np.testing.assert_array_equal(cells[1, 2], found.stamps[1])


def test_products_are_told_from_plain_psfs(tmp_path):
    assert is_psf_product(write_grid(tmp_path / "grid.fits"))
    fits.writeto(tmp_path / "psf.fits", psf(1.0))
    assert not is_psf_product(tmp_path / "psf.fits")


@pytest.mark.parametrize(
    ("size", "columns", "words"),
    [
        (8, ("x", "y"), "STMPSIZE is 8; wanted an odd number"),
        (SIZE, ("a", "b"), "columns a, b; wanted x and y"),
    ],
)
def test_bad_products_are_refused(tmp_path, size, columns, words):
    table = Table(rows=[(20.0, 20.0)], names=columns)
    path = write(tmp_path / "bad.fits", np.ones((60, 60)) / SIZE**2, table, size)
    with pytest.raises(PsfError, match=words):
        read_psf_product(path, SHAPE)


def test_stamps_that_hold_no_psf_are_no_psfs(tmp_path):
    table = Table(rows=[(20.0, 20.0)], names=("x", "y"))
    path = write(tmp_path / "dark.fits", np.zeros((60, 60)), table)
    with pytest.raises(PsfError, match="none of 1 stamps holds a PSF"):
        read_psf_product(path, SHAPE)


def test_stamps_of_another_sampling_are_read_by_what_their_header_says(tmp_path):
    """As SourceXtractor++ takes them: GRIDX and GRIDY are centres on the stamps' image."""
    path = write_catalog(tmp_path / "catalog.fits", [(10, 300), (200, 5)])
    with fits.open(path) as hdus:
        hdus[1].header["SAMPLING"] = 0.5
        table = Table(hdus[2].data)
        table.rename_columns(["x_center", "y_center"], ["GRIDX", "GRIDY"])
        new = fits.HDUList([hdus[0], hdus[1], fits.BinTableHDU(table)])
        new.writeto(tmp_path / "other.fits")
    found = read_psfs(tmp_path / "other.fits", SHAPE, given=None, default=0.1)
    assert found.sampling == 0.05 and found.origin == "SAMPLING of 0.5 pixels"
    stamp = psf(sigma_at(5)) + psf(sigma_at(300))
    np.testing.assert_allclose(found.grid[0][0].image, stamp / stamp.sum(), atol=1e-7)
    assert found.total == pytest.approx(0.96, abs=1e-6)


def test_places_on_the_sky_go_before_those_of_another_image(tmp_path):
    """A cut-out has the coordinates of its mosaic, and other pixels."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], (150, 2)
    wcs.wcs.cdelt = np.array([-1, 1]) * 0.1 / 3600
    path = write_catalog(tmp_path / "catalog.fits", [(5010, 5300)])
    with fits.open(path, mode="update") as hdus:
        table = Table(hdus[2].data)
        table["RA"], table["Dec"] = wcs.all_pix2world([300.0], [10.0], 0)
        hdus[2] = fits.BinTableHDU(table)
    np.testing.assert_allclose(read_psf_product(path, SHAPE, wcs).position, [(10, 300)], atol=1e-4)
    np.testing.assert_array_equal(read_psf_product(path, SHAPE).position, [(5010, 5300)])


def test_a_grid_with_gaps_has_the_nearest_psfs_there(tmp_path):
    grid = np.stack([[psf(s) for s in (1.0, 1.2)], [psf(s) for s in (1.4, 1.6)]])
    grid[0, 0], grid[1, 0] = np.nan, 0
    fits.writeto(tmp_path / "grid.fits", grid)
    found = read_psfs(tmp_path / "grid.fits", SHAPE, given=None, default=0.1).grid
    for row, sigma in ((0, 1.2), (1, 1.6)):
        wanted = psf(sigma) / psf(sigma).sum()
        np.testing.assert_allclose([f.image for f in found[row]], [wanted] * 2, atol=1e-9)
