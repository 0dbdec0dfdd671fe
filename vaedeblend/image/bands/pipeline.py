"""All bands of a deblended image: `vaedeblend photometry`, from files to files.

results of deblend, images --open--> bands --shifts--> pieces --gather--> table, images, page
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from astropy.table import Table

from vaedeblend.exceptions import BandError
from vaedeblend.image.bands.inputs import BandImage, OpenBand, open_band, tile_images
from vaedeblend.image.bands.measure import measure_band
from vaedeblend.image.bands.products import band_column, table_columns
from vaedeblend.image.bands.results import clear_photometry, own_folder, write_photometry
from vaedeblend.image.bands.sources import read_sources
from vaedeblend.image.options import read_counts
from vaedeblend.image.products import Report
from vaedeblend.io.folders.jobs import locked

_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")
"""A band's name in names of columns and files."""


def photometry(
    out: str | Path,
    images: str | Path | Sequence[BandImage],
    *,
    bands: Sequence[str] = (),
    vis_psf: str | Path | None = None,
    non_negative: bool = False,
    tile: int = 1024,
    processes: int = 1,
    report: Report = lambda what, done, total: None,
) -> Table:
    """Fluxes of the sources of a deblended image in other bands, and their colours.

    Writes a folder `photometry` into that of the deblending: photometry.fits with the table
    PHOTOMETRY and the covariances of each band, images of the models and residuals, and a page.

    Args:
        out: Folder of the results of `deblend_image`.
        images: Images of the bands, or folder of a MER tile.
        bands: Bands of the tile that are wanted, by MER's names; by default all but VIS.
        vis_psf: PSF of VIS; by default the one that the deblending was given.
        non_negative: No flux is below 0.
        tile: Side of the pieces in which an image is measured [pixel].
        processes: Processes that measure pieces side by side.
        report: Function of the progress: what is done, how much of it, and of how much.

    Raises:
        BandError: Images and sources do not belong together, or an image lacks what is needed.
        VaedeblendError: A file cannot be used or written.
    """
    options = read_counts({"tile": tile, "processes": processes}) | {"non_negative": non_negative}
    if isinstance(images, str | Path):
        images = tile_images(images, bands)
    with locked(out) as folder:
        vis = read_sources(folder, vis_psf)
        opened = [open_band(each, vis) for each in images]
        _check_names(opened)
        folder = own_folder(folder)
        clear_photometry(folder)
        results = [measure_band(vis, band, folder, report=report, **options) for band in opened]
        return write_photometry(vis, results, folder)


def _check_names(bands: Sequence[OpenBand]) -> None:
    if not bands:
        raise BandError("no image of a band is given; wanted --image, one or more")
    names = [band_column(band) for band in bands]
    for band, name in zip(bands, names, strict=True):
        if name == "vis" or not _NAME.fullmatch(name):
            wanted = "wanted letters, digits, _ . + or -, and not that of the deblended band, VIS"
            raise BandError(f"band {band.name!r} of {band.given.image}; {wanted} (--band)")
        if names.count(name) > 1:
            raise BandError(f"band {band.name} is given twice; wanted names of their own (--band)")
    columns = Counter(table_columns(names))
    if twice := [column for column, n in columns.items() if n > 1]:
        raise BandError(
            f"bands {', '.join(band.name for band in bands)}: two columns would be called "
            f"{twice[0]}; wanted other names (--band)"
        )
