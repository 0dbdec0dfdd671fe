"""Real galaxies: stamps of the Hubble Space Telescope as galaxies of a catalogue.

The stamps come with GalSim's catalogues of real galaxies (Mandelbaum+ 2012, of the COSMOS field),
which the user has downloaded. A galaxy is drawn by a real one of similar magnitude, radius and axis
ratio, whose stamp is deconvolved by its own PSF, as GalSim's RealGalaxy is, and turned, stretched
and scaled to the parameters asked for.

Stamps are noisy, and what noise is left counts as light. It is cut off outside of the galaxy, but
not whitened, since that would add to it. Under Euclid's PSF, that of COSMOS is 0.7 of the rms of
Euclid's own background, as long as a galaxy keeps its flux and size: so galaxies are chosen that
have to be made fainter, such that 0.3 of that or less remains, where the catalogue has such.
`residual_rms` is how much there is of it where a galaxy's light is.

A catalogue's main table (`RealGalaxyCatalog`) names files and HDUs of stamps, PSFs and noise;
beside it lie, if at all, parametric fits (`_fits`) and what GalSim selects usable stamps by
(`_selection`).
"""

import functools
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
from vaedeblend.simulate.galaxies.profiles import dominant_shape, half_light_radius, points
from vaedeblend.survey import flux_to_magnitude

N_SIMILAR = 20
"""Real galaxies from which one is chosen by chance."""
_TOLERANCES = np.array([0.5, 0.2, 0.15])
"""Differences that count as equal: of magnitude, natural logarithm of the radius, axis ratio."""
_NOISE = 0.3
"""Share of Hubble's noise that may remain: of 0.7 of the rms of Euclid's background, a fifth is
left, which adds 2 % to it in quadrature."""
_MAGNIFIED = 0.2
"""Natural logarithm of the largest magnification that is not avoided, a fifth."""
_SHARP = 1.3
"""A stamp magnified by more is not deconvolved: Euclid's PSF would be smaller than its own."""
_KEPT = 2000
"""Stamps that GalSim keeps in memory."""
_REACH, _FULL, _FADING = 10.0, 0.8, 0.2
"""Radius beyond which nothing of a stamp is kept [sigma of the light], and shares of that radius:
out to which all is kept, and over which the window falls."""
_CORE = 1.2
"""Sigma of the Gaussian under which a galaxy is measured, over that of Hubble's PSF, whose wings
the Gaussian lacks."""
_THINNEST, _SMALLEST = 0.04, 0.1
"""Least of the minor axis' second moment, over the major axis' (an axis ratio of 0.2), and of both,
over the Gaussian's: neither thinner nor smaller than Hubble could tell."""
_BLURRED = 1.6
"""Growth of a squared half-light radius under a Gaussian, in squares of its sigma: 2 ln 2 = 1.39
for a galaxy that is a Gaussian itself, and 1.68 for an exponential disk."""
_CHOICE = 2
"""Last word of the seed, whose other purposes are the caller's."""
_COLUMNS = (
    *("ident", "mag", "gal_filename", "gal_hdu", "PSF_filename", "PSF_hdu"),
    *("pixel_scale", "noise_variance"),
)
_FIT_COLUMNS = ("sersicfit", "bulgefit", "fit_status", "hlr", "flux")
_FILES = ("gal_filename", "PSF_filename", "noise_filename")
_FIT_PIXEL = 0.03
"""Unit of the fits' radii [arcsec]."""


class HubbleGalaxy(NamedTuple):
    """A real galaxy of unit flux about the origin, with its noise cut off outside of it.

    Attribute `noise` of its light is GalSim's, but of the surface brightness [arcsec^-2].
    """

    light: galsim.GSObject
    axes: Float[np.ndarray, "2 2"]
    """Linear map of the unit circle to the ellipse of half its light, (x, y) [arcsec]."""


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


class HubbleStamp(NamedTuple):
    """A galaxy as Hubble saw it."""

    image: galsim.Image
    psf: galsim.Image
    """PSF with the response of the pixel."""
    noise: galsim.BaseCorrelatedNoise


