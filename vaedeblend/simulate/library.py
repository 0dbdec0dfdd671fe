"""Libraries of single galaxies, each rendered once, from which any number of scenes is composed.

Every entry is a galaxy at a random angle and a random sub-pixel phase on a stamp larger than a
scene. Whole-pixel shifts of such stamps are exact, which Fourier shifts of undersampled images are
not, and the random phases make the positions of a scene's galaxies continuous all the same.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import QTable
from jaxtyping import Bool, Float, Int
from scipy.special import gammaincc

from vaedeblend.catalogues import catalogue, egg
from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.io.parallel import parallel_map
from vaedeblend.pixels.blending import purity
from vaedeblend.pixels.psf import Psf, read_psf
from vaedeblend.pixels.stamps import overlap
from vaedeblend.simulate.render import make_draw, survey_psfs
from vaedeblend.survey import Survey, flux_to_magnitude, inside

STAMP_SIZES = (64, 128, 256, 512)
"""Sides of the stamps on which a field's sources are rendered [pixel]."""
FIELD_MARGIN = STAMP_SIZES[-1] // 2 - 1
"""Width of the margin about a field from which the largest of those stamps reach it [pixel]."""
MAX_RADIUS = 4.0
"""Half-light radii above this are rendered as this [arcsec]: no stamp holds such galaxies, and
their Fourier transforms fill gigabytes."""

_CORE = 64
"""Side of the part of a source within which its purity is measured [pixel]."""
_SAMPLED = 0.1
"""Area of the catalogue from which `random_sources` takes galaxies [deg2]."""
_PLACE, _POSE, _CHOICE, _CHOSEN_POSE, _STARS, _STAR_POSE = 3, 4, 21, 23, 25, 26
"""Purposes of random numbers; `fields` and `evaluate.added` have the others."""
_CHUNK = 64 * 128**2
"""Pixels of the stamps that are rendered, and handed over, at a time; at most 64 stamps."""
_LOST = 0.005
"""Share of a source's light that may lie beyond its stamp."""


class Library(NamedTuple):
    """n galaxies rendered alone, without noise."""

    stamps: Float[np.ndarray, "n side side band"]
    """[uJy per pixel]."""
    phase: Float[np.ndarray, "n 2"]
    """(y, x) of the galaxy from the stamp's centre, within half a pixel."""
    central: Bool[np.ndarray, " n"]
    """Whether the entry may be a scene's central galaxy; the others are companions."""
    id: Int[np.ndarray, " n"]
    """Ids in the catalogue; negative for stars."""
    galaxies: Galaxies
    """Parameters as rendered: position angles include the entry's rotation."""


class PlacedSources(NamedTuple):
    """n sources as they lie on and around a field."""

    id: Int[np.ndarray, " n"]
    """Ids in the catalogue; negative for stars."""
    galaxies: Galaxies
    """Parameters as rendered."""
    pixel: Int[np.ndarray, "n 2"]
    """(y, x) of the pixel whose first corner, half a pixel below its centre, is nearest."""
    phase: Float[np.ndarray, "n 2"]
    """(y, x) from that corner, within half a pixel."""

    @property
    def position(self) -> Float[np.ndarray, "n 2"]:
        """(y, x) on the field [0-based pixels]."""
        return self.pixel - 0.5 + self.phase

    @property
    def magnitude(self) -> Float[np.ndarray, " n"]:
        """AB magnitude of the first band."""
        return flux_to_magnitude(self.galaxies.flux[:, 0])

    def on_image(self, shape: tuple[int, int]) -> Bool[np.ndarray, " n"]:
        """Whether a source's centre lies on the field."""
        return inside(self.position, shape)


class _Task(NamedTuple):
    first: int
    galaxies: Galaxies
    phase: np.ndarray
    seeds: Sequence[tuple[int, ...]]
    dtype: type[np.floating]


