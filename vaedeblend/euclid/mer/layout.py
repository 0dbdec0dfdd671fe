"""The products of a MER tile, found by their names in a folder of any layout.

A tile's products are matched by its number alone: the hexadecimal id and the time in their names
differ from product to product. Of several versions of a product the latest is taken. Files may be
compressed, and lie in one folder or in folders below it (Euclid Data Product Description Document,
DpdMerBksMosaic and others; the archive's layout of Q1, doi 10.57780/esa-2853f3b).
"""

import re
import zlib
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from vaedeblend.exceptions import MerError
from vaedeblend.io.folders.walk import files_below

FATAL_BITS = MappingProxyType({"INVALID": 0, "SAT": 3, "NO_DATA": 22})
"""Bits of a VIS flag map whose pixels hold no measurement. The others are of single exposures, such
as COSMIC, whose pixels the co-add does without, or mark sources."""

_PRODUCTS = MappingProxyType(
    {
        "image": "BGSUB-MOSAIC-{band}",
        "rms": "MOSAIC-{band}-RMS",
        "flags": "MOSAIC-{band}-FLAG",
        "grid_psf": "GRID-PSF-{band}",
        "catalog_psf": "CATALOG-PSF-{band}",
        "catalog": "FINAL-CAT",
    }
)
"""What the names of a tile's products begin with, after EUC_MER_."""

_REST = r"_TILE(\d{9})-[0-9A-Fa-f]{6}_(\d{8}T[\d.]+)Z_\d\d\.\d\d\.fits(?:\.gz|\.fz)?"


class MerTile(NamedTuple):
    """The products of a tile in one band; None where a folder holds none."""

    number: int
    """TILE_INDEX, of nine digits."""
    image: Path
    """Background subtracted mosaic."""
    rms: Path | None
    flags: Path | None
    grid_psf: Path | None
    """PSFs on a regular grid."""
    catalog_psf: Path | None
    """PSFs at the sources of the catalogue."""
    catalog: Path | None
    superseded: tuple[Path, ...]
    """Older versions of the products, which are not used."""

    @property
    def psf(self) -> Path | None:
        """The grid of PSFs, or those of the catalogue's sources without one."""
        return self.grid_psf or self.catalog_psf


def find_tile(folder: str | Path, number: int | None = None, *, band: str = "VIS") -> MerTile:
    """The products of a tile that lie in a folder, or in folders below it.

    Args:
        folder: Folder of the tile, or of several.
        number: TILE_INDEX; by default the one tile that the folder holds.
        band: The products' name of the band.

    Raises:
        MerError: There is no mosaic of the tile, or mosaics of several tiles.
    """
    found = _versions(folder, band)
    tiles = _numbers(found)
    if number is None and len(tiles) > 1:
        raise MerError(
            f"{folder}: holds tiles {', '.join(map(str, tiles))}; wanted one, or its number "
            "(--tile-id)"
        )
    if not tiles or number not in (None, *tiles):
        missing = "a mosaic" if number is None else f"tile {number}"
        raise MerError(
            f"{folder}: {missing} is wanted, EUC_MER_BGSUB-MOSAIC-{band}_TILE*.fits; found "
            f"{'tiles ' + ', '.join(map(str, tiles)) if tiles else 'none'}"
        )
    return _tile(found, tiles[0] if number is None else number)


def all_tiles(folder: str | Path, *, band: str = "VIS") -> list[MerTile]:
    """The products of all tiles that lie in a folder, or in folders below it, by number.

    Args:
        folder: Folder of any layout.
        band: The products' name of the band.
    """
    found = _versions(folder, band)
    return [_tile(found, number) for number in _numbers(found)]


def _numbers(found) -> list[int]:
    """Numbers of the tiles that have a mosaic."""
    return sorted({tile for name, tile in found if name == "image"})


def _tile(found, number: int) -> MerTile:
    own = {name: found.get((name, number), []) for name in _PRODUCTS}
    latest = {name: versions[-1] if versions else None for name, versions in own.items()}
    superseded = tuple(path for versions in own.values() for path in versions[:-1])
    return MerTile(number, **latest, superseded=superseded)


def tile_bands(folder: str | Path) -> list[str]:
    """Names of the bands whose mosaics lie in a folder, or in folders below it."""
    pattern = re.compile(f"EUC_MER_{_PRODUCTS['image'].format(band='(.+?)')}{_REST}")
    names = (pattern.fullmatch(path.name) for path in files_below(folder, "EUC_MER_*"))
    return sorted({match[1] for match in names if match})


def product_name(name: str, number: int, time: str, *, band: str = "VIS") -> str:
    """Name of a product's file, as MER would call it.

    Args:
        name: Field of `MerTile`.
        number: TILE_INDEX.
        time: Time of the product, as 20241018T142710.276838.
        band: The products' name of the band.
    """
    kind = _PRODUCTS[name].format(band=band)
    return f"EUC_MER_{kind}_TILE{number:09d}-{_digits(kind, number)}_{time}Z_00.00.fits"


def _digits(kind: str, number: int) -> str:
    """Six hexadecimal digits that a product's name holds."""
    return f"{zlib.crc32(f'{kind}{number}'.encode()) & 0xFFFFFF:06X}"


def _versions(folder: str | Path, band: str) -> dict[tuple[str, int], list[Path]]:
    """Files of each product and tile, the latest last."""
    kinds = {f"EUC_MER_{kind.format(band=band)}": name for name, kind in _PRODUCTS.items()}
    pattern = re.compile(f"({'|'.join(map(re.escape, kinds))}){_REST}")
    found: dict[tuple[str, int], list[tuple[str, Path]]] = {}
    for path in files_below(folder, "EUC_MER_*"):
        if match := pattern.fullmatch(path.name):
            kind, tile, time = match.groups()
            found.setdefault((kinds[kind], int(tile)), []).append((time, path))
    return {key: [path for _, path in sorted(each)] for key, each in found.items()}
