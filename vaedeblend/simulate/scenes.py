"""Scenes: which galaxies of a library lie where on a stamp.

A scene's first member is its central galaxy, within half a pixel of the stamp's centre. Four
kinds are drawn: isolated (no companion), standard (companions, whether they matter or not), blended
(companions that matter) and stratified (one companion, evenly over blended area and flux ratio).
Fields, which have no central galaxy, are sheets of sky with sources anywhere in and around them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vaedeblend.exceptions import SceneError
from vaedeblend.pixels.blending import blended_area, flux_ratio, footprints, purity
from vaedeblend.pixels.stamps import overlap
from vaedeblend.simulate.library import Library
from vaedeblend.survey import flux_to_magnitude

BM_1_EDGES = np.linspace(0.0, 1.0, 6)
FLUX_RATIO_EDGES = np.geomspace(0.1, 10.0, 7)
"""Cells of the complexity map, in blended area (BM_1) and flux ratio (FR)."""

_MAX_DRAWS = 10_000
_CELL_DRAWS = 100


class Scene(NamedTuple):
    """k members of a library and where they lie, central galaxy first."""

    members: Int[np.ndarray, " k"]
    """Entries of the library."""
    shift: Int[np.ndarray, "k 2"]
    """(y, x) from the stamp's centre to that of the entry's stamp [whole pixels]."""
    scale: Float[np.ndarray, " k"]
    """Factor of the entry's flux."""


def positions(library: Library, scene: Scene) -> Float[np.ndarray, "k 2"]:
    """(y, x) of the members from the stamp's centre [pixel]."""
    return scene.shift + library.phase[scene.members]


def compose(library: Library, scene: Scene, size: int) -> Float[np.ndarray, "k size size band"]:
    """Noise-free stamp of each member, in its place [uJy per pixel]; their sum is the scene.

    Raises:
        SceneError: A member's stamp does not cover the scene, or their centres cannot coincide.
    """
    side = library.stamps.shape[1]
    if (side - size) % 2 or abs(scene.shift).max() > (side - size) // 2:
        raise SceneError(
            f"a scene of {size} pixels with shifts up to {abs(scene.shift).max()} does not fit "
            f"library stamps of {side}; wanted sizes both even or odd, shifts within half the rest"
        )
    start = (side - size) // 2 - scene.shift
    return np.stack(
        [
            library.stamps[member, y : y + size, x : x + size] * np.float32(scale)
            for member, (y, x), scale in zip(scene.members, start, scene.scale, strict=True)
        ]
    )


def label(
    library: Library, scene: Scene, size: int, rms: Float[np.ndarray, " band"], n_sources: int
) -> dict:
    """A scene's light, that of its central galaxy alone, and their labels, as arrays.

    Args:
        library: Library of the members.
        scene: Members and where they lie.
        size: Side of the stamp [pixel].
        rms: Background rms, which sets the footprints [uJy per pixel].
        n_sources: Length of the members' axis, padded with zeros.
    """
    members = compose(library, scene, size)
    galaxies = library.galaxies.take(scene.members)
    scale = scene.scale[:, None]
    galaxies = galaxies._replace(
        flux_bulge=galaxies.flux_bulge * scale, flux_disk=galaxies.flux_disk * scale
    )
    footprint = footprints(members, rms)
    sources = {
        "id": library.id[scene.members],
        "position": positions(library, scene),
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
        "n_companions": np.int32(len(scene.members) - 1),
        "id": library.id[scene.members[0]],
        "sources": {name: _pad(value, n_sources) for name, value in sources.items()},
    }


def check_separation(
    key: str, farthest: float, pixel_scale: float, *, size: int, reach: int
) -> None:
    """Refuses companions that library stamps do not hold.

    Args:
        key: Name of the setting.
        farthest: Largest distance of a companion from the central galaxy [arcsec].
        pixel_scale: Side of a pixel [arcsec].
        size: Side of a scene [pixel].
        reach: Largest distance that there may be [pixel].

    Raises:
        SceneError: They are farther away.
    """
    pixels = round(farthest / pixel_scale, 6)
    if pixels > reach:
        raise SceneError(
            f"{key} is up to {farthest:g} arcsec, {pixels:.3g} pixels of "
            f"survey.pixel_scale {pixel_scale:g}; wanted at most {reach} pixels, "
            f"{reach * pixel_scale:.3g} arcsec, which library stamps hold round {size} pixels"
        )


