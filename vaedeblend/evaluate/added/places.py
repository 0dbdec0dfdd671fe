"""Which sources are added to an image, and on which of its pixels."""

from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Bool, Float

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.evaluate.added.ground import Ground
from vaedeblend.exceptions import CatalogueError, MosaicError
from vaedeblend.image.catalogue.columns import BRIGHT
from vaedeblend.image.groups import beside_bright
from vaedeblend.io.fits.numbers import as_count
from vaedeblend.simulate.library import PlacedSources, random_sources, random_stars
from vaedeblend.survey import Survey

_MOVED = 24
"""Purpose of random numbers; `library` and `fields` have the others."""
_ROUNDS = 50
"""Times that a source is moved before it is left out."""


class Addition(NamedTuple):
    """Which sources are added to an image, and how often."""

    n: int
    """Number of galaxies of each seed."""
    stars: int
    """Number of stars of each seed."""
    magnitude: tuple[float, float]
    """Range of both."""
    beside_bright: bool
    """Whether they may lie where they would be flagged so."""
    seeds: tuple[int, ...]
    """Each gives sources of its own."""

    @property
    def total(self) -> int:
        """Number of sources of all seeds."""
        return len(self.seeds) * (self.n + self.stars)


def make_addition(n, stars, magnitude, beside_bright: bool = False, seed=0, repeats=1) -> Addition:
    """A checked `Addition`.

    Args:
        n: Number of galaxies, as `numbers.as_count` takes it.
        stars: Number of stars.
        magnitude: Range of both, the brighter one first.
        beside_bright: Whether they may lie where they would be flagged so.
        seed: First seed.
        repeats: Number of seeds.

    Raises:
        MosaicError: A number is none.
    """
    low, high = magnitude
    if not low < high:
        raise MosaicError(f"magnitudes from {low} to {high}; wanted the brighter one first")
    stars = as_count(stars, "stars", 0)
    seed = as_count(seed, "seed", 0)
    seeds = tuple(range(seed, seed + as_count(repeats, "repeats", 1)))
    n = as_count(n, "n", 0 if stars else 1)
    if n:
        _check_there(float(low), float(high))
    return Addition(n, stars, (low, high), beside_bright, seeds)


def _check_there(low: float, high: float) -> None:
    """Refuses a range without galaxies before an image is deblended for nothing."""
    try:
        random_sources(1, (low, high), (1, 1), Survey().band_names, 0)
    except CatalogueError as error:
        text = f"magnitudes from {low:g} to {high:g}: EGG has no such galaxies on 0.1 deg2"
        raise MosaicError(f"{text}; wanted fainter or brighter ones") from error


def place_sources_on(ground: Ground, recipe: Addition, before: Table, seed: int) -> PlacedSources:
    """The sources of a seed, all on pixels that count; those for which there are none are left out.

    Args:
        ground: The image.
        recipe: Which sources.
        before: Catalogue of the image as it was.
        seed: Seed of everything random.

    Raises:
        MosaicError: No pixel counts.
    """
    sources = random_mixture(recipe, ground.shape, ground.bands, seed)
    bright = bright_rows(before)[: 0 if recipe.beside_bright else None]
    return on_good_pixels(sources, ground.counting, ground.unit, bright, seed)


def random_mixture(
    recipe: Addition, shape: tuple[int, int], bands: tuple[str, ...], seed: int
) -> PlacedSources:
    """Galaxies of EGG's catalogue, and stars, uniform in magnitude, behind them.

    Args:
        recipe: Which sources.
        shape: Height and width of the image, over which they lie evenly [pixel].
        bands: Names of the bands.
        seed: Seed of everything random.
    """
    n, n_stars, magnitude, *_ = recipe
    parts = [random_sources(n, magnitude, shape, bands, seed)] if n else []
    if n_stars:
        parts.append(random_stars(n_stars, magnitude, shape, bands, seed))
    ids, galaxies, pixel, phase = zip(*parts, strict=True)
    joined = Galaxies(*map(np.concatenate, zip(*galaxies, strict=True)))
    ids, pixel, phase = map(np.concatenate, (ids, pixel, phase))
    return PlacedSources(ids, joined, pixel, phase)


def on_good_pixels(
    sources: PlacedSources,
    counting: Bool[np.ndarray, "height width"],
    unit: float,
    bright: Table,
    seed: int,
) -> PlacedSources:
    """The sources, those on no good pixel moved to random ones that are good.

    A source for which none is found is left out.

    Args:
        sources: Sources, some of which may lie off the image.
        counting: Pixels that are measured.
        unit: Image units per uJy.
        bright: Rows of a catalogue beside which nothing faint is to lie; none for anywhere.
        seed: Seed of the places.

    Raises:
        MosaicError: No pixel counts.
    """
    pixels = np.argwhere(counting)
    if not len(pixels):
        raise MosaicError("every pixel of the image is ignored; wanted some for the galaxies")
    rng = np.random.default_rng((seed, _MOVED))
    good = _is_good(sources, counting, unit, bright)
    for _ in range(_ROUNDS):
        if good.all():
            break
        chosen = pixels[rng.integers(0, len(pixels), len(good))]
        # `pixel` holds the corner below a pixel's centre, or, of a negative phase, that above it.
        moved = chosen + (sources.phase < 0)
        sources = sources._replace(pixel=np.where(good[:, None], sources.pixel, moved))
        good = _is_good(sources, counting, unit, bright)
    taken = sources.galaxies.take(good)
    return PlacedSources(sources.id[good], taken, sources.pixel[good], sources.phase[good])


def bright_rows(before: Table) -> Table:
    """Sources of a catalogue that are brighter than the network knows."""
    flux = np.ma.filled(before["flux"], np.nan)
    return before[(np.asarray(before["flags"]) & BRIGHT > 0) & np.isfinite(flux)]


def places(table: Table) -> Float[np.ndarray, "n 2"]:
    """(y, x) of the rows of a catalogue [0-based pixels]."""
    return np.stack([np.asarray(table[name], float) for name in ("y", "x")], axis=1)


def _is_good(sources: PlacedSources, counting, unit, bright: Table) -> Bool[np.ndarray, " n"]:
    flux = sources.galaxies.flux[:, 0] * unit
    nearest = np.floor(sources.position + 0.5).astype(int)
    good = sources.on_image(counting.shape)
    good[good] = counting[*nearest[good].T]
    both = np.append(flux, np.asarray(bright["flux"], float))
    position = np.concatenate([sources.position, places(bright)])
    is_bright = np.arange(len(both)) >= len(flux)
    return good & ~beside_bright(position, both, both, is_bright)[: len(flux)]
