"""Real galaxies cut out of FITS images: of any telescope, one plane a galaxy or whole fields.

A file's planes (images, or cubes of them) are searched for galaxies; what else is near one is
masked and made up for by the light on the other side of its centre. Used are galaxies in one piece,
larger than the PSF, off the edges, and a hundred times brighter than their noise. Two galaxies that
touch are told from one with knots by their light: no second peak of one galaxy holds more than a
tenth of it.

A galaxy of the catalogue is drawn by a real one that is turned, faded and shrunk to its flux,
half-light radius and shape. Chosen are those whose own noise is then below a tenth of the
background's of Euclid's wide survey, and that need not be magnified; of these, such of similar axis
ratio. Bright galaxies may find none: then come those with the least of both.

The unit of the pixels does not matter, nor does a zero point.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import galsim
import numpy as np
from astropy.io import fits
from jaxtyping import Float, Int
from scipy import ndimage

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import CatalogueError, PsfError
from vaedeblend.io.fits.header import sampling
from vaedeblend.io.folders.digest import kept_while_unchanged
from vaedeblend.pixels.psf import Psf, read_psf
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
from vaedeblend.survey import Survey

N_SIMILAR = 12
"""Real galaxies from which one is chosen by chance."""
OWN_NOISE = 0.1
"""Largest noise of a real galaxy, over the rms of the background on which it is put."""
_MAGNIFIED = 0.2
"""Natural logarithm of the largest magnification that is not avoided, a fifth."""
_CHOICE = 5
"""Last word of the seed, whose other purposes are those of the other styles and the caller's."""
_CLEAR = 100.0
"""Least flux of a galaxy [its noise, within its pixels]."""
_LARGE = 1.5
"""Least square root of a galaxy's area at half of its peak, over that of the PSF."""
_SECOND = 0.1
"""Share of a galaxy's light in a second peak beyond which that is another galaxy."""
_MARGIN = 1.5
"""Side of a stamp, over the largest side of its galaxy's pixels."""


class Found(NamedTuple):
    """A real galaxy that was cut out."""

    name: str
    """Of the plane that it is on."""
    pair: tuple[RealGalaxy, RealGalaxy]
    radius: float
    """Half-light radius along the major axis [arcsec]."""
    axis_ratio: float
    noise: float
    """Rms of an arcsec^2, over the galaxy's flux."""


def real(path: str) -> Callable[..., list[galsim.GSObject]]:
    """The style `(galaxy, seed=()) -> light of each band` that draws real galaxies of FITS files.

    Flux, half-light radius, axis ratio, position angle and centroid are the catalogue's as measured
    on the cut-out, as those of `hst.cosmos`. Which galaxy it is, and whether mirrored or upside
    down, depends on the words of the seed and the parameters asked for. All bands show the same
    image. A star is a point.

    Args:
        path: A FITS file, or a folder of them; after `#` the part of its galaxies, by file and
            plane (`parts`). A file's pixel scale is that of its WCS or PIXSCALE; its PSF that of
            its plane PSF, or of the one file beside it that has `psf` in its name and starts with
            the same word (`f444w_cube.fits`, `f444w_psf.fits`), of several with most letters alike.

    Raises:
        CatalogueError: There is no image, pixel scale or usable galaxy.
        PsfError: A file has no PSF, or one of another sampling.
        StyleError: The part is none.
    """
    return _real(*split_part(path))


