"""The PSF that is given, compared with the training's and with the image's sharpest sources."""

from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from jaxtyping import Float
from scipy.ndimage import maximum_filter

from vaedeblend.exceptions import PsfError
from vaedeblend.image.inspection.findings import Finding
from vaedeblend.image.inspection.samples import Blocks
from vaedeblend.io.mosaic import Mosaic, Pixels
from vaedeblend.io.workdir import WORKDIR_PSF, find_workdir
from vaedeblend.pixels.psf import (
    PSF_SIZE,
    Psf,
    effective_fwhm,
    encircled_energy,
    held_within,
    is_native,
    light_centre,
    native_psfs,
    read_native_psfs,
)
from vaedeblend.pixels.psfs.read import GivenPsfs, read_psfs

_LEAST, _MOST = 0.5, 2.0
"""Width over that of the training's PSF beyond which a PSF is another, or otherwise sampled."""
SHARP, BLUNT = 0.7, 1.4
"""The same beyond which fluxes are not what they were in the training."""
_UNIT = 0.005
"""Difference of a PSF's sum from 1 that is said."""
_WHOLE = 1e-5
"""Difference of a share of light from 1 that is rounding."""
_OFF = 0.3
"""Distance of a PSF's centre that is said [pixel]."""
_BRIGHT, _STARS, _SIDE = 50.0, 10, 7
"""Peak of a source whose width is measured [rms], least number, and side of its stamp [pixel]."""
_WIDER, _ANOTHER = 1.3, 1.5
"""Width over that of the sharpest sources of a PSF that is said, and of one that is refused."""
_HIT = 0.8
"""Width below which the sharpest sources are single pixels, whose own is 0.66 [pixel]."""
_ALIKE, _FEWEST, _SHARE = 0.04, 5, 0.5
"""Range of the widths of stars, which are alike, their least number among the sharpest sources, and
the least share of stars among the bright sources where galaxies might be taken for them."""

PsfArray = Float[np.ndarray, "rows columns side side"]


def psf_place(mosaic: Mosaic) -> tuple[tuple[int, int], WCS | None]:
    """Shape and celestial coordinates of what an image's PSFs are of: of it, or of a part."""
    section = mosaic.facts.psf_section
    if section is None:
        return mosaic.shape, mosaic.wcs
    rows, columns = section
    shape = rows.stop - rows.start, columns.stop - columns.start
    return shape, None if mosaic.wcs is None else mosaic.wcs[rows, columns]


def psf_findings(
    path: str | Path | None,
    weights: str | Path,
    shape: tuple[int, int],
    wcs: WCS | None = None,
    *,
    given: float | None,
    default: float,
    scale: float,
    band: int = 0,
) -> tuple[list[Finding], PsfArray | None]:
    """What there is to say of an image's PSFs, and these at the survey's pixels, centred.

    Each sums to the share of a point source's light that it holds (`psf.encircled_energy`, less
    what is cut off).

    Args:
        path: What `read.read_psfs` takes: FITS file or folder; None for the PSF trained for.
        weights: Name of shipped weights, or a workdir.
        shape: Height and width of the image, or of the part that they are of [pixel].
        wcs: Celestial coordinates of that.
        given: Sampling that the user has given [arcsec].
        default: Sampling where the header has none [arcsec].
        scale: Pixel scale of the survey [arcsec].
        band: Number of the weights' band.

    Raises:
        PsfError: There is no PSF.
    """
    if path is None:
        return [Finding("assumed", "psf", "PSF: the one that the weights were trained for")], None
    found = read_psfs(path, shape, wcs, given=given, default=default)
    said, psfs = form_findings(path, found, scale)
    width = float(np.median(effective_fwhm(psfs))) * scale
    text = f"{path}: PSF of an effective FWHM of {width:.3g} arcsec, sampled at "
    text += f"{found.sampling:.3g} arcsec ({found.origin or 'as the image is'})"
    findings = [Finding("given" if found.origin else "assumed", "psf", text), *said]
    return findings + _width(path, weights, width, scale, band), psfs * _shares(found, scale)


def form_findings(
    path: str | Path, found: GivenPsfs, scale: float
) -> tuple[list[Finding], PsfArray]:
    """What there is to say of sums and centres of PSFs, and these at an image's pixels, unit sums.

    Args:
        path: File or folder of the PSFs.
        found: What was read there.
        scale: Side of the pixels [arcsec].
    """
    psfs = np.array([[_at_pixels(psf, scale) for psf in row] for row in found.grid])
    return _sums(path, found) + _centres(path, found.moved, psfs), psfs


def _shares(found: GivenPsfs, scale: float) -> Float[np.ndarray, "rows columns 1 1"]:
    """Share of a point source's light on the image of each PSF; exactly 1 where that is meant."""
    shares = [[held_within(psf, PSF_SIZE * scale) for psf in row] for row in found.grid]
    shares = np.array(shares, np.float32)[..., None, None]
    return np.where(np.abs(shares - 1) < _WHOLE, np.float32(1), shares)


def _sums(path: str | Path, found: GivenPsfs) -> list[Finding]:
    """What the PSFs' sums are taken for, and a constant that was in them."""
    if found.pedestal:
        text = f"{path}: the PSF stands on a constant, {100 * found.pedestal:.2g} % of its sum: a "
        text += "sky that was left in its stamp is no light of the PSF, and is taken off"
        return [Finding("corrected", "psf", text)]
    total = found.total
    if abs(total - 1) <= _UNIT:
        return []
    if encircled_energy(np.array(total)) == total:
        text = f"{path}: the PSF sums to {total:.4g}: the share of a point source's light that it "
        return [Finding("found", "psf", text + "holds (its encircled energy)")]
    text = f"{path}: the PSF sums to {total:.4g}, which is no share of light (0.9 to 1); it is "
    return [Finding("corrected", "psf", text + "normalised to 1")]


