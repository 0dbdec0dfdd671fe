"""Files of a catalogue: catalog.fits, regions for DS9, and priors for T-PHOT."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from astropy.io import fits

from vaedeblend.image.catalogue.mer import mer_table
from vaedeblend.image.catalogue.merge import Catalog
from vaedeblend.image.catalogue.regions import REGIONS, is_regions, write_regions
from vaedeblend.image.catalogue.tphot import TPHOT, is_ours, remove_priors, write_catalogue_priors
from vaedeblend.io import write
from vaedeblend.io.mosaic import Mosaic

CATALOGUE = "catalog.fits"
"""File of an image's catalogue."""


def write_catalogue_files(
    out: Path, mosaic: Mosaic, catalog: Catalog, *, tphot: bool, mer: Mapping[str, Any] | None
) -> None:
    """Writes a catalogue, beside which segmentation.fits stands.

    Args:
        out: Folder that takes the files.
        mosaic: The image.
        catalog: Its sources.
        tphot: Priors for T-PHOT are wanted.
        mer: Keywords of `mer.mer_table`, where MER's terms are wanted.
    """
    tables = {"CATALOG": catalog.table, "COVARIANCE": catalog.pairs}
    if mer is not None:
        tables["MER"] = mer_table(catalog.table, mosaic, **mer)
    write.write_tables(out / CATALOGUE, tables)
    write_regions(out / REGIONS, catalog.table, mosaic.pixel_scale)
    if tphot:
        write_catalogue_priors(mosaic, catalog, out)


def catalogue_files(
    out: Path, tphot: bool, cleared: bool = False
) -> dict[Path, Callable[[Path], bool]]:
    """Files that a catalogue takes the place of, and how its own are known.

    Args:
        out: Folder of the files.
        tphot: Priors for T-PHOT are wanted.
        cleared: A run has removed earlier ones, but for priors.
    """
    known = {} if cleared else {out / CATALOGUE: is_catalogue, out / REGIONS: is_regions}
    return known | {out / TPHOT: is_ours} if tphot else known


def clear_catalogue(out: Path) -> list[Path]:
    """Removes a catalogue's files from a folder; what is left may be another's."""
    for name in (CATALOGUE, REGIONS):
        (out / name).unlink(missing_ok=True)
    return [] if remove_priors(out) else [out / TPHOT]


def is_catalogue(path: Path) -> bool:
    """Whether a file is a catalogue of this program."""
    with fits.open(path) as hdus:
        return "CATALOG" in hdus and {"FLAG1", "VERSION"} <= {*hdus["CATALOG"].header}
