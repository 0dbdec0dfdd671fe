"""Files below a folder, at any depth, also behind links to other folders."""

import fnmatch
import os
from pathlib import Path


def files_below(folder: str | Path, pattern: str = "*") -> list[Path]:
    """Paths below a folder that lead to no folder, in their order.

    Links to folders are followed. A folder that several ways lead to, or a link within it, is
    entered once.

    Args:
        folder: Folder.
        pattern: Pattern of their names.
    """
    found, entered = [], {os.path.realpath(folder)}
    for at, folders, names in os.walk(folder, followlinks=True):
        links_first = sorted(folders, key=lambda name: not os.path.islink(os.path.join(at, name)))
        way = {os.path.realpath(os.path.join(at, name)): name for name in links_first}
        folders[:] = [name for target, name in way.items() if target not in entered]
        entered |= way.keys()
        found += [Path(at, name) for name in fnmatch.filter(names, pattern)]
    return sorted(found)
