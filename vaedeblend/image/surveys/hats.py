"""One catalogue of a survey in the HATS format, by hats-import; LSDB reads it.

Partitions are pixels of HEALPix of at most MOST sources, beside a cache of what lies at most NEAR
beyond each.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vaedeblend.exceptions import SurveyError
from vaedeblend.image.surveys.edges.union import settle, union_tasks
from vaedeblend.image.surveys.engine import Report, run_tasks
from vaedeblend.image.surveys.plan import Plan
from vaedeblend.image.surveys.shards import EXTRA, SETTLED, WORK, own_rows, shard_path
from vaedeblend.io.folders.digest import digest, sealed_json, unsealed_json
from vaedeblend.io.write import prepare_folder, write_text

CATALOGUE = "catalogue"
"""Folder of the catalogue, within that of the survey."""
MOST, NEAR = 500_000, 10.0
"""Most sources of a partition, some 200 MB of memory; width of the margin cache [arcsec]."""

Say = Callable[[str], None]
"""Function of a sentence for the user."""

_ORDER = 8
"""Finest order of HEALPix of a partition: 0.05 square degrees, 25 000 sources at Euclid's depth."""
_RECORD = "merged.json"
"""File beside the catalogue: what it was made from."""


def merge_survey(client, out: Path, plan: Plan, *, report: Report, say: Say) -> None:
    """Merges the shards that there are: what is one source is settled, and all are written.

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
    paths = [shard_path(out, name, SETTLED) for name in sorted(rows) if rows[name]]
    say(f"{sum(rows.values())} sources of {len(rows)} tiles")
    if paths:
        made = "".join(tasks[name].digest for name in sorted(rows))
        about = {**plan.options, "tiles": len(rows)}
        write_catalogue(client, out, paths, made, about)


def write_catalogue(
    client, out: Path, settled: Sequence[Path], made: str, about: Mapping[str, str | int]
) -> bool:
    """Merges shards to a catalogue with its margin cache, unless that has been done.

    Args:
        client: Client of dask.distributed.
        out: Folder of the survey.
        settled: Files that say which sources are the tiles' own, each with a row at least.
        made: Digests of what they are made of.
        about: Provenance, for the catalogue's properties.

    Returns:
        Whether it was written.

    Raises:
        SurveyError: The extra is not installed, or hats-import fails.
    """
    record, made_digest = out / _RECORD, digest(made.encode())
    if _recorded(record) == made_digest and _is_whole(out / CATALOGUE):
        return False
    try:
        from hats_import.collection.arguments import CollectionArguments
        from hats_import.pipeline import pipeline_with_client
    except ImportError as error:
        raise SurveyError(EXTRA) from error
    record.unlink(missing_ok=True)  # without it what is there counts for nothing
    shutil.rmtree(out / CATALOGUE, ignore_errors=True)
    rows = sum(map(count_rows, settled))
    given = {"output_path": out, "output_artifact_name": CATALOGUE, "progress_bar": False}
    properties = {f"vaedeblend_{name}": str(value) for name, value in about.items()}
    try:
        schema = _write_schema(settled[0], out / WORK / "schema.parquet")
        collection = CollectionArguments(**given, addl_hats_properties=properties)
        collection.catalog(
            input_file_list=list(settled),
            file_reader=_OwnSources(),
            ra_column="ra",
            dec_column="dec",
            pixel_threshold=MOST,
            highest_healpix_order=_ORDER,
            expected_total_rows=rows,
            use_schema_file=schema,
            addl_hats_properties=properties,
        ).add_margin(margin_threshold=NEAR, is_default=True)
        pipeline_with_client(collection, client)
    except (ValueError, OSError, RuntimeError, AssertionError) as error:
        raise SurveyError(f"{out / CATALOGUE}: hats-import could not merge ({error})") from error
    write_text(record, sealed_json({"shards": made_digest, "rows": rows}))
    return True


class _OwnSources:
    """Reader of hats-import's, of settled files."""

    def read(self, input_file, read_columns: Sequence[str] | None = None):
        yield own_rows(Path(str(input_file)), read_columns).replace_schema_metadata()


def _write_schema(settled: Path, path: Path) -> Path:
    """Writes a file of no row that has the catalogue's columns, with units and descriptions."""
    from pyarrow import parquet

    parquet.write_table(
        own_rows(settled)[:0].replace_schema_metadata(), prepare_folder(path.parent) / path.name
    )
    return path


def count_rows(path: Path) -> int:
    """Rows of a Parquet file."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return file.metadata.num_rows


def _is_whole(folder: Path) -> bool:
    """Whether all partitions of a catalogue and its margin cache are there."""
    from pyarrow import parquet

    lists = [*folder.glob("*/dataset/_metadata")]
    read = [(path.parent, parquet.read_metadata(path)) for path in lists]
    return bool(lists) and all(
        (folder / rows.row_group(i).column(0).file_path).exists()
        for folder, rows in read
        for i in range(rows.num_row_groups)
    )


def _recorded(path: Path) -> str | None:
    try:
        return unsealed_json(path.read_text(encoding="utf-8")).get("shards")
    except (OSError, ValueError):
        return None
