"""What becomes of every source of a challenge's field: a stamp, isolated or blended, or why none.

A galaxy is blended if the light of another source reaches it. That of a galaxy reaches as far as
three of its half-light radii, which hold all but a twentieth of an exponential disk, and 0.7 arcsec
more, two half-light radii of the largest galaxies selected; that of a star, whose magnitude no list
gives, 3 arcsec. A source fainter by more than 2.5 mag, with less than a tenth of the galaxy's
light, does not count; one of unknown magnitude does. On five single Sersic fields of 2048 x 2048
pixels simulated here (762 galaxies) 25 % are blended by this rule; of the 571 isolated ones 2 have
a purity below 0.95 and 42 below 0.99, of the 191 blended ones 65 and 121.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from vaedeblend.catalogues.catalogue import TALK_SELECTION
from vaedeblend.euclid.emc.layout import PIXEL_SCALE, STAMP_SIZE, EmcField
from vaedeblend.exceptions import EmcError, MosaicError
from vaedeblend.io.mosaic import open_mosaic

STATUSES = (
    "isolated",
    "blended",
    "magnitude",
    "radius",
    "edge",
    "rms",
    "star",
    "no truth",
    "unlisted",
)
"""Fates of a source: used as isolated or as blended; masked by magnitude or radius; its stamp
beyond the image, or with pixels that have no valid value or rms; a star; a galaxy of which nothing
is known; listed neither as a galaxy nor as a star. Each source has one: of several reasons for no
stamp the first of star, unlisted, no truth, magnitude, radius, edge and rms."""
_ISOLATED, _BLENDED, _MAGNITUDE, _RADIUS, _EDGE, _RMS, _STAR, _NO_TRUTH, _UNLISTED = range(9)
_DISK = TALK_SELECTION["disk_half_light_radius"]
SELECTION: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "mag": TALK_SELECTION["magnitude"],
        "reb": TALK_SELECTION["bulge_half_light_radius"],
        "red": _DISK,
        "re": _DISK,
    }
)
"""Cuts of the published selection [mag, arcsec] on those parameters that a truth has; where it has
one radius for a galaxy, that of a disk, which most of its light is."""
_STRIP = 512
"""Rows that are read at a time, and those of a stamp more."""


class Reach(NamedTuple):
    """How far light reaches: what makes a galaxy blended."""

    own: float = 0.7
    """Reach of the galaxies selected [arcsec]."""
    radii: float = 3.0
    """Reach of another galaxy, to be added [its half-light radius]."""
    star: float = 3.0
    """Reach of a star, that of the galaxy included [arcsec]."""
    fainter: float = 2.5
    """Largest magnitude difference to the galaxy of a source that counts [mag]."""


class Census(NamedTuple):
    """What becomes of a field's n sources."""

    status: Int[np.ndarray, " n"]
    """Index into STATUSES."""
    n_neighbours: Int[np.ndarray, " n"]
    """Other sources whose light reaches it."""


class Stamp(NamedTuple):
    """A galaxy's pixels [uJy]."""

    row: int
    """Row among the field's sources."""
    image: Float[np.ndarray, "size size"]
    rms: Float[np.ndarray, "size size"]
    light: Float[np.ndarray, "size size"] | None
    """Light of all sources, without noise, where the field has it."""


def take_census(
    field: EmcField,
    *,
    selection: Mapping[str, tuple[float, float]] = SELECTION,
    reach: Reach = Reach(),  # noqa: B008
) -> Census:
    """What becomes of each source of a field.

    Args:
        field: Field, whose rms map is read.
        selection: Ranges of parameters, outside of which galaxies are masked out; those that the
            truth does not have mask nothing.
        reach: Reach of light, which makes galaxies blended.

    Raises:
        EmcError: A file is damaged.
    """
    neighbours = count_neighbours(field, reach)
    status = np.where(neighbours > 0, _BLENDED, _ISOLATED)
    inside = _inside(field)
    reasons = [
        (_EDGE, ~inside),
        (_RADIUS, ~_passes(field, {k: v for k, v in selection.items() if k != "mag"})),
        (_MAGNITUDE, ~_passes(field, {k: v for k, v in selection.items() if k == "mag"})),
        (_NO_TRUTH, np.isnan(field.truth["mag"])),
        (_UNLISTED, ~field.galaxy),
        (_STAR, field.star),
    ]
    for reason, holds in reasons:  # later ones weigh more
        status[holds] = reason
    for stamp in census_stamps(field, np.flatnonzero(np.isin(status, (_ISOLATED, _BLENDED)))):
        if not np.isfinite(stamp.rms).all():
            status[stamp.row] = _RMS
    return Census(status, neighbours)


