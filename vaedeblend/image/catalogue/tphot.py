"""Priors for T-PHOT (Merlin+ 2015, 2016): a catalogue and one template image a source.

T-PHOT measures a blurred image with the light profiles of a sharp one. What it reads of the sharp
image, in one folder:

    priors.cat            ASCII, `# id x y xmin ymin xmax ymax background flux` (versions 1 and 2)
    priors.fits           the same rows as a FITS table (later versions), and further columns
    stamps/mod-{id}.fits  background-subtracted light, cut at the image's edges, unit sum, with WCS
    segmentation.fits     where a map is given

Pixels are FITS's (x, y), the centre of the first one at (1, 1), and bounds are inclusive: the one
place where this package counts so. The flux of both catalogues (FLUX_TOT) is the light within the
stamp as written, so that the sum of flux x stamp is the model image.
"""

import contextlib
import functools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from jaxtyping import Float, Integer

from vaedeblend.exceptions import FileError, TphotError
from vaedeblend.image.catalogue.merge import Catalog
from vaedeblend.io.mosaic import Mosaic
from vaedeblend.io.write import replacing_folder, streaming, write_image

_ASCII = "# id x y xmin ymin xmax ymax background flux"
TPHOT = "tphot"
"""Folder of an image's priors beside its other results."""
_OWN = "FLUX_MODEL"
"""Column by which a table is known to have been written here."""
_SUMS = "total", "whole", "area"
_FILES = {"priors.cat", "priors.fits", "stamps", "segmentation.fits"}
_ROW = np.dtype([(name, int, 2) for name in ("first", "last")] + [(n, float) for n in _SUMS])
"""First and last pixel (y, x) of a source's stamp, and sums of the light on it."""
_STRIP = 512
"""Rows of the segmentation that are copied at a time."""


class PriorSources(NamedTuple):
    """Sources that become priors."""

    ids: Integer[np.ndarray, " _"] | Sequence[int]
    """Unique, as in the segmentation map; names of the stamps."""
    positions: Float[np.ndarray, "_ 2"]
    """(y, x) on the image, 0-based."""
    flux: Float[np.ndarray, " _"]
    """Total, in the image's unit; column FLUX_MODEL."""
    stamps: Float[np.ndarray, "_ _ _"] | Sequence[Float[np.ndarray, "_ _"]]
    """Model light on the image's pixels; sizes may differ from source to source."""
    corners: Integer[np.ndarray, "_ 2"]
    """(y, x) of each stamp's first pixel on the image; may be negative or lie beyond it."""
    captured: Float[np.ndarray, " _"] | None = None
    """Share of the flux that the whole stamp holds. Gives column CAPTURED, the share within the
    stamp as written: what T-PHOT measures, over this, is a total flux."""


def write_catalogue_priors(mosaic: Mosaic, catalog: Catalog, out: Path) -> None:
    """Writes the sources of an image, whose segmentation.fits is in `out`, as priors beside it."""
    table, kept = catalog.table, np.flatnonzero(np.isfinite(catalog.table["flux"]))
    profiles = catalog.profiles.select(kept)
    sources = PriorSources(
        np.asarray(table["id"])[kept],
        np.stack([table["y"], table["x"]], axis=1)[kept],
        np.asarray(table["flux"])[kept],
        profiles,
        profiles.corner,
        np.asarray(table["captured"])[kept],
    )
    with fits.open(out / "segmentation.fits", memmap=False) as hdus:
        options = {"shape": mosaic.shape, "wcs": mosaic.wcs, "segmentation": hdus[0].section}
        write_priors(out / TPHOT, sources, **options)


