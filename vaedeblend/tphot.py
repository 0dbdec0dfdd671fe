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
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from jaxtyping import Float, Integer

_ASCII = "# id x y xmin ymin xmax ymax background flux"
_FILES = {"priors.cat", "priors.fits", "stamps", "segmentation.fits"}


class TphotError(ValueError):
    """Priors that cannot be written, and why."""


def write_priors(
    folder: str | Path,
    *,
    ids: Integer[np.ndarray, " _"] | Sequence[int],
    positions: Float[np.ndarray, "_ 2"],
    flux: Float[np.ndarray, " _"],
    stamps: Float[np.ndarray, "_ _ _"] | Sequence[Float[np.ndarray, "_ _"]],
    corners: Integer[np.ndarray, "_ 2"],
    shape: tuple[int, int],
    wcs: WCS | None = None,
    segmentation: Integer[np.ndarray, "_ _"] | None = None,
    captured: Float[np.ndarray, " _"] | None = None,
    template: str = "mod-{id}.fits",
) -> list[int]:
    """Write the files above and return the ids left out: no positive light on the image.

    The folder appears complete or not at all; an earlier set of priors there is replaced.

    Args:
        folder: A new one, an empty one, or one of earlier priors.
        ids: Unique, as in the segmentation map; names of the stamps.
        positions: (y, x) on the image, 0-based.
        flux: Total, in the image's unit; column FLUX_MODEL.
        stamps: Model light on the image's pixels; sizes may differ from source to source.
        corners: (y, x) of each stamp's first pixel on the image; may be negative or lie beyond it.
        shape: (height, width) of the image.
        wcs: Of the image; SIP and TPV distortions are kept, look-up tables are not. None: stamps
            get a linear one, whose world coordinates are the image's FITS pixels.
        segmentation: 0 where the sky is. Its area within the bounds is column ISOAREA; without a
            map that is the number of pixels with light, and no map is written.
        captured: Share of the flux that the whole stamp holds. Gives column CAPTURED, the share
            within the stamp as written: what T-PHOT measures, over this, is a total flux.
        template: File name of a stamp.

    Raises:
        TphotError: The arrays do not fit each other, an id occurs twice or is the sky's, a flux or
            a stamp is not finite, the folder holds other files, or it cannot be written.
    """
    ids, positions, corners = np.asarray(ids), np.asarray(positions), np.asarray(corners)
    each = {"positions": positions, "flux": flux, "stamps": stamps, "corners": corners}
    _check_ids(ids, each if captured is None else {**each, "captured": captured})
    _check_finite(ids, positions, flux, stamps)
    _check_image(ids, tuple(shape), wcs, segmentation)
    if "{id}" not in template or Path(template).name != template:
        raise TphotError(f"template {template!r}; wanted a file name that holds {{id}}")
    first = np.maximum(corners, 0)
    sizes = np.array([stamp.shape for stamp in stamps], int).reshape(-1, 2)
    last = np.maximum(np.minimum(corners + sizes, shape), first)
    parts = zip(stamps, first - corners, last - corners, strict=True)
    lights = [stamp[_box(start, stop)] for stamp, start, stop in parts]
    total = _sums(lights)
    keep = total > 0
    table = _catalogue(ids, positions, first, last, total)
    table["ISOAREA"] = _areas(ids, first, last, lights, segmentation)
    table["FLUX_MODEL"] = flux
    if captured is not None:
        table["CAPTURED"] = captured * total / np.where(keep, _sums(stamps), np.inf)
    names = [template.replace("{id}", str(each)) for each in ids]
    files = {names[i]: (lights[i], total[i], first[i, ::-1]) for i in np.flatnonzero(keep)}
    with _replaced(Path(folder)) as partial:
        _write(partial, table[keep], files, wcs, segmentation)
    return ids[~keep].tolist()


def _check_ids(ids: np.ndarray, each: dict) -> None:
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise TphotError(f"ids of {ids.dtype}, shape {ids.shape}; wanted a list of integers")
    for name, values in each.items():
        if len(values) != len(ids):
            raise TphotError(f"{len(values)} {name}; wanted one for each of {len(ids)} ids")
    unique, count = np.unique(ids, return_counts=True)
    if np.any(count > 1):
        most = np.argmax(count)
        raise TphotError(f"id {unique[most]} occurs {count[most]} times; wanted unique ids")


def _check_finite(ids: np.ndarray, positions, flux, stamps) -> None:
    for each, position, light, stamp in zip(ids, positions, flux, stamps, strict=True):
        if not np.isfinite(light):
            raise TphotError(f"id {each}: flux is {light}; wanted a finite number")
        if not np.isfinite(position).all():
            raise TphotError(f"id {each}: position is {position}; wanted finite (y, x)")
        if bad := np.sum(~np.isfinite(stamp)):
            raise TphotError(f"id {each}: stamp has {bad} NaN or inf pixels; wanted none")


