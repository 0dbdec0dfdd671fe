"""Programs that take BlendingToolKit's blends apart, as deblenders of it, for `btk.py`.

Each gives positions, total fluxes with their errors, and the light of every source on the stamp.
"""

import contextlib
import warnings

import numpy as np
import sep
from astropy.io import fits
from astropy.table import Table
from btk.deblend import Deblender, DeblendExample, SepSingleBand
from btk.survey import make_wcs
from btk_blends import PIXEL, SKY, ZERO_POINT
from photutils.segmentation import (
    SourceCatalog,
    deblend_sources,
    detect_sources,
    make_2dgaussian_kernel,
)
from scarlet_scenes import fit_scene
from scipy.ndimage import convolve

from vaedeblend.image.pipeline import deblend_image
from vaedeblend.pixels.stamps import overlap

MOST = 40
"""Sources of a blend for which there is room."""
PSF_SIDE = 65
"""Of the image of the PSF that programs are given [pixel]."""
GAP = 16
"""Rows without data between the blends of a mosaic."""
COLUMNS = "x_peak", "y_peak", "flux", "flux_err", "flags"
"""Of the sources of a blend."""


def example(batch, values, light) -> DeblendExample:
    """What BlendingToolKit keeps of a blend.

    Args:
        batch: The blends.
        values: `COLUMNS` of the sources.
        light: Image of each source.
    """
    table = Table(dict(zip(COLUMNS, values, strict=True)))
    sky = batch.wcs.pixel_to_world_values(table["x_peak"], table["y_peak"])
    table["ra"], table["dec"] = (3600 * np.asarray(angle) for angle in sky)
    images = np.zeros((MOST, 1, batch.image_size, batch.image_size), np.float32)
    images[: len(table), 0] = np.reshape(light, (-1, *images.shape[2:]))
    return DeblendExample(MOST, table, 1, batch.image_size, deblended_images=images.clip(0))


def nothing(batch) -> DeblendExample:
    """A blend in which no source is found."""
    return example(batch, [np.zeros(0)] * len(COLUMNS), [])


def psf_image(batch):
    """The effective PSF of a batch."""
    drawn = batch.psf[0].drawImage(nx=PSF_SIDE, ny=PSF_SIDE, scale=PIXEL).array
    return drawn / drawn.sum()


class Sep(SepSingleBand):
    """BlendingToolKit's sep, with the flux that SExtractor calls AUTO."""

    def __init__(self):
        super().__init__(MOST, use_band=0)

    def deblend(self, ii, blend_batch):
        """Takes one blend apart."""
        found = super().deblend(ii, blend_batch)
        image = blend_batch.blend_images[ii, 0]
        number = np.arange(1, 1 + len(found.catalog))
        if not len(number):
            return nothing(blend_batch)
        labels = np.einsum("nyx,n->yx", found.segmentation[: len(number)], number).astype(np.int32)
        place = (found.catalog[name] for name in ("x_peak", "y_peak"))
        values = *place, *_auto(image, labels), 0 * number
        return example(blend_batch, values, found.deblended_images[: len(number), 0])


def _auto(image, labels):
    """Flux in 2.5 Kron radii, at least 1.75 pixels, and its error, as sep's guide does it."""
    found, _ = sep.extract(image, 1.5, err=SKY**0.5, segmentation_map=labels)
    ellipse = [found[name] for name in ("x", "y", "a", "b", "theta")]
    others = {"seg_id": np.arange(1, 1 + len(found), dtype=np.int32), "segmap": labels}
    kron, _ = sep.kron_radius(image, *ellipse, 6.0, **others)
    noise = {"err": SKY**0.5, "gain": 1.0}
    flux, error, _ = sep.sum_ellipse(image, *ellipse, 2.5 * kron, **noise, **others)
    least = 1.75
    small = kron * np.sqrt(found["a"] * found["b"]) < least
    round_flux, round_error, _ = sep.sum_circle(image, *ellipse[:2], least, **noise, **others)
    return np.where(small, round_flux, flux), np.where(small, round_error, error)