@kept_while_unchanged(maxsize=4)
def _real(path: str, part: str | None) -> Callable[..., list[galsim.GSObject]]:
    found = [each for file in _files(Path(path)) for each in find_galaxies(file)]
    kept = is_in_part([each.name for each in found], part)
    galaxies = [each for each, yes in zip(found, kept, strict=True) if yes]
    if not galaxies:
        of = f" of part {part!r}" if part else ""
        raise CatalogueError(f"{path}: found no galaxies{of}; wanted bright ones off the edges")
    survey = Survey()
    sky = float(survey.variance[0] ** 0.5 / survey.pixel_scale.value)

    def draw(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
        if galaxy.star:
            return points(galaxy)
        rng = np.random.default_rng((*seed, _CHOICE))
        radius, (axis_ratio, angle) = half_light_radius(galaxy), dominant_shape(galaxy)
        similar = choose_quiet(galaxies, float(galaxy.flux.max()) / sky, radius, axis_ratio)
        chosen = galaxies[rng.choice(similar)]
        shape = ellipse(radius, axis_ratio, np.radians(angle))
        return as_asked(chosen.pair, galaxy.flux, shape, rng)

    return draw


def choose_quiet(
    galaxies: list[Found], signal: float, radius: float, axis_ratio: float
) -> Int[np.ndarray, " k"]:
    """Indices of the galaxies to draw one by, a dozen if there are as many.

    Args:
        galaxies: Real galaxies.
        signal: Flux of the galaxy to draw, over the rms of an arcsec^2 of the background.
        radius: Its half-light radius along the major axis [arcsec].
        axis_ratio: Its minor over its major axis.
    """
    radii, ratios, noises = (
        np.array([getattr(each, name) for each in galaxies])
        for name in ("radius", "axis_ratio", "noise")
    )
    larger = np.log(max(radius, 1e-3) / radii)
    # Noise is a surface brightness times a length: it goes with flux over radius.
    louder = np.log(signal * noises / OWN_NOISE) - larger
    excess = np.maximum(louder, 0) + np.maximum(larger - _MAGNIFIED, 0)
    return np.lexsort([abs(axis_ratio - ratios), excess])[:N_SIMILAR]


def find_galaxies(file: Path) -> list[Found]:
    """The galaxies on all planes of a FITS file that may be drawn.

    Raises:
        CatalogueError: It has no image or no pixel scale.
        PsfError: It has no PSF, or one of another sampling.
    """
    found = (_measured(*each) for each in find_stamps(file))
    return [each for each in found if each is not None]


def find_stamps(file: Path) -> Iterator[tuple[str, RealStamp, float]]:
    """Name of the plane, stamp and flux of each galaxy that `find_galaxies` may use.

    Raises:
        CatalogueError: It has no image or no pixel scale.
        PsfError: It has no PSF, or one of another sampling.
    """
    planes = list(_planes(file))
    psf = _psf(file, planes[0][2])
    for name, image, scale in planes:
        for stamp, flux in _stamps(image, scale, psf):
            yield name, stamp, flux


def _measured(name: str, stamp: RealStamp, flux: float) -> Found | None:
    pair = make_real_galaxies(stamp)
    if pair is None:
        return None
    minor, major = sorted(np.linalg.svd(pair[0].axes, compute_uv=False))
    noise = stamp.noise.getVariance() ** 0.5 / float(stamp.image.scale) / flux
    return Found(name, pair, float(major), float(minor / major), float(noise))


def _stamps(image, scale: float, psf: Psf) -> Iterator[tuple[RealStamp, float]]:
    """Stamp and flux of each galaxy of a plane."""
    light = image - _sky(image)
    if not (light < 0).any():
        return  # neither noise nor sky
    rms = 1.4826 * float(np.median(-light[light < 0]))
    blurred, labels = segment(light, rms)
    core = psf.image > psf.image.max() / 2
    for k, box in enumerate(ndimage.find_objects(labels), 1):
        own = labels[box] == k
        flux = float(light[box][own].sum())
        if (
            flux > _CLEAR * rms * own.sum() ** 0.5
            and _is_inside(box, image.shape)
            and _area(blurred[box], own) > _LARGE**2 * core.sum()
            and is_one(blurred[box], own, _SECOND)
        ):
            stamp = galsim.Image(_cut(light, labels, k, box), scale=scale)
            noise = galsim.UncorrelatedNoise(rms**2, scale=scale)
            yield RealStamp(stamp, galsim.Image(psf.image, scale=scale), noise), flux


def _sky(image) -> float:
    """Median of the pixels without sources."""
    level, width = np.median(image), np.inf
    for _ in range(5):
        faint = image[abs(image - level) <= 2.5 * width]
        level = np.median(faint)
        width = 1.4826 * np.median(abs(faint - level))
    return float(level)


def _area(blurred, own) -> int:
    """Pixels above half of the peak."""
    return int((blurred[own] > blurred[own].max() / 2).sum())


def _is_inside(box: tuple[slice, slice], shape: tuple[int, int]) -> bool:
    """Whether pixels are off the edges of a plane by more than a pixel."""
    return all(s.start > 1 and s.stop < n - 1 for s, n in zip(box, shape, strict=True))


def _cut(light, labels, k: int, box) -> Float[np.ndarray, "side side"]:
    """A stamp about a source, on which others have the light of the opposite side in their place.

    Beyond the plane's edge it is dark.
    """
    own = np.where(labels[box] == k, light[box], 0)
    centre = [round(c + s.start) for c, s in zip(ndimage.center_of_mass(own), box, strict=True)]
    half = int(_MARGIN * max(s.stop - s.start for s in box) / 2) + 4
    others = ndimage.binary_dilation((labels > 0) & (labels != k), iterations=2) & (labels != k)
    window = tuple(slice(c, c + 2 * half + 1) for c in centre)
    stamp, hidden = (
        np.pad(plane, half, constant_values=beyond)[window]
        for plane, beyond in ((light, 0), (others, True))
    )
    across = np.where(hidden[::-1, ::-1], 0, stamp[::-1, ::-1])
    return np.where(hidden, across, stamp)


def _files(path: Path) -> list[Path]:
    """FITS files of images: the one that is named, or those of a folder but for PSFs."""
    if not path.is_dir():
        return [path]
    found = [f for f in sorted(path.glob("*.fit*")) if f.is_file() and "psf" not in f.name.lower()]
    if not found:
        raise CatalogueError(f"{path}: found no FITS file; wanted one of cut-outs")
    return found


def _planes(file: Path) -> Iterator[tuple[str, Float[np.ndarray, "height width"], float]]:
    """Name, pixels and pixel scale [arcsec] of a file's planes but for its PSF."""
    try:
        with fits.open(file) as hdus:
            images = [h for h in hdus if h.is_image and h.data is not None and h.data.ndim > 1]
            read = [(h.data.astype(float), h.header) for h in images if "PSF" not in h.name.upper()]
    except (OSError, TypeError, ValueError) as error:
        raise CatalogueError(f"{file}: found no image ({error}); wanted a FITS file") from error
    if not read:
        raise CatalogueError(f"{file}: found no image; wanted planes of cut-outs")
    for number, (cube, header) in enumerate(read):
        scale = sampling(header)[0]
        if not scale:
            raise CatalogueError(f"{file}: found no pixel scale; wanted PIXSCALE [arcsec] or a WCS")
        for i, plane in enumerate(cube.reshape(-1, *cube.shape[-2:])):
            yield f"{file.name} {number} {i}", np.nan_to_num(plane), scale


def _psf(file: Path, scale: float) -> Psf:
    """The PSF of a file's planes, at their sampling."""
    with fits.open(file) as hdus:
        inside = [f"{file}[{h.name}]" for h in hdus if "PSF" in h.name.upper()]
    word = file.name.split("_")[0].split(".")[0]
    beside = [f for f in sorted(file.parent.glob(f"{word}*.fit*")) if "psf" in f.name.lower()]
    found = inside or _most_alike(file.name, beside)
    if len(found) != 1:
        wanted = f"wanted one: a plane PSF, or a file {word}_psf.fits beside it"
        raise PsfError(f"{file}: found {len(found)} PSFs; {wanted}")
    psf = read_psf(str(found[0]), default_pixel_scale=scale)
    if not np.isclose(psf.pixel_scale, scale, rtol=0.01):
        raise PsfError(f"{found[0]}: found a sampling of {psf.pixel_scale}; wanted {scale:.4g}")
    return psf


def _most_alike(name: str, files: list[Path]) -> list[Path]:
    """Those of some files whose names begin with the most letters of a name."""
    shared = [len(os.path.commonprefix([name, file.name])) for file in files]
    return [file for file, n in zip(files, shared, strict=True) if n == max(shared)]
