"""Simulated examples: from a catalogue to labelled noise-free stamps, one split at a time.

There is one function for each kind of example, which a configuration names (`EXAMPLES`), and
`canonical_galaxies`, from which a generator learns. Splits share no catalogue galaxy. Every library
entry and every scene draws from a generator seeded by (seed, split, purpose, index): an example
depends neither on who makes it nor on the others, and any part of a split can be made alone.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from astropy.table import QTable
from jaxtyping import Float

from vaedeblend.catalogues import sampling
from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.io.parallel import parallel_map
from vaedeblend.simulate import scenes
from vaedeblend.simulate.galaxies import canonical
from vaedeblend.simulate.galaxies.styles import find_style, of_split
from vaedeblend.simulate.library import Library, render_entries, render_library
from vaedeblend.simulate.render import (
    PsfFamily,
    PsfRecipe,
    add_noise,
    check_turns,
    psf_family,
)
from vaedeblend.survey import Survey

KINDS = ("galaxies", "isolated", "blended", "stratified", "standard", "fields")
SPLITS = ("train", "validation", "test")
Kind = Literal["galaxies", "isolated", "blended", "stratified", "standard", "fields"]
Split = Literal["train", "validation", "test"]
Make = Callable[[slice], Iterator[dict]]
"""Function from a part of a split to its examples: slice(None) for all of them."""

LIBRARY_SIZE = 128
"""Side of a library stamp [pixel]: holds a 64-pixel scene at shifts of up to 32 pixels."""
FIELD_SIZE = 192
"""Side of a sheet of sky [pixel]."""
_MAX_LIBRARY = 8192
_CHUNK = 64
"""Canonical galaxies that are drawn, and handed over, at a time."""
_POSE, _SCENE, _CELLS, _PSF, _CANONICAL, _NOISE = 3, 4, 5, 7, 8, 9
"""Purposes of random numbers; `sampling` has the others."""


class SceneRecipe(NamedTuple):
    """Scenes: a central galaxy and its companions on a stamp."""

    stamp_size: int = 64
    """[pixel]."""
    max_companions: int = 3
    """Most companions of blended and standard scenes."""
    separation: tuple[float, float] = (0.3, 3.0)
    """Companions' distance from the central galaxy [arcsec], uniform in area."""
    max_purity: float = 0.95
    """Highest purity of the central galaxy of blended scenes."""


class SheetRecipe(NamedTuple):
    """Sheets of sky, kind fields."""

    field_magnitude: tuple[float, float] = (19.0, 28.0)
    """Range of the sources."""
    field_density: float = 184.0
    """Sources per arcmin2; the default is EGG's of the default range."""
    field_star_fraction: float = 0.0
    """Share of the sources that are stars."""


class Recipe(NamedTuple):
    """Everything that decides on the examples of a kind and split."""

    survey: Survey
    """Bands, depth and PSF."""
    seed: int
    style: str = "analytic"
    """How galaxies are drawn (`galaxies.styles`)."""
    sample: sampling.SampleRecipe = sampling.SampleRecipe()
    psfs: PsfRecipe = PsfRecipe()
    scene: SceneRecipe = SceneRecipe()
    sheet: SheetRecipe = SheetRecipe()
    processes: int = 1
    """Processes that render side by side; changes no example."""


def make_recipe(survey: Survey, seed: int, *, style="analytic", processes=1, **options) -> Recipe:
    """The recipe of a configuration, which has the fields of all parts side by side.

    Args:
        survey: Bands, depth and PSF.
        seed: Root of everything random.
        style: How galaxies are drawn (`galaxies.styles`).
        processes: Processes that render side by side.
        options: Fields of `SampleRecipe`, `PsfRecipe`, `SceneRecipe` and `SheetRecipe`.

    Raises:
        TypeError: An option is none of those fields.
    """
    kinds = {name: Recipe.__annotations__[name] for name in ("sample", "psfs", "scene", "sheet")}
    parts = {
        name: kind(**{key: options.pop(key) for key in kind._fields if key in options})
        for name, kind in kinds.items()
    }
    if options:
        wanted = [key for kind in kinds.values() for key in kind._fields]
        raise TypeError(f"unexpected options {sorted(options)}; wanted some of {wanted}")
    return Recipe(survey, seed, style, **parts, processes=processes)


