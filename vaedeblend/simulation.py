"""Simulated examples: from a catalogue to labelled noise-free stamps, one split at a time.

Splits share no catalogue galaxy. Every library entry and every scene draws from a generator seeded
by (seed, split, purpose, index): an example does not depend on how many processes made it, nor on
the examples before it.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from astropy.table import QTable, vstack
from jaxtyping import Float

from vaedeblend import catalogue, egg, scene
from vaedeblend.blending import blended_area, flux_ratio, footprints, purity
from vaedeblend.library import Library, render_library
from vaedeblend.render import Galaxies, add_noise, survey_psfs
from vaedeblend.survey import Survey, flux_to_magnitude

KINDS = ("galaxies", "isolated", "blended", "stratified")
SPLITS = ("train", "validation", "test")
Kind = Literal["galaxies", "isolated", "blended", "stratified"]
Split = Literal["train", "validation", "test"]

LIBRARY_SIZE = 128
"""Side of a library stamp [pixel]: holds a 64-pixel scene at shifts of up to 32 pixels."""

_MAX_LIBRARY = 8192
_STAR, _CENTRAL, _COMPANION, _POSE, _SCENE, _CELLS = range(6)


def examples(
    kind: Kind,
    split: Split,
    n: int,
    *,
    survey: Survey,
    seed: int,
    source: str = "",
    area: float = 1.5,
    selection: Mapping[str, tuple[float, float]] = catalogue.TALK_SELECTION,
    companion_magnitude: tuple[float, float] = (21.0, 26.0),
    n_companions: int = 0,
    star_fraction: float = 0.0,
    stamp_size: int = 64,
    max_companions: int = 3,
    separation: tuple[float, float] = (0.3, 3.0),
    max_purity: float = 0.95,
    processes: int = 1,
) -> Iterator[dict]:
    """Yields the examples of one split as dictionaries of arrays; see `features`.

    Args:
        kind: galaxies (single galaxies on library stamps), isolated, blended or stratified scenes.
        split: train, validation or test.
        n: Number of scenes; of kind galaxies, number of central galaxies.
        survey: Bands, depth and PSF.
        seed: Of everything random.
        source: Catalogue file; empty for EGG.
        area: Of sky sampled where EGG is the source [deg2].
        selection: Cuts on central galaxies (`catalogue.select`).
        companion_magnitude: Range of companions, which obey no other cut.
        n_companions: Companions after the n central galaxies of kind galaxies.
        star_fraction: Share of companions that are stars.
        stamp_size: Of scenes [pixel].
        max_companions: In blended scenes.
        separation: Of companions from the central galaxy [arcsec], uniform in area.
        max_purity: Of the central galaxy of blended scenes.
        processes: That render side by side.

    Raises:
        CatalogueError: The catalogue cannot be read, or a cut leaves nothing.
        PsfError: A band's PSF cannot be used.
        SceneError: The library holds no scene of the kind.
    """
    words = (seed, SPLITS.index(split), KINDS.index(kind))
    table = population(source, area, seed, survey.band_names)
    table = catalogue.split(table, split, seed)
    n_central = n if kind in ("galaxies", "isolated") else min(n, _MAX_LIBRARY)
    n_other = {"galaxies": n_companions, "isolated": 0}.get(kind, n_central)
    chosen, central = _choose(
        table, n_central, n_other, words, selection, companion_magnitude, star_fraction
    )
    library = render_library(
        make_galaxies(chosen),
        np.asarray(chosen["id"]),
        central,
        seed=(*words, _POSE),
        psfs=survey_psfs(survey, stamp_size),
        size=LIBRARY_SIZE,
        pixel_scale=survey.pixel_scale.value,
        processes=processes,
    )
    if kind == "galaxies":
        yield from (_galaxy(library, i) for i in range(len(library.id)))
        return
    pixels = tuple(s / survey.pixel_scale.value for s in separation)
    scenes = {
        "isolated": lambda: (scene.isolated(i) for i in range(n)),
        "blended": lambda: _blended(
            library, n, words, stamp_size, max_companions, pixels, max_purity
        ),
        "stratified": lambda: _stratified(library, n, words, stamp_size, pixels[0], survey.rms),
    }
    for drawn in scenes[kind]():
        yield _example(library, drawn, stamp_size, survey.rms, 1 + max_companions)


def noisy(
    noise_free: Float[np.ndarray, "n height width band"], survey: Survey, seed: tuple[int, ...]
) -> Float[np.ndarray, "n height width band"]:
    """Noisy stamps [uJy per pixel]; the noise of stamp i depends on `seed` and i alone."""
    stamps = (
        add_noise(stamp, survey, np.random.default_rng((*seed, i)))
        for i, stamp in enumerate(noise_free)
    )
    return np.stack(list(stamps))


@functools.lru_cache(maxsize=2)
def population(source: str, area: float, seed: int, bands: tuple[str, ...]) -> QTable:
    """The catalogue of a file, or EGG's of `area` deg2; kept, since every split reads it."""
    if source:
        return catalogue.read(source, bands)
    return egg.catalogue(area, seed=seed, bands=bands)


