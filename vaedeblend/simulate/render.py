"""Noise-free images of single galaxies and stars with GalSim (Rowe+ 2015), and noise on top.

A galaxy's light, as its style makes it of the catalogue's parameters (`galaxies.styles`), is
convolved with the band's effective PSF.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import galsim
import numpy as np
from jaxtyping import Float

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.exceptions import PsfError
from vaedeblend.pixels.coadds import CoaddRecipe, coadd_some
from vaedeblend.pixels.psf import PSF_SIZE, Psf, is_native, make_psf, read_psf
from vaedeblend.simulate.galaxies.styles import find_style
from vaedeblend.survey import Band, Survey

_WING_BETA = 1.5
"""Of a Moffat profile whose light falls as the cube of the radius, as that of scattered light."""
_PSF_SAMPLING = 0.05
_PSF_EXTENT = 5.05
"""Sampling and side of an optical PSF's image [arcsec]."""
_DITHERS, _ENDS = 9, 10
"""Purposes of random numbers; `examples` has the others."""
_SCATTERED = 0.3, 1.0
"""Range of the FWHM of wings of scattered light [arcsec]."""


Draw = Callable[..., Float[np.ndarray, "size size band"]]
"""How a galaxy becomes a stamp: `(galaxy, offset, seed=()) -> stamp`, see `make_draw`."""


def optical_psf(band: Band, pixel_scale: float) -> Psf:
    """Effective PSF of an obstructed circular aperture with charge diffusion.

    Drawn once, finer than the Nyquist limit of the aperture, and used as an image from then on:
    galaxies convolve with the image several times faster than with the optical model.

    Args:
        band: Telescope and detector.
        pixel_scale: Side of the survey's pixel [arcsec], whose response the PSF includes.
    """
    diffusion = _blur(band.charge_diffusion.value)
    effective = galsim.Convolve(_optics(band), diffusion, galsim.Pixel(pixel_scale))
    side = round(_PSF_EXTENT / _PSF_SAMPLING)
    image = _pixels(effective, side, _PSF_SAMPLING)
    psf = make_psf(image, _PSF_SAMPLING, source=f"optical PSF of {band.name}")
    return psf._replace(total=1.0)  # as simulated, no light lies beyond the image


def survey_psfs(survey: Survey, stamp_size: int) -> tuple[Psf, ...]:
    """The PSF of each band: the FITS image it names, or its optical PSF.

    Raises:
        PsfError: An image that cannot be used, or is larger than a stamp of `stamp_size` pixels.
    """
    scale = survey.pixel_scale.value
    extent = stamp_size * scale
    return tuple(
        read_psf(band.psf, default_pixel_scale=scale, max_extent=extent)
        if band.psf
        else optical_psf(band, scale)
        for band in survey.bands
    )


class PsfRecipe(NamedTuple):
    """The family of PSFs of kinds galaxies and fields; other kinds have the survey's own PSF."""

    n_psfs: int = 1
    """Number of variants; example i has PSF i % n_psfs."""
    psf_fwhm: tuple[float, float] = (0.15, 0.25)
    """Range of the variants' FWHM [arcsec], uniform in logarithm, before the pixel's response
    (which an image holds already), starting at that of the optics or the image if that is more."""
    psf_default_share: float = 0.25
    """Share of the survey's own PSF in the family, at least one."""
    coadd_share: float = 0.0
    """Share of the family that is of co-adds, whose noise is correlated; see `CoaddRecipe`."""
    coadd_exposures: tuple[int, int] = (1, 6)
    """Least and largest number of a co-add's exposures."""
    coadd_interpolations: tuple[str, ...] = ("bilinear", "lanczos3")
    """How exposures are interpolated: names of `coadds.INTERPOLATIONS`."""
    psf_wings: tuple[float, float] = (0.0, 0.0)
    """Range of the share of the variants' light that lies in wings beside those of the optics."""
    psf_cut_share: float = 0.0
    """Share of the family whose light ends where the image that the networks are given does."""
    psf_sides: tuple[int, int] = (PSF_SIZE, PSF_SIZE)
    """Range of the side of the variants' images that the networks are given [pixel], uniform in
    logarithm; the survey's own PSF is given whole. Their sums are the share of the light that they
    hold."""


class PsfFamily(NamedTuple):
    """PSFs that the examples of a dataset take by turns."""

    psfs: tuple[tuple[Psf, ...], ...]
    """One a band each."""
    given: Float[np.ndarray, "n side side band"]
    """As the networks are given them, at the survey's pixels; each sums to what it holds of the
    light."""
    correlation: Float[np.ndarray, "n lag lag band"]
    """Autocovariance of the noise of images of each (`coadds.noise_autocorrelation`)."""


