"""How far a survey is: of each tile what became of it, and what it is like."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaedeblend.image.surveys import shards
from vaedeblend.image.surveys.drift import drift_names


class TileState(NamedTuple):
    """A tile of a survey."""

    name: str
    state: str
    """done, failed or waiting."""
    sentence: str
    """Why it failed; empty where it did not."""
    numbers: dict[str, Any]
    """What was measured of it, by name; empty where it was not."""
    cost: dict[str, float]

    @property
    def drift(self) -> list[str]:
        """Names of what lies outside the range of the training."""
        return drift_names(int(self.numbers.get("drift", 0)))


def read_states(out: Path, names: Sequence[str]) -> list[TileState]:
    """The state of tiles, as the files of a survey tell it.

    Args:
        out: Folder of the survey.
        names: Names of its tiles.
    """
    failures, found = shards.read_failures(out), []
    for name in sorted(names):
        done = shards.read_mark(out, name)
        if name in failures:
            found.append(TileState(name, "failed", failures[name], {}, {}))
        elif done is None:
            found.append(TileState(name, "waiting", "", {}, {}))
        else:
            found.append(TileState(name, "done", "", done.numbers, done.cost))
    return found


def said_of(states: Sequence[TileState]) -> list[str]:
    """Sentences for the user: how many tiles are done, which have failed, and which drift."""
    of = {kind: [s for s in states if s.state == kind] for kind in ("done", "failed", "waiting")}
    counts = ", ".join(f"{len(some)} {kind}" for kind, some in of.items())
    lines = [f"{len(states)} tiles: {counts}"]
    if of["done"]:
        sources = sum(each.numbers.get("sources", 0) for each in of["done"])
        seconds = [each.cost["seconds"] for each in of["done"]]
        memory = max(each.cost["memory"] for each in of["done"])
        lines.append(
            f"{sources} sources; {np.mean(seconds):.1f} s a tile, {sum(seconds) / 3600:.2g} core "
            f"hours; {memory:.0f} MB at most"
        )
    lines += [f"failed: tile {each.name}: {each.sentence}" for each in of["failed"]]
    lines += [
        f"drift: tile {each.name}: {', '.join(each.drift)} outside the training's range"
        for each in of["done"]
        if each.drift
    ]
    return lines
