"""Layouts on disk: EGG's two and ours are read alike, files cut short are refused."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from vaedeblend.catalogues import catalogue
from vaedeblend.exceptions import CatalogueError

BANDS = ("euclid-vis", "euclid-nisp-h")


@pytest.fixture
def native(tmp_path):
    """A file as EGG writes it: one row, no units, two bands; and the fluxes in it."""
    n, rng = 7, np.random.default_rng(2)
    flux = rng.uniform(0.1, 2, (2, n, 2)).astype(np.float32)
    cells = {"ID": np.arange(n), "RA": np.full(n, 53.5), "DEC": np.full(n, -27.0)}
    cells |= {"Z": rng.uniform(0, 3, n), "FLUX_BULGE": flux[0], "FLUX_DISK": flux[1]}
    for component in ("BULGE", "DISK"):
        cells[f"{component}_RADIUS"] = np.full(n, 0.2)
        cells[f"{component}_RATIO"] = np.full(n, 0.5)
        cells[f"{component}_ANGLE"] = np.full(n, 30.0)
    cells["BANDS"] = np.array([band.encode() for band in BANDS])
    path = tmp_path / "native.fits"
    Table({name: cell[None] for name, cell in cells.items()}).write(path)
    return path, flux


@pytest.fixture
def egg_files():
    """EGG's own files, where they lie beside the repository."""
    folder = Path(__file__).parents[3] / "shared" / "egg"
    if not folder.is_dir():
        pytest.skip(f"no reference catalogues in {folder}")
    return folder


def test_native_layout_is_unpacked(native):
    path, flux = native
    table = catalogue.read(path, BANDS)
    assert len(table) == 7 and table.meta == {"bands": BANDS, "source": str(path)}
    np.testing.assert_array_equal(table["flux_bulge"].to_value(u.uJy), flux[0])
    assert table["disk_half_light_radius"].unit == u.arcsec and table["ra"].unit == u.deg


def test_bands_come_in_the_order_asked_for(native):
    path, flux = native
    swapped = catalogue.read(path, BANDS[::-1])
    np.testing.assert_array_equal(swapped["flux_disk"].value, flux[1][:, ::-1])
    np.testing.assert_array_equal(catalogue.read(path)["flux_disk"].value, flux[1][:, :1])


def test_unknown_band_lists_those_found(native):
    with pytest.raises(CatalogueError, match=r"native\.fits: no band \['hst-f160w'\].*nisp-h"):
        catalogue.read(native[0], ["hst-f160w"])


def test_egg_native_file(egg_files):
    table = catalogue.read(egg_files / "egg_native_small.fits")
    bright = catalogue.select(table, {"magnitude": (0.0, 25.0)})
    assert (len(table), len(bright)) == (1196, 428)
    assert len(catalogue.select(table, catalogue.TALK_SELECTION)) == 69


def test_egg_rows_file(egg_files):
    path = egg_files / "egg_vis_train.fits"
    table = catalogue.read(path)
    assert len(table) == 48497 and table["flux_disk"].shape == (48497, 1)
    np.testing.assert_array_equal(table["id"], np.arange(48497))
    vis_mag = fits.getdata(path)["VIS_MAG"]
    np.testing.assert_allclose(catalogue.magnitude(table), vis_mag, atol=1e-4)


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.98])
def test_truncated_file_is_refused(native, tmp_path, kept):
    catalogue.write(catalogue.stars(50, np.random.default_rng(0), BANDS), tmp_path / "rows.fits")
    for path in (tmp_path / "rows.fits", native[0]):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))])
        with pytest.raises(CatalogueError, match=rf"{path.name}: wanted a whole table, found: \w"):
            catalogue.read(path, BANDS)


def test_no_table_and_no_file_are_refused(tmp_path):
    (tmp_path / "text.fits").write_text("no table")
    for name in ("text.fits", "missing.fits"):
        with pytest.raises(CatalogueError, match=f"{name}: wanted a whole table"):
            catalogue.read(tmp_path / name)


def test_columns_named_for_too_few_bands_are_refused(tmp_path):
    stars = catalogue.stars(5, np.random.default_rng(0), BANDS)
    stars.meta["bands"] = BANDS[:1]
    catalogue.write(stars, tmp_path / "stars.fits")
    with pytest.raises(CatalogueError, match=r"column flux_bulge with 2 bands, wanted \['euclid"):
        catalogue.read(tmp_path / "stars.fits")


def test_native_layout_of_several_rows_is_refused(tmp_path):
    path = tmp_path / "rows.fits"
    Table({"ID": [0, 1], "BANDS": ["euclid-vis", "euclid-vis"]}).write(path)
    with pytest.raises(CatalogueError, match=r"rows\.fits: column BANDS in 2 rows, wanted one"):
        catalogue.read(path)
