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
from jaxtyping import Float
from scipy.spatial import cKDTree

from vaedeblend.catalogues import catalogue
from vaedeblend.catalogues.sampling import population
from vaedeblend.exceptions import SkyError
from vaedeblend.io import write
from vaedeblend.pixels.psf import Psf
from vaedeblend.simulate.galaxies.styles import find_style, of_split
from vaedeblend.simulate.library import (
    FIELD_MARGIN,
    STAMP_SIZES,
    PlacedSources,
    field_psfs,
    place_sources,
    render_sources,
)
from vaedeblend.simulate.render import add_noise, resampled_psfs
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey, flux_to_magnitude

_NEIGHBOUR = 26.0, 3.0
"""Neighbours are brighter than this [mag], and nearer [arcsec]."""
_STRIP = 512
"""Rows to which noise is added at a time."""
_ROWS, _STARS, _NOISE = 1, 2, 5
"""Purposes of random numbers; `library` has the others."""
_CENTRE = 150.1, 2.2
"""Centre of the field on the sky: ra and dec [deg]."""


class SkyRecipe(NamedTuple):
    """What lies on a field, and what its image has besides."""

    density: float = 1.0
    """Galaxies, in units of the sky's own number."""
    source: str = ""
    """Catalogue file; empty for EGG, whose every row is then used once."""
    area: float | None = None
    """Sky that the catalogue file covers [deg2]."""
    split: tuple[str, int] | None = None
    """Split of the galaxies that are drawn, of a catalogue file (`catalogue.split`) and of real
    ones (`styles.of_split`), and the seed of the file's splits; all of them if None. The field is
    as dense either way."""
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


class Field(NamedTuple):
    """A simulated image and what is on it."""

    image: Float[np.ndarray, "height width band"]
    """Light with noise [uJy per pixel, float32]."""
    light: Float[np.ndarray, "height width band"]
    """Light without noise or sky [uJy per pixel, float32]."""
    rms: Float[np.ndarray, "height width band"]
    """Rms of the background alone [uJy per pixel, float32]."""
    truth: QTable
    """The sources whose centres lie on the image; see `make_truth`."""
    psfs: tuple[Psf, ...]
    """The PSFs under which it was drawn, one a band."""


