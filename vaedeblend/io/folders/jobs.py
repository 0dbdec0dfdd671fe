"""Folders of results: one job at a time, and pieces of no other job.

A lock is the operating system's own on a file: it ends with the process that holds it, however that
ends. Pieces that a killed job has left are told from another's by a record of what they were made
from, which holds the contents of its inputs, not their names.
"""

import contextlib
import os
import re
import shutil
import socket
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from vaedeblend import __version__
from vaedeblend.exceptions import FileError, FolderError
from vaedeblend.io.folders.digest import digest, digest_file, sealed_json, unsealed_json
from vaedeblend.io.write import PARTIAL, prepare_folder, write_text

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOCK = ".lock"
"""File that a job holds in the folder into which it writes."""

_held = threading.local()
"""The folders that a thread has locked: what it calls may lock them again."""

_LONGEST = 1000
"""Characters of a lock that are read."""

_RECORD = "job.json"
"""File beside pieces: what they were made from."""


class FolderWarning(UserWarning):
    """What a user should know of a folder into which a job writes nevertheless."""


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[Path]:
    """A folder, made where it is missing, into which no other job writes meanwhile.

    Where the file system has no locks a warning says so.

    Raises:
        FolderError: Another job writes there.
        FileError: The folder cannot be made or written into.
    """
    folder = prepare_folder(folder)
    held, name = vars(_held).setdefault("folders", set()), folder.resolve()
    if name in held:
        yield folder
        return
    path = folder / LOCK
    file = _lock(path)
    held.add(name)
    try:
        with contextlib.suppress(OSError):  # a full disk is for those to name who need it
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield folder
    finally:
        held.remove(name)
        path.unlink(missing_ok=True)  # while it is locked: nobody else can have taken it
        file.close()


def made_from(options: Mapping[str, Any], files: Iterable[Path]) -> dict:
    """A record of what pieces are made from, for `keep_pieces`: the program's version among it.

    Args:
        options: Plain values, and arrays.
        files: Files and folders, whose contents are meant; about 1 s per GB.
    """
    contents = [[path.name, digest_file(path)] for path in files]
    values = {name: _plain(value) for name, value in options.items()}
    return {"version": __version__, "options": values, "contents": contents}


def are_pieces(folder: Path) -> bool:
    """Whether a job has written into a folder: its record is there, damaged or not."""
    return (folder / _RECORD).exists()


def provenance(job: Mapping) -> dict[str, str]:
    """When results are made, and from what: names of files with digests of their contents.

    Args:
        job: What they are made from, as of `made_from`.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    contents = enumerate(job["contents"], 1)
    return {"date": now} | {f"input{i}": f"{name} {digest}" for i, (name, digest) in contents}


def keep_pieces(folder: str | Path, job: Mapping, is_whole: Callable[[Path], bool]) -> None:
    """Keeps a folder's pieces if they are of this job, and removes all there if they are not.

    Args:
        folder: Folder of the pieces, made where it is missing.
        job: What they are made from: JSON's plain values.
        is_whole: Whether a piece is undamaged. One that is not is removed, with a warning, and one
            that was not finished without.

    Raises:
        FileError: The folder cannot be made or written into.
    """
    folder = Path(folder)
    if _recorded(folder / _RECORD) == job:
        for piece in sorted({*folder.iterdir()} - {folder / _RECORD}):
            if piece.suffix == PARTIAL:
                piece.unlink()
            elif not is_whole(piece):
                piece.unlink()
                warnings.warn(f"{piece}: damaged; made anew", FolderWarning, stacklevel=2)
        return
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    except OSError as error:
        raise FileError(f"{folder}: could not be emptied ({error})") from error
    write_text(folder / _RECORD, sealed_json(job))


def _plain(value) -> str | None:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {digest(np.ascontiguousarray(value).tobytes())}"
    return None if value is None else str(value)


def _lock(path: Path) -> IO[str]:
    """The file at a path, open and locked."""
    while True:
        try:
            file = path.open("a+")
        except OSError as error:
            raise FileError(f"{path}: could not be opened ({error})") from error
        if not _is_free(file):
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise FolderError(
                f"{path.parent}: {holder} writes there; wanted another folder, or to wait for it"
            )
        _check_lock(file, path)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # its holder has just ended, and taken the file along


def _check_lock(file: IO[str], path: Path) -> None:
    """A lock of a job that was killed may be taken, no other file of that name."""
    file.seek(0)
    try:
        ours = re.fullmatch(r"(process \d+ on .*)?", file.read(_LONGEST))
    except UnicodeDecodeError:
        ours = None
    if ours is None:
        file.close()
        raise FolderError(
            f"{path}: would be overwritten, and no run of this program has written it; wanted "
            f"another folder than {path.parent}"
        )


def _is_free(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        said = (
            f"{file.name}: no locks on this file system ({error}); wanted one job at a time there"
        )
        warnings.warn(said, FolderWarning, stacklevel=2)
    return True


def _recorded(path: Path) -> dict | None:
    """What pieces were made from; None where that is not known."""
    try:
        return unsealed_json(path.read_text())
    except (OSError, ValueError):
        return None
