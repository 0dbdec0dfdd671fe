"""Light of sources on an image's pixels: one form all the way from the network to the files.

The network draws a source on a stamp of size x size pixels, each of them binning x binning pixels
of the image (see `pixels.stamps`). `Profiles` holds that light on the image's own pixels. Stamps
of all sides are packed into one cube of pages (page, size, size):

    A stamp of binning n is side = n size pixels wide. Its pixels, row by row, fill n^2 consecutive
    pages, size^2 pixels each, from its page `first` on: stamp.reshape(-1, size, size), and back
    pages[first : first + n^2].reshape(side, side). Its corner is the (y, x) of its first pixel on
    the image, which may lie off it.

The cube is an array, or the first HDU of a FITS file (stamps.fits, the parts of tiles), from which
pages are read when a stamp is asked for.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from jaxtyping import Float, Int, Shaped

from vaedeblend.io.write import write_image
from vaedeblend.pixels.stamps import overlap, spread, whole_corner

_CHUNK = 1000
"""Stamps that are read from a file, or copied, at a time."""

Box = tuple[slice, slice]
"""Rows and columns of an image."""

Pixel = Sequence[int] | Int[np.ndarray, " 2"]
"""(y, x) of a pixel."""


class PageFile(NamedTuple):
    """A cube of pages, float32, in a FITS file."""

    path: Path
    offset: int
    """First byte of the cube."""
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Profiles(Sequence):
    """Light of n sources on an image's pixels [image unit]; item i is the stamp of source i."""

    pages: Float[np.ndarray, "page size size"] | PageFile
    first: Int[np.ndarray, " n"]
    """First page of each stamp."""
    binning: Int[np.ndarray, " n"]
    """Side of each stamp over that of a page."""
    corner: Int[np.ndarray, "n 2"]
    """(y, x) of each stamp's first pixel on the image."""

    @classmethod
    def from_stamps(
        cls,
        stamps: Float[np.ndarray, "n size size"],
        binning: Int[np.ndarray, " n"],
        corner: Int[np.ndarray, "n 2"],
    ) -> "Profiles":
        """The network's stamps, spread over the image's pixels.

        Args:
            stamps: Light on binned pixels.
            binning: Pixels of the image along a side of a stamp's pixel.
            corner: (y, x) of the stamp of unbinned pixels about the same centre.
        """
        size = stamps.shape[1]
        whole = (spread(stamp, n) for stamp, n in zip(stamps, binning.tolist(), strict=True))
        return cls.pack(whole, whole_corner(corner, binning, size), size)

    @classmethod
    def pack(
        cls, stamps: Iterable[Float[np.ndarray, "_ _"]], corner: Int[np.ndarray, "n 2"], size: int
    ) -> "Profiles":
        """Stamps of the image's pixels, whose sides are multiples of a page's side."""
        stamps = list(stamps)
        binning = np.array([len(stamp) // size for stamp in stamps], int)
        return cls(_paged(stamps, size), _first(binning), binning, corner)

    @classmethod
    def read(
        cls, path: str | Path, binning: Int[np.ndarray, " n"], corner: Int[np.ndarray, "n 2"]
    ) -> "Profiles":
        """The stamps of a FITS file, one after the other; they are left there."""
        with fits.open(path) as hdus:
            pages = PageFile(Path(path), hdus[0].fileinfo()["datLoc"], hdus[0].shape)
        return cls(pages, _first(binning), binning, corner)

    @property
    def size(self) -> int:
        """Side of a page [pixel]."""
        return self.pages.shape[1]

    @property
    def sides(self) -> Int[np.ndarray, " n"]:
        """Side of each stamp [pixel]."""
        return self.size * self.binning

    def __len__(self):
        return len(self.first)

    def __getitem__(self, i: int) -> Float[np.ndarray, "side side"]:
        return next(iter(self.select(np.arange(len(self))[[i]])))

    def __iter__(self) -> Iterator[Float[np.ndarray, "side side"]]:
        for low in range(0, len(self), _CHUNK):
            pages = _opened(self.pages)  # anew each time: what has been read is forgotten
            some = slice(low, low + _CHUNK)
            ends = self.first[some] + self.binning[some] ** 2
            for first, end, side in zip(self.first[some], ends, self.sides[some], strict=True):
                stamp = pages[first:end].reshape(side, side)
                yield np.asarray(stamp, stamp.dtype.newbyteorder("="))

    def select(self, index: Shaped[np.ndarray, " _"]) -> "Profiles":
        """Some of the sources, by row or as a mask; their pages stay where they are."""
        return Profiles(self.pages, self.first[index], self.binning[index], self.corner[index])

    def copy(self) -> "Profiles":
        """Profiles with the same stamps, packed one after the other in memory of their own."""
        return Profiles.pack(self, self.corner, self.size)

    def moved(self, origin: Pixel) -> "Profiles":
        """Profiles of the same light on an image that begins at `origin` of the present one."""
        return replace(self, corner=self.corner - origin)

    def scaled(self, factor: float) -> "Profiles":
        """Profiles in memory with so much more light."""
        return replace(self, pages=_opened(self.pages) * np.float32(factor))

    def reaching(self, low: Pixel, high: Pixel) -> Int[np.ndarray, " m"]:
        """Rows of the sources whose stamps reach into the box from `low` to below `high` (y, x)."""
        inside = (self.corner < high) & (self.corner + self.sides[:, None] > low)
        return np.flatnonzero(inside.all(axis=1))

    def on_image(self, shape: tuple[int, int]) -> Iterator[tuple[Box, Float[np.ndarray, "_ _"]]]:
        """Where each stamp lies on an image, and its light there."""
        for stamp, corner in zip(self, self.corner.tolist(), strict=True):
            there, on_stamp = overlap(corner, len(stamp), shape)
            yield there, stamp[on_stamp]

    def lay(self, shape: tuple[int, int]) -> Float[np.ndarray, "height width"]:
        """The image of all sources' light, added up."""
        image = np.zeros(shape, np.float32)
        for there, light in self.on_image(shape):
            image[there] += light
        return image


_PACKED = (
    "Light of the sources of catalog.fits. With a source's stamp i and binning b",
    "its light is cube[i : i + b * b].reshape({0} * b, {0} * b), whose first pixel",
    "is that of x_stamp, y_stamp on the image.",
)
"""How the pages of the file are read."""


def write_profiles(
    path: str | Path,
    parts: Sequence[Profiles],
    order: Int[np.ndarray, " n"],
    unit: str | None = None,
) -> Profiles:
    """Writes the sources of all parts, in an order, as a cube of pages, piece by piece.

    The header says how the pages of a source are put together.

    Args:
        path: FITS file.
        parts: Profiles with pages of one size.
        order: Rows of the sources, counted through all parts.
        unit: Unit of the light, which the header holds; none if not known.
    """
    size, starts = parts[0].size, np.cumsum([0, *map(len, parts)])
    binning = np.concatenate([part.binning for part in parts])[order]
    corner = np.concatenate([part.corner for part in parts])[order]
    shape = int((binning**2).sum()), size, size
    header = fits.Header({"BUNIT": unit} if unit else {})
    for line in _PACKED:
        header["COMMENT"] = line.format(size)
    with write_image(path, shape, header) as put:
        for rows in np.split(order, range(_CHUNK, len(order), _CHUNK)):
            part, stamps = np.searchsorted(starts, rows, "right") - 1, {}
            for i in np.unique(part):
                here = rows[part == i]
                stamps |= zip(here.tolist(), parts[i].select(here - starts[i]), strict=True)
            put(_paged([stamps[row] for row in rows.tolist()], size))
    return Profiles.read(path, binning, corner)


def _paged(
    stamps: Sequence[Float[np.ndarray, "_ _"]], size: int
) -> Float[np.ndarray, "page size size"]:
    none = np.zeros((0, size, size), np.float32)
    return np.concatenate([none, *(stamp.reshape(-1, size, size) for stamp in stamps)])


def _first(binning: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """First page of each stamp, where all lie one after the other."""
    return np.cumsum(binning**2) - binning**2


def _opened(pages: np.ndarray | PageFile) -> np.ndarray:
    """The pages as an array; those of a file memory-mapped."""
    if not isinstance(pages, PageFile):
        return pages
    return np.asarray(np.memmap(pages.path, ">f4", "r", pages.offset, pages.shape))