@kept_while_unchanged(maxsize=4)
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
        path: Folder of a catalogue as GalSim reads it, or the catalogue's main file in it.

    Raises:
        CatalogueError: There is none, or not one; it is empty, or lacks a column or a file.
    """
    catalog = open_catalog(path)
    sample = read_sample(catalog)

    @functools.lru_cache(maxsize=64)
    def deconvolved(row: int) -> tuple[HubbleGalaxy, HubbleGalaxy] | None:
        if deconvolved.cache_info().misses % _KEPT == 0:
            catalog.close()  # or all stamps ever drawn would stay in memory
        return make_hubble_galaxies(read_stamp(catalog, row))

    def draw(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
        if galaxy.star:
            return points(galaxy)
        rng = np.random.default_rng((*seed, _CHOICE))
        radius = half_light_radius(galaxy)
        axis_ratio, angle = dominant_shape(galaxy)
        magnitude = float(flux_to_magnitude(galaxy.flux.max()))
        similar = rng.permutation(choose_similar(sample, magnitude, radius, axis_ratio))
        found = (deconvolved(int(sample.row[i])) for i in similar)
        pair = next((each for each in found if each), None)
        if pair is None:
            raise CatalogueError(f"{path}: found no galaxy on {len(similar)} stamps; wanted one")
        mirror = np.diag(rng.choice([-1.0, 1.0], 2))
        shape = ellipse(radius, axis_ratio, np.radians(angle))
        changes = [shape @ mirror @ np.linalg.inv(each.axes) for each in pair]
        blurred = bool(abs(np.linalg.det(changes[0])) ** 0.5 > _SHARP)
        light = pair[blurred].light.transform(*changes[blurred].ravel())
        return [light.withFlux(float(flux)) for flux in galaxy.flux]

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

    First come those that lose most of their noise by what is asked of them, and that are not to be
    magnified by more than a fifth. What is not known of them makes no difference.

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
    noisy = 0.4 * np.log(10) * brighter - larger > np.log(_NOISE)
    return np.lexsort([np.hypot.reduce(apart), noisy | (larger > _MAGNIFIED)])[:N_SIMILAR]


def make_hubble_galaxies(stamp: HubbleStamp) -> tuple[HubbleGalaxy, HubbleGalaxy] | None:
    """A galaxy deconvolved, and as Hubble saw it; None if there is none on the stamp."""
    scale = float(stamp.image.scale)
    moments, core = (galsim.hsm.FindAdaptiveMom(i, strict=False) for i in (stamp.image, stamp.psf))
    if moments.moments_status or core.moments_status:
        return None
    window = _window(_covariance(moments, scale), _places(stamp.image, moments))
    image = galsim.Image(stamp.image.array * window, scale=scale)
    flux = float(image.array.sum())
    if flux <= 0:
        return None
    seen = galsim.InterpolatedImage(image, flux=1.0)
    seen.noise = stamp.noise / (flux * scale**2) ** 2
    sharpen = galsim.Deconvolve(galsim.InterpolatedImage(stamp.psf, flux=1.0))
    lights = galsim.Convolve(seen, sharpen), seen
    axes = [_half_light_axes(each, _CORE * scale * core.moments_sigma, image) for each in lights]
    if any(each is None for each in axes):
        return None
    shift = scale * (stamp.image.true_center - moments.moments_centroid)
    sharp, blurred = (
        HubbleGalaxy(each.shift(shift), a) for each, a in zip(lights, axes, strict=True)
    )
    return sharp, blurred


def ellipse(radius: float, axis_ratio: float, angle: float) -> Float[np.ndarray, "2 2"]:
    """Linear map of the unit circle to an ellipse at an angle [rad], in units of the radius."""
    cos, sin = np.cos(angle), np.sin(angle)
    return radius * np.array([[cos, -sin], [sin, cos]]) * [1, axis_ratio]


def open_catalog(path: str | Path) -> galsim.RealGalaxyCatalog:
    """The catalogue of a folder, or of its main file, all of whose files are there.

    Raises:
        CatalogueError: There is none, or not one; it is empty, or lacks a column or a file.
    """
    path = _main_file(Path(path))
    columns = _check_columns(path, _COLUMNS)
    catalog = galsim.RealGalaxyCatalog(str(path))
    for column in _FILES:
        if column.lower() in columns:
            for name in sorted({name.strip() for name in catalog.cat[column]}):
                if not (path.parent / name).is_file():
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


def read_stamp(catalog: galsim.RealGalaxyCatalog, row: int) -> HubbleStamp:
    """What there is of a galaxy of the catalogue.

    Raises:
        CatalogueError: An HDU is missing or holds no image.
    """
    try:
        image, psf = catalog.getGalImage(row), catalog.getPSFImage(row)
        return HubbleStamp(image, psf, catalog.getNoise(row, rng=galsim.BaseDeviate(1)))
    except (OSError, LookupError, TypeError, AttributeError) as error:
        stamp = f"{catalog.gal_file_name[row]}, HDU {catalog.gal_hdu[row]}"
        psf = f"{catalog.psf_file_name[row]}, HDU {catalog.psf_hdu[row]}"
        found = f"found no image of galaxy {catalog.ident[row]} ({error})"
        raise CatalogueError(f"{catalog.file_name}: {found}; wanted {stamp}, and {psf}") from error


def _covariance(moments: galsim.hsm.ShapeData, scale: float) -> Float[np.ndarray, "2 2"]:
    """Adaptive second moments [arcsec2]."""
    shape = moments.observed_shape
    # Distortions e1, e2 are (xx - yy, 2 xy) / (xx + yy), and sigma the fourth root of det.
    matrix = np.array([[1 + shape.e1, shape.e2], [shape.e2, 1 - shape.e1]])
    return (scale * moments.moments_sigma) ** 2 * matrix / np.linalg.det(matrix) ** 0.5


def _places(image: galsim.Image, moments) -> Float[np.ndarray, "2 height width"]:
    """(x, y) of pixels from the centroid [arcsec]."""
    y, x = np.indices(image.array.shape) + 1  # GalSim's first pixel is (1, 1)
    centroid = moments.moments_centroid
    return float(image.scale) * np.stack([x - centroid.x, y - centroid.y])


def _window(covariance, place) -> Float[np.ndarray, "height width"]:
    """One out to 8 sigma and zero beyond 10, or less if such an ellipse would leave the stamp."""
    inside = np.array([min(-each.min(), each.max()) for each in place])
    reach = np.clip((inside / np.sqrt(np.diag(covariance))).min(), 0.1, _REACH)
    sigmas = np.sqrt(np.einsum("iyx,ij,jyx->yx", place, np.linalg.inv(covariance), place))
    outward = np.clip((sigmas / reach - _FULL) / _FADING, 0, 1)
    return np.cos(0.5 * np.pi * outward) ** 2


def _half_light_axes(light, blur: float, like: galsim.Image) -> Float[np.ndarray, "2 2"] | None:
    """Those of a `HubbleGalaxy`, as seen under a Gaussian [arcsec], which has no wings."""
    scale = float(like.scale)
    image = galsim.Convolve(light, galsim.Gaussian(sigma=blur)).drawImage(
        like.copy(), method="no_pixel"
    )
    moments = galsim.hsm.FindAdaptiveMom(image, strict=False)
    if moments.moments_status:
        return None
    values, vectors = np.linalg.eigh(_covariance(moments, scale) - blur**2 * np.eye(2))
    smallest = _SMALLEST * blur**2
    minor, major = np.maximum(values, [max(_THINNEST * values[1], smallest), smallest]) ** 0.5
    along = np.tensordot(vectors.T, _places(image, moments), 1)
    radii = np.hypot(along[0] / minor, along[1] / major) * (minor * major) ** 0.5
    order = np.argsort(radii, axis=None)
    growth = np.maximum.accumulate(np.cumsum(image.array.ravel()[order]) / image.array.sum())
    half = np.interp(0.5, growth, radii.ravel()[order])
    # Never by more than half of the radius: there is little left to tell.
    half = max(half**2 - _BLURRED * blur**2, 0.25 * half**2) ** 0.5
    angle = np.arctan2(vectors[1, 1], vectors[0, 1])
    return ellipse(half * (major / minor) ** 0.5, minor / major, angle)


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
