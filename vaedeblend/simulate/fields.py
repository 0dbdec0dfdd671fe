"""Fields: pieces of sky as a survey would image them, with the truth of every source on them.

Sources lie anywhere on a field, and around it from where their stamps reach in. Each is rendered
once, at a random angle and sub-pixel phase, on the smallest stamp that holds it, and placed by
whole pixels: its position is known exactly. Everything random is drawn from (seed, purpose).
"""

from pathlib import Path
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from vaedeblend.catalogues import catalogue
from vaedeblend.catalogues.galaxies import Galaxies, make_galaxies
from vaedeblend.catalogues.sampling import population
from vaedeblend.exceptions import SkyError
from vaedeblend.io import write
from vaedeblend.pixels.blending import purity
from vaedeblend.pixels.psf import Psf, read_psf
from vaedeblend.pixels.stamps import overlap
from vaedeblend.simulate.library import random_poses, render_stamps, stamp_sizes
from vaedeblend.simulate.render import add_noise, resampled_psfs, survey_psfs
from vaedeblend.simulate.styles import find_style
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey, flux_to_magnitude

STAMP_SIZES = (64, 128, 256, 512)
"""Sides of the stamps on which sources are rendered [pixel]."""
MAX_RADIUS = 4.0
"""Half-light radii above this are rendered as this [arcsec]: no stamp holds such galaxies, and
their Fourier transforms fill gigabytes."""
_REACH = STAMP_SIZES[-1] // 2 - 1
"""From where the largest stamps reach the field [pixel]."""
_NEIGHBOUR = 26.0, 3.0
"""Neighbours are brighter than this [mag], and nearer [arcsec]."""
_CORE = 64
"""Side of the part of a source within which its purity is measured [pixel]."""
_SAMPLED = 0.1
"""Area of the catalogue from which `random_sources` takes galaxies [deg2]."""
_STRIP = 512
"""Rows to which noise is added at a time."""
_ROWS, _STARS, _PLACE, _POSE, _NOISE = range(1, 6)
_CHOICE, _CHOSEN_POSE = 21, 23
"""Purposes of random numbers."""
_CENTRE = 150.1, 2.2
"""Of the field on the sky: ra and dec [deg]."""


class SkyRecipe(NamedTuple):
    """What lies on a field, and what its image has besides."""

    density: float = 1.0
    """Galaxies, in units of the sky's own number."""
    source: str = ""
    """Catalogue file; empty for EGG, whose every row is then used once."""
    area: float | None = None
    """Sky that the catalogue file covers [deg2]."""
    magnitude_limit: float = 28.0
    """Faintest galaxies, in the first band."""
    star_fraction: float = 0.0
    """Stars per galaxy, of 18 to 26 mag."""
    correlated: float = 0.0
    """Sub-pixel shift along both axes by whose bilinear interpolation the noise is resampled
    [pixel]; its variance is restored."""
    sky_offset: float = 0.0
    """Mean of the sky left on the image [background rms]; it rises along x, from nothing to twice
    that."""


class PlacedSources(NamedTuple):
    """n sources as they lie on and around a field."""

    id: Int[np.ndarray, " n"]
    """Of the catalogue; negative for stars."""
    galaxies: Galaxies
    """As rendered."""
    pixel: Int[np.ndarray, "n 2"]
    """(y, x) of the pixel whose first corner, half a pixel below its centre, is nearest."""
    phase: Float[np.ndarray, "n 2"]
    """(y, x) from that corner, within half a pixel."""

    @property
    def position(self) -> Float[np.ndarray, "n 2"]:
        """(y, x) on the field [0-based pixels]."""
        return self.pixel - 0.5 + self.phase


class Field(NamedTuple):
    """A simulated image and what is on it."""

    image: Float[np.ndarray, "height width band"]
    """With noise [uJy per pixel, float32]."""
    light: Float[np.ndarray, "height width band"]
    """Without noise or sky [uJy per pixel, float32]."""
    rms: Float[np.ndarray, "height width band"]
    """Of the background alone [uJy per pixel, float32]."""
    truth: QTable
    """The sources whose centres lie on the image; see `make_truth`."""


