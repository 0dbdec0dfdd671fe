"""A survey's engine without networks: kills at random moments, and many tiles.

    python tests/benchmarks/survey.py kills FOLDER [--n 20] [--tiles 16] [--seed 0] [--measured]
    python tests/benchmarks/survey.py merge FOLDER [--tiles 2000] [--rows 100000]
    python tests/benchmarks/survey.py queue FOLDER [--tiles 56000]
    python tests/benchmarks/survey.py speed FOLDER [--tiles 16] [--size 512]
    python tests/benchmarks/survey.py cost SURVEY [--alone SURVEY] [--density 4.7e5] [--read 11.8]

kills: the command is killed (kill -9: it, or one of its workers) at random moments and given again
until it ends, and from the beginning if there are kills left; shards, and what is settled of them,
have to be those of an unbroken run, byte for byte (no catalogue is made). Measuring a tile takes a
second and finds nothing, or is what it is of simulated tiles with --measured. merge: tiles whose
measurement is replaced by a table of random sources, merged to HATS, with a cone search in the
result. queue: tasks that do nothing pass through the scheduler. speed: simulated tiles, measured by
one worker and by two, each held to a core of its own: how much faster two are, what the queue adds
to a tile's time, and a worker's memory tile by tile. cost: core hours, memory, bytes and files of
surveys, from the marks, shards and catalogue of one that was measured, and of one with
`--iterations 1`.
"""

import argparse
import json
import os
import random
import resource
import shutil
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

from vaedeblend.euclid.mer.grid import TileGrid, simulate_grid  # noqa: E402
from vaedeblend.image.surveys import hats, shards  # noqa: E402
from vaedeblend.image.surveys.edges.noise import measure_tile_noise  # noqa: E402
from vaedeblend.image.surveys.edges.union import settle, union_tasks  # noqa: E402
from vaedeblend.image.surveys.engine import Workers, connected, run_tasks  # noqa: E402
from vaedeblend.image.surveys.listing import list_tiles  # noqa: E402
from vaedeblend.image.surveys.plan import (  # noqa: E402
    OPTIONS,
    noise_tasks,
    plan_tiles,
    tile_tasks,
)
from vaedeblend.image.surveys.work import measure_survey_tile  # noqa: E402
from vaedeblend.io.folders.digest import digest_file  # noqa: E402

COMMAND = """
import sys
from functools import partial
from surveyed import slow_stub
from vaedeblend.image.surveys import hats, run
from vaedeblend.image.surveys.engine import Workers
from vaedeblend.image.surveys.work import measure_survey_tile

if __name__ == "__main__":
    out, *tiles = sys.argv[1:]
    if tiles[0].endswith(".fits"):
        run.measure_survey_tile = partial(measure_survey_tile, measure=slow_stub)
    hats.write_catalogue = lambda *_: False
    run.run_survey(out, tiles, workers=Workers(2), attempts=9)
"""


def start(folder: Path, tiles: Path, out: Path) -> subprocess.Popen:
    """The command, in a session of its own."""
    script = folder / "command.py"
    script.write_text(COMMAND)
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{HELPERS}"}
    words = [sys.executable, script, out, tiles]
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


def make_tiles(folder: Path, n: int, size: int, seed: int, measured: bool) -> Path:
    """Tiles that are to be measured, in as many rows as columns, or of noise alone."""
    side = int(np.ceil(n**0.5))
    if measured:
        if not (folder / "grid").exists():
            simulate_grid(folder / "grid", TileGrid(side, side), size=size, seed=seed)
        return folder / "grid"
    image = np.random.default_rng(seed).normal(size=(60 * side, 60 * side)).astype(np.float32)
    cut_tiles(folder / "tiles", image, np.ones_like(image), header(), size=60, reach=20)
    return folder / "tiles" / "t*.fits"


