"""What `vaedeblend deblend` has left of its sources: profiles, places, PSFs, and how sure they are.

The profiles of stamps.fits are light under VIS's own PSF. How well the network knows a profile is
not stored beside it, and follows from its flux: of the error of a VIS flux, what noise alone would
leave were the profile known is taken out, and the rest is the profile's. Under even noise the flux
of a template that is too large by a share is too large by that share, so that this rest is the
error of the profile's size (`size_errors`).

Within its total flux a profile may be a per cent fainter or brighter than VIS's own pixels where
its light is. A band's flux is that of its pixels there, so that templates are as bright as VIS's
pixels have them (`amplitude`).
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from vaedeblend.exceptions import BandError
from vaedeblend.image.bands.fitting.kernels import PsfField
from vaedeblend.image.bands.vis_psf import read_vis_psfs
from vaedeblend.image.catalogue.files import CATALOGUE, is_catalogue
from vaedeblend.io.mosaic import open_mosaic
from vaedeblend.pixels.profiles import Profiles
from vaedeblend.pixels.stamps import overlap
from vaedeblend.survey import magnitude_to_flux

POINT = 0.9
"""Least probability of a point source that is taken for one."""
_GRADIENT = 0.03
"""Scatter of the logarithm of a galaxy's size in another band over that in VIS, as far as it moves
fluxes. Measured on simulated tiles."""
_AMPLITUDE = 0.02
"""Expected departure of a profile's amplitude from 1. Measured on simulated tiles."""
_FAR, _LEFT = 3 * _AMPLITUDE, 0.3
"""Largest departure, and largest share of a pixel's light that is counted as left of it: what is
more is another source's, or no light."""
_BLUR = 1.5
"""Sigma by which a profile is blurred to weigh the pixels that tell its amplitude [pixel]."""
_AREA = 2 * np.log(2) / np.pi
"""Square of an effective FWHM over its area."""
_MOST = 0.3
"""Largest error of a profile's size: what is beyond is none of a profile that is nearly right."""


class VisSources(NamedTuple):
    """The n sources of a folder of results, and the image on which they lie."""

    table: Table
    """The catalogue."""
    profiles: Profiles
    """Light of the sources, in stamps.fits."""
    position: Float[np.ndarray, "n 2"]
    """(y, x) on the image."""
    flux: Float[np.ndarray, " n"]
    """Total flux [image unit]; NaN where it is not measured."""
    amplitude: Float[np.ndarray, " n"]
    """By how much VIS's pixels are brighter than the profiles."""
    point: Bool[np.ndarray, " n"]
    """Whether a source is a point."""
    wcs: WCS
    microjansky: float
    """Microjanskys of an image unit; NaN without a zero point."""
    psfs: PsfField
    files: tuple[Path, ...]
    """Files of which all this is made."""

    @property
    def measured(self) -> Bool[np.ndarray, " n"]:
        """Whether a source has a profile."""
        return np.isfinite(self.flux) & (self.flux > 0) & (self.profiles.binning > 0)


def read_sources(out: str | Path, psf: str | Path | None = None) -> VisSources:
    """The sources that a run of `vaedeblend deblend` has found.

    Args:
        out: Folder of its results.
        psf: PSF of VIS, as `psfs.read_psfs` takes it; by default the one that the run was given.

    Raises:
        BandError: The folder holds no results, or the image has no WCS.
        PsfError: There is no PSF.
    """
    out = Path(out)
    paths = [out / name for name in (CATALOGUE, "stamps.fits", "model.fits", "residual.fits")]
    if lacking := [path for path in paths if not path.is_file()]:
        raise BandError(f"{lacking[0]}: is not there; wanted a folder of vaedeblend deblend")
    if not is_catalogue(paths[0]):
        raise BandError(f"{paths[0]}: no catalogue of this program; wanted that of a deblending")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several tables, and units that are none of FITS's
        table = Table.read(paths[0], "CATALOG")
    corner = np.stack([table["y_stamp"], table["x_stamp"]], axis=1)
    profiles = Profiles.read(paths[1], np.asarray(table["binning"]), corner)
    with open_mosaic(paths[2]) as mosaic:
        wcs, scale, shape = mosaic.wcs, mosaic.pixel_scale, mosaic.shape
    if wcs is None or scale is None:
        raise BandError(f"{out}: the deblended image has no WCS; wanted one, by which bands lie")
    zero_point = table.meta.get("MAGZERO")
    psfs, psf = read_vis_psfs(paths[0], psf, shape, wcs, scale)
    chance = np.ma.filled(np.ma.asarray(table["point_source_prob"], float), np.nan)
    vis = VisSources(
        table,
        profiles,
        np.stack([table["y"], table["x"]], axis=1).astype(float),
        np.ma.filled(np.ma.asarray(table["flux"].value, float), np.nan),
        np.ones(len(table)),
        np.nan_to_num(chance) > POINT,
        wcs,
        np.nan if zero_point is None else float(magnitude_to_flux(zero_point)),
        PsfField(psfs, shape, scale),
        (*paths, *filter(None, [psf])),
    )
    return vis._replace(amplitude=_amplitudes(vis, *paths[2:]))


