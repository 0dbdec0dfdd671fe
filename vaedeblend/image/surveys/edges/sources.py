"""The sources of a tile's core: the image's pipeline on a window of it, with what lies about."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from vaedeblend.image.catalogue.columns import microjansky
from vaedeblend.image.catalogue.mer import object_ids
from vaedeblend.image.catalogue.merge import Catalog
from vaedeblend.image.pieces import keep_measured, measure_pieces
from vaedeblend.image.preparation import Prepared
from vaedeblend.image.surveys.edges.cores import BORDER, core_depth
from vaedeblend.image.surveys.listing import SurveyTile
from vaedeblend.image.tiles import plan
from vaedeblend.io.mosaic import open_mosaic

_ABOUT = 64
"""Width of what is measured about a core [pixel]: its sources' light is no sky of the core's."""
_LEFT_OUT = "id", "x_stamp", "y_stamp", "stamp", "input_row"
"""Columns that are of one image's own products."""


class CoreSources(NamedTuple):
    """What was found of a tile."""

    table: Table
    """Sources of the core and of its border, by y, x on the tile's own pixels."""
    inspection: object
    """What the pixels have said of the inputs."""
    microjansky: float
    """Microjanskys of one image unit."""
    scale: float
    """Pixel scale [arcsec]."""


def measure_core(
    tile: SurveyTile,
    others: Mapping[str, SurveyTile],
    window,
    prepared: Prepared,
    offset: tuple[int, int],
    piece: int,
    folder: Path,
) -> CoreSources:
    """Finds and measures the sources of a tile's core.

    Args:
        tile: The tile.
        others: Its neighbours, by name.
        window: First and last rows, and columns, that are measured.
        prepared: The image, of the tile or of it with what lies about.
        offset: (y, x) of the tile's first pixel there.
        piece: Side of the pieces that are measured one by one [pixel].
        folder: Folder of what is under way: of a killed run it is taken up.

    Raises:
        VaedeblendError: A file cannot be used or written.
    """
    core = tuple(
        slice(low + shift, high + shift) for (low, high), shift in zip(window, offset, strict=True)
    )
    job = prepared.job
    keep_measured(job, prepared.made | {"core": str(core)})
    with open_mosaic(job.image, **job.files) as mosaic:
        pieces = plan(mosaic.shape, piece, core=_with_surroundings(core, mosaic.shape))
        found = measure_pieces(mosaic, job, pieces, folder / "stamps.fits", core=core).catalog
        units = microjansky(mosaic), mosaic.pixel_scale
    depth = core_depth(tile, others, *(np.asarray(found.table[name]) for name in ("ra", "dec")))
    table = _of_core(found, depth, offset, units[0])
    return CoreSources(table, prepared.inspection, *units)


def _with_surroundings(core: tuple[slice, slice], shape: tuple[int, int]) -> tuple[slice, slice]:
    """What is measured for a core's sake; of a pixel, which stands for no core at all, that."""
    if all(span.stop - span.start == 1 for span in core):
        return core
    ends = zip(core, shape, strict=True)
    return tuple(slice(max(s.start - _ABOUT, 0), min(s.stop + _ABOUT, n)) for s, n in ends)


def _of_core(found: Catalog, depth, offset: tuple[int, int], unit: float) -> Table:
    """Sources of the core and its border, at places on the tile's own pixels."""
    table = found.table
    table.remove_columns(_LEFT_OUT)
    for axis, shift in zip("yx", offset, strict=True):
        table[axis] = table[axis] - shift * table[axis].unit
    table["apparent"] = found.apparent * unit
    table["apparent"].unit = "uJy"
    table["apparent"].info.description = "flux at least, as the pixels about the source have it"
    table["core_depth"] = depth
    table["core_depth"].unit = "arcsec"
    table["core_depth"].info.description = "distance from the border of the tile's core"
    kept = table[depth > -BORDER]
    kept = kept[np.lexsort([np.asarray(kept[axis]) for axis in "xy"])]
    ids = object_ids(*(np.asarray(kept[axis], float) for axis in ("ra", "dec")))
    kept.add_column(ids, 0, "object_id")
    kept["object_id"].info.description = "of ra and dec, as MER's OBJECT_ID"
    return kept
