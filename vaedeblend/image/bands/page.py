"""One page about all bands: each a column of image, model and residual, and the hardest groups."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.image.bands.products import BAND_FLAGS, BandResult, band_images
from vaedeblend.image.bands.sources import VisSources
from vaedeblend.image.page.views import LIGHT_SCALE, RESIDUAL_SCALE, colour_bar, make_view
from vaedeblend.io.html import number, templates
from vaedeblend.io.mosaic import Mosaic, open_mosaic
from vaedeblend.io.write import write_text

PHOTOMETRY_PAGE = "index.html"
_OVERVIEW, _STRIP = 400, 256
"""Most pixels of a band's overview along an axis, nearly, and rows that are read at a time."""
_HARDEST, _HALF = 8, 3.2
"""Groups shown, and half the side of a panel [arcsec]."""
_CLEAR = 5.0
"""Least flux over its error of a source that is shown."""


class _Shown(NamedTuple):
    """An image and its model on the same pixels."""

    name: str
    model: Mosaic
    residual: Mosaic
    """Image less model; NaN where the image has no data."""
    scale: float
    """Side of a pixel [arcsec]."""


def write_photometry_page(
    folder: Path, vis: VisSources, results: Sequence[BandResult], table: Table, said: Sequence[str]
) -> None:
    """Writes the page of all bands.

    Args:
        folder: Folder that takes it, and holds the bands' images.
        vis: Sources.
        results: Bands.
        table: The photometry, as `photometry_table` makes it.
        said: What was assumed, a sentence each.
    """
    deblended = vis.files[0].parent
    images = [("VIS", deblended / "model.fits", deblended / "residual.fits", vis.psfs.pixel_scale)]
    for result in results:
        images.append(
            (result.band.name, *band_images(folder, result.column), result.band.pixel_scale)
        )
    with contextlib.ExitStack() as stack:
        shown = [
            _Shown(name, *(stack.enter_context(open_mosaic(path)) for path in paths), scale)
            for name, *paths, scale in images
        ]
        text = _rendered_page(deblended.name, shown, vis, results, table, said)
    write_text(folder / PHOTOMETRY_PAGE, text)


def _rendered_page(title: str, shown, vis: VisSources, results, table: Table, said) -> str:
    rows = _hardest(results)
    places = [vis.position, *(result.band.placed.position for result in results)]
    groups = [
        {
            "id": int(vis.table["id"][row]),
            "views": [_panel(each, at[row]) for each, at in zip(shown, places, strict=True)],
            "facts": [_fact(table, result, row) for result in results],
        }
        for row in rows
    ]
    page = templates(Path(__file__).parent / "templates").get_template("bands.html")
    return page.render(
        title=f"All bands of {title}",
        bands=[each.name for each in shown],
        overviews=[_overview(each) for each in shown],
        groups=groups,
        keys=[_keys(table, result) for result in results],
        flags=[(name, text) for name, text in BAND_FLAGS.values()],
        counts=[_counts(table, result) for result in results],
        light=colour_bar(LIGHT_SCALE),
        differences=colour_bar(RESIDUAL_SCALE),
        said=said,
    )


def _hardest(results: Sequence[BandResult]) -> list[int]:
    """Rows of the sources whose errors neighbours raise most, one of a neighbourhood."""
    inflation = np.max([np.nan_to_num(r.columns["inflation"]) for r in results], axis=0)
    clear = [
        r.columns["flux"] > _CLEAR * np.sqrt(np.where(r.variance > 0, r.variance, np.inf))
        for r in results
    ]
    order = np.argsort(-np.where(np.any(clear, axis=0), inflation, 0), kind="stable")
    return [int(i) for i in order[:_HARDEST] if inflation[i] > 0]


def _overview(shown: _Shown) -> list:
    """Image, model and residual of a whole band, binned."""
    image, model, noise = _binned(shown)
    parts = (image, model, image - model)
    scales = (LIGHT_SCALE, LIGHT_SCALE, RESIDUAL_SCALE)
    names = ("image", "model", "residual")
    return [
        make_view(f"{shown.name}: {name}", part / noise, scale)
        for name, part, scale in zip(names, parts, scales, strict=True)
    ]


