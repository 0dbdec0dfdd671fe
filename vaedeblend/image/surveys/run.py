"""A whole survey: `vaedeblend survey`, from tiles to one catalogue and a page about it.

tiles --engine--> noise --engine--> shards --union--> settled shards --hats--> catalogue
marks --> status, page
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vaedeblend.image.surveys import shards
from vaedeblend.image.surveys.edges.noise import measure_tile_noise, read_tile_noise
from vaedeblend.image.surveys.engine import Report, Workers, connected, run_tasks
from vaedeblend.image.surveys.hats import Say, merge_survey
from vaedeblend.image.surveys.page import write_survey_page
from vaedeblend.image.surveys.plan import Plan, last_plan, make_plan, noise_tasks, tile_tasks
from vaedeblend.image.surveys.status import TileState, read_states
from vaedeblend.image.surveys.work import is_unchanged, measure_survey_tile
from vaedeblend.io.folders.jobs import locked


def run_survey(
    out: str | Path,
    tiles: Sequence[str | Path] = (),
    *,
    workers: Workers | None = None,
    attempts: int = 3,
    retry: bool = False,
    report: Report = lambda *_: None,
    say: Say = lambda _: None,
    **options: Any,
) -> list[TileState]:
    """Measures all tiles of a survey and merges them to one catalogue in HATS.

    Whatever has been done is kept: the same call goes on, with other workers and more tiles, too.

    Args:
        out: Folder that takes shards, catalogue and page.
        tiles: What `listing.list_tiles` takes; the tiles of the last call where there are none.
        workers: Where tiles are measured; by default on all cores of this machine.
        attempts: How often a tile is begun whose failure may be a moment's, such as a full disk.
        retry: Tiles that failed the last time are begun anew.
        report: Function of the progress.
        say: Function of a sentence for the user.
        **options: Fields of `plan.OPTIONS`.

    Returns:
        What became of each tile.

    Raises:
        SurveyError: There is no tile, the folder is another survey's, or dask is not installed.
        VaedeblendError: The folder cannot be written.
    """
    with locked(out) as folder:
        plan = make_plan(folder, tiles, options)
        if retry:
            shutil.rmtree(folder / shards.FAILED, ignore_errors=True)
        for name, sentence in plan.unusable.items():
            shards.write_failure(folder, name, sentence, 1)
        with connected(workers or Workers()) as client:
            say(f"dask's dashboard: {client.dashboard_link}")
            queue = {"say": say, "attempts": attempts, "report": report}
            noise = _wanted(folder, noise_tasks(plan, folder), read_tile_noise)
            _run(client, folder, measure_tile_noise, noise, what="measuring noise", **queue)
            tasks = tile_tasks(plan, folder)
            wanted = _wanted(folder, tasks, is_unchanged)
            say(f"{len(wanted)} of {len(tasks)} tiles to measure")
            _run(client, folder, measure_survey_tile, wanted, what="measuring tiles", **queue)
            merge_survey(client, folder, plan, report=report, say=say)
        states = states_of(folder, plan)
        write_survey_page(folder, plan, states)
        return states


def _wanted(folder: Path, tasks: Mapping[str, Any], done: Callable) -> dict[str, Any]:
    """Tasks that are not done, of tiles that have not failed."""
    failed = shards.read_failures(folder)
    return {name: task for name, task in tasks.items() if name not in failed and not done(task)}


def _run(client, folder: Path, function: Callable, tasks: Mapping[str, Any], *, say: Say, **queue):
    """Runs a task for each tile; of those that fail the sentence is kept."""
    for each in run_tasks(client, function, tasks, **queue):
        if each.sentence:
            say(f"failed: tile {each.name}: {each.sentence}")
            shards.write_failure(folder, each.name, each.sentence, each.attempts)


def states_of(out: Path, plan: Plan) -> list[TileState]:
    """What became of each tile of a plan."""
    return read_states(out, [*(tile.name for tile in plan.tiles), *plan.unusable])


def survey_status(out: str | Path) -> list[TileState]:
    """How far the survey in a folder is; nothing is done.

    Raises:
        SurveyError: There is no survey.
    """
    return states_of(Path(out), last_plan(Path(out)))
