"""A whole survey: `vaedeblend survey`, from tiles to one catalogue and a page about it.

tiles --engine--> shards --union--> settled shards --hats--> catalogue; marks --> status, page
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vaedeblend.image.surveys import hats, shards
from vaedeblend.image.surveys.edges.union import settle, union_tasks
from vaedeblend.image.surveys.engine import Report, Workers, connected, run_tasks
from vaedeblend.image.surveys.page import write_survey_page
from vaedeblend.image.surveys.plan import Plan, last_plan, make_plan, tile_tasks
from vaedeblend.image.surveys.status import TileState, read_states
from vaedeblend.image.surveys.work import is_unchanged, measure_survey_tile
from vaedeblend.io.folders.jobs import locked

Say = Callable[[str], None]
"""Function of a sentence for the user."""


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
        failed, tasks = shards.read_failures(folder), tile_tasks(plan, folder)
        wanted = {
            name: task
            for name, task in tasks.items()
            if name not in failed and not is_unchanged(task)
        }
        with connected(workers or Workers()) as client:
            say(f"dask's dashboard: {client.dashboard_link}")
            say(f"{len(wanted)} of {len(tasks)} tiles to measure")
            queue = {"attempts": attempts, "report": report, "what": "measuring tiles"}
            for each in run_tasks(client, measure_survey_tile, wanted, **queue):
                if each.sentence:
                    say(f"failed: tile {each.name}: {each.sentence}")
                    shards.write_failure(
                        folder, name=each.name, sentence=each.sentence, attempts=each.attempts
                    )
            merge_survey(client, folder, plan, report=report, say=say)
        return states_of(folder, plan)


def states_of(out: Path, plan: Plan) -> list[TileState]:
    """What became of each tile of a plan."""
    return read_states(out, [*(tile.name for tile in plan.tiles), *plan.unusable])


def survey_status(out: str | Path) -> list[TileState]:
    """How far the survey in a folder is; nothing is done.

    Raises:
        SurveyError: There is no survey.
    """
    return states_of(Path(out), last_plan(Path(out)))


def merge_survey(client, out: Path, plan: Plan, *, report: Report, say: Say) -> None:
    """Merges the shards that there are, and writes the survey's page.

    Args:
        client: Client of dask.distributed.
        out: Folder of the survey.
        plan: Its tiles.
        report: Function of the progress.
        say: Function of a sentence for the user.

    Raises:
        VaedeblendError: A shard is damaged, or the catalogue cannot be written.
    """
    others = {tile.name: plan.others(i) for i, tile in enumerate(plan.tiles)}
    tasks = union_tasks(out, plan.tiles, others)
    settled = [
        each
        for each in run_tasks(client, settle, tasks, report=report, what="settling edges")
        if not each.sentence or say(f"not merged: tile {each.name}: {each.sentence}")
    ]
    rows = {each.name: each.result for each in settled}
    paths = [shards.shard_path(out, name, shards.SETTLED) for name in sorted(rows) if rows[name]]
    say(f"{sum(rows.values())} sources of {len(rows)} tiles")
    if paths:
        made = "".join(tasks[name].digest for name in sorted(rows))
        about = {**plan.options, "tiles": len(rows)}
        hats.write_catalogue(client, out, paths, made, about)
    write_survey_page(out, plan, states_of(out, plan))