def simulate_field(
    *,
    size: int | tuple[int, int],
    seed: int,
    survey: Survey,
    psfs: tuple[Psf, ...] | None = None,
    style: str = "analytic",
    processes: int = 1,
    **sky,
) -> Field:
    """A field of galaxies and stars under a survey's noise, and its truth.

    Args:
        size: Side, or (height, width) [pixel].
        seed: Root of everything random.
        survey: Bands, depth and PSF.
        psfs: One PSF a band; the survey's own if None.
        style: How galaxies are drawn (`styles`).
        processes: Processes that render side by side.
        sky: Fields of `SkyRecipe`.

    Raises:
        SkyError: An argument out of its range, or a catalogue file without its area.
        CatalogueError: The catalogue cannot be read or made, or holds nothing so bright.
        PsfError: A band's PSF cannot be used.
        StyleError: There is no such style.
        TypeError: `SkyRecipe` has no such field.
    """
    find_style(style)
    shape, sky = (size, size) if isinstance(size, int) else size, SkyRecipe(**sky)
    _check(min(shape) > 0, "size", size, "positive")
    _check_sky(sky)
    psfs = field_psfs(survey) if psfs is None else psfs
    n_bands = len(survey.bands)
    _check(len(psfs) == n_bands, "number of PSFs", len(psfs), f"that of the bands, {n_bands}")
    tables = _catalogues(shape, seed, survey, sky)
    sources = place_sources(tables, shape, seed)
    drawing = {"style": style, "seed": seed, "processes": processes}
    scale = survey.pixel_scale.value
    light, purities = render_sources(sources, shape, psfs, scale, **drawing)
    image = _noisy(light, survey, seed, sky.correlated)
    image += np.linspace(0, 2 * sky.sky_offset, shape[1], dtype=np.float32)[:, None] * survey.rms
    rms = np.tile(survey.rms, (*shape, 1))
    return Field(image, light, rms, make_truth(sources, purities, shape, survey))


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
    pixel = rng.integers(-_REACH, np.add(shape, _REACH + 1), (len(ids), 2))
    return PlacedSources(ids, turned, pixel, phase)


def random_sources(
    n: int,
    magnitude: tuple[float, float],
    shape: tuple[int, int],
    bands: tuple[str, ...],
    seed: int,
) -> PlacedSources:
    """Galaxies of EGG's catalogue within a range of magnitude, evenly over a field.

    Each galaxy of the catalogue is taken once before any is taken again.
    """
    table = catalogue.select(population("", _SAMPLED, seed, bands), {"magnitude": magnitude})
    rng = np.random.default_rng((seed, _CHOICE))
    chosen = table[np.resize(rng.permutation(len(table)), n)]
    galaxies, phase = random_poses(make_galaxies(chosen), (seed, _CHOSEN_POSE))
    return PlacedSources(np.arange(n), galaxies, rng.integers(0, shape, (n, 2)), phase)


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
    inside = _on_image(sources, shape)
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
        seeds = [(seed, _POSE, i) for i in members.tolist()]
        stamps = render_stamps(galaxies, phase, seeds=seeds, size=size, **drawing)
        for i, stamp in zip(members, stamps, strict=True):
            on_image, on_stamp = _about(sources.pixel[i], size, shape)
            light[on_image] += stamp[on_stamp]
            if inside[i]:  # half precision: the cores are most of what is held
                cores.append((i, (stamp[core, core] / flux[i]).astype(np.float16)))
    purities = np.full((len(sizes), len(psfs)), np.nan)
    for i, core in cores:
        on_image, on_core = _about(sources.pixel[i], _CORE, shape)
        own = core[on_core].astype(np.float32)
        purities[i] = purity(np.stack([own, light[on_image] / flux[i] - own]))
    return light, purities


def make_truth(
    sources: PlacedSources,
    purities: Float[np.ndarray, "n band"],
    shape: tuple[int, int],
    survey: Survey,
) -> QTable:
    """A row for each source centred on the image.

    Columns: id, x, y, flux, mag and purity of each band, the parameters of `Galaxies`, star, and
    n_neighbours: sources of mag < 26 in the first band within 3 arcsec, on the image or off it.
    """
    inside = _on_image(sources, shape)
    galaxies = sources.galaxies.take(inside)
    limit, distance = _NEIGHBOUR
    bright = flux_to_magnitude(sources.galaxies.flux[:, 0]) < limit
    near = cKDTree(sources.position[bright]).query_ball_point(
        sources.position[inside], distance / survey.pixel_scale.value, return_length=True
    )
    columns = {
        "id": sources.id[inside],
        "x": sources.position[inside, 1] * u.pix,
        "y": sources.position[inside, 0] * u.pix,
        "flux": galaxies.flux * u.uJy,
        "mag": flux_to_magnitude(galaxies.flux) * u.mag,
    }
    for name, values in galaxies._asdict().items():
        columns[name] = values * catalogue.COLUMNS[name].unit
    columns |= {"star": galaxies.star, "purity": purities[inside]}
    columns["n_neighbours"] = near - bright[inside]
    return QTable(columns, meta={"bands": survey.band_names})