def examples(kind: Kind, split: Split, n: int, *, survey: Survey, **options) -> Iterator[dict]:
    """Yields the examples of one kind and split as dictionaries of arrays.

    Args:
        kind: galaxies (single galaxies on library stamps), fields (sheets of sky without labels),
            isolated, blended, stratified or standard scenes (blended before the cut on purity).
        split: train, validation or test.
        n: Number of scenes or sheets; of kind galaxies, number of central galaxies.
        survey: Bands, depth and PSF.
        options: Further arguments of `make_recipe`, the seed among them.

    Raises:
        CatalogueError: The catalogue cannot be read, a cut leaves nothing, or the shares of
            `populations` do not add up to 1.
        PsfError: A band's PSF cannot be used, or a number of galaxies or sheets is no multiple of
            `n_psfs`.
        SceneError: The library holds no scene of the kind.
        StyleError: There is no such style.
    """
    yield from prepare_examples(kind, split, n, survey=survey, **options)(slice(None))


def prepare_examples(kind: Kind, split: Split, n: int, *, survey: Survey, **options) -> Make:
    """The function that makes any part of what `examples` yields, of the same arguments.

    What all parts have in common, as the library of their scenes, is made here, once.
    """
    recipe = make_recipe(survey, **options)
    return EXAMPLES[kind](split, n, recipe._replace(style=of_split(recipe.style, split)))


def galaxy_examples(split: Split, n: int, recipe: Recipe) -> Make:
    """Single galaxies on library stamps: n central ones, then the recipe's companions."""
    words, sample, n_psfs = _words("galaxies", split, recipe), recipe.sample, recipe.psfs.n_psfs
    table = _catalogue(split, recipe, sample.faintest)
    family = _psfs(split, recipe, n)
    counts = n, sample.n_companions
    chosen = sampling.choose_galaxies(table, *counts, words, sample, n_groups=n_psfs)
    drawing = _drawing(*chosen, words, family.psfs, recipe)

    def make(part: slice) -> Iterator[dict]:
        # Half precision: 5e-4 of each pixel, under its Poisson noise, at half the memory.
        entries = render_entries(**drawing, part=part, dtype=np.float16)
        for i, entry in zip(range(sum(counts))[part], entries, strict=True):
            parameters = entry.galaxies.take(0)._asdict()
            yield {
                "stamp": entry.stamps[0],
                "psf": family.given[i % n_psfs],
                "correlation": family.correlation[i % n_psfs],
                "phase": entry.phase[0],
                "central": entry.central[0],
                "id": entry.id[0],
                **{name: np.float32(value) for name, value in parameters.items()},
            }

    return make


def isolated_examples(split: Split, n: int, recipe: Recipe) -> Make:
    """Scenes of a central galaxy alone; no more than a few library stamps are held at once."""
    drawing = _scene_galaxies("isolated", split, n, 0, recipe)
    alone = [scenes.isolated(0)]
    return lambda part: itertools.chain.from_iterable(
        _labelled(entry, alone, recipe) for entry in render_entries(**drawing, part=part)
    )


def blended_examples(split: Split, n: int, recipe: Recipe) -> Make:
    """Scenes whose companions make the central galaxy's purity less than the recipe's."""
    options = {"size": recipe.scene.stamp_size, "max_purity": recipe.scene.max_purity}
    return _crowded("blended", scenes.draw_blended, split, n, recipe, **options)


def standard_examples(split: Split, n: int, recipe: Recipe) -> Make:
    """Scenes of any number of companions, none included, whether they matter or not."""
    return _crowded("standard", scenes.draw_neighbours, split, n, recipe, min_companions=0)


def stratified_examples(split: Split, n: int, recipe: Recipe) -> Make:
    """Pairs, cell after cell of the complexity map; a cell that fails leaves its turn to the next.

    Raises:
        SceneError: The library fills no cell.
    """
    words = _words("stratified", split, recipe)
    library = _scene_library("stratified", split, n, recipe)
    least, rms = _pixels(recipe)[0], recipe.survey.rms
    options = {"size": recipe.scene.stamp_size, "min_separation": least, "rms": rms}
    cells = scenes.feasible_cells(library, (*words, _CELLS), **options)

    def drawn(i: int) -> scenes.Scene:
        rng = np.random.default_rng((*words, _SCENE, i))
        turns = (cells[(i + k) % len(cells)] for k in range(len(cells)))
        tried = (scenes.draw_stratified(library, rng, cell, **options) for cell in turns)
        return next(each for each in tried if each is not None)

    return lambda part: _labelled(library, map(drawn, range(n)[part]), recipe)