def used_rows(census: Census) -> Int[np.ndarray, " used"]:
    """Rows of the sources that become stamps."""
    return np.flatnonzero(np.isin(census.status, (_ISOLATED, _BLENDED)))


def count_neighbours(field: EmcField, reach: Reach) -> Int[np.ndarray, " n"]:
    """How many other sources' light reaches each source."""
    mag = field.truth["mag"]
    distance = np.where(field.star, reach.star, reach.own + reach.radii * field.radius)
    tree = cKDTree(field.position)
    near = tree.query_ball_point(field.position, distance / PIXEL_SCALE)
    source = np.repeat(np.arange(len(mag)), [len(each) for each in near])
    reached = np.concatenate(near).astype(int)  # each source reaches itself, at least
    counts = (source != reached) & ~(mag[source] > mag[reached] + reach.fainter)  # True for NaN
    return np.bincount(reached[counts], minlength=len(mag))


def corners(field: EmcField) -> Int[np.ndarray, "n 2"]:
    """(y, x) of the first pixel of the stamp whose centre is nearest to each source."""
    return np.floor(field.position + 1).astype(int) - STAMP_SIZE // 2


def phases(field: EmcField) -> Float[np.ndarray, "n 2"]:
    """(y, x) of each source from its stamp's centre, within half a pixel."""
    return field.position - corners(field) - (STAMP_SIZE - 1) / 2


def census_stamps(field: EmcField, rows: Int[np.ndarray, " rows"]) -> Iterator[Stamp]:
    """Stamps of sources, which lie on the image, from its first rows to its last.

    A pixel without a finite value, or without a finite and positive rms, is 0 with infinite rms.

    Raises:
        EmcError: A file is damaged.
    """
    corner = corners(field)
    light = field.files.get("light")
    try:
        with (
            open_mosaic(field.files["image"], rms=field.files["rms"]) as mosaic,
            open_mosaic(light or field.files["image"]) as noise_free,
        ):
            for low in range(0, field.shape[0], _STRIP):
                here = rows[(corner[rows, 0] >= low) & (corner[rows, 0] < low + _STRIP)]
                if len(here):
                    strip = slice(low, min(low + _STRIP + STAMP_SIZE, field.shape[0]))
                    window = strip, slice(0, field.shape[1])
                    pixels = mosaic.read(*window)
                    images = pixels.image, pixels.rms
                    images += (noise_free.read(*window).image if light else None,)
                    yield from _stamps(images, here, corner[here] - (low, 0))
    except MosaicError as error:
        raise EmcError(f"field {field.number}: {error}") from error


def tabulate(censuses: Mapping[int, Census]) -> Table:
    """Sources of each field by what becomes of them, and of all fields (field -1)."""
    counts = {
        number: np.bincount(each.status, minlength=len(STATUSES))
        for number, each in censuses.items()
    }
    counts[-1] = np.sum(list(counts.values()), axis=0)
    table = Table({"field": list(counts), "sources": [int(each.sum()) for each in counts.values()]})
    for i, name in enumerate(STATUSES):
        table[name] = [int(each[i]) for each in counts.values()]
    return table


def _inside(field: EmcField):
    first = corners(field)
    return ((first >= 0) & (first + STAMP_SIZE <= field.shape)).all(axis=1)


def _passes(field: EmcField, cuts):
    """Strictly within all cuts that there are parameters for."""
    known = [(field.truth[name], *cut) for name, cut in cuts.items() if name in field.truth]
    passes = [(low < values) & (values < high) for values, low, high in known]
    return np.all([np.ones(len(field.id), bool), *passes], axis=0)


def _stamps(images: Sequence, rows, corner) -> Iterator[Stamp]:
    for row, (y, x) in zip(rows.tolist(), corner.tolist(), strict=True):
        window = np.s_[y : y + STAMP_SIZE, x : x + STAMP_SIZE]
        yield Stamp(row, *(None if image is None else image[window].copy() for image in images))
