"""The working directory of a training: where it is, and with which configuration it was trained."""

import json
from pathlib import Path

from vaedeblend.exceptions import WorkdirError

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Workdirs that are shipped with the package, by name."""


def find_workdir(name_or_workdir: str | Path) -> Path:
    """The directory of shipped weights of that name, or the workdir itself."""
    shipped = WEIGHTS / str(name_or_workdir)
    return shipped if (shipped / "config.json").exists() else Path(name_or_workdir)


def read_config(workdir: str | Path) -> dict:
    """The configuration with which a working directory was trained.

    Raises:
        WorkdirError: There is none, or it cannot be read.
    """
    path = Path(workdir) / "config.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        names = sorted(p.name for p in WEIGHTS.glob("*") if p.is_dir())
        raise WorkdirError(
            f"{path}: not found; wanted the workdir of a training, or one of {names}"
        ) from error
    except json.JSONDecodeError as error:
        raise WorkdirError(f"{path}: not valid JSON ({error})") from error