def field_examples(split: Split, n: int, recipe: Recipe) -> Make:
    """Sheets of sky without labels, each under a PSF of the recipe's family."""
    words, sheet, n_psfs = _words("fields", split, recipe), recipe.sheet, recipe.psfs.n_psfs
    scale = recipe.survey.pixel_scale.value
    table = _catalogue(split, recipe, sheet.field_magnitude[1])
    family = _psfs(split, recipe, n)
    density = sheet.field_density * scale**2 / 3600
    n_sources = _library_size(n * density * (FIELD_SIZE + LIBRARY_SIZE) ** 2, n_psfs)
    limits = sheet.field_magnitude, sheet.field_star_fraction
    chosen = sampling.choose_sources(table, n_sources, words, *limits)
    companions = np.full(n_sources, False)
    library = render_library(**_drawing(chosen, companions, words, family.psfs, recipe))

    def make(part: slice) -> Iterator[dict]:
        for i in range(n)[part]:
            entries = np.arange(i % n_psfs, n_sources, n_psfs)
            rng = np.random.default_rng((*words, _SCENE, i))
            drawn = scenes.draw_field(library, rng, entries, size=FIELD_SIZE, density=density)
            light = scenes.compose_field(library, drawn, FIELD_SIZE)
            yield {"sheet": light.astype(np.float16), "psf": family.given[i % n_psfs]}

    return make


EXAMPLES: Mapping[str, Callable[[str, int, Recipe], Make]] = MappingProxyType(
    {
        "galaxies": galaxy_examples,
        "isolated": isolated_examples,
        "blended": blended_examples,
        "stratified": stratified_examples,
        "standard": standard_examples,
        "fields": field_examples,
    }
)
"""The function of each of KINDS, `(split, n, recipe) -> make`."""


