from pathlib import Path

import pytest

from vaedeblend.euclid.mer.layout import all_tiles, find_tile, product_name, tile_bands
from vaedeblend.exceptions import MerError

TILE, OTHER = 102018211, 102018212
TIMES = "20241018T142710.276838", "20250218T020000.0"
Q1 = "EUC_MER_BGSUB-MOSAIC-VIS_TILE102018211-ACBD03_20241018T142710.276838Z_00.00.fits"


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def name(product, tile=TILE, time=TIMES[0], **options):
    return product_name(product, tile, time, **options)


def test_a_name_is_mer_s():
    ours = name("image")
    assert ours.split("-")[:3] == Q1.split("-")[:3] and len(ours) == len(Q1)
    assert ours.partition("_2024")[2] == Q1.partition("_2024")[2]
    assert name("rms").startswith("EUC_MER_MOSAIC-VIS-RMS_TILE102018211-")


@pytest.mark.parametrize("layout", ["{}", "MER/102018211/VIS/{}", "{}.gz"])
def test_products_are_found_in_any_layout(tmp_path, layout):
    names = [name(each) for each in ("image", "rms", "flags", "grid_psf", "catalog_psf")]
    image, rms, flags, grid, catalog = touch(tmp_path, *(layout.format(each) for each in names))
    touch(tmp_path, layout.format(name("image", band="NIR-H")), "notes.txt")
    tile = find_tile(tmp_path)
    assert tile == (TILE, image, rms, flags, grid, catalog, None, ())
    assert tile.psf == grid


def test_products_are_found_behind_a_link_to_their_folder(tmp_path):
    (image,) = touch(tmp_path / "archive" / "VIS", name("image"))
    (tmp_path / "tile").mkdir()
    (tmp_path / "tile" / "VIS").symlink_to(image.parent)
    found = tmp_path / "tile" / "VIS" / image.name
    assert find_tile(tmp_path / "tile").image == all_tiles(tmp_path / "tile")[0].image == found
    assert tile_bands(tmp_path / "tile") == ["VIS"]


def test_a_real_name_is_found(tmp_path):
    (image,) = touch(tmp_path, Q1)
    tile = find_tile(tmp_path)
    assert tile.image == image and tile.rms is None and tile.psf is None


def test_the_latest_of_duplicates_is_taken(tmp_path):
    old, new = touch(tmp_path, *(name("rms", time=time) for time in TIMES))
    touch(tmp_path, name("image"))
    tile = find_tile(tmp_path)
    assert tile.rms == new and tile.superseded == (old,)


def test_one_of_several_tiles_is_named(tmp_path):
    _, image = touch(tmp_path, name("image"), name("image", OTHER))
    with pytest.raises(MerError, match="holds tiles 102018211, 102018212; wanted one"):
        find_tile(tmp_path)
    assert find_tile(tmp_path, OTHER).image == image
    with pytest.raises(MerError, match="tile 7 is wanted.*found tiles 102018211, 102018212"):
        find_tile(tmp_path, 7)


def test_products_of_another_tile_are_not_taken(tmp_path):
    touch(tmp_path, name("image"), name("rms", OTHER))
    assert find_tile(tmp_path).rms is None


def test_a_folder_without_a_mosaic_is_refused(tmp_path):
    touch(tmp_path, name("rms"))
    with pytest.raises(MerError, match=r"a mosaic is wanted, EUC_MER_BGSUB-MOSAIC-VIS.*found none"):
        find_tile(tmp_path)
