"""One tile of a survey: from its files to its shard. What a worker does.

A task is plain values, and all that it leaves are files that appear whole: it may be killed at any
moment, done again, or done twice at a time by workers that do not know of each other.
"""

import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from vaedeblend.image.inspection.findings import ImageNoise
from vaedeblend.image.surveys import drift, shards
from vaedeblend.image.surveys.edges.cores import Core, find_core
from vaedeblend.image.surveys.edges.margins import lenders, prepare_tile
from vaedeblend.image.surveys.edges.noise import noise_digest
from vaedeblend.image.surveys.edges.sources import measure_core
from vaedeblend.image.surveys.listing import SurveyTile
from vaedeblend.io.folders.jobs import locked, made_from


class TileTask(NamedTuple):
    """A tile that is to be measured."""

    out: str
    """Folder of the survey."""
    tile: SurveyTile
    others: tuple[SurveyTile, ...]
    """Its neighbours."""
    options: dict[str, Any]
    """Fields of `ImageOptions` of the whole survey."""
    weights: str
    """Digest of the weights' files."""
    places: str
    """Digest of where the tile and its neighbours lie."""
    noise: ImageNoise | None = None
    """Its noise as tiles near it have it, too; None where its own pixels alone say it."""

    @property
    def neighbours(self) -> dict[str, SurveyTile]:
        """Neighbours by name."""
        return {each.name: each for each in self.others}


def is_unchanged(task: TileTask) -> bool:
    """Whether a tile's shard is there, whole, and of files of the same size and time of change."""
    done = shards.read_mark(Path(task.out), task.tile.name)
    if done is None or done.made["options"] != _options(task):
        return False
    paths = [Path(name) for name, *_ in done.stats]
    own = {*task.tile.files} <= {*paths} and all(path.exists() for path in paths)
    same = own and done.stats == shards.stats_of(paths)
    return same and shards.is_whole(Path(task.out), done)


def measure_survey_tile(task: TileTask, measure: Callable | None = None) -> dict[str, Any]:
    """Measures a tile and writes its shard and mark, unless that has been done.

    Args:
        task: The tile.
        measure: Function of task, core and folder to the table and numbers of a tile, in the
            place of the measurement.

    Returns:
        name, rows, and whether the tile was done before.

    Raises:
        VaedeblendError: A file cannot be used or written.
    """
    out, name = Path(task.out), task.tile.name
    start, processor = time.monotonic(), time.process_time()
    with locked(out / shards.WORK / name) as folder:
        if is_unchanged(task):  # by another worker, a moment ago
            return {"name": name, "kept": True}
        core = find_core(task.tile, task.neighbours)
        files = _files(task, core)
        made, stats = made_from(_values(task), files), shards.stats_of(files)
        kept = _kept(task, made, stats)
        if kept is None:
            table, numbers = (measure or _measured)(task, core, folder)
            path = shards.shard_path(out, name)
            shard = shards.write_shard(path, table, tile=name)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            cost = {"seconds": time.monotonic() - start, "memory": memory}
            cost["processor"] = time.process_time() - processor
            written = shard, len(table), numbers, cost
            shards.write_mark(out, shards.Done(name, made, stats, *written))
        shutil.rmtree(folder, ignore_errors=True)
    return {"name": name, "kept": kept is not None}


def _kept(task: TileTask, made: dict, stats: list) -> shards.Done | None:
    """The mark of a tile whose files have the same contents as before, brought up to date."""
    out = Path(task.out)
    done = shards.read_mark(out, task.tile.name)
    if done is None or done.made != made or not shards.is_whole(out, done):
        return None
    done = done._replace(stats=stats)
    shards.write_mark(out, done)
    return done


def _measured(task: TileTask, core: Core, folder: Path) -> tuple[Table, dict[str, Any]]:
    """The sources of a tile's core and its border, and numbers of the tile."""
    place = task.tile, task.neighbours, core.window
    prepared, offset = prepare_tile(*place, task.options, task.noise, folder)
    found = measure_core(*place, prepared, offset, task.options["tile"], folder)
    weights = task.options["weights"]
    numbers = drift.tile_numbers(found.inspection, found.microjansky, weights)
    area = core.pixels * (found.scale / 60) ** 2
    ranges = drift.training_range(weights)
    numbers |= drift.source_numbers(found.table, area)
    bits = drift.drift_bits(numbers, ranges)
    table = drift.with_bits(found.table, bits)
    table["tile"] = np.full(len(table), task.tile.name)
    table["tile"].info.description = "tile in whose core the source lies"
    return table, shards.as_plain(numbers | {"drift": bits})


def _files(task: TileTask, core: Core) -> list[Path]:
    """Files that a tile is made from: its own, and those of neighbours whose pixels it reads."""
    lent = lenders(task.tile, task.neighbours, core.window)
    pixels = [path for name in lent for path in task.neighbours[name].files]
    return [*dict.fromkeys([*task.tile.files, *pixels])]


def _values(task: TileTask) -> dict[str, Any]:
    """What a shard is made from besides files."""
    known = {"name": task.tile.name, "places": task.places, "weights": task.weights}
    known |= {"form": shards.FORM}
    return task.options | known | {"noise": noise_digest(task.noise)}


def _options(task: TileTask) -> dict:
    """The same, as a mark has it."""
    return made_from(_values(task), [])["options"]