def canonical_galaxies(
    split: Split,
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
    """Yields galaxies in their rest frame (`canonical`), each with its conditions.

    Example i depends on the seed, the split and i alone; splits share no catalogue galaxy. All
    bands of a galaxy are added up.

    Args:
        split: train, validation or test.
        n: Number of galaxies.
        survey: Survey that names the bands.
        seed: Root of everything random.
        style: How galaxies are drawn (`galaxies.styles`).
        source: Catalogue file; empty for EGG.
        area: Sky sampled where EGG is the source [deg2].
        magnitude: Range of the galaxies.
        processes: Processes that draw side by side.

    Raises:
        CatalogueError: The catalogue cannot be read, or holds no galaxy of the range.
        StyleError: There is no such style.
    """
    find_style(style := of_split(style, split))  # before processes start
    words = (seed, SPLITS.index(split), _CANONICAL)
    sky = source, area, seed, survey.band_names, max(magnitude)
    table = sampling.split_population(split, *sky)
    chosen = sampling.choose_sources(table, n, words, magnitude, star_fraction=0.0)
    galaxies = make_galaxies(chosen)
    galaxies = galaxies.take(~galaxies.star)
    tasks = [(galaxies.take(slice(i, i + _CHUNK)), i) for i in range(0, len(galaxies.star), _CHUNK)]
    arguments = _canonical_chunk, style, words
    chunks = parallel_map(functools.partial, tasks, processes, *arguments)
    yield from itertools.chain.from_iterable(chunks)


def noisy(
    noise_free: Float[np.ndarray, "n height width band"], survey: Survey, seed: tuple[int, ...]
) -> Float[np.ndarray, "n height width band"]:
    """Noisy stamps [uJy per pixel]; the noise of stamp i depends on `seed` and i alone.

    The seed may be the words of an example's own: nothing else is drawn for this purpose.
    """
    stamps = (
        add_noise(stamp, survey, np.random.default_rng((*seed, _NOISE, i)))
        for i, stamp in enumerate(noise_free)
    )
    return np.stack(list(stamps))


def _words(kind: Kind, split: Split, recipe: Recipe) -> tuple[int, ...]:
    return recipe.seed, SPLITS.index(split), KINDS.index(kind)


def _catalogue(split: Split, recipe: Recipe, depth: float) -> QTable:
    """The catalogue galaxies of a split, to a magnitude; a bad style is refused before it."""
    find_style(recipe.style)
    sample, bands = recipe.sample, recipe.survey.band_names
    sky = sample.source, sample.area, recipe.seed, bands, depth
    return sampling.split_population(split, *sky)


def _psfs(split: Split, recipe: Recipe, n: int) -> PsfFamily:
    """The PSFs of a split, by turns those of n examples; galaxies and fields share a family."""
    check_turns(recipe.psfs.n_psfs, n=n, n_companions=recipe.sample.n_companions)
    words, size = _words("galaxies", split, recipe), recipe.scene.stamp_size
    return psf_family(recipe.survey, recipe.psfs, stamp_size=size, seed=(*words, _PSF))


def _drawing(chosen: QTable, central, words, psfs, recipe: Recipe) -> dict:
    """Arguments of `render_library` for rows of a catalogue."""
    return {
        "galaxies": make_galaxies(chosen),
        "ids": np.asarray(chosen["id"]),
        "central": central,
        "seed": (*words, _POSE),
        "psfs": psfs,
        "size": LIBRARY_SIZE,
        "pixel_scale": recipe.survey.pixel_scale.value,
        "style": recipe.style,
        "processes": recipe.processes,
    }


def _library_size(n_sources: float, n_psfs: int) -> int:
    """Entries for a mean number of sources: at most _MAX_LIBRARY, as many of each PSF."""
    return n_psfs * max(1, round(min(n_sources, _MAX_LIBRARY) / n_psfs))


def _scene_library(kind: Kind, split, n: int, recipe: Recipe) -> Library:
    """The library of which the scenes of a kind are composed: half of it central galaxies."""
    n_entries = min(n, _MAX_LIBRARY)
    return render_library(**_scene_galaxies(kind, split, n_entries, n_entries, recipe))


def _scene_galaxies(kind: Kind, split, n_central: int, n_other: int, recipe: Recipe) -> dict:
    """Arguments of `render_library` for the scenes of a kind, under the survey's own PSF."""
    words = _words(kind, split, recipe)
    table = _catalogue(split, recipe, recipe.sample.faintest)
    family = _psfs(split, recipe._replace(psfs=PsfRecipe()), n_central)
    sample = recipe.sample._replace(populations=())
    chosen = sampling.choose_galaxies(table, n_central, n_other, words, sample)
    return _drawing(*chosen, words, family.psfs, recipe)


def _pixels(recipe: Recipe) -> tuple[float, ...]:
    """Range of separations [pixel]."""
    return tuple(each / recipe.survey.pixel_scale.value for each in recipe.scene.separation)


def _crowded(kind: Kind, draw, split, n: int, recipe: Recipe, **options) -> Make:
    """Scenes of a central galaxy and up to `max_companions` others, as `draw` lays them."""
    scale, size = recipe.survey.pixel_scale.value, recipe.scene.stamp_size
    place = {"size": size, "reach": (LIBRARY_SIZE - size) // 2}
    scenes.check_separation("separation", max(recipe.scene.separation), scale, **place)
    words, library = _words(kind, split, recipe), _scene_library(kind, split, n, recipe)
    options |= {"max_companions": recipe.scene.max_companions, "separation": _pixels(recipe)}

    def drawn(i: int) -> scenes.Scene:
        return draw(library, np.random.default_rng((*words, _SCENE, i)), **options)

    return lambda part: _labelled(library, map(drawn, range(n)[part]), recipe)


def _labelled(library: Library, drawn: Iterable[scenes.Scene], recipe: Recipe) -> Iterator[dict]:
    size, n_sources = recipe.scene.stamp_size, 1 + recipe.scene.max_companions
    for scene in drawn:
        yield scenes.label(library, scene, size, recipe.survey.rms, n_sources)


def _canonical_chunk(style: str, words: tuple[int, ...], task: tuple[Galaxies, int]) -> list[dict]:
    galaxies, first = task
    make_light, made = find_style(style), []
    for i in range(len(galaxies.star)):
        galaxy = galaxies.take(i)
        stamp = canonical.canonical_stamp(make_light(galaxy, (*words, first + i)), galaxy)
        condition = canonical.describe(galaxy).astype(np.float32)
        made.append({"stamp": stamp.astype(np.float16), "condition": condition})
    return made
