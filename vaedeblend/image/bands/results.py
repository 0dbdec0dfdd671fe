"""The folder of a photometry: whose it is, what of an earlier run goes, and what is written."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from astropy.io import fits
from astropy.table import Table

from vaedeblend import __version__
from vaedeblend.exceptions import FolderError
from vaedeblend.image.bands.measure import PIECES
from vaedeblend.image.bands.page import write_photometry_page
from vaedeblend.image.bands.products import (
    BandResult,
    band_images,
    covariance_table,
    photometry_table,
    unseen_table,
)
from vaedeblend.image.bands.sources import VisSources
from vaedeblend.image.inspection.findings import said_cards
from vaedeblend.image.products import PHOTOMETRY, PHOTOMETRY_TABLE, is_photometry
from vaedeblend.io.write import prepare_folder, write_tables


def own_folder(out: Path) -> Path:
    """The folder of the photometry within that of a deblending, of an earlier run or new.

    Raises:
        FolderError: It holds files that no run has written.
        FileError: It cannot be made or written into.
    """
    folder = out / PHOTOMETRY
    if folder.exists() and not (
        is_photometry(folder) or (folder / PIECES).is_dir() or not any(folder.iterdir())
    ):
        raise FolderError(
            f"{folder}: holds files that no run of this program has written; wanted another folder"
        )
    return prepare_folder(folder)


def clear_photometry(folder: Path) -> None:
    """Removes table, page and images of an earlier run, whose bands may have been others."""
    table = folder / PHOTOMETRY_TABLE
    if is_photometry(folder):
        bands = fits.getheader(table, "PHOTOMETRY")["BANDS"].split(",")
        images = [path for band in bands for path in band_images(folder, band)]
        for path in [*images, folder / "index.html", table]:
            path.unlink(missing_ok=True)


def write_photometry(vis: VisSources, results: Sequence[BandResult], folder: Path) -> Table:
    """Writes the results, and removes the pieces."""
    table = photometry_table(vis, results)
    said = [text for result in results for text in result.said]
    table.meta |= {"VERSION": __version__} | said_cards(said)
    tables = {"PHOTOMETRY": table}
    for result in results:
        name = result.column.upper()
        tables[f"COVARIANCE_{name}"] = covariance_table(vis, result)
        tables[f"UNSEEN_{name}"] = unseen_table(result)
    write_photometry_page(folder, vis, results, table, said)
    write_tables(folder / PHOTOMETRY_TABLE, tables)
    shutil.rmtree(folder / PIECES)
    return table
