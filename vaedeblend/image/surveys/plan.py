"""What a survey is of: its tiles, their neighbours and options, kept in the survey's folder.

So that the command goes on from anywhere: on another machine, with other workers, with more tiles.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaedeblend.exceptions import SurveyError
from vaedeblend.image.inspection.findings import ImageNoise
from vaedeblend.image.options import read_single_band, weights_files
from vaedeblend.image.surveys.edges.cores import with_edges
from vaedeblend.image.surveys.edges.noise import (
    NoiseTask,
    companions,
    join_noise,
    read_tile_noise,
)
from vaedeblend.image.surveys.listing import Listing, SurveyTile, list_tiles
from vaedeblend.image.surveys.work import TileTask
from vaedeblend.io.folders.digest import digest, digest_file, sealed_json, unsealed_json
from vaedeblend.io.write import write_text

PLAN = "survey.json"
"""File of a survey's plan, within its folder."""
OPTIONS = {"weights": "euclid_vis", "iterations": 4, "tile": 4096}
"""Options of `ImageOptions` that a survey has, and their defaults."""


class Plan(NamedTuple):
    """A survey's tiles and options."""

    tiles: tuple[SurveyTile, ...]
    """By name; they know which of their edges lie on others."""
    near: tuple[tuple[int, ...], ...]
    """Indices of the neighbours of each."""
    together: tuple[tuple[int, ...], ...]
    """Indices of the tiles that each measures its noise with; itself is one."""
    unusable: dict[str, str]
    """Why tiles cannot be used, by name."""
    options: dict[str, Any]
    """OPTIONS, and `tiles`: what the user has named."""

    def others(self, i: int) -> tuple[SurveyTile, ...]:
        """Neighbours of a tile."""
        return tuple(self.tiles[j] for j in self.near[i])


def make_plan(out: Path, given: Sequence[str], options: Mapping[str, Any]) -> Plan:
    """The plan of a survey, which is written into its folder.

    Args:
        out: Folder of the survey.
        given: What `list_tiles` takes; the tiles of the last time where there are none.
        options: Those of OPTIONS that are given; the others are those of the last time.

    Raises:
        SurveyError: There is no tile, or the folder is of a survey with other options.
        MosaicError: The weights are of several bands.
    """
    known = read_options(out)
    paths = [str(Path(path).absolute()) for path in given] or known.get("tiles")
    if not paths:
        raise SurveyError(f"{out}: no survey; wanted tiles")
    wanted = OPTIONS | {name: known[name] for name in OPTIONS if name in known} | dict(options)
    for name in OPTIONS:
        if known and wanted[name] != known[name]:
            raise SurveyError(
                f"{out}: belongs to another survey ({name} {known[name]}, not {wanted[name]}); "
                "wanted another folder"
            )
    read_single_band(wanted["weights"])
    listing = list_tiles(paths, out)
    plan = plan_tiles(listing, wanted | {"tiles": paths})
    write_text(out / PLAN, sealed_json(plan.options))
    return plan


def last_plan(out: Path) -> Plan:
    """The plan of the survey in a folder.

    Raises:
        SurveyError: There is none, or it is damaged.
    """
    known = read_options(out)
    if not known:
        raise SurveyError(f"{out}: no survey; wanted the folder of one")
    return plan_tiles(list_tiles(known["tiles"], out), known)


def plan_tiles(listing: Listing, options: Mapping[str, Any]) -> Plan:
    """The plan of listed tiles."""
    tiles, near = with_edges(listing.tiles)
    near = tuple(map(tuple, near))
    return Plan(tuple(tiles), near, tuple(companions(tiles)), listing.unusable, dict(options))


def read_options(out: Path) -> dict[str, Any]:
    """Options of the survey in a folder; empty where there is none.

    Raises:
        SurveyError: Its plan is damaged.
    """
    path = out / PLAN
    if not path.exists():
        return {}
    try:
        return unsealed_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SurveyError(f"{path}: {error}; wanted the plan of a survey, or none") from error


def noise_tasks(plan: Plan, out: Path) -> dict[str, NoiseTask]:
    """A task for each tile whose noise is measured together with others', by name."""
    options = {name: plan.options[name] for name in OPTIONS}
    return {
        tile.name: NoiseTask(str(out), tile, options)
        for tile, together in zip(plan.tiles, plan.together, strict=True)
        if len(together) > 1
    }


def tile_tasks(plan: Plan, out: Path) -> dict[str, TileTask]:
    """A task for each tile, by name; its noise is what tiles near it have measured by now."""
    weights, found = _digest_weights(plan.options["weights"]), {}
    noise = _joined(plan, out)
    options = {name: plan.options[name] for name in OPTIONS}
    for i, tile in enumerate(plan.tiles):
        others = plan.others(i)
        places = sorted(
            (each.name, each.shape, each.header, each.inner) for each in (tile, *others)
        )
        made = weights, digest(str(places).encode())
        found[tile.name] = TileTask(str(out), tile, others, options, *made, noise.get(tile.name))
    return found


def _joined(plan: Plan, out: Path) -> dict[str, ImageNoise]:
    """Noise of the tiles that have it measured together with others."""
    tasks = noise_tasks(plan, out)
    read = {name: read_tile_noise(task) for name, task in tasks.items()}
    found = {}
    for tile, together in zip(plan.tiles, plan.together, strict=True):
        if (own := read.get(tile.name)) is not None:
            near = [read[plan.tiles[j].name] for j in together]
            found[tile.name] = join_noise(own, [each for each in near if each is not None])
    return found


def _digest_weights(weights: str | Path) -> str:
    """Digest of all files of which a deblender is made."""
    contents = [digest_file(path) for path in weights_files(weights)]
    return digest(" ".join(contents).encode())