def render_library(
    galaxies: Galaxies,
    ids: Int[np.ndarray, " n"],
    central: Bool[np.ndarray, " n"],
    *,
    seed: tuple[int, ...],
    psfs: Sequence[tuple[Psf, ...]],
    size: int,
    pixel_scale: float,
    style: str = "analytic",
    processes: int = 1,
    dtype: type[np.floating] = np.float32,
) -> Library:
    """Renders each galaxy once; angle, phase and structure depend on `seed` and its index only.

    Args:
        galaxies: One an entry; a galaxy may appear in several.
        ids: Ids in the catalogue.
        central: Entries that may be central galaxies.
        seed: Words of the seed; the entry's index is appended.
        psfs: PSFs, one a band each, taken by turns: entry i is drawn with `psfs[i % len(psfs)]`.
        size: Side of the stamps [pixel].
        pixel_scale: Side of a pixel [arcsec].
        style: How the galaxies are drawn (`galaxies.styles`).
        processes: Processes that render side by side.
        dtype: Type of the stamps.

    Raises:
        StyleError: There is no such style.
    """
    drawing = {"psfs": psfs, "pixel_scale": pixel_scale, "style": style, "processes": processes}
    entries = render_entries(galaxies, ids, central, seed=seed, size=size, dtype=dtype, **drawing)
    stamps = np.empty((len(ids), size, size, len(psfs[0])), dtype)
    for i, entry in enumerate(entries):
        stamps[i] = entry.stamps[0]
    turned, phase = random_poses(galaxies, seed)
    return Library(stamps, phase, np.asarray(central), np.asarray(ids), turned)


def render_entries(
    galaxies: Galaxies,
    ids: Int[np.ndarray, " n"],
    central: Bool[np.ndarray, " n"],
    *,
    seed: tuple[int, ...],
    psfs: Sequence[tuple[Psf, ...]],
    part: slice = slice(None),
    **drawing,
) -> Iterator[Library]:
    """Yields the entries of `render_library`, each a library, of which only a few are held at once.

    Args:
        galaxies: One an entry; a galaxy may appear in several.
        ids: Ids in the catalogue.
        central: Entries that may be central galaxies.
        seed: Words of the seed; the entry's index is appended.
        psfs: PSFs, one a band each, taken by turns: entry i is drawn with `psfs[i % len(psfs)]`.
        part: Which of the entries, one after the other; they are the same in any part.
        **drawing: Further options of `render_library`.

    Raises:
        StyleError: There is no such style.
    """
    numbers, central, ids = range(len(ids))[part], central[part], ids[part]
    first = numbers.start
    turned, phase = random_poses(galaxies.take(part), seed, first)
    seeds = [(*seed, i) for i in numbers]
    psfs = [psfs[i % len(psfs)] for i in range(first, first + min(len(numbers), len(psfs)))]
    for i, stamp in enumerate(render_stamps(turned, phase, seeds=seeds, psfs=psfs, **drawing)):
        one = slice(i, i + 1)
        yield Library(stamp[None], phase[one], central[one], ids[one], turned.take(one))


def random_poses(
    galaxies: Galaxies, seed: tuple[int, ...], first: int = 0
) -> tuple[Galaxies, Float[np.ndarray, "n 2"]]:
    """The galaxies at random angles, and their random phases within half a pixel.

    Those of galaxy i depend on `seed` and `first` + i alone.
    """
    n = len(galaxies.flux_disk)
    poses = np.array([np.random.default_rng((*seed, first + i)).random(3) for i in range(n)])
    rotation = 180 * poses.reshape(n, 3)[:, 0]
    turned = galaxies._replace(
        bulge_position_angle=galaxies.bulge_position_angle + rotation,
        disk_position_angle=galaxies.disk_position_angle + rotation,
    )
    return turned, (poses.reshape(n, 3)[:, 1:] - 0.5).astype(np.float32)