def psf_family(
    survey: Survey, recipe: PsfRecipe, *, stamp_size: int, seed: tuple[int, ...]
) -> PsfFamily:
    """Variants of the survey's PSF, one PSF a band each, of which the first are its own.

    The others are a band's optics, or the image it names, at a random angle, blurred by a Gaussian
    instead of the charge diffusion, and slightly elliptical (both components of the shear of
    standard deviation 0.02), and may have wings of scattered light. A share of all of them are seen
    through the dithers of a co-add, and a share of the variants are cut off. Variant i depends on
    `seed` and i alone.

    Args:
        survey: Bands and pixel scale.
        recipe: Number and kinds of the variants.
        stamp_size: Side of the stamp that has to hold a PSF image [pixel].
        seed: Words of the seed.

    Raises:
        PsfError: An image, or a setting of the co-adds, that cannot be used.
    """
    n = recipe.n_psfs
    own = survey_psfs(survey, stamp_size)
    n_own = min(n, max(1, round(recipe.psf_default_share * n)))
    psfs = n_own * (own,) + _variants(survey, own, range(n_own, n), recipe, seed)
    scale = survey.pixel_scale.value
    coadds = recipe.coadd_share, recipe.coadd_exposures, recipe.coadd_interpolations
    dithers = {"pixel_scale": scale, "seed": (*seed, _DITHERS)}
    psfs, correlation = coadd_some(psfs, CoaddRecipe(*coadds), **dithers)
    ends = [(PSF_SIZE, False)] * n_own + [_end(recipe, (*seed, _ENDS, i)) for i in range(n_own, n)]
    psfs = tuple(
        tuple(_cut(psf, side * scale) for psf in member) if is_cut else member
        for member, (side, is_cut) in zip(psfs, ends, strict=True)
    )
    given = [
        _blank_beyond(resampled_psfs(member, scale), side)
        for member, (side, _) in zip(psfs, ends, strict=True)
    ]
    return PsfFamily(psfs, np.stack(given), correlation)


def _end(recipe: PsfRecipe, seed) -> tuple[int, bool]:
    """Odd side of a variant's given image [pixel], and whether its light ends there, too."""
    rng = np.random.default_rng(seed)
    side = np.exp(rng.uniform(*np.log(recipe.psf_sides)))
    return 2 * round((side - 1) / 2) + 1, bool(rng.random() < recipe.psf_cut_share)


def _cut(psf: Psf, extent: float) -> Psf:
    """The middle of a PSF, of unit sum [arcsec]."""
    beyond = max(0, math.ceil((psf.extent - extent) / psf.pixel_scale / 2))
    side = len(psf.image)
    return make_psf(psf.image[beyond : side - beyond, beyond : side - beyond], psf.pixel_scale)


def _blank_beyond(image: Float[np.ndarray, "side side band"], size: int):
    """The image, zero beyond its middle."""
    beyond = (len(image) - size) // 2
    middle = slice(beyond, beyond + size)
    blank = np.zeros_like(image)
    blank[middle, middle] = image[middle, middle]
    return blank


def _variants(survey: Survey, own, numbers: range, recipe, seed) -> tuple[tuple[Psf, ...], ...]:
    """The members of a family that are not the survey's own."""
    if not numbers:
        return ()
    bands = list(zip(survey.bands, own, strict=True))
    cores = [_interpolated(psf) if band.psf else _optics(band) for band, psf in bands]
    blurs = [_log_uniform_blur(core, recipe.psf_fwhm) for core in cores]
    pixels = [[] if band.psf else [galsim.Pixel(survey.pixel_scale.value)] for band in survey.bands]
    variants = []
    for i in numbers:
        rng = np.random.default_rng((*seed, i))
        parts = zip(cores, blurs, pixels, strict=True)
        profiles = (_variant(*each, recipe.psf_wings, rng) for each in parts)
        variants.append(tuple(map(_psf_like, own, profiles)))
    return tuple(variants)


def check_turns(n_psfs: int, **counts: int) -> None:
    """Refuses numbers of stamps that are no multiples of the number of PSFs they take by turns.

    Raises:
        PsfError: One of the numbers is no multiple.
    """
    if any(n % n_psfs for n in counts.values()):
        found = " and ".join(f"{name} = {n}" for name, n in counts.items())
        raise PsfError(f"{found} of n_psfs = {n_psfs}; wanted multiples of it")


def default_psf(survey: Survey) -> Float[np.ndarray, "side side band"]:
    """The survey's effective PSF at its pixels, on which networks are conditioned; unit sum."""
    return resampled_psfs(survey_psfs(survey, 2 * PSF_SIZE), survey.pixel_scale.value)


def resampled_psf(psf: Psf, pixel_scale: float, size: int) -> Float[np.ndarray, "size size"]:
    """A PSF of any sampling drawn at the survey's, on an image of odd `size`; unit sum."""
    image = _pixels(_interpolated(psf), size, pixel_scale)
    return image / image.sum()


def finer_psf(psf: Psf, pixel_scale: float) -> Psf:
    """A PSF that is sampled at the image's pixels, interpolated between them; others as they are.

    Light convolved with coarse samples loses what lies beyond their Nyquist frequency: a star up
    to 7 % of its peak.
    """
    if not is_native(psf, pixel_scale):
        return psf
    image = resampled_psf(psf, pixel_scale / 2, 2 * len(psf.image) + 1)
    return Psf(image, pixel_scale / 2, psf.total)


