"""Real galaxies: stamps of the Hubble Space Telescope as galaxies of a catalogue.

The stamps come with GalSim's catalogues of real galaxies (Mandelbaum+ 2012, of the COSMOS field),
which the user has downloaded. A galaxy is drawn by a real one of similar magnitude, radius and axis
ratio, whose stamp is deconvolved by its own PSF, as GalSim's RealGalaxy is, and turned, stretched
and scaled to the parameters asked for. Stamps on which two galaxies touch are not drawn.

Stamps are noisy, and what noise is left counts as light. It is cut off outside of the galaxy, but
not whitened, since that would add to it. Under Euclid's PSF, that of COSMOS is 0.7 of the rms of
Euclid's own background, as long as a galaxy keeps its flux and size: so galaxies are chosen that
have to be made fainter, such that 0.3 of that or less remains, where the catalogue has such.
`residual_rms` is how much there is of it where a galaxy's light is.

A catalogue's main table (`RealGalaxyCatalog`) names files and HDUs of stamps, PSFs and noise;
beside it lie, if at all, parametric fits (`_fits`) and what GalSim selects usable stamps by
(`_selection`). The `_fits` of BlendingToolKit's catalogue has SExtractor's radii in place of fits.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import galsim
import numpy as np
from astropy.io import fits
from jaxtyping import Float, Int

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import CatalogueError
from vaedeblend.io.folders.digest import kept_while_unchanged
from vaedeblend.simulate.galaxies.cutouts import (
    RealGalaxy,
    RealStamp,
    as_asked,
    ellipse,
    is_one,
    make_real_galaxies,
    segment,
)
from vaedeblend.simulate.galaxies.parts import is_in_part, split_part
from vaedeblend.simulate.galaxies.profiles import dominant_shape, half_light_radius, points
from vaedeblend.survey import flux_to_magnitude

N_SIMILAR = 20
"""Real galaxies from which one is chosen by chance."""
_FEWEST = 8
"""Of them where fewer are without fault."""
_TOLERANCES = np.array([0.5, 0.2, 0.15])
"""Differences that count as equal: of magnitude, natural logarithm of the radius, axis ratio."""
_NOISE = 0.3
"""Share of Hubble's noise that may remain: of 0.7 of the rms of Euclid's background, a fifth is
left, which adds 2 % to it in quadrature."""
_MAGNIFIED = 0.2
"""Natural logarithm of the largest magnification that is not avoided, a fifth."""
_SECOND = 0.15
"""Share of a stamp's light in a second peak beyond which that is another galaxy: the stamps were
chosen as single galaxies, and knots of an irregular one hold up to a tenth."""
_KEPT = 2000
"""Stamps that GalSim keeps in memory."""
_CHOICE = 2
"""Last word of the seed, whose other purposes are the caller's."""
_COLUMNS = (
    *("ident", "mag", "gal_filename", "gal_hdu", "PSF_filename", "PSF_hdu"),
    *("pixel_scale", "noise_variance"),
)
_FIT_COLUMNS = ("sersicfit", "bulgefit", "fit_status", "hlr", "flux")
_FILES = ("gal_filename", "PSF_filename", "noise_filename")
_RADIUS_COLUMN = "flux_radius"
"""Of a table without fits."""
_FIT_PIXEL = 0.03
"""Unit of the fits' radii, and of that column's [arcsec]."""


class Sample(NamedTuple):
    """The n usable galaxies of a catalogue."""

    row: Int[np.ndarray, " n"]
    """Row in the catalogue."""
    magnitude: Float[np.ndarray, " n"]
    """AB."""
    radius: Float[np.ndarray, " n"]
    """Half-light radius along the major axis [arcsec]; NaN where there are no fits."""
    axis_ratio: Float[np.ndarray, " n"]
    """NaN where there are no fits."""

    def take(self, index) -> "Sample":
        """The galaxies of an index."""
        return Sample(*(each[index] for each in self))


def cosmos(path: str) -> Callable[..., list[galsim.GSObject]]:
    """The style `(galaxy, seed=()) -> light of each band` that draws real galaxies.

    A galaxy's flux is the catalogue's exactly; what of the real one lies beyond ten of its sigmas
    is lost. Half-light radius, axis ratio, position angle and centroid are the catalogue's as
    measured on the stamp, noise and all: the radius to about 2 % and the ellipticity to 0.1 (1
    sigma, synthetic galaxies of 20.5 to 22.5 mag with the noise of COSMOS), both less well where
    wings hold much of the light (de Vaucouleurs: 10 %). Which galaxy it is, and whether mirrored or
    upside down, depends on the words of the seed and the parameters asked for. All bands show the
    same image. A star is a point.

    Args:
        path: Folder of a catalogue as GalSim reads it, or the catalogue's main file in it; after
            `#` the part of its galaxies, by their IDENT (`parts`).

    Raises:
        CatalogueError: There is none, or not one; it is empty, or lacks a column or a file.
        StyleError: The part is none.
    """
    return _cosmos(*split_part(path))


