"""Digests of contents: of files and folders, and JSON files that hold their own.

What was written whole may be damaged later: by a disk, by a copy that was cut off, by hand. A bit
flipped in a checkpoint or a FITS image is read without a complaint; a digest tells.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from vaedeblend.io.folders.walk import files_below
from vaedeblend.io.write import write_text

SEAL = "digests.json"
"""File of a sealed folder that holds the digests of its other files."""

_KEY = "digest"
"""Key of a sealed JSON file: the digest of all the others."""


def digest(content: bytes) -> str:
    """Digest of bytes."""
    return _hash(content).hexdigest()


def digest_file(path: str | Path) -> str:
    """Digest of a file's content, or of all files below a folder; about 1 s per GB."""
    path = Path(path)
    if path.is_dir():
        return _digest_text(json.dumps(_digests(path), sort_keys=True))
    with path.open("rb") as file:
        return hashlib.file_digest(file, _hash).hexdigest()


def seal(folder: str | Path) -> None:
    """Writes the digests of a finished folder's files into it, for `damaged_file`."""
    write_text(Path(folder) / SEAL, json.dumps(_digests(folder), indent=1, sort_keys=True) + "\n")


def damaged_file(folder: str | Path) -> str | None:
    """A file of a sealed folder that is missing or not what it was; None if all are whole.

    A folder without a seal is taken as it is.
    """
    path = Path(folder) / SEAL
    if not path.exists():
        return None
    try:
        wanted, found = dict(json.loads(path.read_text())), _digests(folder)
    except ValueError:
        return SEAL
    return next((name for name, own in wanted.items() if found.get(name) != own), None)


def sealed_json(value: Mapping, indent: int = 2) -> str:
    """A mapping as JSON that holds its own digest, as `unsealed_json` reads it."""
    own = _digest_text(json.dumps(value, sort_keys=True))
    return json.dumps({**value, _KEY: own}, indent=indent) + "\n"


def unsealed_json(text: str) -> dict:
    """The mapping that `sealed_json` made a text of; one without a digest is taken as it is.

    Raises:
        ValueError: The text is no JSON of a mapping, or is not what was written.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}; wanted an object")
    own = value.pop(_KEY, None)
    if own not in (None, _digest_text(json.dumps(value, sort_keys=True))):
        raise ValueError("damaged: its digest is another one")
    return value


def kept_while_unchanged(maxsize: int) -> Callable[[Callable], Callable]:
    """Decorator: keeps the latest results of a function of a path, while what lies there stays.

    Sizes and times of change tell, of a folder those of all files below it.
    """

    def decorate(function: Callable) -> Callable:
        @functools.lru_cache(maxsize)
        def kept(state, *arguments):
            return function(*arguments)

        @functools.wraps(function)
        def call(path, *arguments):
            return kept(_state(path), path, *arguments)

        call.cache_clear = kept.cache_clear
        return call

    return decorate


def _state(path: str | Path) -> tuple[tuple[str, int, int], ...]:
    if not str(path):  # no path is meant, and not the folder one is in
        return ()
    path = Path(path)
    files = files_below(path) if path.is_dir() else [path]
    stats = ((str(each), each.stat()) for each in files if each.is_file())
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _digests(folder: str | Path) -> dict[str, str]:
    """Digest of each file below a folder, by its path there."""
    folder = Path(folder)
    files = (each for each in files_below(folder) if each.is_file() and each.name != SEAL)
    return {each.relative_to(folder).as_posix(): digest_file(each) for each in files}


def _digest_text(text: str) -> str:
    return digest(text.encode())


def _hash(data: bytes = b""):
    return hashlib.blake2b(data, digest_size=16)