def _check_image(ids: np.ndarray, shape: tuple, wcs: WCS | None, segmentation) -> None:
    if wcs is not None and wcs.naxis != 2:
        raise TphotError(f"WCS has {wcs.naxis} axes; wanted the image's 2")
    if segmentation is not None and segmentation.shape != shape:
        raise TphotError(f"segmentation has shape {segmentation.shape}; wanted the image's {shape}")
    if segmentation is not None and np.any(ids == 0):
        raise TphotError("id 0 is the sky of the segmentation; wanted another id for the source")


def _sums(images) -> Float[np.ndarray, " _"]:
    return np.array([image.sum(dtype=np.float64) for image in images], np.float64)


def _box(start: np.ndarray, stop: np.ndarray) -> tuple[slice, slice]:
    return slice(start[0], stop[0]), slice(start[1], stop[1])


def _catalogue(ids, positions, first, last, total) -> Table:
    """The columns of the ASCII layout, under the names of the FITS layout."""
    table = Table({"SOURCE_ID": ids.astype(np.int64)})
    table["X_CENTER"], table["Y_CENTER"] = positions[:, ::-1].T + 1
    table["X_MIN"], table["Y_MIN"] = first[:, ::-1].T.astype(np.int32) + 1
    table["X_MAX"], table["Y_MAX"] = last[:, ::-1].T.astype(np.int32)
    table["BACKGROUND"], table["FLUX_TOT"] = np.zeros(len(ids)), total
    return table


def _areas(ids, first, last, lights, segmentation) -> Integer[np.ndarray, " _"]:
    if segmentation is None:
        areas = [np.sum(light > 0) for light in lights]
    else:
        boxes = zip(ids, first, last, strict=True)
        areas = [np.sum(segmentation[_box(*bounds)] == each) for each, *bounds in boxes]
    return np.array(areas, np.int32)


def _write(folder: Path, table: Table, files: dict, wcs: WCS | None, segmentation) -> None:
    if wcs is None:
        wcs = WCS(naxis=2)
        wcs.wcs.crpix = wcs.wcs.crval = (1, 1)
    header = wcs.to_header(relax=True, key=" ")  # relaxed, it keeps SIP
    with open(folder / "priors.cat", "w") as catalogue:
        print(_ASCII, file=catalogue)
        for each, x, y, *bounds, background, flux in table[table.colnames[:9]].iterrows():
            box = " ".join(map(str, bounds))
            print(f"{each} {x:.6f} {y:.6f} {box} {background:g} {flux:.10g}", file=catalogue)
    fits.table_to_hdu(table).writeto(folder / "priors.fits")
    if segmentation is not None:
        fits.writeto(folder / "segmentation.fits", _signed(segmentation), header)
    (folder / "stamps").mkdir()
    # One header for all, written by hand: astropy's writer takes several times as long.
    header = fits.PrimaryHDU(np.zeros((1, 1), np.float32), header).header
    for name, (light, total, corner) in files.items():
        header["NAXIS2"], header["NAXIS1"] = light.shape
        header["CRPIX1"], header["CRPIX2"] = (wcs.wcs.crpix - corner).tolist()
        pixels = (light / total).astype(">f4").tobytes()
        padding = bytes(-len(pixels) % 2880)  # FITS's block
        (folder / "stamps" / name).write_bytes(header.tostring().encode() + pixels + padding)


def _signed(labels: Integer[np.ndarray, "_ _"]) -> Integer[np.ndarray, "_ _"]:
    """32 bits where they fit; FITS would store unsigned ones with an offset."""
    limits = np.iinfo(np.int32)
    fit = labels.min() >= limits.min and labels.max() <= limits.max
    return labels.astype(np.int32 if fit else np.int64, copy=False)


@contextlib.contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` if all goes well."""
    try:
        folder = folder.resolve()  # what a symbolic link points to is replaced, not the link
        partial, old = (folder.with_name(folder.name + end) for end in (".partial", ".old"))
        for each in (folder, partial, old):
            _refuse_others(each)
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
    except OSError as error:
        raise TphotError(f"{folder}: T-PHOT priors could not be written ({error})") from error


def _refuse_others(folder: Path) -> None:
    """Priors replace priors and nothing else."""
    if folder.exists() and (others := {file.name for file in folder.iterdir()} - _FILES):
        wanted = "wanted a new folder, or one of T-PHOT priors to replace"
        raise TphotError(f"{folder}: holds {min(others)}; {wanted}")
