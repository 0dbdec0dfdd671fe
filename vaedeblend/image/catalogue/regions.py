"""Regions of sources, as SAOImage DS9 shows them on an image."""

from pathlib import Path

import numpy as np
from astropy.table import Table

from vaedeblend.image.catalogue.columns import POOR, UNMEASURED
from vaedeblend.io.write import write_text

REGIONS = "sources.reg"
"""File of the regions of an image's sources."""

_HEAD = "# Region file format: DS9\n# by vaedeblend: "
_RADII, _UNKNOWN = 3.0, 5.0
"""Size of the ellipses [rms of the light along the axis], and of circles where that is not known
[pixel]."""
_COLOURS = {"green": "no flag", "yellow": "flags", "red": "poor or unmeasured"}


def write_regions(path: str | Path, table: Table, pixel_scale: float | None) -> None:
    """Writes an ellipse for each source that has a place, coloured by its flags.

    Pixels are FITS's, the first one (1, 1): so that the ellipses lie alike on the image, its model
    and its residual.

    Args:
        path: Region file.
        table: The table CATALOG.
        pixel_scale: Side of a pixel [arcsec], where the table's lengths are angles.
    """
    said = ", ".join(f"{colour} {meaning}" for colour, meaning in _COLOURS.items())
    x, y = (np.ma.filled(np.ma.asarray(table[name].data), np.nan) for name in "xy")
    rows = zip(table["id"], x + 1, y + 1, *_axes(table, pixel_scale), _colours(table), strict=True)
    lines = [
        f"ellipse({x:.3f},{y:.3f},{a:.3f},{b:.3f},{angle:.2f}) # color={colour} text={{{number}}}"
        for number, x, y, a, b, angle, colour in rows
        if np.isfinite(x + y)
    ]
    write_text(
        path, "\n".join([f"{_HEAD}{said}; {_RADII:g} rms along each axis", "image", *lines, ""])
    )


def is_regions(path: Path) -> bool:
    """Whether a file is what `write_regions` wrote."""
    with path.open(encoding="utf-8") as file:
        return file.read(len(_HEAD)) == _HEAD


def _axes(table: Table, pixel_scale: float | None):
    """Semi-axes [pixel] and position angle [deg]; circles where they are not known."""
    major, ratio, angle = (
        np.ma.filled(np.ma.asarray(table[name].data), np.nan)
        for name in ("semi_major_axis", "axis_ratio", "position_angle")
    )
    major = _RADII * major / (pixel_scale or 1.0)
    known = np.isfinite(major + ratio + angle)
    axes = (major, _UNKNOWN), (major * ratio, _UNKNOWN), (angle, 0.0)
    return [np.where(known, axis, default) for axis, default in axes]


def _colours(table: Table):
    flags, names = np.asarray(table["flags"]), np.array([*_COLOURS])
    return names[np.where(flags & (POOR | UNMEASURED), 2, np.where(flags, 1, 0))]
