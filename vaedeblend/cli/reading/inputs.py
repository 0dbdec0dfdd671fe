"""Paths on a command line: refused where they lead nowhere, before anything slow is imported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaedeblend.exceptions import FileError


def refuse_missing(options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuses paths that lead nowhere, and weights that are none.

    Args:
        options: Options of a command.
        names: Those of them that are paths, if they are not None.

    Raises:
        FileError: There is no such file or folder.
        WorkdirError: There are no such weights.
    """
    for name in names:
        given = options.get(name)
        # Of what may be given again and again, a name comes before the paths.
        paths = [p for each in given for p in each[1:]] if isinstance(given, list) else [given]
        for path in paths:
            if path and not _is_there(path):
                raise FileError(f"{path}: no such file or folder; wanted one as {name}")
    if "weights" in options and names:
        from vaedeblend.io.workdir import find_workdir, read_config

        read_config(find_workdir(options["weights"]))


def _is_there(path: str) -> bool:
    """Whether a path leads somewhere."""
    if path.endswith("]"):
        from vaedeblend.io.fits.planes import split_plane

        path = split_plane(path)[0]
    return Path(path).exists()
