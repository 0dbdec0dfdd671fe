"""Results as files, which appear whole or not at all."""

import contextlib
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from vaedeblend.exceptions import FileError


@contextlib.contextmanager
def write_image(
    path: str | Path, shape: tuple[int, ...], header: fits.Header, dtype=np.float32
) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives the function `put(rows)`, by which an image is written from its first row to its last.

    The file appears under its name when the last row has come. Of a cube, a row is an image.

    Raises:
        FileError: It cannot be written, or rows are missing.
    """
    with replacing(path) as partial:
        full = fits.PrimaryHDU(np.zeros((1,) * len(shape), dtype), header).header
        for axis, n in enumerate(reversed(shape), 1):
            full[f"NAXIS{axis}"] = n
        big_endian, written = np.dtype(dtype).newbyteorder(">"), 0
        with open(partial, "wb") as file:
            file.write(full.tostring().encode())

            def put(rows: np.ndarray) -> None:
                nonlocal written
                written += len(rows)
                file.write(np.ascontiguousarray(rows, big_endian).tobytes())

            yield put
            file.write(bytes(-math.prod(shape) * big_endian.itemsize % 2880))  # FITS's block
        if written != shape[0]:
            raise FileError(f"{path}: {written} rows were given; wanted {shape[0]}")


def write_tables(path: str | Path, tables: Mapping[str, Table]) -> None:
    """Writes tables as extensions of one FITS file, by name, whole or not at all.

    Raises:
        FileError: It cannot be written.
    """
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)
        hdus = [fits.PrimaryHDU()]
        for name, table in tables.items():
            hdus.append(fits.table_to_hdu(table))
            hdus[-1].name = name
        fits.HDUList(hdus).writeto(partial)


def prepare_folder(path: str | Path) -> Path:
    """A folder, made where it is missing, into which files can be written.

    Raises:
        FileError: It cannot.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise FileError(f"{path}: no folder that can be written into ({error})") from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside, for a file that takes the other's place if all goes well.

    Raises:
        FileError: It cannot be written.
    """
    partial = Path(f"{path}.partial")
    try:
        partial.unlink(missing_ok=True)
        try:
            yield partial
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path}: could not be written ({error})") from error