def resampled_psfs(
    psfs: tuple[Psf, ...], pixel_scale: float
) -> Float[np.ndarray, "side side band"]:
    """The PSFs on which a network is conditioned: `resampled_psf` of PSF_SIZE, float32."""
    images = [resampled_psf(psf, pixel_scale, PSF_SIZE) for psf in psfs]
    return np.stack(images, axis=-1).astype(np.float32)


def make_draw(
    psfs: tuple[Psf, ...], *, size: int, pixel_scale: float, style: str = "analytic"
) -> Draw:
    """The function `(galaxy, (y, x), seed=()) -> stamp` that draws one galaxy without noise.

    The galaxy, or star, has no batch axis; (y, x) is its place relative to the stamp's centre
    [pixel]; whatever the style leaves to chance depends on the words of the seed. The stamp is
    (size, size, band) in uJy per pixel, float32.

    Args:
        psfs: One PSF a band.
        size: Side of the stamp [pixel].
        pixel_scale: Side of a pixel [arcsec].
        style: Name of one of `galaxies.styles.STYLES`.

    Raises:
        StyleError: There is no such style.
    """
    kernels = [_interpolated(psf) for psf in psfs]
    make_light = find_style(style)

    def draw(galaxy: Galaxies, offset, seed=()) -> Float[np.ndarray, "size size band"]:
        image = np.empty((size, size, len(kernels)), np.float32)
        for band, (light, kernel) in enumerate(zip(make_light(galaxy, seed), kernels, strict=True)):
            image[..., band] = _pixels(galsim.Convolve(light, kernel), size, pixel_scale, offset)
        return image

    return draw


def add_noise(
    noise_free: Float[np.ndarray, "*batch height width band"],
    survey: Survey,
    rng: np.random.Generator,
) -> Float[np.ndarray, "*batch height width band"]:
    """Noisy image [uJy per pixel], float32: Poisson noise of galaxies and sky, and read noise."""
    read_noise = np.array([b.read_noise.value * np.sqrt(b.n_exposures) for b in survey.bands])
    sky = survey.background - read_noise**2
    electrons = rng.poisson(np.maximum(noise_free * survey.gain, 0) + sky) - sky
    electrons += read_noise * rng.standard_normal(noise_free.shape)
    return (electrons / survey.gain).astype(np.float32)


def _optics(band: Band) -> galsim.GSObject:
    return galsim.OpticalPSF(
        lam=band.wavelength.value,
        diam=band.aperture.value,
        obscuration=band.obscuration,
        nstruts=band.n_struts,
        strut_thick=0.04,
    )


def _blur(sigma: float) -> galsim.GSObject:
    return galsim.Gaussian(sigma=max(sigma, 1e-6))


def _log_uniform_blur(core: galsim.GSObject, fwhm: tuple[float, float]):
    """The function of a number in [0, 1] to the sigma that gives `core` a FWHM in the range."""
    # A Gaussian of the largest FWHM alone is wide enough.
    sigmas = np.linspace(0, max(fwhm) / 2.3548, 24)
    widths = [galsim.Convolve(core, _blur(sigma)).calculateFWHM() for sigma in sigmas]
    low, high = np.log(np.maximum(fwhm, widths[0]))
    return lambda share: np.interp(np.exp(low + share * (high - low)), widths, sigmas)


def _variant(core: galsim.GSObject, blur, pixel: list, wings, rng) -> galsim.GSObject:
    turned = core.rotate(rng.uniform(0, 360) * galsim.degrees)
    g1, g2 = 0.02 * rng.standard_normal(2)
    light = galsim.Convolve(turned, _blur(blur(rng.random()))).shear(g1=g1, g2=g2)
    if max(wings):  # nothing is drawn for PSFs without: theirs are those of former versions
        share, width = rng.uniform(*wings), rng.uniform(*_SCATTERED)
        light = (1 - share) * light + share * galsim.Moffat(_WING_BETA, fwhm=width)
    return galsim.Convolve(light, *pixel)


def _psf_like(psf: Psf, profile: galsim.GSObject) -> Psf:
    """A profile as an image of the size and sampling of a PSF's."""
    return make_psf(_pixels(profile, psf.image.shape[0], psf.pixel_scale), psf.pixel_scale)


def _interpolated(psf: Psf) -> galsim.InterpolatedImage:
    return galsim.InterpolatedImage(galsim.Image(psf.image, scale=psf.pixel_scale), flux=1.0)


def _pixels(profile, size, pixel_scale, offset=(0.0, 0.0)) -> Float[np.ndarray, "size size"]:
    """A profile's samples: the pixel's response is part of the effective PSF already."""
    offset = (float(offset[1]), float(offset[0]))
    return profile.drawImage(
        nx=size, ny=size, scale=pixel_scale, method="no_pixel", offset=offset, dtype=float
    ).array