def remove_priors(out: Path) -> bool:
    """Removes the priors that are in a folder of results; False if they are another's."""
    folder = out / TPHOT
    if not is_ours(folder):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def is_ours(folder: Path) -> bool:
    """Whether a folder holds priors that were written here and nothing else, or nothing at all."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    names = {each.name for each in folder.iterdir()}
    return not names or (names <= _FILES and _is_known(folder / "priors.fits"))


def _is_known(path: Path) -> bool:
    """Whether a table of priors has the column that no other program writes."""
    try:
        return _OWN in fits.getdata(path, 1).columns.names
    except (OSError, IndexError, AttributeError):
        return False


def write_priors(
    folder: str | Path,
    sources: PriorSources,
    *,
    shape: tuple[int, int],
    wcs: WCS | None = None,
    segmentation: Integer[np.ndarray, "_ _"] | fits.Section | None = None,
    template: str = "mod-{id}.fits",
) -> list[int]:
    """Writes the files above and returns the ids left out: no positive light on the image.

    The folder appears complete or not at all; an earlier set of priors there is replaced. Stamps
    and segmentation are taken piece by piece: they may lie on disk.

    Args:
        folder: New or empty folder, or one of earlier priors.
        sources: Sources of the image.
        shape: (height, width) of the image.
        wcs: World coordinates of the image; SIP and TPV distortions are kept, look-up tables are
            not. None: stamps get a linear one, whose coordinates are the image's FITS pixels.
        segmentation: Ids of the sources, 0 where the sky is. Its area within the bounds is column
            ISOAREA; without a map that is the number of pixels with light, and no map is written.
        template: File name of a stamp.

    Raises:
        TphotError: The arrays do not fit each other, an id occurs twice or is the sky's, a flux or
            a stamp is not finite, the folder holds other files, or it cannot be written.
    """
    _, _, flux, stamps, _, captured = sources
    ids, positions, corners = map(np.asarray, (sources.ids, sources.positions, sources.corners))
    _check_ids(ids, sources)
    _check_finite(ids, positions, flux)
    _check_image(ids, tuple(shape), wcs, segmentation)
    if "{id}" not in template or Path(template).name != template:
        raise TphotError(f"template {template!r}; wanted a file name that holds {{id}}")
    header = _header(wcs)
    with _replaced(Path(folder)) as partial:
        (partial / "stamps").mkdir()
        put = functools.partial(_write_stamp, partial / "stamps", template, header)
        each = zip(ids.tolist(), stamps, corners, strict=True)
        rows = np.array([put(*source, shape, segmentation) for source in each], _ROW)
        table = _catalogue(ids, positions, rows)
        table[_OWN] = flux
        keep = rows["total"] > 0
        if captured is not None:
            whole = np.where(keep, rows["whole"], np.inf)
            table["CAPTURED"] = captured * rows["total"] / whole
        _write_catalogues(partial, table[keep])
        if segmentation is not None:
            _write_segmentation(partial / "segmentation.fits", segmentation, header)
    return ids[~keep].tolist()


def _check_ids(ids: np.ndarray, sources: PriorSources) -> None:
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise TphotError(f"ids of {ids.dtype}, shape {ids.shape}; wanted a list of integers")
    for name, values in sources._asdict().items():
        if values is not None and len(values) != len(ids):
            raise TphotError(f"{len(values)} {name}; wanted one for each of {len(ids)} ids")
    unique, count = np.unique(ids, return_counts=True)
    if np.any(count > 1):
        most = np.argmax(count)
        raise TphotError(f"id {unique[most]} occurs {count[most]} times; wanted unique ids")


def _check_finite(ids: np.ndarray, positions, flux) -> None:
    for each, position, light in zip(ids, positions, flux, strict=True):
        if not np.isfinite(light):
            raise TphotError(f"id {each}: flux is {light}; wanted a finite number")
        if not np.isfinite(position).all():
            raise TphotError(f"id {each}: position is {position}; wanted finite (y, x)")


def _check_image(ids: np.ndarray, shape: tuple, wcs: WCS | None, segmentation) -> None:
    if wcs is not None and wcs.naxis != 2:
        raise TphotError(f"WCS has {wcs.naxis} axes; wanted the image's 2")
    if segmentation is not None and segmentation.shape != shape:
        raise TphotError(f"segmentation has shape {segmentation.shape}; wanted the image's {shape}")
    if segmentation is not None and np.any(ids == 0):
        raise TphotError("id 0 is the sky of the segmentation; wanted another id for the source")


def _header(wcs: WCS | None) -> fits.Header:
    """Header of all stamps, and of the segmentation."""
    if wcs is None:
        wcs = WCS(naxis=2)
        wcs.wcs.crpix = wcs.wcs.crval = (1, 1)
    cards = wcs.to_header(relax=True, key=" ")  # relaxed, it keeps SIP
    cards["CRPIX1"], cards["CRPIX2"] = wcs.wcs.crpix.tolist()  # left out where 0
    return fits.PrimaryHDU(np.zeros((1, 1), np.float32), cards).header


def _write_stamp(folder: Path, template: str, header, each: int, stamp, corner, shape, labels):
    """Writes what of a stamp lies on the image, if it has light there; returns a `_ROW`."""
    if bad := np.sum(~np.isfinite(stamp)):
        raise TphotError(f"id {each}: stamp has {bad} NaN or inf pixels; wanted none")
    first = np.maximum(corner, 0)
    last = np.maximum(np.minimum(corner + stamp.shape, shape), first)
    light = stamp[_box(first - corner, last - corner)]
    total, whole = (float(image.sum(dtype=np.float64)) for image in (light, stamp))
    if total <= 0:
        return first, last, total, whole, 0
    segment = light > 0 if labels is None else np.asarray(labels[_box(first, last)]) == each
    # Streamed: with a PrimaryHDU of its own each stamp takes twice as long.
    own = header.copy()
    own["NAXIS2"], own["NAXIS1"] = light.shape
    for axis, shift in (("CRPIX1", first[1]), ("CRPIX2", first[0])):
        own[axis] = header[axis] - float(shift)
    path = folder / template.replace("{id}", str(each))
    with streaming(path, own) as stream:
        stream.write((light / total).astype(np.float32))
    return first, last, total, whole, np.sum(segment)


def _box(start: np.ndarray, stop: np.ndarray) -> tuple[slice, slice]:
    return slice(*map(int, (start[0], stop[0]))), slice(*map(int, (start[1], stop[1])))


def _catalogue(ids, positions, rows) -> Table:
    """The columns of the ASCII layout, under the names of the FITS layout, and the area."""
    table = Table({"SOURCE_ID": ids.astype(np.int64)})
    table["X_CENTER"], table["Y_CENTER"] = positions[:, ::-1].T + 1
    table["X_MIN"], table["Y_MIN"] = rows["first"][:, ::-1].T.astype(np.int32) + 1
    table["X_MAX"], table["Y_MAX"] = rows["last"][:, ::-1].T.astype(np.int32)
    table["BACKGROUND"], table["FLUX_TOT"] = np.zeros(len(ids)), rows["total"]
    table["ISOAREA"] = rows["area"].astype(np.int32)
    return table


def _write_catalogues(folder: Path, table: Table) -> None:
    with open(folder / "priors.cat", "w") as catalogue:
        print(_ASCII, file=catalogue)
        for each, x, y, *bounds, background, flux in table[table.colnames[:9]].iterrows():
            box = " ".join(map(str, bounds))
            print(f"{each} {x:.6f} {y:.6f} {box} {background:g} {flux:.10g}", file=catalogue)
    fits.table_to_hdu(table).writeto(folder / "priors.fits")


def _write_segmentation(path: Path, labels, header: fits.Header) -> None:
    """In 32 bits where they fit: FITS would store unsigned ones with an offset."""
    strips = [slice(low, low + _STRIP) for low in range(0, labels.shape[0], _STRIP)]
    limits = np.iinfo(np.int32)
    ends = [f(np.asarray(labels[rows, :])) for rows in strips for f in (np.min, np.max)]
    fit = limits.min <= min(ends) and max(ends) <= limits.max
    with write_image(path, labels.shape, header, np.int32 if fit else np.int64) as put:
        for rows in strips:
            put(np.asarray(labels[rows, :]))


@contextlib.contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A new folder to write into; priors replace priors and nothing else."""
    names = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    if names <= _FILES and folder.is_dir() and not is_ours(folder):
        wanted = "wanted a new folder, or one of priors that were written here"
        raise TphotError(f"T-PHOT priors: {folder}: holds those of another program; {wanted}")
    try:
        with replacing_folder(folder, _FILES) as partial:
            yield partial
    except FileError as error:
        raise TphotError(f"T-PHOT priors: {error}") from error