def kills(folder: Path, n: int, tiles: Path, seed: int) -> bool:
    """Whether surveys that were killed n times in all end as an unbroken one."""
    out, unbroken = folder / "killed", folder / "unbroken"
    for each in (out, unbroken):
        shutil.rmtree(each, ignore_errors=True)
    began = time.monotonic()
    assert start(folder, tiles, unbroken).wait() == 0
    took, wanted = time.monotonic() - began, digests(unbroken)
    print(f"unbroken: {took:.1f} s, {len(wanted)} files")
    draw, done, rounds, surveys, same = random.Random(seed), 0, 0, 0, True
    while same and (done < n or rounds == 0 or out.exists()):
        rounds += 1
        process = start(folder, tiles, out)
        while done < n and process.poll() is None:
            try:
                process.wait(draw.uniform(0.05, 1.0) * took)
            except subprocess.TimeoutExpired:
                victims = workers_of(process)
                whom = draw.choice(victims) if victims and draw.random() < 0.5 else process.pid
                os.kill(whom, signal.SIGKILL)
                done += 1
                said = "a worker" if whom != process.pid else "the command"
                print(f"kill {done}: {said}; {len(digests(out))} files")
        if process.wait() == 0:
            surveys, same = surveys + 1, digests(out) == wanted
            shutil.rmtree(out)
    said = "the same files" if same else "OTHER FILES"
    print(f"{done} kills in {rounds} starts of {surveys} surveys: {said}")
    return same


def peak() -> float:
    """Most memory that this process had [GB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def size_of(folder: Path) -> int:
    """Bytes of the files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def merge(folder: Path, tiles: int, rows: int) -> None:
    """Tiles of random sources, measured by none, merged to HATS."""
    plan = sky_tiles(tiles)
    tasks, out = tile_tasks(plan, folder), folder
    with connected(Workers(2)) as client:
        clock = time.monotonic()
        work = partial(measure_survey_tile, measure=partial(table_stub, rows=rows))
        failed = [each.sentence for each in run_tasks(client, work, tasks) if each.sentence]
        print(f"{tiles} shards of {rows} rows: {time.monotonic() - clock:.0f} s {failed[:1]}")
        print(f"on disk: {size_of(out / shards.SHARDS) / 1e9:.2f} GB")
        clock = time.monotonic()
        others = {tile.name: plan.others(i) for i, tile in enumerate(plan.tiles)}
        settled = [*run_tasks(client, settle, union_tasks(out, plan.tiles, others))]
        print(f"settled: {time.monotonic() - clock:.0f} s, {sum(e.result for e in settled)} rows")
        clock = time.monotonic()
        paths = sorted((out / shards.SETTLED).glob("*.parquet"))
        hats.write_catalogue(client, out, paths, "benchmark", {"tiles": tiles})
        took, memory = time.monotonic() - clock, max(client.run(peak).values())
        print(f"HATS: {took:.0f} s, {size_of(out / hats.CATALOGUE) / 1e9:.2f} GB")
        print(f"memory at most: a worker {memory:.2f} GB, the command {peak():.2f} GB")
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


def pin(core: int) -> None:
    """Holds all threads of this process to a core."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def warmed(client, task) -> None:
    """Lets every worker compile its programs, each held to a core of its own."""
    workers, cores = sorted(client.scheduler_info()["workers"]), sorted(os.sched_getaffinity(0))
    for i, (worker, core) in enumerate(zip(workers, cores, strict=False)):
        client.run(pin, core, workers=[worker])
        out = Path(task.out).with_name(f"{Path(task.out).name}-warm{i}")
        shutil.rmtree(out, ignore_errors=True)
        own = task._replace(out=str(out))
        client.submit(measure_survey_tile, own, workers=[worker], pure=False).result()


def timed(plan, out: Path, workers: int) -> dict[str, float | list[float]]:
    """Seconds of a survey's tiles, by the clock and by their marks, and memory tile by tile."""
    shutil.rmtree(out, ignore_errors=True)
    with connected(Workers(workers)) as client:
        failed = [e.sentence for e in run_tasks(client, measure_tile_noise, noise_tasks(plan, out))]
        tasks = tile_tasks(plan, out)
        warmed(client, next(iter(tasks.values())))
        clock = time.monotonic()
        ended = [*run_tasks(client, measure_survey_tile, tasks)]
        took = time.monotonic() - clock
    failed += [each.sentence for each in ended]
    if any(failed):
        raise SystemExit(next(filter(None, failed)))
    costs = [shards.read_mark(out, each.name).cost for each in ended]
    tiles = sum(cost["seconds"] for cost in costs)
    memory = [round(cost["memory"]) for cost in costs]
    return {"wall": took, "tiles": tiles, "idle": 1 - tiles / (workers * took), "memory": memory}