def _binned(shown: _Shown):
    """Means over boxes of pixels, and their noise, by the scatter of the residual."""
    height, width = shown.model.shape
    n = -(-max(height, width) // _OVERVIEW)
    step = n * max(1, _STRIP // n)
    strips = [
        _read(shown, (slice(low, min(low + step, height)), slice(0, width)))
        for low in range(0, height, step)
    ]
    image, model = (np.concatenate([_means(strip[k], n) for strip in strips]) for k in (0, 1))
    return image, model, _scatter_of(image - model)


def _means(image: Float[np.ndarray, "h w"], n: int) -> Float[np.ndarray, "boxes_y boxes_x"]:
    """Means over boxes of n x n pixels, the last ones smaller; NaN pixels are left out."""
    valid = np.isfinite(image)
    total, count = (
        np.add.reduceat(
            np.add.reduceat(values, np.arange(0, values.shape[0], n), axis=0),
            np.arange(0, values.shape[1], n),
            axis=1,
        )
        for values in (np.where(valid, image, 0), valid.astype(float))
    )
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _panel(shown: _Shown, position) -> list:
    """Image, model and residual about a place; none off the image."""
    shape = shown.model.shape
    half = max(4, round(_HALF / shown.scale))
    if not np.isfinite(position).all():
        return []
    low = np.clip(np.rint(position).astype(int) - half, 0, shape)
    high = np.clip(np.rint(position).astype(int) + half + 1, 0, shape)
    if (high - low < 2).any():
        return []
    window = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
    image, model = _read(shown, window)
    noise = _scatter_of(image - model)
    return [
        make_view(name, part / noise, scale)
        for name, part, scale in (
            ("image", image, LIGHT_SCALE),
            ("model", model, LIGHT_SCALE),
            ("residual", image - model, RESIDUAL_SCALE),
        )
    ]


def _read(shown: _Shown, window):
    """Image and model on a window; NaN where the image has no data."""
    model, residual = (each.plane("image", *window) for each in (shown.model, shown.residual))
    return model + residual, model


def _scatter_of(residual) -> float:
    values = residual[np.isfinite(residual)]
    scatter = 1.4826 * np.median(np.abs(values - np.median(values))) if len(values) else 0
    return float(scatter) or 1.0


def _fact(table: Table, result: BandResult, row: int) -> str:
    """What is said of a source in a band."""
    flux, error, chi2, blending = (
        float(table[f"{kind}_{result.column}"][row])
        for kind in ("flux", "flux_err", "chi2", "blending")
    )
    return (
        f"{result.band.name}: {number(flux, 3)} ± {number(error, 2)} µJy; "
        f"χ² {number(chi2 / result.chi2, 2)} times that of all pixels; "
        f"error × {number(blending, 2)} by neighbours"
    )


def _keys(table: Table, result: BandResult) -> dict[str, str]:
    """Numbers of a band."""
    flux, error = (np.asarray(table[f"{k}_{result.column}"]) for k in ("flux", "flux_err"))
    measured = np.isfinite(flux)
    clear = int(np.sum(flux[measured] > _CLEAR * error[measured]))
    return {
        "band": result.band.name,
        "sources measured": str(int(measured.sum())),
        "above 5 σ": str(clear),
        "PSF [arcsec]": number(result.band.psfs.fwhm, 3),
        "shift y, x [pixel]": ", ".join(number(float(s), 2) for s in result.shift),
        "errors × (sky)": ", ".join(number(float(f), 3) for f in result.factors.factor),
        "χ² of all pixels (below 1: correlated noise)": number(result.chi2, 3),
        "median flux error [µJy]": number(float(np.nanmedian(error)) if clear else np.nan, 3),
    }


def _counts(table: Table, result: BandResult) -> list[int]:
    """How often each flag occurs in a band."""
    flags = np.asarray(table[f"flags_{result.column}"])
    return [int(np.sum(flags & bit > 0)) for bit in BAND_FLAGS]
