"""The tiles of a survey: what a user names, as images with their products and places on the sky."""

import glob
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from jaxtyping import Float

from vaedeblend.euclid.mer.layout import FATAL_BITS, MerTile, all_tiles
from vaedeblend.exceptions import MerError, SurveyError, VaedeblendError
from vaedeblend.image.surveys.shards import WORK
from vaedeblend.io.fits.header import read_facts
from vaedeblend.io.fits.sky import to_sky
from vaedeblend.io.folders.walk import files_below
from vaedeblend.io.mosaic import open_mosaic

_IMAGE = "image.fits"
"""Image of a folder that is not MER's."""
_PRODUCTS = "rms", "mask", "psf"
"""What may lie beside an image: in a folder as rms.fits, beside NAME.fits as NAME_rms.fits."""
_WANTED = "rms", "psf"
"""Products that all tiles of a survey have, or none."""


_LINE = "\n"
"""What stands between cards."""


class SurveyTile(NamedTuple):
    """A tile and where it lies; plain values, for another process as well."""

    name: str
    """Number of a MER tile, or name of the image or of its folder."""
    image: str
    options: dict[str, Any]
    """Fields of `ImageOptions`: the files of its noise, mask and PSF."""
    shape: tuple[int, int]
    header: str
    """Cards of its WCS."""
    zero_point: float | None = None
    """AB magnitude of one image unit."""
    inner: tuple[bool, bool, bool, bool] = (False,) * 4
    """Whether its bottom, top, left and right edges lie on another tile."""

    @property
    def wcs(self) -> WCS:
        """Celestial coordinates."""
        return read_facts(fits.Header.fromstring(self.header, sep=_LINE)).wcs

    @property
    def middle(self) -> Float[np.ndarray, "2 1"]:
        """Right ascension and declination of its middle [deg]."""
        height, width = self.shape
        return to_sky(self.wcs, np.array([(width - 1) / 2]), np.array([(height - 1) / 2]))

    @property
    def files(self) -> list[Path]:
        """Files that the tile is made from."""
        products = [self.options.get(name) for name in _PRODUCTS]
        return [Path(path) for path in (self.image, *products) if path is not None]


class Listing(NamedTuple):
    """All that a user has named."""

    tiles: tuple[SurveyTile, ...]
    """By name."""
    unusable: dict[str, str]
    """Why a tile cannot be used, by its name."""


def as_cards(header: fits.Header) -> str:
    """A header's cards as `SurveyTile` holds them."""
    return header.tostring(_LINE, endcard=False, padding=False)


def list_tiles(given: Sequence[str | Path], out: str | Path | None = None) -> Listing:
    """The tiles that lie where a user says.

    Args:
        given: Folders of MER tiles or of images with rms.fits, mask.fits and psf.fits, at any
            depth; FITS files, beside NAME.fits NAME_rms.fits and so on; patterns of those; and
            text files of a path a line, from the file's folder, and comments behind #.
        out: Folder of the survey, whose pieces of tiles under way are none of them.

    Raises:
        SurveyError: There are none, or two of one name.
    """
    tiles, unusable = {}, {}
    for path in _expanded(given):
        for name, make in _named(path, out and (Path(out) / WORK).resolve()):
            if name in tiles or name in unusable:
                raise SurveyError(f"{path}: a second tile {name}; wanted names that differ")
            try:
                tiles[name] = make()
            except VaedeblendError as error:
                unusable[name] = " ".join(str(error).split())
    if not tiles and not unusable:
        raise SurveyError(f"{', '.join(map(str, given))}: no tile; wanted MER's, or images")
    unusable |= _of_another_unit(tiles) | _incomplete(tiles)
    return Listing(tuple(tiles[name] for name in sorted({*tiles} - {*unusable})), unusable)


def _incomplete(tiles: Mapping[str, SurveyTile]) -> dict[str, str]:
    """Tiles without a product that most others have: it was lost, and would be assumed."""
    have = {name: [n for n in _WANTED if tiles[name].options.get(n)] for name in tiles}
    usual = [n for n in _WANTED if 2 * sum(n in each for each in have.values()) >= len(tiles)]
    lacks = {name: [n for n in usual if n not in have[name]] for name in tiles}
    said = "{}: no {} beside it; wanted what most of the {} tiles have"
    return {
        name: said.format(tiles[name].image, " and no ".join(missing), len(tiles))
        for name, missing in lacks.items()
        if missing
    }


