"""A survey's engine without networks: kills at random moments, and many tiles.

    python tests/benchmarks/survey.py kills FOLDER [--n 20] [--tiles 16] [--seed 0]
    python tests/benchmarks/survey.py merge FOLDER [--tiles 2000] [--rows 100000]
    python tests/benchmarks/survey.py queue FOLDER [--tiles 56000]

kills: the command is killed (kill -9: it, or one of its workers) at random moments and given again
until it ends; shards, and what is settled of them, have to be those of an unbroken run, byte for
byte (no catalogue is made). merge: tiles whose measurement is replaced by a table of random
sources, merged to HATS, with a cone search in the result. queue: tasks that do nothing pass through
the scheduler.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

HELPERS = Path(__file__).parents[1] / "helpers"
sys.path.insert(0, str(HELPERS))

from fitsfolder import header  # noqa: E402
from surveyed import cut_tiles, sky_tiles, table_stub  # noqa: E402

from vaedeblend.image.surveys import hats, shards  # noqa: E402
from vaedeblend.image.surveys.edges.union import settle, union_tasks  # noqa: E402
from vaedeblend.image.surveys.engine import Workers, connected, run_tasks  # noqa: E402
from vaedeblend.image.surveys.plan import tile_tasks  # noqa: E402
from vaedeblend.image.surveys.work import measure_survey_tile  # noqa: E402
from vaedeblend.io.folders.digest import digest_file  # noqa: E402

COMMAND = """
import sys
from functools import partial
from surveyed import slow_stub
from vaedeblend.image.surveys import run
from vaedeblend.image.surveys.engine import Workers
from vaedeblend.image.surveys.work import measure_survey_tile

if __name__ == "__main__":
    run.measure_survey_tile = partial(measure_survey_tile, measure=slow_stub)
    run.hats.write_catalogue = lambda *_: False
    run.run_survey(sys.argv[1], sys.argv[2:], workers=Workers(2), attempts=9)
"""


def start(folder: Path, out: Path) -> subprocess.Popen:
    """The command, in a session of its own."""
    script = folder / "command.py"
    script.write_text(COMMAND)
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{HELPERS}"}
    words = [sys.executable, script, out, folder / "tiles" / "t*.fits"]
    given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*map(str, words)], env=env, start_new_session=True, **given)


def workers_of(process: subprocess.Popen) -> list[int]:
    """Processes that a command has started."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, args in lines if "spawn_main" in args]


def digests(out: Path) -> dict[str, str]:
    """Digests of the shards, and of what was settled of them."""
    paths = [p for each in (shards.SHARDS, shards.SETTLED) for p in (out / each).glob("*.parquet")]
    return {f"{path.parent.name}/{path.name}": digest_file(path) for path in paths}


def kills(folder: Path, n: int, tiles: int, seed: int) -> bool:
    """Whether a survey that was killed n times ends as an unbroken one."""
    side = int(np.ceil(tiles**0.5))
    image = np.random.default_rng(seed).normal(size=(60 * side, 60 * side)).astype(np.float32)
    cut_tiles(folder / "tiles", image, np.ones_like(image), header(), size=60, reach=20)
    began = time.monotonic()
    assert start(folder, folder / "unbroken").wait() == 0
    took, wanted = time.monotonic() - began, digests(folder / "unbroken")
    print(f"unbroken: {took:.1f} s, {len(wanted)} files")
    draw, out, done, rounds = random.Random(seed), folder / "killed", 0, 0
    while True:
        rounds += 1
        process = start(folder, out)
        while done < n and process.poll() is None:
            try:
                process.wait(draw.uniform(0.1, 1.0) * took)
                break
            except subprocess.TimeoutExpired:
                victims = workers_of(process)
                whom = draw.choice(victims) if victims and draw.random() < 0.5 else process.pid
                os.kill(whom, signal.SIGKILL)
                done += 1
                print(f"kill {done}: {'a worker' if whom != process.pid else 'the command'}")
        if process.wait() == 0 and (done >= n or len(digests(out)) == len(wanted)):
            if done >= n:
                break
            for path in (out / shards.SHARDS).glob("*"):  # it was done before the last kill
                path.unlink()
    same = digests(out) == wanted
    print(f"{done} kills in {rounds} starts: {'the same files' if same else 'OTHER FILES'}")
    return same


def merge(folder: Path, tiles: int, rows: int) -> None:
    """Tiles of random sources, measured by none, merged to HATS."""
    plan = sky_tiles(tiles)
    tasks, out = tile_tasks(plan, folder), folder
    with connected(Workers(2)) as client:
        clock = time.monotonic()
        work = partial(measure_survey_tile, measure=partial(table_stub, rows=rows))
        failed = [each.sentence for each in run_tasks(client, work, tasks) if each.sentence]
        print(f"{tiles} shards of {rows} rows: {time.monotonic() - clock:.0f} s {failed[:1]}")
        clock = time.monotonic()
        others = {tile.name: plan.others(i) for i, tile in enumerate(plan.tiles)}
        settled = [*run_tasks(client, settle, union_tasks(out, plan.tiles, others))]
        print(f"settled: {time.monotonic() - clock:.0f} s, {sum(e.result for e in settled)} rows")
        clock = time.monotonic()
        paths = sorted((out / shards.SETTLED).glob("*.parquet"))
        hats.write_catalogue(client, out, paths, "benchmark", {"tiles": tiles})
        whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
        memory = max(resource.getrusage(who).ru_maxrss for who in whose)
        print(f"HATS: {time.monotonic() - clock:.0f} s; {memory / 1e6:.2f} GB at most")
    import lsdb

    clock, catalogue = time.monotonic(), lsdb.open_catalog(out / hats.CATALOGUE)
    ra, dec = plan.tiles[0].wcs.wcs.crval
    found = len(catalogue.cone_search(ra, dec, 60).compute())
    said = f"{len(catalogue.get_healpix_pixels())} partitions, {len(catalogue)} rows"
    print(f"{said}; {found} within an arcmin, {time.monotonic() - clock:.1f} s")


def nothing(task) -> int:
    """A task of no work."""
    return task


def queue(tiles: int) -> None:
    """Tasks of no work through the scheduler."""
    with connected(Workers(1)) as client:
        clock = time.monotonic()
        n = sum(1 for _ in run_tasks(client, nothing, {str(i): i for i in range(tiles)}))
        took = time.monotonic() - clock
    print(json.dumps({"tasks": n, "seconds": round(took, 1), "ms_a_task": 1000 * took / n}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("kills", "merge", "queue"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20, help="kills")
    parser.add_argument("--tiles", type=int)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "kills":
        sys.exit(not kills(given.folder, given.n, given.tiles or 16, given.seed))
    if given.what == "merge":
        merge(given.folder, given.tiles or 2000, given.rows)
    else:
        queue(given.tiles or 56_000)


if __name__ == "__main__":
    main()
