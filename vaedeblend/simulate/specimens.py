"""Specimens: the galaxies, in their own frame, that a generator learns from."""

import functools
import multiprocessing
from collections.abc import Iterator

import numpy as np

from vaedeblend.catalogues import catalogue
from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.catalogues.sampling import choose_sources, population
from vaedeblend.simulate.canonical import describe, draw
from vaedeblend.simulate.styles import find_style
from vaedeblend.survey import Survey

_CHUNK = 64
_SPECIMEN = 8
"""Purpose of random numbers; `sampling` and `examples` have the others."""


def examples(
    split: str,
    n: int,
    *,
    survey: Survey,
    seed: int,
    style: str = "structured",
    source: str = "",
    area: float = 0.5,
    magnitude: tuple[float, float] = (20.0, 25.5),
    processes: int = 1,
) -> Iterator[dict]:
    """Yields the canonical stamps of one split, each with its conditions.

    Example i depends on the seed, the split and i alone; splits share no catalogue galaxy. All
    bands of a galaxy are added up.

    Args:
        split: train, validation or test.
        n: Number of galaxies.
        survey: Names the bands.
        seed: Of everything random.
        style: How galaxies are drawn (`styles`).
        source: Catalogue file; empty for EGG.
        area: Of sky sampled where EGG is the source [deg2].
        magnitude: Range of the galaxies.
        processes: That draw side by side.

    Raises:
        CatalogueError: The catalogue cannot be read, or holds no galaxy of the range.
        StyleError: There is no such style.
    """
    find_style(style)  # a worker that cannot start would be started again for ever
    words = (seed, list(catalogue.FRACTIONS).index(split), _SPECIMEN)
    table = population(source, area, seed, survey.band_names, max(magnitude))
    table = catalogue.split(table, split, seed)
    galaxies = make_galaxies(choose_sources(table, n, words, magnitude, star_fraction=0.0))
    galaxies = galaxies.take(~galaxies.star)
    tasks = [(galaxies.take(slice(i, i + _CHUNK)), i) for i in range(0, len(galaxies.star), _CHUNK)]
    make = functools.partial(_examples, style, words)
    if processes <= 1:
        chunks = map(make, tasks)
        yield from (example for chunk in chunks for example in chunk)
        return
    # Not fork: the parent may hold JAX's threads.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from (example for chunk in pool.imap(make, tasks) for example in chunk)


def _examples(style: str, words: tuple[int, ...], task: tuple[Galaxies, int]) -> list[dict]:
    galaxies, first = task
    make_light, made = find_style(style), []
    for i in range(len(galaxies.star)):
        galaxy = galaxies.take(i)
        stamp = draw(make_light(galaxy, (*words, first + i)), galaxy)
        condition = describe(galaxy).astype(np.float32)
        made.append({"stamp": stamp.astype(np.float16), "condition": condition})
    return made
