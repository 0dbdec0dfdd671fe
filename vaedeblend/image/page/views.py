"""Pictures of light in units of the background's rms, and their colour bars."""

import io
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.colors import AsinhNorm, Normalize, to_hex, to_rgb
from PIL import Image

from vaedeblend.image.page.signs import LETTERS

_NO_DATA = "#e8dfc8"
_LEVELS = 101
"""Colours of an image, which a byte a pixel tells apart."""


class Scale(NamedTuple):
    """Stretch and colours of an image, and the values on its colour bar [background rms]."""

    norm: Normalize
    colours: str
    values: tuple[int, ...]


LIGHT_SCALE = Scale(AsinhNorm(1.0, -1, 100), "Greys", (-1, 0, 3, 10, 30, 100))
RESIDUAL_SCALE = Scale(Normalize(-5, 5), "RdBu_r", (-5, 0, 5))


class View(NamedTuple):
    """An image on the page, its first row at the bottom."""

    name: str
    png: bytes
    width: int
    """Width in pixels of the image from which it was binned."""
    height: int
    letter: str
    """Height of letters on it [image pixel]."""


def make_view(
    name: str, values: Float[np.ndarray, "height width"], scale: Scale, binning: int = 1
) -> View:
    """An image in a scale's colours.

    Args:
        name: What it shows.
        values: Light [background rms]; NaN where no data are.
        scale: Stretch and colours.
        binning: Side of one of its pixels [image pixel].
    """
    height, width = (binning * n for n in values.shape)
    file, colours = io.BytesIO(), mpl.colormaps[scale.colours](np.linspace(0, 1, _LEVELS))
    level = np.asarray(scale.norm(values)).clip(0, 1) * (_LEVELS - 1)
    index = np.where(np.isfinite(values), np.rint(np.nan_to_num(level)), _LEVELS)
    picture = Image.fromarray(index[::-1].astype(np.uint8))
    picture.putpalette(
        np.rint(255 * np.array([*colours[:, :3], to_rgb(_NO_DATA)])).astype(np.uint8).tobytes()
    )
    picture.save(file, "png")
    return View(name, file.getvalue(), width, height, f"{width / LETTERS:.4g}")


def colour_bar(scale: Scale) -> dict[str, Any]:
    """Colours along a colour bar, and its values with their places [%]."""
    stops = map(to_hex, mpl.colormaps[scale.colours](np.linspace(0, 1, 17)))
    ticks = [(f"{100 * scale.norm(value):.3g}", value) for value in scale.values]
    return {"stops": list(stops), "ticks": ticks}
