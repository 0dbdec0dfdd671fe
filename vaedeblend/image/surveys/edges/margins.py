"""Pixels beyond a tile's edges, read from its neighbours' files.

Neighbours on one grid of pixels are pieces of one image: what one lacks about its core is copied
from the others. Tiles of different projections are not: their own overlap has to be wide enough.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaedeblend.image.inspection.findings import ImageNoise
from vaedeblend.image.options import ImageOptions
from vaedeblend.image.preparation import Prepared, prepare_image
from vaedeblend.image.surveys.edges.cores import missing_margin
from vaedeblend.image.surveys.listing import SurveyTile, as_cards
from vaedeblend.io import write
from vaedeblend.io.fits.header import PSF_SECTION, as_section
from vaedeblend.io.fits.sky import to_pixels, to_sky
from vaedeblend.io.mosaic import NOISES, Mosaic, as_rms, image_header, open_mosaic

_ALIGNED = 0.01
"""Distance of pixels that are the same [pixel]."""


def prepare_tile(
    tile: SurveyTile,
    others: Mapping[str, SurveyTile],
    window,
    options: Mapping[str, Any],
    noise: ImageNoise | None,
    folder: Path,
) -> tuple[Prepared, tuple[int, int]]:
    """A tile with its margin, ready to be measured, and where its own pixels begin there.

    Args:
        tile: The tile.
        others: Its neighbours by name.
        window: First and last rows, and columns, that are measured.
        options: Fields of `ImageOptions` of the whole survey.
        noise: What is known of its noise from tiles near it, too; None if nothing.
        folder: Folder that takes the files.

    Raises:
        InspectionError: An input is contradicted by the pixels.
        VaedeblendError: A file cannot be used or written.
    """
    wide, offset = widen(tile, others, window, folder)
    given = ImageOptions(**options | wide.options)
    return prepare_image(folder, wide.image, given, (), lambda *_: None, noise), offset


def aligned_offset(tile: SurveyTile, other: SurveyTile) -> tuple[int, int] | None:
    """(y, x) on another tile of a tile's first pixel; None if their pixels are not the same."""
    (height, width), corners = tile.shape, np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    y, x = corners * np.array([[height - 1], [width - 1]])
    sky = to_sky(tile.wcs, x.astype(float), y.astype(float))
    apart = to_pixels(other.wcs, *sky, other.shape) - np.stack([y, x], axis=1)
    offset = np.rint(apart[0])
    if not np.nanmax(np.abs(apart - offset)) < _ALIGNED or np.isnan(apart).any():
        return None
    return tuple(offset.astype(int).tolist())


def lenders(
    tile: SurveyTile, others: Mapping[str, SurveyTile], window
) -> dict[str, tuple[int, int]]:
    """Neighbours that have pixels which a window lacks, and where the tile begins on them."""
    missing = missing_margin(tile, window)
    lacks = _strips(tile.shape, missing)
    found = {}
    for name, other in others.items():
        alike = lacks and other.zero_point == tile.zero_point
        offset = aligned_offset(tile, other) if alike else None
        if offset is None:
            continue
        first, last = np.negative(offset), np.subtract(other.shape, offset)
        if any((np.maximum(a, first) < np.minimum(b, last)).all() for a, b in lacks):
            found[name] = offset
    return found


def _strips(shape: tuple[int, int], missing) -> list[tuple]:
    """First and last (y, x) of the strips about a tile that it lacks; the last are not of them."""
    (height, width), ((top, bottom), (left, right)) = shape, missing
    strips = [
        ((-top, -left), (0, width + right)),
        ((height, -left), (height + bottom, width + right)),
        ((0, -left), (height, 0)),
        ((0, width), (height, width + right)),
    ]
    return [(low, high) for low, high in strips if np.less(low, high).all()]


def widen(tile: SurveyTile, others: Mapping[str, SurveyTile], window, folder: Path):
    """A tile whose window has its margin, as far as neighbours hold it; where its pixels begin.

    Where it lacks nothing, or nobody has it, that is the tile itself; else its image and rms
    are written anew, without what is masked. Its PSFs stay those of its own pixels.

    Args:
        tile: The tile.
        others: Its neighbours by name.
        window: First and last rows, and columns, that are measured.
        folder: Folder that takes the files.

    Raises:
        VaedeblendError: A file cannot be read or written.
    """
    lent = lenders(tile, others, window)
    if not lent:
        return tile, (0, 0)
    (top, bottom), (left, right) = _lent_margin(tile, others, lent, window)
    shape = tile.shape[0] + top + bottom, tile.shape[1] + left + right
    image, rms = np.full(shape, np.nan, np.float32), np.full(shape, np.inf, np.float32)
    for name, offset in [*lent.items(), (tile.name, (0, 0))]:
        piece = tile if name == tile.name else others[name]
        first = top - offset[0], left - offset[1]
        _paste(piece, first, image, rms)
    with _opened(tile) as mosaic:
        header = image_header(mosaic)
        noise = mosaic.noise is not None
    for key, shift in (("CRPIX1", left), ("CRPIX2", top)):
        header[key] = header.get(key, 0.0) + shift
    own = zip((top, left), tile.shape, strict=True)
    header[PSF_SECTION] = as_section(*(slice(first, first + n) for first, n in own))
    planes = {"image": image} | ({"rms": rms} if noise else {})
    options = {"mask": None, "mask_bits": None, "psf": tile.options.get("psf")}
    for name, plane in planes.items():
        with write.write_image(folder / f"{name}.fits", shape, header) as put:
            put(plane)
        options[name] = str(folder / f"{name}.fits")
    cards, image = as_cards(header), options.pop("image")
    wide = tile._replace(image=image, options=options, shape=shape, header=cards)
    return wide, (top, left)


def _lent_margin(tile: SurveyTile, others, lent, window) -> tuple[tuple[int, int], ...]:
    """Pixels before and after, of each axis, of a window's margin as far as any neighbour goes.

    Where the sky that was seen ends the image ends, as it does when all is one image.
    """
    first = np.array([np.negative(offset) for offset in lent.values()])
    beyond = first + [np.subtract(others[name].shape, tile.shape) for name in lent]
    reach = np.stack([-first.min(axis=0), beyond.max(axis=0)], axis=1)
    missing = missing_margin(tile, window)
    return tuple(map(tuple, np.clip(reach, 0, missing).astype(int).tolist()))


def _opened(tile: SurveyTile):
    noise = {form: tile.options.get(form) for form in NOISES}
    given = {name: tile.options.get(name) for name in ("mask", "mask_bits")}
    return open_mosaic(tile.image, **given, **noise)


def _paste(tile: SurveyTile, first: tuple[int, int], image, rms) -> None:
    """Lays a tile's valid pixels upon an image where it lies, as far as it reaches."""
    low = np.maximum(first, 0)
    high = np.minimum(np.add(first, tile.shape), image.shape)
    here = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    there = [slice(s.start - f, s.stop - f) for s, f in zip(here, first, strict=True)]
    with _opened(tile) as mosaic:
        image[here], rms[here] = _valid(mosaic, *there)


def _valid(mosaic: Mosaic, rows: slice, columns: slice):
    """Pixels as they stand in a file, NaN where the mask has them; and their rms."""
    pixels = mosaic.read_raw(rows, columns)
    known = np.where(pixels.bad, np.nan, pixels.image)
    rms = np.inf if mosaic.noise is None else as_rms(mosaic.noise, pixels.rms)
    return known, rms