def write_field(field: Field, survey: Survey, folder: str | Path) -> None:
    """Writes image.fits, rms.fits, psf.fits and truth.fits of a field, its first band.

    Images are in uJy per pixel, with zero point, gain and a WCS; the PSF at the survey's pixels.

    Raises:
        FileError: A file cannot be written.
    """
    folder = write.prepare_folder(folder)
    header = field_header(survey, field.image.shape[:2])
    for name, image in (("image", field.image), ("rms", field.rms)):
        with write.write_image(folder / f"{name}.fits", image.shape[:2], header) as put:
            put(image[..., 0])
    psf = resampled_psfs(survey_psfs(survey, STAMP_SIZES[-1]), survey.pixel_scale.value)[..., 0]
    header = fits.Header()
    header["PIXSCALE"] = float(survey.pixel_scale.value), "arcsec"
    with write.write_image(folder / "psf.fits", psf.shape, header) as put:
        put(psf)
    truth = field.truth.copy()
    truth.meta["bands"] = ",".join(truth.meta["bands"])
    write.write_tables(folder / "truth.fits", {"TRUTH": truth})


def field_header(survey: Survey, shape: tuple[int, int]) -> fits.Header:
    """Zero point, gain, and a WCS about a place in COSMOS."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix = [(n + 1) / 2 for n in shape[::-1]]
    wcs.wcs.crval = _CENTRE
    wcs.wcs.cdelt = np.array([-1, 1]) * survey.pixel_scale.value / 3600
    header = wcs.to_header()
    known = {"BUNIT": "uJy", "MAGZERO": MICROJANSKY_ZERO_POINT, "GAIN": float(survey.gain[0])}
    header.update(known)
    return header


def _check_sky(sky: SkyRecipe) -> None:
    density, shift, stars = sky.density, sky.correlated, sky.star_fraction
    _check(0 < density < np.inf, "density", density, "positive and finite")
    _check(0 <= stars < np.inf, "star_fraction", stars, "0 or more, finite")
    _check(0 <= shift <= 0.5, "correlated", shift, "a shift within 0 and 0.5 pixel")
    _check(np.isfinite(sky.sky_offset), "sky_offset", sky.sky_offset, "finite")
    source, area = sky.source, sky.area
    usable = area is not None and 0 < area < np.inf if source else area is None
    _check(usable, "area", area, f"the deg2 that {source} covers" if source else "none for EGG")


def _check(holds, name: str, found, wanted: str) -> None:
    if not holds:
        raise SkyError(f"{name} is {found}; wanted {wanted}")


def _catalogues(shape, seed: int, survey: Survey, sky: SkyRecipe) -> list[QTable]:
    """The galaxies of a field and its margin, and the stars."""
    scale, bands = survey.pixel_scale.value, survey.band_names
    # deg2 of both; a catalogue of `density` times as much sky lies on them.
    covered = float(sky.density * np.prod(np.add(shape, 2 * _REACH + 1)) * (scale / 3600) ** 2)
    table = population(sky.source, covered, seed, bands, sky.magnitude_limit)
    if sky.source:
        table = _rows(table, covered / sky.area, sky.magnitude_limit, seed)
    rng = np.random.default_rng((seed, _STARS))
    n_stars = rng.poisson(sky.star_fraction * len(table))
    return [table, catalogue.stars(n_stars, rng, bands)]


def _rows(table: QTable, mean: float, magnitude_limit: float, seed: int) -> QTable:
    """Poisson times `mean` of the rows brighter than the limit, each once before any again."""
    table = catalogue.select(table, {"magnitude": (-np.inf, magnitude_limit)})
    rng = np.random.default_rng((seed, _ROWS))
    n = rng.poisson(mean * len(table))
    return table[np.resize(rng.permutation(len(table)), n)]


def _on_image(sources: PlacedSources, shape) -> Bool[np.ndarray, " n"]:
    edge = np.subtract(shape, 0.5)
    return ((sources.position >= -0.5) & (sources.position < edge)).all(axis=1)


def _about(pixel, size: int, shape):
    """Where an image and a stamp about a pixel overlap, on the one and on the other."""
    return overlap((pixel - size // 2).tolist(), size, shape)


def _noisy(light, survey: Survey, seed, shift) -> Float[np.ndarray, "height width band"]:
    image = np.empty_like(light)
    for start in range(0, len(light), _STRIP):
        rng = np.random.default_rng((seed, _NOISE, start))
        image[start : start + _STRIP] = add_noise(light[start : start + _STRIP], survey, rng)
    if not shift:
        return image
    sigma = np.sqrt(survey.variance + light.clip(0) / survey.gain)
    noise = (image - light) / sigma
    for axis in (0, 1):
        # The first row's neighbour is the last one, so that its variance is no other.
        noise = (1 - shift) * noise + shift * np.roll(noise, 1, axis)
        noise /= np.hypot(1 - shift, shift)
    return (light + sigma * noise).astype(np.float32)
