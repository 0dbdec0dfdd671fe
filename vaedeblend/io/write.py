"""Results as files and folders, which appear whole or not at all."""

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.registry import identify_format
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from vaedeblend.exceptions import FileError

PARTIAL = ".partial"
"""End of the names of what is being written: it stays where a job was killed."""


def write_text(path: str | Path, text: str) -> None:
    """Writes a file in UTF-8.

    Raises:
        FileError: It cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_text(path: str | Path, text: str) -> None:
    """Adds text at the end of a file in UTF-8.

    Raises:
        FileError: It cannot be written.
    """
    with writing(path), Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


@contextlib.contextmanager
def write_image(
    path: str | Path, shape: tuple[int, ...], header: fits.Header, dtype=np.float32
) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives the function `put(rows)`, by which an image is written from its first row to its last.

    The file appears under its name when the last row has come. A row of a cube is an image.

    Raises:
        FileError: It cannot be written, or rows are missing.
    """
    full = fits.PrimaryHDU(np.zeros((1,) * len(shape), dtype), header).header
    for axis, n in enumerate(reversed(shape), 1):
        full[f"NAXIS{axis}"] = n
    written = 0
    with replacing(path) as partial:
        with streaming(partial, full) as stream:

            def put(rows: np.ndarray) -> None:
                nonlocal written
                written += len(rows)
                if rows.size:  # a full stream takes no empty array
                    stream.write(np.ascontiguousarray(rows, dtype))

            yield put
        if written != shape[0]:
            raise FileError(f"{path}: {written} rows were given; wanted {shape[0]}")


@contextlib.contextmanager
def streaming(path: str | Path, header: fits.Header) -> Iterator[fits.StreamingHDU]:
    """A new FITS image to be written piece by piece, of which no file stays open on a full disk."""
    with Path(path).open("ab+") as file, fits.StreamingHDU(file, header) as stream:
        yield stream


def write_tables(path: str | Path, tables: Mapping[str, Table]) -> None:
    """Writes tables as extensions of one FITS file, by name.

    Descriptions of columns, and UCDs in their meta, are found by astropy and by TOPCAT (TCOMM1,
    TUCD1, ...).

    Raises:
        FileError: It cannot be written.
    """
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # units that are none of FITS's
        hdus = [fits.PrimaryHDU()]
        for name, table in tables.items():
            hdus.append(_table_hdu(table))
            hdus[-1].name = name
        fits.HDUList(hdus).writeto(partial)


def _table_hdu(table: Table) -> fits.BinTableHDU:
    described = {name: table[name].info for name in table.colnames if table[name].info.description}
    if not described:
        return fits.table_to_hdu(table)
    encoded = io.BytesIO()
    table.write(encoded, format="fits")
    encoded.seek(0)
    hdu = fits.open(encoded)[1]
    for number, name in enumerate(table.colnames, 1):
        if info := described.get(name):
            cards = {"TUCD": (info.meta or {}).get("ucd"), "TCOMM": info.description}
            for card, text in cards.items():
                if text:
                    hdu.header.set(f"{card}{number}", text, after=f"TFORM{number}")
    return hdu


def write_table(path: str | Path, table: Table) -> None:
    """Writes a table in the format that astropy knows by its path's ending.

    Raises:
        FileError: It cannot be written.
    """
    formats = identify_format("write", type(table), str(path), None, [], {})
    with replacing(path) as partial:
        table.write(partial, format=formats[0] if formats else None)


def prepare_folder(path: str | Path) -> Path:
    """A folder into which files can be written, made where it is missing.

    Raises:
        FileError: It cannot be made, or no file can be written there.
    """
    if not isinstance(path, str | Path):
        raise FileError(f"folder: {type(path).__name__}; wanted the path of one")
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise FileError(f"{path}: no folder that can be written into ({error})") from error


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """What is written meanwhile belongs to a path, by which it is named where that fails.

    Raises:
        FileError: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: could not be written ({error})") from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside, for a file that takes the other's place if all goes well.

    Raises:
        FileError: It cannot be written.
    """
    partial = Path(f"{path}{PARTIAL}")
    with writing(path):
        partial.unlink(missing_ok=True)
        try:
            yield partial
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: str | Path, own: Collection[str]) -> Iterator[Path]:
    """A folder beside, for files that take the place of the other's if all goes well.

    Args:
        path: Folder to replace; the target of a symbolic link, not the link.
        own: Names of files that may be replaced.

    Raises:
        FileError: The folder holds other files, or cannot be written.
    """
    with writing(path):
        folder = Path(path).resolve()
        partial, old = (folder.with_name(folder.name + end) for end in (PARTIAL, ".old"))
        for each in (folder, partial, old):
            _refuse_others(each, own)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _refuse_others(folder: Path, own: Collection[str]) -> None:
    if folder.exists() and (others := {file.name for file in folder.iterdir()} - set(own)):
        wanted = f"wanted a new folder, or one that holds {sorted(own)} alone"
        raise FileError(f"{folder}: holds {min(others)}; {wanted}")