def sharpness_findings(
    path: str | Path, psfs: PsfArray, strips: list[Pixels], blocks: Blocks
) -> tuple[list[Finding], float | None]:
    """Whether the image holds sources sharper than its PSF; their effective FWHM [pixel]."""
    if not len(blocks.level):
        return [], None
    sigma, sky = float(np.median(blocks.scatter)), float(np.quantile(blocks.level, 0.25))
    widths = np.concatenate([_widths(each.image - sky, sigma) for each in strips])
    if len(widths) < _STARS:
        return [], None
    sharpest, middle = float(np.quantile(widths, 0.2)), (psfs.shape[2] - _SIDE) // 2
    inner = slice(middle, middle + _SIDE)
    width = float(np.median(effective_fwhm(psfs[..., inner, inner])))
    stars, n = _stars(widths)
    ratio, words = width / sharpest, "is it sampled as the image is, and its own?"
    if sharpest < _HIT:
        words = "single pixels: are they cosmic rays or hot pixels? Mask them; or " + words
    if ratio > _WIDER:
        text = f"{path}: the PSF is {ratio:.2g} times wider than the sharpest of the image's "
        kind = "refused" if ratio > _ANOTHER and n >= _FEWEST and stars < width else "warned"
        return [Finding(kind, "psf", f"{text}{len(widths)} bright sources; {words}")], sharpest
    if stars > _ANOTHER * width and n >= max(_STARS, _SHARE * len(widths)):
        text = f"{path}: the PSF is {stars / width:.2g} times sharper than {n} of the image's "
        text += f"{len(widths)} bright sources, which are as wide as each other; {words}"
        return [Finding("warned", "psf", text)], sharpest
    return [], sharpest


def _stars(widths: Float[np.ndarray, " n"]) -> tuple[float, int]:
    """Width that most sources have, as stars have one, and how many do."""
    widths = np.sort(widths)
    n = np.searchsorted(widths, widths * (1 + _ALIKE), side="right") - np.arange(len(widths))
    first = int(np.argmax(n))
    return float(np.median(widths[first : first + n[first]])), int(n[first])


def _centres(path: str | Path, moved: int, psfs: PsfArray) -> list[Finding]:
    """PSFs that were moved to their middle pixel, and a centre that is off it all the same."""
    findings, n = [], psfs.shape[0] * psfs.shape[1]
    if moved:
        text = f"{path}: {moved} of {n} PSFs peak beside their middle pixel; they are moved there"
        findings.append(Finding("corrected", "psf", text))
    off = max(float(np.hypot(*light_centre(psf))) for row in psfs for psf in row)
    if off > _OFF:
        text = f"{path}: the PSF's centre is {off:.2g} pixels off its middle pixel's"
        findings.append(Finding("warned", "psf", text))
    return findings


def trained_width(weights: str | Path, scale: float, band: int = 0) -> float | None:
    """Effective FWHM of the PSF that weights were trained for in a band [arcsec].

    Workdirs of version 0.1.0 hold none.
    """
    try:
        trained = read_native_psfs(find_workdir(weights) / WORKDIR_PSF, scale)[..., band]
    except PsfError:
        return None
    return float(effective_fwhm(trained[None])[0]) * scale


def _width(path, weights, width: float, scale: float, band: int) -> list[Finding]:
    """A PSF of another width than that of the training."""
    wanted = trained_width(weights, scale, band)
    if wanted is None:
        return []
    ratio = width / wanted
    if SHARP < ratio < BLUNT:
        return []
    text = f"{path}: the PSF's effective FWHM is {width:.3g} arcsec; wanted about {wanted:.3g} "
    if _LEAST < ratio < _MOST:
        text += "arcsec, as in the training: fluxes may be off by some per cent"
        return [Finding("warned", "psf", text)]
    text += "arcsec, as in the training: is it sampled otherwise than said? Give --psf-scale"
    return [Finding("refused", "psf", text)]


def _widths(image: Float[np.ndarray, "height width"], sigma: float) -> Float[np.ndarray, " n"]:
    """Effective FWHM of the bright sources of a strip [pixel]."""
    filled, half = np.nan_to_num(image), _SIDE // 2
    peaks = (filled == maximum_filter(filled, _SIDE)) & (filled > _BRIGHT * sigma)
    inner = np.zeros_like(peaks)
    inner[half:-half, half:-half] = True
    y, x = np.nonzero(peaks & inner)
    rows, columns = np.arange(-half, half + 1)[:, None], np.arange(-half, half + 1)
    stamps = image[y[:, None, None] + rows, x[:, None, None] + columns]
    widths = effective_fwhm(stamps, sigma)
    return widths[np.isfinite(widths)]


def _at_pixels(psf: Psf, scale: float) -> Float[np.ndarray, "side side"]:
    """A PSF at the survey's pixels [arcsec]."""
    if is_native(psf, scale):
        return native_psfs((psf,), scale)[..., 0]
    # GalSim, the price of another sampling, is loaded for nothing else on the way of an image.
    from vaedeblend.simulate.render import resampled_psfs

    return resampled_psfs((psf,), scale)[..., 0]