def isolated(entry: int) -> Scene:
    """An entry of the library alone."""
    return _scene([entry], [(0, 0)])


def draw_neighbours(
    library: Library,
    rng: np.random.Generator,
    *,
    max_companions: int,
    separation: tuple[float, float],
    min_companions: int = 1,
) -> Scene:
    """A central galaxy and `min_companions` or more companions, blended with it or not.

    Args:
        library: Library of central galaxies and companions.
        rng: Source of randomness.
        max_companions: The number of companions is uniform from `min_companions` to this.
        separation: Range of distances from the central galaxy [pixel], uniform in area.
        min_companions: Least number of companions, 0 or more.

    Raises:
        SceneError: 10 000 draws held no shift of whole pixels within `separation`.
    """
    central = rng.choice(np.flatnonzero(library.central))
    n = rng.integers(min_companions, max_companions + 1)
    companions = rng.choice(np.flatnonzero(~library.central), n)
    shifts = [_shift(library, central, each, rng, separation) for each in companions]
    return _scene([central, *companions], [(0, 0), *shifts])


def draw_blended(
    library: Library,
    rng: np.random.Generator,
    *,
    size: int,
    max_companions: int,
    separation: tuple[float, float],
    max_purity: float,
) -> Scene:
    """Neighbours that matter: scenes are drawn until the central purity is below `max_purity`.

    The purity is that of the first band; the other arguments are those of `draw_neighbours`.

    Raises:
        SceneError: 10 000 draws held no such scene, or no shift within `separation`.
    """
    for _ in range(_MAX_DRAWS):
        scene = draw_neighbours(library, rng, max_companions=max_companions, separation=separation)
        if purity(compose(library, scene, size))[0] < max_purity:
            return scene
    raise SceneError(f"no scene of {_MAX_DRAWS} has a central purity below {max_purity}")


def draw_stratified(
    library: Library,
    rng: np.random.Generator,
    cell: tuple[int, int],
    *,
    size: int,
    min_separation: float,
    rms: Float[np.ndarray, " band"],
) -> Scene | None:
    """A pair whose blended area and flux ratio lie in a cell of the complexity map.

    The companion's flux is rescaled to a flux ratio uniform in logarithm over the cell; of the
    separations along a random direction one is chosen whose blended area lies in the cell.

    Args:
        library: Library of central galaxies and companions.
        rng: Source of randomness.
        cell: Index into `BM_1_EDGES` and `FLUX_RATIO_EDGES`.
        size: Side of the scene [pixel].
        min_separation: Least distance of the companion [pixel].
        rms: Background rms, which sets the footprints [uJy per pixel].

    Returns:
        None where 100 draws held no such pair.
    """
    for _ in range(_CELL_DRAWS):
        pair = _random_pair(library, rng, cell[1])
        scenes = _receding(library, pair, rng, size, min_separation)
        inside = [scene for scene in scenes if _in_area_bin(library, scene, size, rms, cell[0])]
        if inside:
            return inside[rng.integers(len(inside))]
    return None


def draw_field(
    library: Library,
    rng: np.random.Generator,
    entries: Int[np.ndarray, " n"],
    *,
    size: int,
    density: float,
) -> Scene:
    """Sources uniform over a sheet and over all around it from where their stamps reach it.

    Args:
        library: Library of the sources.
        rng: Source of randomness.
        entries: Entries of the library from which the sources are drawn with replacement.
        size: Side of the sheet [pixel].
        density: Mean number of sources a pixel.
    """
    reach = (size + library.stamps.shape[1]) // 2 - 1
    n = rng.poisson(density * (2 * reach + 1) ** 2)
    return _scene(rng.choice(entries, n), rng.integers(-reach, reach + 1, (n, 2)))


