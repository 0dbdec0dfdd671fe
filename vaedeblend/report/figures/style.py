"""The visual language of the report's figures: colours, axes, counts, stamps and files.

One method has one colour, one kind of scene has one, everywhere (Okabe & Ito 2008, which the
colour-blind tell apart). The Fisher bound and the truth are black.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vaedeblend.evaluate.metrics import ExampleColumns, equal_bins
from vaedeblend.exceptions import NoData
from vaedeblend.io.write import replacing

DrawFigure = Callable[[], Figure]
"""A function that draws a figure; it may raise NoData."""
Sets = Mapping[str, ExampleColumns]
"""ExampleColumns of a per-example table, by kind of scene."""

METHODS = {"vae": "network", "sextractor": "SExtractor"}
"""Name of each method in the figures, by its key in the metrics."""
COLOURS = {"network": "#0072B2", "SExtractor": "#D55E00", "compared": "#56B4E9", "bound": "#1C2127"}
"""Colour of each method, and of the Fisher bound and the truth."""
SETS = {
    "isolated": "#009E73",
    "blended": "#CC79A7",
    "standard": "#E69F00",
    "stratified": "#7A7A7A",
}
"""Colour of each kind of scene."""
MAGNITUDE = "magnitude [AB]"
PURITY = "purity of the central galaxy"
ERROR = "relative flux error e [%]"

RC_PARAMS = {
    "axes.edgecolor": "#5D6670",
    "axes.grid": True,
    "axes.labelcolor": "#1C2127",
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": "#DFE3E7",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
    "xtick.color": "#5D6670",
    "xtick.labelsize": 9,
    "ytick.color": "#5D6670",
    "ytick.labelsize": 9,
}
LIGHT = {"norm": AsinhNorm(1.0, -1, 100), "cmap": "Greys", "origin": "lower"}
LIGHT_TICKS = (-1, 0, 3, 10, 30, 100)
RESIDUAL = {"norm": Normalize(-5, 5), "cmap": "RdBu_r", "origin": "lower"}
"""Stretch and colours of stamps [background rms]; those of the page of a deblended image."""

_BINS = 8
_SOFT = "#5D6670"


def canvas(
    rows: int, columns: int, size: tuple[float | int, float | int], **options
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (rows, columns).

    Args:
        rows: Rows of axes.
        columns: ExampleColumns of axes.
        size: Width and height [inch].
        **options: Options of `Figure.subplots`.

    Raises:
        NoData: There is nothing to have axes for.
    """
    if not rows * columns:
        raise NoData("there are no test stamps")
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def draw_figure(draw: DrawFigure) -> Figure:
    """The figure that a function draws, in the common style."""
    with mpl.rc_context(RC_PARAMS):
        return draw()


def save_figure(figure: Figure, folder: Path, name: str) -> bytes:
    """Writes a figure as NAME.png and NAME.pdf; returns the PNG's bytes.

    Raises:
        FileError: A file cannot be written.
    """
    with mpl.rc_context(RC_PARAMS):
        with replacing(folder / f"{name}.png") as partial:
            figure.savefig(partial, format="png")
        figure.set_layout_engine("none")  # as it has been laid out
        with replacing(folder / f"{name}.pdf") as partial:
            figure.savefig(partial, format="pdf", metadata={"CreationDate": None})
    return (folder / f"{name}.png").read_bytes()


def varying(sets: Sets, name: str) -> dict[str, ExampleColumns]:
    """The kinds of scene in which a column takes several values.

    Raises:
        NoData: There is none.
    """
    shown = {}
    for kind, column in sets.items():
        values = column[name][np.isfinite(column[name])]
        if len(values) > 1 and np.ptp(values) > 0:
            shown[kind] = column
    if not shown:
        raise NoData(f"no set of stamps in which the {name} varies")
    return shown


def measured(sets: Sets) -> dict[str, ExampleColumns]:
    """The kinds of scene that SExtractor has measured.

    Raises:
        NoData: There is none.
    """
    shown = {k: c for k, c in sets.items() if np.isfinite(c["sextractor_error"]).any()}
    if not shown:
        raise NoData("SExtractor measured none of the sets")
    return shown


def draw_band(
    axis: Axes,
    values: Float[np.ndarray, " n"],
    quantity: Float[np.ndarray, " n"],
    *,
    color: str,
    label: str,
    style: str = "o-",
) -> int:
    """Draws median and 16-84 % range in bins of equal counts; returns the number of stamps a bin.

    A bin in which nothing is finite is left out.
    """
    finite = np.isfinite(values) & np.isfinite(quantity)
    values, quantity = values[finite], quantity[finite]
    parts = equal_bins(values, min(_BINS, max(len(values) // 3, 1)))
    if not parts:
        return 0
    x = [np.median(values[part]) for part in parts]
    low, middle, high = np.array([np.quantile(quantity[p], (0.16, 0.5, 0.84)) for p in parts]).T
    axis.fill_between(x, low, high, color=color, alpha=0.16, lw=0)
    axis.plot(x, middle, style, ms=3.5, color=color, label=label)
    return len(values) // len(parts)


def write_counts(axis: Axes, places: Sequence[float | int], counts: Sequence[int]) -> None:
    """Writes the number of stamps of each bin above it."""
    to = axis.get_xaxis_transform()
    for place, n in zip(places, counts, strict=True):
        axis.text(place, 1.0, f"{n}", ha="center", va="bottom", size=7.5, color=_SOFT, transform=to)


def write_note(axis: Axes, text: str, x: float = 0.98, y: float = 0.96) -> None:
    """Writes a few words in the upper right corner of an axis, or elsewhere."""
    across = "right" if x > 0.5 else "left"
    up = "top" if y > 0.5 else "bottom"
    axis.text(x, y, text, ha=across, va=up, size=8.5, color=_SOFT, transform=axis.transAxes)


def draw_stamp(
    axis: Axes, image: Float[np.ndarray, "height width"], scale: Mapping, rms: float
) -> AxesImage:
    """Draws a stamp in units of the background's rms, without ticks."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set(visible=True, color="#DFE3E7")
    return axis.imshow(image / rms, interpolation="nearest", **scale)


def robust_rms(image: Float[np.ndarray, "height width"]) -> float:
    """A stamp's background rms, robust to the galaxies on it; 1 for a stamp without noise."""
    finite = image[np.isfinite(image)]
    spread = 1.4826 * np.median(np.abs(finite - np.median(finite))) if len(finite) else 0.0
    return float(spread) or 1.0


def draw_colour_bars(
    figure: Figure, shown: Mapping[str, AxesImage], axes: Mapping[str, np.ndarray]
) -> None:
    """Draws colour bars of the stamps' light and residual under the axes that show them."""
    options = {"location": "bottom", "aspect": 45, "pad": 0.015, "fraction": 0.03}
    if "light" in shown:
        ticks = {"ticks": LIGHT_TICKS, "format": "%g", "label": "light [background rms]"}
        figure.colorbar(shown["light"], ax=axes["light"], shrink=0.7, **ticks, **options)
    if "residual" in shown:
        label = "residual [background rms]"
        figure.colorbar(shown["residual"], ax=axes["residual"], label=label, **options)
