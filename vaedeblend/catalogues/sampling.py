"""Which galaxies of a catalogue, and which stars, are rendered: every row once before any again."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from astropy.table import QTable, vstack
from jaxtyping import Bool, Int

from vaedeblend.catalogues import catalogue, egg
from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import CatalogueError
from vaedeblend.io.folders.digest import kept_while_unchanged

Cuts = Mapping[str, tuple[float, float]]
"""Ranges of a catalogue's quantities, for `catalogue.select`."""
_STARS = "star_magnitude"
"""What stands for all cuts of a population of stars: the range of their magnitudes."""

_STAR, _CENTRAL, _COMPANION = range(3)
_POPULATION = 6
"""Purposes of random numbers; `examples` has the others."""


class SampleRecipe(NamedTuple):
    """Which galaxies of a catalogue are drawn, and which stars."""

    source: str = ""
    """Catalogue file; empty for EGG."""
    area: float = 1.5
    """Sky sampled where EGG is the source [deg2]."""
    selection: Cuts = catalogue.TALK_SELECTION
    """Cuts on central galaxies (`catalogue.select`)."""
    populations: Sequence[tuple[float, Cuts]] = ()
    """Shares and cuts of the populations of which the central galaxies of kind galaxies are a
    mixture; where there are any, they replace `selection`. One whose only cut is `star_magnitude`
    is of stars, uniform in magnitude over that range."""
    companion_magnitude: tuple[float, float] = (21.0, 26.0)
    """Range of companions, which obey no other cut."""
    n_companions: int = 0
    """Companions after the central galaxies of kind galaxies."""
    star_fraction: float = 0.0
    """Share of companions that are stars."""

    @property
    def faintest(self) -> float:
        """Magnitude to which a catalogue holds all that is asked of it."""
        cuts = self.selection, *(cuts for _, cuts in self.populations)
        ends = [each["magnitude"][1] for each in cuts if "magnitude" in each]
        return max([egg.FAINTEST, self.companion_magnitude[1], *ends])


@kept_while_unchanged(maxsize=2)
def population(
    source: str,
    area: float,
    seed: int,
    bands: tuple[str, ...],
    magnitude_limit: float = egg.FAINTEST,
) -> QTable:
    """The catalogue of a file, or EGG's of `area` deg2; kept, since every split reads it."""
    if source:
        return catalogue.read(source, bands)
    return egg.catalogue(area, seed=seed, magnitude_limit=magnitude_limit, bands=bands)


def split_population(
    split: str,
    source: str,
    area: float,
    seed: int,
    bands: tuple[str, ...],
    magnitude_limit: float = egg.FAINTEST,
) -> QTable:
    """The galaxies of `population` that belong to a split, `catalogue.split`."""
    table = population(source, area, seed, bands, magnitude_limit)
    return catalogue.split(table, split, seed)


def choose_galaxies(
    table: QTable,
    n_central: int,
    n_other: int,
    words: tuple[int, ...],
    recipe: SampleRecipe,
    n_groups: int = 1,
) -> tuple[QTable, Bool[np.ndarray, " n"]]:
    """The rows to render, central galaxies first, and which those are.

    Args:
        table: Catalogue of a split.
        n_central: Number of central galaxies.
        n_other: Number of companions.
        words: Words of the seed.
        recipe: Cuts on central galaxies and companions.
        n_groups: Number of groups, row i being of group i % n_groups; all groups hold the same
            mixture of populations.

    Raises:
        CatalogueError: A cut leaves nothing, or shares do not add up to 1.
    """
    if recipe.populations:
        centrals = _mixture(table, n_central, words, recipe.populations, n_groups)
    else:
        centrals = _cycle(catalogue.select(table, recipe.selection), n_central, (*words, _CENTRAL))
    if not n_other:
        return centrals, np.ones(n_central, bool)
    limits = recipe.companion_magnitude, recipe.star_fraction
    companions = choose_sources(table, n_other, words, *limits)
    return _stack([centrals, companions], table), np.arange(n_central + n_other) < n_central


def choose_sources(
    table: QTable,
    n: int,
    words: tuple[int, ...],
    magnitude: tuple[float, float],
    star_fraction: float,
) -> QTable:
    """Rows of a range of magnitudes, the last `star_fraction` of them stars."""
    n_stars = round(star_fraction * n)
    galaxies = catalogue.select(_galaxies(table), {"magnitude": tuple(magnitude)})
    parts = [_cycle(galaxies, n - n_stars, (*words, _COMPANION))]
    if n_stars:
        rng = np.random.default_rng((*words, _STAR))
        parts.append(catalogue.stars(n_stars, rng, table.meta["bands"], tuple(magnitude)))
    return _stack(parts, table)


def _mixture(table, n: int, words, populations, n_groups: int) -> QTable:
    shares = np.array([share for share, _ in populations])
    if shares.min() < 0 or not np.isclose(shares.sum(), 1):
        found = f"shares {shares.tolist()} that add up to {shares.sum():g}"
        raise CatalogueError(f"populations of {found}; wanted none negative, and a sum of 1")
    table = _galaxies(table)
    label = _interleaved(shares, -(-n // n_groups)).repeat(n_groups)[:n]
    parts = [
        _members(table, cuts, int((label == k).sum()), (*words, _POPULATION, k))
        for k, (_, cuts) in enumerate(populations)
    ]
    # Row i of the mixture is the next one of its population.
    return _stack(parts, table)[np.argsort(np.argsort(label, kind="stable"))]


def _galaxies(table: QTable) -> QTable:
    """A catalogue without its own stars, which have radii of 0, too."""
    return table[np.asarray(table["id"]) >= 0]


def _members(table, cuts: Cuts, n: int, seed) -> QTable:
    """Stars, or the galaxies that pass the cuts, of one population."""
    if set(cuts) == {_STARS}:
        rng = np.random.default_rng(seed)
        return catalogue.stars(n, rng, table.meta["bands"], tuple(cuts[_STARS]))
    return _cycle(catalogue.select(table, cuts), n, seed)


def _interleaved(shares, n: int) -> Int[np.ndarray, " n"]:
    """Indices into `shares`; any first k of them hold each as often as its share of k."""
    counts = np.zeros(len(shares))
    indices = np.empty(n, int)
    for i in range(n):
        indices[i] = np.argmax(shares * (i + 1) - counts)
        counts[indices[i]] += 1
    return indices


def _cycle(table: QTable, n: int, seed) -> QTable:
    order = np.random.default_rng(seed).permutation(len(table))
    return table[np.resize(order, n)]


def _stack(parts: list[QTable], table: QTable) -> QTable:
    columns = ["id", *Galaxies._fields]
    chosen = vstack([part[columns] for part in parts], metadata_conflicts="silent")
    chosen.meta = dict(table.meta)  # vstack appends the tuples of band names to one another
    return chosen
