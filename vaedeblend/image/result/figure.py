"""A figure of a deblended image."""

import matplotlib as mpl
import numpy as np
from astropy.table import Table
from jaxtyping import Float
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure

_LARGEST = 30.0
"""Light at the end of the grey scale, and of the residual's a sixth [rms of the residual]."""
_MARKED = 300
"""Most sources whose places are marked: the brightest."""


def draw_image(
    image: Float[np.ndarray, "height width"],
    model: Float[np.ndarray, "height width"],
    residual: Float[np.ndarray, "height width"],
    sources: Table,
) -> Figure:
    """Image, model and residual side by side, on scales of the residual's scatter.

    Args:
        image: Background subtracted; NaN where a pixel is ignored.
        model: Light of all sources.
        residual: The image less its model.
        sources: Table of the sources: x, y [pixel], flux, flags. Those with a flag are orange.
    """
    known = residual[np.isfinite(residual)]
    rms = 1.4826 * float(np.median(np.abs(known - np.median(known)))) if len(known) else 1.0
    light = AsinhNorm(rms, -rms, _LARGEST * rms)
    shown = (
        ("image", image, light, "Greys"),
        ("model", model, light, "Greys"),
        ("residual", residual, Normalize(-_LARGEST / 6 * rms, _LARGEST / 6 * rms), "RdBu_r"),
    )
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    for axes, (title, values, norm, colours) in zip(figure.subplots(1, 3), shown, strict=True):
        colours = mpl.colormaps[colours].with_extremes(bad="#e8dfc8")
        drawn = axes.imshow(values, norm=norm, cmap=colours, origin="lower")
        axes.set(title=title, xlabel="x [pixel]")
        figure.colorbar(drawn, ax=axes, shrink=0.8)
    _mark(figure.axes[0], sources)
    return figure


def _mark(axes, sources: Table) -> None:
    flux = np.nan_to_num(np.asarray(sources["flux"], float), nan=-np.inf)
    brightest = sources[np.argsort(-flux)[:_MARKED]]
    flagged = np.asarray(brightest["flags"]) > 0
    for some, colour in ((~flagged, "tab:blue"), (flagged, "tab:orange")):
        x, y = (np.asarray(brightest[name], float)[some] for name in ("x", "y"))
        axes.scatter(x, y, s=30, facecolors="none", edgecolors=colour, linewidths=0.7)