@kept_while_unchanged(maxsize=4)
def _cosmos(path: str, part: str | None) -> Callable[..., list[galsim.GSObject]]:
    catalog = open_catalog(path)
    sample = read_sample(catalog)
    names = [str(catalog.ident[row]) for row in sample.row]
    sample = sample.take(is_in_part(names, part))
    if not len(sample.row):
        raise CatalogueError(f"{path}: found none of its {len(names)} galaxies in part {part!r}")

    @functools.lru_cache(maxsize=64)
    def deconvolved(row: int) -> tuple[RealGalaxy, RealGalaxy] | None:
        if deconvolved.cache_info().misses % _KEPT == 0:
            catalog.close()  # or all stamps ever drawn would stay in memory
        stamp = read_stamp(catalog, row)
        return make_real_galaxies(stamp) if _holds_one(stamp) else None

    def draw(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
        if galaxy.star:
            return points(galaxy)
        rng = np.random.default_rng((*seed, _CHOICE))
        radius = half_light_radius(galaxy)
        axis_ratio, angle = dominant_shape(galaxy)
        magnitude = float(flux_to_magnitude(galaxy.flux.max()))
        similar = choose_similar(sample, magnitude, radius, axis_ratio)
        others = np.setdiff1d(np.arange(len(sample.row)), similar)[:N_SIMILAR]
        tried = [*rng.permutation(similar), *others]
        found = (deconvolved(int(sample.row[i])) for i in tried)
        pair = next((each for each in found if each), None)
        if pair is None:
            raise CatalogueError(f"{path}: found no galaxy on {len(tried)} stamps; wanted one")
        return as_asked(pair, galaxy.flux, ellipse(radius, axis_ratio, np.radians(angle)), rng)

    return draw


def residual_rms(light: galsim.GSObject, psf: galsim.GSObject, pixel_scale: float) -> float:
    """Rms of the noise of Hubble's stamp where the light of one band is [uJy per pixel].

    Args:
        light: Light of a galaxy, as the style made it.
        psf: PSF with the response of the pixel.
        pixel_scale: Side of a pixel [arcsec].
    """
    return galsim.Convolve(light, psf).noise.getVariance() ** 0.5 * pixel_scale**2


def choose_similar(
    sample: Sample, magnitude: float, radius: float, axis_ratio: float
) -> Int[np.ndarray, " k"]:
    """Indices of the most similar galaxies, 20 if there are as many.

    Only those that lose most of their noise by what is asked of them, and that are not to be
    magnified by more than a fifth; where there are fewer than eight, eight that come nearest to
    that. What is not known of them makes no difference.

    Args:
        sample: Real galaxies to choose from.
        magnitude: Magnitude of the galaxy to draw [AB].
        radius: Half-light radius along the major axis [arcsec].
        axis_ratio: Minor over major axis.
    """
    brighter = sample.magnitude - magnitude
    larger = np.nan_to_num(np.log(max(radius, 1e-3) / np.maximum(sample.radius, 1e-3)))
    rounder = np.nan_to_num(axis_ratio - sample.axis_ratio)
    apart = np.stack([brighter, larger, rounder]) / _TOLERANCES[:, None]
    # Noise is a surface brightness times a length: it goes with flux over radius.
    noisy = 0.4 * np.log(10) * brighter - larger - np.log(_NOISE)
    excess = np.maximum(noisy, 0) + np.maximum(larger - _MAGNIFIED, 0)
    n = np.clip((excess == 0).sum(), _FEWEST, N_SIMILAR)
    return np.lexsort([np.hypot.reduce(apart), excess])[:n]


def open_catalog(path: str | Path) -> galsim.RealGalaxyCatalog:
    """The catalogue of a folder, or of its main file, all of whose files are there.

    Raises:
        CatalogueError: There is none, or not one; it is empty, or lacks a column or a file.
    """
    path = _main_file(Path(path))
    columns = _check_columns(path, _COLUMNS)
    catalog = galsim.RealGalaxyCatalog(str(path))
    if names := catalog.noise_file_name:
        # GalSim looks beside the catalogue alone for the noise that it ships.
        catalog.noise_file_name = [n if os.path.exists(n) else _shipped(n) for n in names]
    for column in _FILES:
        if column.lower() in columns:
            for name in sorted({name.strip() for name in catalog.cat[column]}):
                if not (path.parent / name).is_file() and not Path(_shipped(name)).is_file():
                    wanted = f"wanted that file, which its column {column} names"
                    raise CatalogueError(f"{path}: found no {path.parent / name}; {wanted}")
    return catalog


def read_sample(catalog: galsim.RealGalaxyCatalog) -> Sample:
    """The galaxies that may be drawn.

    Without parametric fits beside the catalogue, all of them; without the table for selection,
    those that could be fitted; else those that GalSim itself would choose.

    Raises:
        CatalogueError: The fits lack a column, are not of this catalogue, or no galaxy is left.
    """
    magnitude = np.asarray(catalog.mag, float)
    path = Path(catalog.file_name)
    beside = {kind: path.with_name(f"{path.stem}_{kind}.fits") for kind in ("fits", "selection")}
    if not beside["fits"].is_file():
        unknown = np.full(len(magnitude), np.nan)
        return Sample(np.arange(len(magnitude)), magnitude, unknown, unknown)
    if _RADIUS_COLUMN in _check_columns(beside["fits"], ()):
        return _sample_by_radius(beside["fits"], magnitude)
    _check_columns(beside["fits"], _FIT_COLUMNS)
    level = "marginal" if beside["selection"].is_file() else "bad_fits"
    chosen = galsim.GalaxySample(str(path), exclusion_level=level)
    if chosen.getNTot() != len(magnitude):
        wanted = f"wanted {len(magnitude)}, as in {path.name}"
        raise CatalogueError(f"{beside['fits']}: found {chosen.getNTot()} rows; {wanted}")
    if not len(chosen):
        raise CatalogueError(f"{path}: found no galaxy that passes GalSim's cuts ({level})")
    row = np.asarray(chosen.orig_index)
    fit = np.asarray(chosen.param_cat["sersicfit"], float)[row]
    return Sample(row, magnitude[row], fit[:, 1] * _FIT_PIXEL, fit[:, 3])


def _sample_by_radius(path: Path, magnitude) -> Sample:
    """All galaxies, of a table that has the radius of half the light of each in place of fits."""
    radius = np.asarray(fits.getdata(path, 1)[_RADIUS_COLUMN], float) * _FIT_PIXEL
    if len(radius) != len(magnitude):
        wanted = f"wanted {len(magnitude)}, as in the catalogue"
        raise CatalogueError(f"{path}: found {len(radius)} rows; {wanted}")
    return Sample(np.arange(len(radius)), magnitude, radius, np.full(len(radius), np.nan))


def read_stamp(catalog: galsim.RealGalaxyCatalog, row: int) -> RealStamp:
    """What there is of a galaxy of the catalogue.

    Raises:
        CatalogueError: An HDU is missing or holds no image.
    """
    try:
        image, psf = catalog.getGalImage(row), catalog.getPSFImage(row)
        return RealStamp(image, psf, catalog.getNoise(row, rng=galsim.BaseDeviate(1)))
    except (OSError, LookupError, TypeError, AttributeError) as error:
        stamp = f"{catalog.gal_file_name[row]}, HDU {catalog.gal_hdu[row]}"
        psf = f"{catalog.psf_file_name[row]}, HDU {catalog.psf_hdu[row]}"
        found = f"found no image of galaxy {catalog.ident[row]} ({error})"
        raise CatalogueError(f"{catalog.file_name}: {found}; wanted {stamp}, and {psf}") from error


def _holds_one(stamp: RealStamp) -> bool:
    """Whether what is at a stamp's centre is one galaxy; what the survey has masked, it is not."""
    image = stamp.image.array
    blurred, labels = segment(image, stamp.noise.getVariance() ** 0.5)
    own = labels[tuple(n // 2 for n in image.shape)]
    return not own or is_one(blurred, labels == own, _SECOND)


def _shipped(name: str) -> str:
    """Path of a file of GalSim's own with a name."""
    return os.path.join(galsim.meta_data.share_dir, os.path.basename(name))


def _main_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise CatalogueError(f"{path}: found no such folder; wanted that of a catalogue for GalSim")
    found = [
        each
        for each in sorted(path.glob("real_galaxy_catalog*.fits"))
        if not each.stem.endswith(("_fits", "_selection"))
    ]
    if len(found) != 1:
        names = [each.name for each in found] or "none"
        wanted = "wanted one real_galaxy_catalog*.fits, or the path of the catalogue itself"
        raise CatalogueError(f"{path}: found catalogues {names}; {wanted}")
    return found[0]


def _check_columns(path: Path, wanted: tuple[str, ...]) -> set[str]:
    """Names of a table's columns in lower case, all that are wanted among them; never empty."""
    try:
        with fits.open(path) as hdus:
            names, n = {each.lower() for each in hdus[1].columns.names}, len(hdus[1].data)
    except (OSError, LookupError, AttributeError) as error:
        raise CatalogueError(f"{path}: found no table in its first extension ({error})") from error
    missing = [each for each in wanted if each.lower() not in names]
    if missing:
        raise CatalogueError(f"{path}: found columns {sorted(names)}; wanted {missing} as well")
    if not n:
        raise CatalogueError(f"{path}: found no rows; wanted one a galaxy")
    return names