def make_galaxies(table: QTable) -> Galaxies:
    """A catalogue's galaxies as plain arrays in uJy, arcsec and deg."""
    units = {"flux": "uJy", "radius": "arcsec", "ratio": "", "angle": "deg"}
    columns = {}
    for name in Galaxies._fields:
        unit = next(unit for key, unit in units.items() if key in name)
        columns[name] = np.asarray(table[name].to_value(unit) if unit else table[name], float)
    return Galaxies(**columns)


def _choose(table, n_central, n_other, words, selection, companion_magnitude, star_fraction):
    """The catalogue rows to render, central galaxies first, and which those are.

    Every selected galaxy is used once before any is used again.
    """
    centrals = _cycle(catalogue.select(table, selection), n_central, (*words, _CENTRAL))
    if not n_other:
        return centrals, np.ones(n_central, bool)
    n_stars = round(star_fraction * n_other)
    others = catalogue.select(table, {"magnitude": tuple(companion_magnitude)})
    companions = _cycle(others, n_other - n_stars, (*words, _COMPANION))
    parts = [centrals, companions]
    if n_stars:
        rng = np.random.default_rng((*words, _STAR))
        bands = table.meta["bands"]
        parts.append(catalogue.stars(n_stars, rng, bands, tuple(companion_magnitude)))
    columns = ["id", *Galaxies._fields]
    chosen = vstack([part[columns] for part in parts], metadata_conflicts="silent")
    chosen.meta = dict(table.meta)  # vstack appends the tuples of band names to one another
    return chosen, np.arange(n_central + n_other) < n_central


def _cycle(table: QTable, n: int, seed) -> QTable:
    order = np.random.default_rng(seed).permutation(len(table))
    return table[np.resize(order, n)]


def _blended(library, n, words, size, max_companions, separation, max_purity):
    for i in range(n):
        yield scene.draw_blended(
            library,
            np.random.default_rng((*words, _SCENE, i)),
            size=size,
            max_companions=max_companions,
            separation=separation,
            max_purity=max_purity,
        )


def _stratified(library, n, words, size, min_separation, rms):
    """Cell after cell of the complexity map; a cell that fails once leaves its turn to the next."""
    options = {"size": size, "min_separation": min_separation, "rms": rms}
    cells = scene.feasible_cells(library, (*words, _CELLS), **options)
    if not cells:
        raise scene.SceneError("no cell of the complexity map can be filled from this library")
    for i in range(n):
        rng = np.random.default_rng((*words, _SCENE, i))
        turns = (cells[(i + k) % len(cells)] for k in range(len(cells)))
        drawn = (scene.draw_stratified(library, rng, cell, **options) for cell in turns)
        yield next(each for each in drawn if each is not None)


def _galaxy(library: Library, i: int) -> dict:
    return {
        # Half precision: 5e-4 of each pixel, well under its Poisson noise, at half the memory.
        "stamp": library.stamps[i].astype(np.float16),
        "phase": library.phase[i],
        "central": library.central[i],
        "id": library.id[i],
        **{name: np.float32(value) for name, value in library.galaxies.take(i)._asdict().items()},
    }


def _example(library: Library, drawn: scene.Scene, size, rms, n_sources) -> dict:
    members = scene.compose(library, drawn, size)
    galaxies = library.galaxies.take(drawn.members)
    scale = drawn.scale[:, None]
    galaxies = galaxies._replace(
        flux_bulge=galaxies.flux_bulge * scale, flux_disk=galaxies.flux_disk * scale
    )
    footprint = footprints(members, rms)
    sources = {
        "id": library.id[drawn.members],
        "position": scene.positions(library, drawn),
        **galaxies._asdict(),
    }
    return {
        "blend": members.sum(axis=0),
        "isolated": members[0],
        "flux": np.float32(galaxies.flux[0]),
        "magnitude": np.float32(flux_to_magnitude(galaxies.flux[0])),
        "purity": np.float32(purity(members)),
        "bm_1": np.float32(blended_area(footprint)),
        "flux_ratio": np.float32(flux_ratio(galaxies.flux, footprint)),
        "n_companions": np.int32(len(drawn.members) - 1),
        "id": library.id[drawn.members[0]],
        "sources": {name: _pad(value, n_sources) for name, value in sources.items()},
    }


def _pad(values, n: int):
    """Values of k sources on an axis of length n, zeros after them."""
    values = np.asarray(values)
    values = values.astype(np.int64 if values.dtype.kind == "i" else np.float32)
    return np.pad(values, [(0, n - len(values))] + [(0, 0)] * (values.ndim - 1))