def simulate_field(
    *,
    size,
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
        style: How galaxies are drawn (`galaxies.styles`).
        processes: Processes that render side by side.
        sky: Fields of `SkyRecipe`.

    Raises:
        SkyError: An argument out of its range, or a catalogue file without its area.
        CatalogueError: The catalogue cannot be read or made, or holds nothing so bright.
        PsfError: A band's PSF cannot be used.
        StyleError: There is no such style.
        TypeError: `SkyRecipe` has no such field.
    """
    shape, recipe = field_shape(size), SkyRecipe(**sky)
    find_style(style := of_split(style, recipe.split[0]) if recipe.split else style)
    psfs = field_psfs(survey) if psfs is None else psfs
    n_bands = len(survey.bands)
    _check(seed >= 0, "seed", seed, "0 or more")
    _check(len(psfs) == n_bands, "number of PSFs", len(psfs), f"that of the bands, {n_bands}")
    sources = place_field(shape, seed, survey, **sky)
    drawing = {"style": style, "seed": seed, "processes": processes}
    scale = survey.pixel_scale.value
    light, purities = render_sources(sources, shape, psfs, scale, **drawing)
    image = _noisy(light, survey, seed, recipe.correlated)
    image += np.linspace(0, 2 * recipe.sky_offset, shape[1], dtype=np.float32)[:, None] * survey.rms
    rms = np.tile(survey.rms, (*shape, 1))
    return Field(image, light, rms, make_truth(sources, purities, shape, survey), psfs)


def place_field(shape: tuple[int, int], seed: int, survey: Survey, **sky) -> PlacedSources:
    """The galaxies and stars of a field and its margin, where they lie.

    Args:
        shape: Height and width of the field [pixel].
        seed: Root of everything random.
        survey: Bands and pixels.
        sky: Fields of `SkyRecipe`.

    Raises:
        SkyError: An argument out of its range, or a catalogue file without its area.
        CatalogueError: The catalogue cannot be read or made, or holds nothing so bright.
        TypeError: `SkyRecipe` has no such field.
    """
    recipe = SkyRecipe(**sky)
    _check_sky(recipe)
    return place_sources(_catalogues(shape, seed, survey, recipe), shape, seed)


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
    inside = sources.on_image(shape)
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
    image_header = field_header(survey, field.image.shape[:2])
    for name, image in (("image", field.image), ("rms", field.rms)):
        with write.write_image(folder / f"{name}.fits", image.shape[:2], image_header) as put:
            put(image[..., 0])
    psf = resampled_psfs(field.psfs, survey.pixel_scale.value)[..., 0]
    header = fits.Header()
    header["PIXSCALE"] = float(survey.pixel_scale.value), "arcsec"
    with write.write_image(folder / "psf.fits", psf.shape, header) as put:
        put(psf)
    write_truth(folder / "truth.fits", field.truth, WCS(image_header))


def write_truth(path: str | Path, truth: QTable, wcs: WCS) -> None:
    """Writes a truth as users of tables read it, with ra and dec, as a table TRUTH.

    Where there is one band, its columns hold one number a row.

    Args:
        path: File that is written.
        truth: Table of `make_truth`.
        wcs: Where the image's pixels lie on the sky.

    Raises:
        FileError: It cannot be written.
    """
    table = truth.copy()
    table.meta["bands"] = ",".join(truth.meta["bands"])
    for name in table.colnames:
        if table[name].shape[1:] == (1,):
            table[name] = table[name][:, 0]
    ra, dec = wcs.all_pix2world(truth["x"].value, truth["y"].value, 0) * u.deg
    table.add_columns([ra, dec], [3, 3], ["ra", "dec"])
    write.write_tables(path, {"TRUTH": table})


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


def field_shape(size) -> tuple[int, int]:
    """Height and width of a field [pixel], of one side or both.

    Raises:
        SkyError: It is not one or two whole numbers, or a side is less than a stamp's.
    """
    sides = np.atleast_1d(size)
    whole, least = sides.dtype.kind in "iu" and sides.shape in ((1,), (2,)), STAMP_SIZES[0]
    wanted = f"one or two whole numbers from a stamp's {least} on"
    _check(whole and sides.min() >= least, "size", size, wanted)
    height, width = np.broadcast_to(sides, 2).tolist()
    return height, width


def _check(holds, name: str, found, wanted: str) -> None:
    if not holds:
        raise SkyError(f"{name} is {found}; wanted {wanted}")


def _catalogues(shape, seed: int, survey: Survey, sky: SkyRecipe) -> list[QTable]:
    """The galaxies of a field and its margin, and the stars."""
    scale, bands = survey.pixel_scale.value, survey.band_names
    # deg2 of both; a catalogue of `density` times as much sky lies on them.
    covered = float(
        sky.density * np.prod(np.add(shape, 2 * FIELD_MARGIN + 1)) * (scale / 3600) ** 2
    )
    table = population(sky.source, covered, seed, bands, sky.magnitude_limit)
    if sky.source:
        table = _rows(table, covered / sky.area, sky, seed)
    rng = np.random.default_rng((seed, _STARS))
    n_stars = rng.poisson(sky.star_fraction * len(table))
    return [table, catalogue.stars(n_stars, rng, bands)]


def _rows(table: QTable, mean: float, sky: SkyRecipe, seed: int) -> QTable:
    """Poisson times `mean` of the rows brighter than the limit, each once before any again."""
    table = catalogue.select(table, {"magnitude": (-np.inf, sky.magnitude_limit)})
    rng = np.random.default_rng((seed, _ROWS))
    n = rng.poisson(mean * len(table))
    if sky.split is not None:
        table = catalogue.split(table, *sky.split)
        _check(len(table) > 0, "source", sky.source, f"galaxies of its split {sky.split[0]}")
    return table[np.resize(rng.permutation(len(table)), n)]


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