def speed(folder: Path, tiles: int, size: int) -> None:
    """One worker and two, one after the other."""
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("one core; wanted two that have no other work")
    side = int(np.ceil(tiles**0.5))
    if not (folder / "grid").exists():
        simulate_grid(folder / "grid", TileGrid(side, side), size=size, seed=3)
    plan = plan_tiles(list_tiles([folder / "grid"]), OPTIONS | {"tiles": []})
    one, two = (timed(plan, folder / f"workers{n}", n) for n in (1, 2))
    found = {"speed_up": one["wall"] / two["wall"], "overhead": one["idle"]}
    print(json.dumps(found | {"one": one, "two": two}, indent=1))


AREAS = {"0.5 deg2": 0.5, "DR-Foundation": 1900.0, "Wide": 14_000.0}
"""Surveys whose cost is told [square degree]."""
TILE = 0.25
"""Area of a core of Euclid's tiles [square degree]."""


def read_marks(out: Path) -> list[shards.Done]:
    """Marks of a survey's tiles that are done."""
    return [shards.read_mark(out, path.stem) for path in (out / shards.SHARDS).glob("*.json")]


def source_seconds(done: list[shards.Done]) -> float:
    """Seconds of the processor a source of some tiles, what a worker compiles among them."""
    return sum(each.cost["processor"] for each in done) / sum(e.numbers["sources"] for e in done)


def cost(out: Path, alone: Path | None, density: float, read: float) -> None:
    """Each term of the cost of surveys, scaled from one that was measured.

    Args:
        out: Folder of the survey.
        alone: Folder of the same with one iteration.
        density: Sources a square degree.
        read: What is read of a tile [GB].
    """
    done = read_marks(out)
    dataset = [*(out / hats.CATALOGUE).rglob("*.parquet")]
    if not dataset:
        raise SystemExit(f"{out}: no catalogue; wanted a survey that has ended")
    rows = sum(hats.count_rows(path) for path in (out / shards.SETTLED).glob("*.parquet"))
    row = sum(path.stat().st_size for path in dataset) / rows
    files = sum(1 for part in (shards.SHARDS, shards.SETTLED) for _ in (out / part).glob("*"))
    seconds = {"core hours": source_seconds(done)}
    if alone is not None:
        seconds["core hours, one iteration"] = source_seconds(read_marks(alone))
    print(f"memory of a worker at most: {max(e.cost['memory'] for e in done) / 1000:.2f} GB")
    print(f"bytes a row, margin cache among them: {row:.0f}")
    for name, area in AREAS.items():
        n, tiles = density * area, np.ceil(area / TILE)
        terms = {"tiles": tiles, "sources": n}
        terms |= {what: n * each / 3600 for what, each in seconds.items()}
        terms |= {"read [TB]": tiles * read / 1000, "catalogue [TB]": n * row / 1e12}
        terms["files of shards and marks"] = tiles * files / len(done)
        print(name, json.dumps({what: float(f"{value:.2g}") for what, value in terms.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("kills", "merge", "queue", "speed", "cost"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=20, help="kills")
    parser.add_argument("--tiles", type=int)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=512, help="side of a tile's core [pixel]")
    parser.add_argument("--measured", action="store_true", help="kills of real measurements")
    parser.add_argument("--alone", type=Path, help="survey with one iteration")
    parser.add_argument("--density", type=float, default=4.7e5, help="sources a square degree")
    parser.add_argument("--read", type=float, default=11.8, help="GB that are read of a tile")
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "kills":
        place = given.folder, given.tiles or 16, given.size, given.seed, given.measured
        sys.exit(not kills(given.folder, given.n, make_tiles(*place), given.seed))
    if given.what == "merge":
        merge(given.folder, given.tiles or 2000, given.rows)
    elif given.what == "speed":
        speed(given.folder, given.tiles or 16, given.size)
    elif given.what == "cost":
        cost(given.folder, given.alone, given.density, given.read)
    else:
        queue(given.tiles or 56_000)


if __name__ == "__main__":
    main()