def render_stamps(
    galaxies: Galaxies,
    phase: Float[np.ndarray, "n 2"],
    *,
    seeds: Sequence[tuple[int, ...]],
    psfs: Sequence[tuple[Psf, ...]],
    size: int,
    pixel_scale: float,
    style: str = "analytic",
    processes: int = 1,
    dtype: type[np.floating] = np.float32,
) -> Iterator[Float[np.ndarray, "size size band"]]:
    """Yields the stamp of each galaxy in order, of which only a few are held at a time.

    Args:
        galaxies: Parameters of the galaxies as they are to be seen.
        phase: Place (y, x) from the stamp's centre [pixel].
        seeds: Words of each galaxy's own, for what its style leaves to chance.
        psfs: PSFs, one a band each, taken by turns: galaxy i is drawn with `psfs[i % len(psfs)]`.
        size: Side of the stamps [pixel].
        pixel_scale: Side of a pixel [arcsec].
        style: How the galaxies are drawn (`galaxies.styles`).
        processes: Processes that render side by side.
        dtype: Type of the stamps, to which they are cast where rendered, half precision being slow.

    Raises:
        StyleError: There is no such style.
    """
    chunk = max(1, min(64, _CHUNK // size**2))
    tasks = [
        _Task(i, galaxies.take(part := slice(i, i + chunk)), phase[part], seeds[part], dtype)
        for i in range(0, len(phase), chunk)
    ]
    drawing = {"size": size, "pixel_scale": pixel_scale, "style": style}
    for stamps in parallel_map(_make_render, tasks, processes, psfs, drawing):
        yield from stamps


def place_sources(tables: list[QTable], shape: tuple[int, int], seed: int) -> PlacedSources:
    """All rows of catalogues, uniform over a field and its margin, at random angles."""
    ids = np.concatenate([np.asarray(table["id"]) for table in tables])
    galaxies = Galaxies(*map(np.concatenate, zip(*map(make_galaxies, tables), strict=True)))
    galaxies = galaxies._replace(
        bulge_half_light_radius=galaxies.bulge_half_light_radius.clip(max=MAX_RADIUS),
        disk_half_light_radius=galaxies.disk_half_light_radius.clip(max=MAX_RADIUS),
    )
    turned, phase = random_poses(galaxies, (seed, _POSE))
    rng = np.random.default_rng((seed, _PLACE))
    pixel = rng.integers(-FIELD_MARGIN, np.add(shape, FIELD_MARGIN + 1), (len(ids), 2))
    return PlacedSources(ids, turned, pixel, phase)


def random_sources(
    n: int,
    magnitude: tuple[float, float],
    shape: tuple[int, int],
    bands: tuple[str, ...],
    seed: int,
) -> PlacedSources:
    """Galaxies by EGG's prescriptions within a range of magnitude, evenly over a field.

    Each galaxy of the catalogue is taken once before any is taken again.
    """
    table = _sampled(seed, max(egg.FAINTEST, magnitude[1]), bands)
    table = catalogue.select(table, {"magnitude": magnitude})
    rng = np.random.default_rng((seed, _CHOICE))
    chosen = table[np.resize(rng.permutation(len(table)), n)]
    galaxies, phase = random_poses(make_galaxies(chosen), (seed, _CHOSEN_POSE))
    return PlacedSources(np.arange(n), galaxies, rng.integers(0, shape, (n, 2)), phase)


@functools.lru_cache(maxsize=2)
def _sampled(seed: int, faintest: float, bands: tuple[str, ...]) -> QTable:
    """By the embedded sampler, whether or not EGG is there: fluxes of images are corrected so."""
    return egg.sample(_SAMPLED, np.random.default_rng(seed), faintest, bands)


def random_stars(
    n: int,
    magnitude: tuple[float, float],
    shape: tuple[int, int],
    bands: tuple[str, ...],
    seed: int,
) -> PlacedSources:
    """Stars of a uniform distribution of magnitudes, evenly over a field; numbers from -1 down."""
    rng = np.random.default_rng((seed, _STARS))
    table = make_galaxies(catalogue.stars(n, rng, bands, magnitude))
    points, phase = random_poses(table, (seed, _STAR_POSE))
    return PlacedSources(-1 - np.arange(n), points, rng.integers(0, shape, (n, 2)), phase)


def field_psfs(survey: Survey, path: str | Path | None = None, **scales) -> tuple[Psf, ...]:
    """PSFs under which a field is rendered: the survey's own, or the one of a file.

    Args:
        survey: Bands and pixels.
        path: FITS file of one band's PSF.
        **scales: Samplings of the PSF image, as `psf.read_psf` takes them [arcsec].
    """
    if path is None:
        return survey_psfs(survey, STAMP_SIZES[-1])
    return (read_psf(path, **scales),)


def render_sources(
    sources: PlacedSources,
    shape: tuple[int, int],
    psfs: tuple[Psf, ...],
    pixel_scale: float,
    *,
    style: str = "analytic",
    seed: int = 0,
    processes: int = 1,
) -> tuple[Float[np.ndarray, "height width band"], Float[np.ndarray, "n band"]]:
    """Noise-free light [uJy per pixel], and the purity of each source centred on the image.

    The structure of source i depends on `seed` and i alone. A purity is that of the 64 pixels about
    the source as far as they lie on the image; NaN for sources off it.
    """
    light = np.zeros((*shape, len(psfs)), np.float32)
    seen = sources.on_image(shape)
    sizes = stamp_sizes(sources.galaxies, psfs, pixel_scale, STAMP_SIZES)
    drawing = {"psfs": [psfs], "pixel_scale": pixel_scale, "style": style, "processes": processes}
    flux = sources.galaxies.flux.astype(np.float32)
    cores = []
    for size in STAMP_SIZES:
        reaching = (abs(2 * sources.pixel - shape) < np.add(shape, size)).all(axis=1)
        members = np.flatnonzero(reaching & (sizes == size))
        galaxies, phase = sources.galaxies.take(members), sources.phase[members]
        margin = (size - _CORE) // 2
        core = slice(margin, size - margin)
        seeds = [structure_seed(seed, i) for i in members.tolist()]
        stamps = render_stamps(galaxies, phase, seeds=seeds, size=size, **drawing)
        for i, stamp in zip(members, stamps, strict=True):
            on_image, on_stamp = _about(sources.pixel[i], size, shape)
            light[on_image] += stamp[on_stamp]
            if seen[i]:  # half precision: the cores are most of what is held
                cores.append((i, (stamp[core, core] / flux[i]).astype(np.float16)))
    purities = np.full((len(sizes), len(psfs)), np.nan)
    for i, core in cores:
        on_image, on_core = _about(sources.pixel[i], _CORE, shape)
        own = core[on_core].astype(np.float32)
        purities[i] = purity(np.stack([own, light[on_image] / flux[i] - own]))
    return light, purities


def structure_seed(seed: int, i: int) -> tuple[int, ...]:
    """Words of the seed from which `render_sources` draws the structure of source i."""
    return seed, _POSE, i


def stamp_sizes(
    galaxies: Galaxies, psfs: tuple[Psf, ...], pixel_scale: float, sizes: Sequence[int]
) -> Int[np.ndarray, " n"]:
    """The smallest of `sizes`, in ascending order, that holds all but 0.5 % of each source's light.

    The largest where none does.
    """
    chosen = np.full(len(galaxies.flux), sizes[-1])
    for size in reversed(sizes[:-1]):
        chosen[_beyond(galaxies, psfs, size / 2 * pixel_scale) < _LOST] = size
    return chosen


def _beyond(galaxies: Galaxies, psfs, radius) -> Float[np.ndarray, " n"]:
    """Share of the light beyond a radius [arcsec], in the band of which it is the largest."""
    # Growth curves of Sersic profiles of index 4 and 1; the PSF's own is taken to add to them.
    x_bulge, x_disk = (
        radius / np.maximum(r, 1e-6)
        for r in (galaxies.bulge_half_light_radius, galaxies.disk_half_light_radius)
    )
    bulge = gammaincc(8, 7.6692 * x_bulge**0.25)[:, None] * galaxies.flux_bulge
    disk = gammaincc(2, 1.6783 * x_disk)[:, None] * galaxies.flux_disk
    return ((bulge + disk) / galaxies.flux + [_psf_beyond(psf, radius) for psf in psfs]).max(axis=1)


def _psf_beyond(psf: Psf, radius) -> float:
    side = len(psf.image)
    near = abs(np.arange(side) - side // 2) * psf.pixel_scale < radius
    return 1 - psf.image[np.ix_(near, near)].sum()


def _make_render(psfs, drawing):
    """The function from a task to its stamps; each PSF is prepared once."""
    draws = [make_draw(each, **drawing) for each in psfs]
    return functools.partial(_render, draws)


def _render(draws, task: _Task) -> Float[np.ndarray, "n side side band"]:
    turns = (draws[(task.first + i) % len(draws)] for i in range(len(task.phase)))
    stamps = [
        draw(task.galaxies.take(i), at, seed)
        for i, (draw, at, seed) in enumerate(zip(turns, task.phase, task.seeds, strict=True))
    ]
    return np.stack(stamps).astype(task.dtype, copy=False)


def _about(pixel, size: int, shape):
    """Where an image and a stamp about a pixel overlap, on the one and on the other."""
    return overlap((pixel - size // 2).tolist(), size, shape)