def _of_another_unit(tiles: Mapping[str, SurveyTile]) -> dict[str, str]:
    """Tiles of another zero point than most: one column of the catalogue holds all fluxes."""
    points = Counter(tile.zero_point for tile in tiles.values())
    if len(points) < 2:
        return {}
    (usual, n), *_ = points.most_common()
    wanted = f"wanted {usual}, which {n} of the {len(tiles)} tiles have: fluxes have one unit"
    return {
        name: f"{tile.image}: zero point {tile.zero_point}; {wanted}"
        for name, tile in tiles.items()
        if tile.zero_point != usual
    }


def _expanded(given: Sequence[str | Path], folder: Path = Path()) -> Iterator[Path]:
    """Files and folders of what is named within a folder."""
    for each in given:
        path = folder / each
        if path.suffix == ".txt" and path.is_file():
            lines = map(str.strip, path.read_text(encoding="utf-8").splitlines())
            named = [line for line in lines if line and not line.startswith("#")]
            yield from _expanded(named, path.parent)
        elif path.exists():
            yield path
        elif glob.has_magic(str(each)):
            yield from _matching(path)
        else:
            raise SurveyError(f"{path}: no such file or folder; wanted tiles of a survey")


def _matching(pattern: Path) -> Iterator[Path]:
    """Paths of a pattern; in the names of folders that are there, brackets are no part of it."""
    there = next(folder for folder in pattern.parents if folder.exists())
    names = str(pattern.relative_to(there))
    yield from (there / name for name in sorted(glob.glob(names, root_dir=there, recursive=True)))


def _named(path: Path, work: Path | None) -> Iterator:
    """Names of the tiles at a path, but for those within a folder, and functions that open them."""
    if path.is_file():
        if _is_product(path):
            return
        yield path.name.split(".fits")[0], lambda: _of_image(path, _beside(path))
        return
    tiles, images = all_tiles(path), files_below(path, _IMAGE)
    if work is not None:
        images = [each for each in images if not each.resolve().is_relative_to(work)]
    for tile in tiles:
        yield f"{tile.number:09d}", lambda tile=tile: _of_mer(tile)
    for image in images:
        yield image.parent.name, lambda image=image: _of_image(image, _within(image.parent))
    if not tiles and not images:
        for file in sorted(path.glob("*.fits*")):
            yield from _named(file, work)


def _of_mer(tile: MerTile) -> SurveyTile:
    found = {"rms": tile.rms, "mask": tile.flags, "psf": tile.psf}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise MerError(f"{tile.image.parent}: tile {tile.number} has no {' and no '.join(missing)}")
    return _opened(f"{tile.number:09d}", tile.image, found, mask_bits=[*FATAL_BITS.values()])


def _of_image(image: Path, products: dict[str, Path]) -> SurveyTile:
    name = image.parent.name if image.name == _IMAGE else image.name.split(".fits")[0]
    return _opened(name, image, products)


def _within(folder: Path) -> dict[str, Path]:
    found = {name: folder / f"{name}.fits" for name in _PRODUCTS}
    return {name: path for name, path in found.items() if path.exists()}


def _beside(image: Path) -> dict[str, Path]:
    stem, dot, end = image.name.partition(".fits")
    found = {name: image.with_name(f"{stem}_{name}{dot}{end}") for name in _PRODUCTS}
    return {name: path for name, path in found.items() if path.exists()}


def _is_product(path: Path) -> bool:
    """Whether a file belongs to the image beside it."""
    stem, dot, end = path.name.partition(".fits")
    image, _, kind = stem.rpartition("_")
    return kind in _PRODUCTS and path.with_name(f"{image}{dot}{end}").exists()


def _opened(name: str, image: Path, products: dict[str, Path], **more) -> SurveyTile:
    with open_mosaic(image) as mosaic:
        if mosaic.wcs is None:
            raise SurveyError(f"{image}: no celestial WCS; wanted the tile's place on the sky")
        shape, header = mosaic.shape, mosaic.wcs.to_header(relax=True)
        unit = mosaic.zero_point
    options = {name: str(path.resolve()) for name, path in products.items()} | more
    return SurveyTile(name, str(image.resolve()), options, shape, as_cards(header), unit)