def compose_field(library: Library, scene: Scene, size: int) -> Float[np.ndarray, "size size band"]:
    """Noise-free light of all members on a sheet, of which their stamps may stick out [uJy/pixel].

    Raises:
        SceneError: The centres of sheet and stamps cannot coincide.
    """
    side, bands = library.stamps.shape[2:]
    if (side - size) % 2:
        raise SceneError(f"a sheet of {size} pixels, stamps of {side}; wanted both even or odd")
    light = np.zeros((size, size, bands), np.float32)
    for member, corner, scale in zip(
        scene.members, (size - side) // 2 + scene.shift, scene.scale, strict=True
    ):
        on_sheet, on_stamp = overlap(corner.tolist(), side, (size, size))
        light[on_sheet] += library.stamps[member][on_stamp] * np.float32(scale)
    return light


def feasible_cells(library: Library, seed: tuple[int, ...], **options) -> list[tuple[int, int]]:
    """Cells of the complexity map in which pairs occur; options are `draw_stratified`'s.

    Raises:
        SceneError: There are none.
    """
    cells = [
        cell
        for cell in np.ndindex(len(BM_1_EDGES) - 1, len(FLUX_RATIO_EDGES) - 1)
        if draw_stratified(library, np.random.default_rng((*seed, *cell)), cell, **options)
    ]
    if not cells:
        raise SceneError("no cell of the complexity map can be filled from this library")
    return cells


def _pad(values, n: int):
    """Values of k sources on an axis of length n, zeros after them."""
    values = np.asarray(values)
    values = values.astype(np.int64 if values.dtype.kind == "i" else np.float32)
    return np.pad(values, [(0, n - len(values))] + [(0, 0)] * (values.ndim - 1))


def _scene(members, shifts, scale=None) -> Scene:
    scale = np.ones(len(members)) if scale is None else np.asarray(scale)
    return Scene(np.asarray(members), np.asarray(shifts), scale)


def _shift(library, central, companion, rng, separation):
    """Whole-pixel shift that brings a companion to a random separation from the central."""
    low, high = separation
    for _ in range(_MAX_DRAWS):
        radius = np.sqrt(rng.uniform(low**2, high**2))
        angle = rng.uniform(0, 2 * np.pi)
        step = radius * np.array([np.sin(angle), np.cos(angle)])
        phases = library.phase[central] - library.phase[companion]
        shift = np.rint(step + phases).astype(int)
        # Rounding moves the companion by up to half a pixel, perhaps out of the range.
        if low <= np.hypot(*(shift - phases)) <= high:
            return shift
    raise SceneError(f"no whole pixels of {_MAX_DRAWS} draws lie {low:g} to {high:g} pixels apart")


def _random_pair(library: Library, rng, ratio_bin: int) -> Scene:
    central = rng.choice(np.flatnonzero(library.central))
    companion = rng.choice(np.flatnonzero(~library.central))
    low, high = np.log(FLUX_RATIO_EDGES[ratio_bin : ratio_bin + 2])
    ratio = np.exp(rng.uniform(low, high))
    flux = library.galaxies.flux[:, 0]
    scale = flux[central] / flux[companion] / ratio
    return _scene([central, companion], [(0, 0), (0, 0)], [1.0, scale])


def _receding(library, pair: Scene, rng, size, min_separation) -> Iterator[Scene]:
    """The pair with its companion ever farther out along one direction, a pixel at a time."""
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    reach = min(size, library.stamps.shape[1] - size) // 2
    phases = np.subtract(*library.phase[pair.members])
    for distance in np.arange(min_separation, reach):
        shift = np.rint(distance * direction + phases).astype(int)
        if np.hypot(*(shift - phases)) >= min_separation and abs(shift).max() <= reach:
            yield pair._replace(shift=np.array([(0, 0), shift]))


def _in_area_bin(library, scene: Scene, size, rms, area_bin: int) -> bool:
    area = blended_area(footprints(compose(library, scene, size), rms))[0]
    low, high = BM_1_EDGES[area_bin : area_bin + 2]
    return bool(area > 0 and low <= area and (area < high or area == high == 1))
