"""Simulated examples: from a catalogue to labelled noise-free stamps, one split at a time.

Splits share no catalogue galaxy. Every library entry and every scene draws from a generator seeded
by (seed, split, purpose, index): an example does not depend on how many processes made it, nor on
the examples before it.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from vaedeblend.catalogues import catalogue
from vaedeblend.catalogues.galaxies import make_galaxies
from vaedeblend.catalogues.sampling import choose_galaxies, choose_sources, population
from vaedeblend.exceptions import PsfError, SceneError
from vaedeblend.pixels.blending import blended_area, flux_ratio, footprints, purity
from vaedeblend.pixels.psf import Psf
from vaedeblend.simulate import scenes
from vaedeblend.simulate.library import Library, render_library
from vaedeblend.simulate.render import add_noise, psf_family, resampled_psfs
from vaedeblend.simulate.styles import find_style
from vaedeblend.survey import Survey, flux_to_magnitude

KINDS = ("galaxies", "isolated", "blended", "stratified", "standard", "fields")
SPLITS = ("train", "validation", "test")
Kind = Literal["galaxies", "isolated", "blended", "stratified", "standard", "fields"]
Split = Literal["train", "validation", "test"]

LIBRARY_SIZE = 128
"""Side of a library stamp [pixel]: holds a 64-pixel scene at shifts of up to 32 pixels."""
FIELD_SIZE = 192
"""Side of a sheet of sky [pixel]."""
_MAX_LIBRARY = 8192
_POSE, _SCENE, _CELLS, _PSF = 3, 4, 5, 7
"""Purposes of random numbers; `sampling` has the others."""


def examples(
    kind: Kind,
    split: Split,
    n: int,
    *,
    survey: Survey,
    seed: int,
    style: str = "analytic",
    source: str = "",
    area: float = 1.5,
    selection: Mapping[str, tuple[float, float]] = catalogue.TALK_SELECTION,
    populations: Sequence[tuple[float, Mapping[str, tuple[float, float]]]] = (),
    companion_magnitude: tuple[float, float] = (21.0, 26.0),
    n_companions: int = 0,
    star_fraction: float = 0.0,
    stamp_size: int = 64,
    max_companions: int = 3,
    separation: tuple[float, float] = (0.3, 3.0),
    max_purity: float = 0.95,
    n_psfs: int = 1,
    psf_fwhm: tuple[float, float] = (0.15, 0.25),
    psf_default_share: float = 0.25,
    field_magnitude: tuple[float, float] = (19.0, 28.0),
    field_density: float = 184.0,
    field_star_fraction: float = 0.0,
    processes: int = 1,
) -> Iterator[dict]:
    """Yields the examples of one split as dictionaries of arrays; see `features`.

    Args:
        kind: galaxies (single galaxies on library stamps), fields (sheets of sky without labels),
            isolated, blended, stratified or standard scenes (blended before the cut on purity).
        split: train, validation or test.
        n: Number of scenes or sheets; of kind galaxies, number of central galaxies.
        survey: Bands, depth and PSF.
        seed: Of everything random.
        style: How galaxies are drawn (`styles`).
        source: Catalogue file; empty for EGG.
        area: Of sky sampled where EGG is the source [deg2].
        selection: Cuts on central galaxies (`catalogue.select`).
        populations: Of kind galaxies: shares and cuts of the populations of which the central
            galaxies are a mixture; where there are any, they replace `selection`.
        companion_magnitude: Range of companions, which obey no other cut.
        n_companions: Companions after the n central galaxies of kind galaxies.
        star_fraction: Share of companions that are stars.
        stamp_size: Of scenes [pixel].
        max_companions: In blended and standard scenes.
        separation: Of companions from the central galaxy [arcsec], uniform in area.
        max_purity: Of the central galaxy of blended scenes.
        n_psfs: Of kinds galaxies and fields: example i has PSF i % n_psfs of one `psf_family`.
        psf_fwhm: Range of that family, before the pixel's response [arcsec].
        psf_default_share: Share of the survey's own PSF in it.
        field_magnitude: Range of a field's sources.
        field_density: Of a field's sources [arcmin^-2]; the default is EGG's of the default range.
        field_star_fraction: Share of a field's sources that are stars.
        processes: That render side by side.

    Raises:
        CatalogueError: The catalogue cannot be read, a cut leaves nothing, or the shares of
            `populations` do not add up to 1.
        PsfError: A band's PSF cannot be used, or a number of galaxies or sheets is no multiple of
            `n_psfs`.
        SceneError: The library holds no scene of the kind.
        StyleError: There is no such style.
    """
    find_style(style)
    words = (seed, SPLITS.index(split), KINDS.index(kind))
    scale = survey.pixel_scale.value
    depth = _depth(kind, populations, field_magnitude)
    table = population(source, area, seed, survey.band_names, depth)
    table = catalogue.split(table, split, seed)
    n_psfs = n_psfs if kind in ("galaxies", "fields") else 1
    _check_multiples(n_psfs, n, n_companions)
    psfs = psf_family(
        survey,
        n_psfs,
        fwhm=psf_fwhm,
        default_share=psf_default_share,
        stamp_size=stamp_size,
        seed=(*words[:2], KINDS.index("galaxies"), _PSF),  # galaxies and fields share a family
    )
    if kind == "fields":
        density = field_density * scale**2 / 3600
        n_sources = _library_size(n * density * (FIELD_SIZE + LIBRARY_SIZE) ** 2, n_psfs)
        chosen = choose_sources(table, n_sources, words, field_magnitude, field_star_fraction)
        central = np.full(n_sources, False)
    else:
        n_central = n if kind in ("galaxies", "isolated") else min(n, _MAX_LIBRARY)
        chosen, central = choose_galaxies(
            table,
            n_central,
            {"galaxies": n_companions, "isolated": 0}.get(kind, n_central),
            words,
            selection=selection,
            populations=populations if kind == "galaxies" else (),
            companion_magnitude=companion_magnitude,
            star_fraction=star_fraction,
            n_groups=n_psfs,
        )
    library = render_library(
        make_galaxies(chosen),
        np.asarray(chosen["id"]),
        central,
        seed=(*words, _POSE),
        psfs=psfs,
        size=LIBRARY_SIZE,
        pixel_scale=scale,
        style=style,
        processes=processes,
        # Half precision: 5e-4 of each pixel, under its Poisson noise, at half the memory.
        dtype=np.float16 if kind == "galaxies" else np.float32,
    )
    if kind == "galaxies":
        yield from _galaxies(library, _native(psfs, scale))
    elif kind == "fields":
        yield from _fields(library, n, words, _native(psfs, scale), density)
    else:
        pixels = tuple(s / scale for s in separation)
        drawn = _scenes(
            kind, library, n, words, stamp_size, max_companions, pixels, max_purity, survey.rms
        )
        for each in drawn:
            yield _example(library, each, stamp_size, survey.rms, 1 + max_companions)


def noisy(
    noise_free: Float[np.ndarray, "n height width band"], survey: Survey, seed: tuple[int, ...]
) -> Float[np.ndarray, "n height width band"]:
    """Noisy stamps [uJy per pixel]; the noise of stamp i depends on `seed` and i alone."""
    stamps = (
        add_noise(stamp, survey, np.random.default_rng((*seed, i)))
        for i, stamp in enumerate(noise_free)
    )
    return np.stack(list(stamps))


def _depth(kind: str, populations, field_magnitude) -> float:
    """Faintest magnitude that a kind of examples asks the catalogue for."""
    if kind == "fields":
        return field_magnitude[1]
    asked = [cuts["magnitude"][1] for _, cuts in populations if "magnitude" in cuts]
    return max([26.0, *asked]) if kind == "galaxies" else 26.0


def _check_multiples(n_psfs: int, n: int, n_companions: int) -> None:
    if n % n_psfs or n_companions % n_psfs:
        found = f"n = {n} and n_companions = {n_companions}"
        raise PsfError(f"{found} of n_psfs = {n_psfs}; wanted multiples of it")


def _library_size(n_sources: float, n_psfs: int) -> int:
    """Entries for a mean number of sources: at most 8192, as many of each PSF."""
    return n_psfs * max(1, round(min(n_sources, _MAX_LIBRARY) / n_psfs))


def _native(psfs: Sequence[tuple[Psf, ...]], scale) -> Float[np.ndarray, "n side side band"]:
    return np.stack([resampled_psfs(each, scale) for each in psfs])


def _scenes(kind, library, n, words, size, max_companions, separation, max_purity, rms):
    if kind == "isolated":
        yield from map(scenes.isolated, range(n))
    elif kind == "stratified":
        yield from _stratified(library, n, words, size, separation[0], rms)
    else:
        options = {"max_companions": max_companions, "separation": separation}
        if kind == "standard":
            draw, options["min_companions"] = scenes.draw_neighbours, 0
        else:
            draw, options = scenes.draw_blended, options | {"size": size, "max_purity": max_purity}
        for i in range(n):
            yield draw(library, np.random.default_rng((*words, _SCENE, i)), **options)


def _stratified(library, n, words, size, min_separation, rms):
    """Cell after cell of the complexity map; a cell that fails once leaves its turn to the next."""
    options = {"size": size, "min_separation": min_separation, "rms": rms}
    cells = scenes.feasible_cells(library, (*words, _CELLS), **options)
    if not cells:
        raise SceneError("no cell of the complexity map can be filled from this library")
    for i in range(n):
        rng = np.random.default_rng((*words, _SCENE, i))
        turns = (cells[(i + k) % len(cells)] for k in range(len(cells)))
        drawn = (scenes.draw_stratified(library, rng, cell, **options) for cell in turns)
        yield next(each for each in drawn if each is not None)


def _galaxies(library: Library, psfs) -> Iterator[dict]:
    for i, psf in zip(range(len(library.id)), itertools.cycle(psfs)):
        parameters = library.galaxies.take(i)._asdict()
        yield {
            "stamp": library.stamps[i],
            "psf": psf,
            "phase": library.phase[i],
            "central": library.central[i],
            "id": library.id[i],
            **{name: np.float32(value) for name, value in parameters.items()},
        }


def _fields(library: Library, n, words, psfs, density) -> Iterator[dict]:
    for i in range(n):
        entries = np.arange(i % len(psfs), len(library.id), len(psfs))
        rng = np.random.default_rng((*words, _SCENE, i))
        drawn = scenes.draw_field(library, rng, entries, size=FIELD_SIZE, density=density)
        sheet = scenes.compose_field(library, drawn, FIELD_SIZE)
        yield {"sheet": sheet.astype(np.float16), "psf": psfs[i % len(psfs)]}


def _example(library: Library, drawn: scenes.Scene, size, rms, n_sources) -> dict:
    members = scenes.compose(library, drawn, size)
    galaxies = library.galaxies.take(drawn.members)
    scale = drawn.scale[:, None]
    galaxies = galaxies._replace(
        flux_bulge=galaxies.flux_bulge * scale, flux_disk=galaxies.flux_disk * scale
    )
    footprint = footprints(members, rms)
    sources = {
        "id": library.id[drawn.members],
        "position": scenes.positions(library, drawn),
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