def _amplitudes(vis: VisSources, model: Path, residual: Path) -> Float[np.ndarray, " n"]:
    """What VIS's pixels are over the profiles, drawn towards 1 where noise says little.

    What a pixel has left belongs to its sources in proportion to their light.
    """
    rows, excess = np.flatnonzero(vis.measured), []
    profiles = vis.profiles.select(rows)
    try:
        with fits.open(model, memmap=True) as light, fits.open(residual, memmap=True) as left:
            images = light[0].data, left[0].data
            for stamp, corner in zip(profiles, profiles.corner, strict=True):
                on_image, on_stamp = overlap(corner.tolist(), len(stamp), images[0].shape)
                parts = [image[on_image].astype(float) for image in images]
                excess.append(_excess(stamp[on_stamp].astype(float), *parts))
    except (TypeError, ValueError) as error:
        text = f"{residual}: no image such as vaedeblend deblend writes beside {model.name}"
        raise BandError(f"{text} ({error})") from error
    found, squares = np.array(excess).reshape(-1, 2).T
    noise = known_errors(vis, rows, squares / vis.flux[rows] ** 2) / vis.flux[rows]
    amplitude = np.ones(len(vis.flux))
    departure = np.nan_to_num(found / (1 + (noise / _AMPLITUDE) ** 2))
    amplitude[rows] += departure.clip(-_FAR, _FAR)
    return amplitude


def _excess(own, total, rest) -> tuple[float, float]:
    """What pixels have left of a source, over its light there; and the sum of that's squares."""
    valid = np.isfinite(rest)
    weight = gaussian_filter(own, _BLUR) * valid
    share = np.divide(own, total, out=np.zeros_like(own), where=total > 0).clip(0, 1)
    most = _LEFT * total.clip(0)
    left = share * np.where(valid, rest, 0).clip(-most, most)
    lit = np.sum(weight * own)
    return (np.sum(weight * left) / lit if lit > 0 else 0.0), np.square(own[valid]).sum()


def size_errors(
    vis: VisSources,
    rows,
    squares: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Relative errors of the sizes of profiles; 0 of points.

    Args:
        vis: Sources.
        rows: Rows of n of them.
        squares: Sums of the squares of their profiles of unit flux, over VIS's pixels.
    """
    error = np.asarray(vis.table["flux_err"], float)[rows]
    noise = known_errors(vis, rows, squares)
    own = np.sqrt(np.maximum(error**2 - noise**2, 0)) / vis.flux[rows]
    return np.where(vis.point[rows], 0, np.nan_to_num(own, nan=_MOST).clip(0, _MOST))


def gradients(vis: VisSources, rows, squares: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Expected differences of the logarithms of sizes of light between VIS and another band.

    The light is under VIS's PSF, of whose area that of the galaxy itself is a part; 0 of points.

    Args:
        vis: Sources.
        rows: Rows of n of them.
        squares: Sums of the squares of their profiles of unit flux, over VIS's pixels.
    """
    point = (vis.psfs.fwhm / vis.psfs.pixel_scale) ** 2 / _AREA
    return np.where(vis.point[rows], 0, _GRADIENT * (1 - point * squares).clip(0))


def known_errors(vis: VisSources, rows, squares) -> Float[np.ndarray, " n"]:
    """Errors of VIS fluxes that noise alone would leave, were the profiles known [image unit].

    The error of an aperture's flux, of a radius of one FWHM, holds the noise of its pixels.
    """
    radius = np.asarray(vis.table["fwhm"], float)[rows] / vis.psfs.pixel_scale
    noise = np.asarray(vis.table["flux_aperture_err"], float)[rows] / (np.sqrt(np.pi) * radius)
    return noise / np.sqrt(np.where(squares > 0, squares, np.nan))
