"""The sources of pieces of an image: measured on tiles, merged, and once more where sky is left."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaedeblend.image.catalogue.merge import Catalog, Part, is_whole_part, merge, read_part
from vaedeblend.image.inspection.sky.background import LeftSky, write_left_sky
from vaedeblend.image.options import read_survey
from vaedeblend.image.photometry import with_sky_error, without_sky
from vaedeblend.image.products import Report
from vaedeblend.image.tiles import (
    Job,
    Tile,
    measure_tiles,
    network_at,
    part_file,
    plan,
)
from vaedeblend.io.folders.jobs import keep_pieces
from vaedeblend.io.mosaic import Mosaic


class MeasuredPieces(NamedTuple):
    """The sources of pieces of an image."""

    catalog: Catalog
    job: Job
    """How they were measured."""
    sky: LeftSky
    """Light between the sources."""


def keep_measured(job: Job, made: dict) -> None:
    """Keeps the pieces that a killed run has left, if they were made from the same.

    Args:
        job: What the measurement needs.
        made: All that the pieces depend on: values, and digests of contents.
    """
    keep_pieces(job.folder, made, is_whole_part)


def measure_pieces(
    mosaic: Mosaic,
    job: Job,
    pieces: Sequence[Tile],
    path: Path,
    *,
    core: tuple[slice, slice] | None = None,
    listed=None,
    processes: int = 1,
    report: Report = lambda what, done, total: None,
) -> MeasuredPieces:
    """The catalogue of pieces of an image, measured as far as that has not been done.

    Where the models leave light between the sources, that is taken off, and the sources there are
    measured again; where it is slight, what it adds to their fluxes is subtracted. Where a list
    alone is measured, it stays: it may be that of galaxies that the list lacks.

    Args:
        mosaic: The image, as it is measured.
        job: What the measurement needs.
        pieces: Tiles of the image, as `plan` gives them.
        path: File that takes the sources' light.
        core: Part of the image whose sky is measured; by default that of all pieces.
        listed: Positions that are measured, where the user has given a list.
        processes: Processes that measure side by side.
        report: Function of the progress.
    """

    def measured(job, pieces):
        measure_tiles(job, pieces, processes, report)
        return [read_part(part_file(job.folder, each)) for each in pieces]

    if not job.bands:
        job = _responding(job, mosaic)
    parts, core = measured(job, pieces), core or _joint_core(pieces)
    profiles = [part.profiles for part in parts]
    if job.positions is not None and not job.options["passes"]:
        sky = LeftSky(None, 0.0, 0.0, 0.0, 1.0)
    else:
        sky = write_left_sky(mosaic, job.background, profiles, core, path.parent, report)
    if sky.path is not None:
        job = job._replace(background=sky.path)
        pieces = _again(pieces, sky, mosaic.shape, slight=job.response is None)
        parts = [
            part.select(~piece.owns(part.columns["place"])) if piece else part
            for part, piece in zip(parts, pieces, strict=True)
        ]
        parts = [_without_sky(part, job.response, sky) for part in parts]
        parts = measured(job, [piece for piece in pieces if piece]) + parts
    parts = [_with_sky_error(part, job.response, sky) for part in parts]
    names = [band.name for band in job.bands]
    return MeasuredPieces(merge(parts, mosaic, path, listed, names), job, sky)


def _again(
    pieces: Sequence[Tile], sky: LeftSky, shape: tuple[int, int], *, slight: bool
) -> list[Tile | None]:
    """The part of each piece from which much light is taken off, if any, as a piece of its own."""
    cores = [sky.part(each.core, slight=slight) for each in pieces]
    return [
        core and plan(shape, max(shape), core=core)[0]._replace(number=len(pieces) + each.number)
        for each, core in zip(pieces, cores, strict=True)
    ]


def _without_sky(part: Part, response, sky: LeftSky) -> Part:
    """The sources of a tile, less what even light adds to their fluxes, to first order."""
    if response is None:
        return part
    level = sky.at(*np.nan_to_num(part.columns["position"]).T)
    fluxes = without_sky(part.columns, level, response, sky.rms)
    return part._replace(columns=part.columns | fluxes)


def _with_sky_error(part: Part, response, sky: LeftSky) -> Part:
    """The sources of a tile, the sky's unevenness in their errors."""
    if response is None or not sky.scatter:
        return part
    errors = with_sky_error(part.columns, response, sky.rms, sky.scatter)
    return part._replace(columns=part.columns | errors)


def _responding(job: Job, mosaic: Mosaic) -> Job:
    """The job with fluxes corrected for the image's PSF and noise; see `inspection.response`."""
    from vaedeblend.image.inspection.response import Conditions, measure_response

    network = network_at(job, mosaic, np.zeros(2, int))
    conditions = Conditions(job.psf, job.covariance, job.electrons)
    survey, size = read_survey(job.weights), network.size
    return job._replace(response=measure_response(network.deblend, survey, conditions, size=size))


def _joint_core(pieces: Sequence[Tile]) -> tuple[slice, slice]:
    """The smallest part of the image that holds the cores of all."""
    rows, columns = zip(*(each.core for each in pieces), strict=True)
    return tuple(slice(min(s.start for s in a), max(s.stop for s in a)) for a in (rows, columns))
