"""Shards: the sources of a tile as a Parquet file, with a mark that it is done.

The mark is a sealed JSON file beside the shard: what the shard was made from, its digest, and what
was measured of the tile. A shard counts where mark, digest and what it is wanted to be made from
agree; all else is made anew.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from vaedeblend.exceptions import FileError, SurveyError
from vaedeblend.io.folders.digest import digest_file, sealed_json, unsealed_json
from vaedeblend.io.write import prepare_folder, replacing, write_text

SHARDS, SETTLED, FAILED, WORK, NOISE = "shards", "settled", "failed", "work", "noise"
"""Folders of a survey's: shards and marks, which rows of shards are the tiles' own, sentences of
tiles that failed, pieces of tiles under way, and what tiles say of their noise."""

FORM = 2
"""Number of the shards' form: tiles of another one are measured anew."""
_INNER = "apparent", "core_depth"
"""Columns that are of shards alone."""

EXTRA = "the command vaedeblend survey needs the extra survey: pip install 'vaedeblend[survey]'"


class Done(NamedTuple):
    """A tile that has been measured."""

    name: str
    made: dict
    """What it was made from."""
    stats: list
    """Size and time of change of each file that it was made from."""
    shard: str
    """Digest of the shard."""
    rows: int
    numbers: dict[str, Any]
    """What was measured of the tile, by name."""
    cost: dict[str, float]
    """Seconds, those of the processor, and MB of memory at most."""


def write_shard(path: Path, table: Table, **meta: str) -> str:
    """Writes a table as Parquet, and gives its digest.

    Units, descriptions and UCDs are metadata of the columns.

    Raises:
        FileError: It cannot be written.
        SurveyError: The extra is not installed.
    """
    arrow, parquet = _arrow()
    fields = [arrow.field(name, *_described(arrow, table, name)) for name in table.colnames]
    columns = [np.asarray(table[name]) for name in table.colnames]
    schema = arrow.schema(fields, metadata=meta)
    data = arrow.table([arrow.array(each) for each in columns], names=table.colnames).cast(schema)
    prepare_folder(path.parent)
    with replacing(path) as partial:
        parquet.write_table(data, partial, compression="zstd")
    return digest_file(path)


def read_shard(path: Path, columns: Sequence[str] | None = None) -> Table:
    """The table of a shard, with units and descriptions.

    Args:
        path: Its file.
        columns: Columns that are read; by default all.

    Raises:
        SurveyError: It is damaged, or the extra is not installed.
    """
    return _as_table(_read(path, columns))


def read_own(out: Path, name: str) -> Table:
    """A tile's own sources, as they come into the catalogue, with units and descriptions.

    Raises:
        SurveyError: A file is damaged.
    """
    return _as_table(own_rows(shard_path(out, name, SETTLED)))


def own_rows(settled: Path, columns: Sequence[str] | None = None):
    """The rows of a shard that a settled file names, with its flags, as a table of pyarrow's.

    Raises:
        SurveyError: A file is damaged.
    """
    arrow, _ = _arrow()
    own, path = _read(settled), shard_path(settled.parent.parent, settled.stem)
    try:
        rows = _read(path, columns).take(own["row"])
    except (KeyError, arrow.ArrowException) as error:
        raise SurveyError(f"{path}: not the shard that was settled ({error})") from error
    if "flags" in rows.column_names:
        at = rows.schema.get_field_index("flags")
        rows = rows.set_column(at, rows.schema.field(at), own["flags"])
    return rows.drop_columns([name for name in _INNER if name in rows.column_names])


def _read(path: Path, columns: Sequence[str] | None = None):
    arrow, parquet = _arrow()
    try:
        return parquet.read_table(path, columns=columns and [*columns], memory_map=False)
    except (OSError, arrow.ArrowException) as error:
        raise SurveyError(f"{path}: no shard could be read ({error})") from error


def _as_table(data) -> Table:
    table = Table({name: data[name].to_numpy() for name in data.column_names})
    for field in data.schema:
        about = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        table[field.name].unit = about.get("unit")
        table[field.name].info.description = about.get("description")
        table[field.name].info.meta = {"ucd": about.get("ucd", "")}
    table.meta |= {k.decode(): v.decode() for k, v in (data.schema.metadata or {}).items()}
    return table


def settled_rows(path: Path, digest: str) -> int | None:
    """Rows of a whole file that was made of shards of a digest; None if it is not there."""
    arrow, parquet = _arrow()
    try:
        with parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, arrow.ArrowException):
        return None
    made = (schema.metadata or {}).get(b"shards")
    return rows if made == digest.encode() and schema.names == ["row", "flags"] else None


def write_mark(out: Path, done: Done) -> None:
    """Marks a tile's shard as done.

    Raises:
        FileError: It cannot be written.
    """
    write_text(mark_path(out, done.name), sealed_json(done._asdict()))
    (out / FAILED / f"{done.name}.json").unlink(missing_ok=True)


def read_mark(out: Path, name: str) -> Done | None:
    """The mark of a tile; None where there is none that is whole."""
    try:
        return Done(**unsealed_json(mark_path(out, name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_whole(out: Path, done: Done) -> bool:
    """Whether a marked shard is what was written."""
    path = shard_path(out, done.name)
    return path.exists() and digest_file(path) == done.shard


def write_failure(out: Path, name: str, sentence: str, attempts: int) -> None:
    """Records why a tile could not be measured; where that cannot be written it comes again."""
    record = {"tile": name, "sentence": sentence, "attempts": attempts}
    with contextlib.suppress(FileError):  # of a full disk the command has spoken
        write_text(prepare_folder(out / FAILED) / f"{name}.json", sealed_json(record))


def read_failures(out: Path) -> dict[str, str]:
    """Sentences of the tiles that failed, by name."""
    found = {}
    for path in sorted((out / FAILED).glob("*.json")):
        try:
            found[path.stem] = unsealed_json(path.read_text(encoding="utf-8"))["sentence"]
        except (OSError, ValueError, KeyError):
            found[path.stem] = f"{path}: damaged"
    return found


def shard_path(out: Path, name: str, folder: str = SHARDS) -> Path:
    """File of a tile's sources."""
    return out / folder / f"{name}.parquet"


def mark_path(out: Path, name: str, folder: str = SHARDS) -> Path:
    """File that marks a shard."""
    return out / folder / f"{name}.json"


def stats_of(files) -> list:
    """Size and time of change of files, by which contents need not be read again."""
    stats = ((str(path), path.stat()) for path in files)
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _arrow():
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise SurveyError(EXTRA) from error
    return pyarrow, parquet


def _described(arrow, table: Table, name: str):
    """Type of a column, whether it has gaps, and its metadata."""
    column = table[name]
    values = np.asarray(column)
    kind = arrow.string() if values.dtype.kind in "UO" else arrow.from_numpy_dtype(values.dtype)
    about: Mapping[str, Any] = {
        "unit": "" if column.unit is None else column.unit.to_string(),
        "description": column.info.description or "",
        "ucd": (column.info.meta or {}).get("ucd", ""),
    }
    return kind, False, {key: text for key, text in about.items() if text}


def as_plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    return json.loads(json.dumps(value))