class Photutils(Deblender):
    """photutils: detection and deblending as in its guide, and Kron fluxes."""

    def __init__(self):
        super().__init__(MOST)

    def deblend(self, ii, blend_batch):
        """Takes one blend apart."""
        image = blend_batch.blend_images[ii, 0]
        smooth = convolve(image, make_2dgaussian_kernel(3.0, size=5).array)
        with warnings.catch_warnings(action="ignore"):  # of a blend without a source
            segments = detect_sources(smooth, 1.5 * SKY**0.5, n_pixels=10)
        if segments is None:
            return nothing(blend_batch)
        segments = deblend_sources(smooth, segments, n_pixels=10)
        error = np.sqrt(SKY + image.clip(0))
        found = SourceCatalog(image, segments, convolved_data=smooth, error=error)
        values = found.x_centroid, found.y_centroid, found.kron_flux, found.kron_flux_err
        light = image * (segments.data == segments.labels[:, None, None])
        return example(blend_batch, [*values, 0 * segments.labels], light)


class Scarlet2(Deblender):
    """scarlet2, which is given the positions that sep finds."""

    def __init__(self):
        super().__init__(MOST)
        self.detector = SepSingleBand(MOST, use_band=0)

    def deblend(self, ii, blend_batch):
        """Takes one blend apart."""
        found = self.detector.deblend(ii, blend_batch).catalog
        x, y = (np.asarray(found[name]) for name in ("x_peak", "y_peak"))
        if not len(x):
            return nothing(blend_batch)
        image = blend_batch.blend_images[ii, 0].astype(np.float32)
        place = np.stack([y, x], axis=1)
        with contextlib.redirect_stdout(None):  # it prints what it mends
            flux, light = fit_scene(image, place, psf_image(blend_batch), SKY)
        values = x, y, flux, np.full(len(x), np.nan), np.zeros(len(x), int)
        return example(blend_batch, values, light())


class Vaedeblend(Deblender):
    """`deblend_image` of all blends of a batch, one above the other in one mosaic."""

    def __init__(self, weights: str, is_listed: bool = False):
        """Weights; and whether the true positions are given, as which the sources then count."""
        super().__init__(MOST)
        self.weights, self.is_listed = weights, is_listed

    def batch_call(self, blend_batch, njobs=1, **kwargs):
        """Takes all blends apart."""
        listed = true_positions(blend_batch) if self.is_listed else None
        self.result = deblend_mosaic(blend_batch, self.weights, listed)
        self.place = np.stack([self.result.table[axis] for axis in "yx"], axis=1)
        if listed is not None:  # its rows come first
            self.place[: len(listed)] = np.stack([listed[axis] for axis in "yx"], axis=1)
        return super().batch_call(blend_batch, njobs, **kwargs)

    def deblend(self, ii, blend_batch):
        """One blend's part of the mosaic."""
        table, side = self.result.table, blend_batch.image_size
        low = ii * (side + GAP)
        y, x = (self.place - [low, 0]).T
        rows = np.flatnonzero((y > -0.5) & (y < side - 0.5) & (table["binning"] > 0))
        profiles = self.result.profiles.select(rows).moved((low, 0))
        light = np.zeros((len(rows), side, side), np.float32)
        for own, stamp, corner in zip(light, profiles, profiles.corner.tolist(), strict=True):
            there, on_stamp = overlap(corner, len(stamp), own.shape)
            own[there] = stamp[on_stamp]
        measured = (np.asarray(table[name])[rows] for name in ("flux", "flux_err", "flags"))
        return example(blend_batch, [x[rows], y[rows], *measured], light)


def deblend_mosaic(batch, weights: str, listed: Table | None):
    """What `deblend_image` gives of a batch's blends, with gaps between them."""
    blends = batch.blend_images[:, 0]
    between = [(0, 0), (0, GAP), (0, 0)]
    mosaic = np.pad(blends, between, constant_values=np.nan).reshape(-1, batch.image_size)
    mosaic = mosaic[:-GAP].astype(np.float32)
    return deblend_image(
        fits.PrimaryHDU(mosaic, make_wcs(PIXEL, mosaic.shape[::-1]).to_header()),
        rms=np.full(mosaic.shape, SKY**0.5, np.float32),
        psf=fits.PrimaryHDU(psf_image(batch), fits.Header({"PIXSCALE": PIXEL})),
        zero_point=ZERO_POINT,
        gain=1.0,
        weights=weights,
        catalog=listed,
    )


def true_positions(batch) -> Table:
    """Those of all galaxies, on the mosaic."""
    low = (batch.image_size + GAP) * np.arange(batch.batch_size)
    there = [(t["x_peak"], t["y_peak"] + n) for t, n in zip(batch.catalog_list, low, strict=True)]
    return Table(np.hstack(there).T, names=("x", "y"))


OTHERS = {"sep": Sep, "photutils": Photutils, "scarlet2": Scarlet2}
