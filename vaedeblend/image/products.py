"""Products of a measured image: model, residual, segmentation, and a page about it."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from vaedeblend.image.catalogue.files import (
    CATALOGUE,
    catalogue_files,
    clear_catalogue,
    is_catalogue,
    write_catalogue_files,
)
from vaedeblend.image.catalogue.merge import Catalog
from vaedeblend.image.page.given import Overview
from vaedeblend.image.tiles import TILES, Job, are_tiles, read_pixels
from vaedeblend.io import write
from vaedeblend.io.mosaic import Mosaic, image_header
from vaedeblend.pixels.blending import footprint_owner
from vaedeblend.pixels.stamps import box_sums

IMAGES = {"model": np.float32, "residual": np.float32, "segmentation": np.int32}
"""Images written on the pixels of the measured one: names and types."""

_OVERVIEW = 1024
"""Most pixels of the page's images along either axis."""

_STRIP = 512
"""Rows that are written at a time."""

Report = Callable[[str, int, int], None]
"""Function of what is going on, how much of it is done, and how much there is."""

PHOTOMETRY, PHOTOMETRY_TABLE = "photometry", "photometry.fits"
"""Folder of the fluxes in other bands, within that of the results, and its table."""
_PAGE, _SUMMARY = '<body class="image">', {"version", "weights", "findings"}
"""What a page, and the keys that a summary, of this program holds."""


def others_products(out: Path, tphot: bool, killed: bool = False) -> list[Path]:
    """Files of a folder that results would replace, and that are none of an earlier run.

    Args:
        out: Folder of the results.
        tphot: Priors are written as well.
        killed: A run into the folder was killed, after it had cleared it.
    """
    images = [out / f"{name}.fits" for name in ("stamps", *IMAGES)]
    ours = catalogue_files(out, tphot, killed)
    if not killed:
        ours |= {
            out / "index.html": lambda path: _PAGE in path.read_text(encoding="utf-8"),
            out / "summary.json": lambda path: json.loads(path.read_text()).keys() >= _SUMMARY,
            out / TILES: are_tiles,
        } | dict.fromkeys(images, lambda path: is_catalogue(out / CATALOGUE))
    return [path for path, known in ours.items() if path.exists() and not _holds(known, path)]


def _holds(known: Callable[[Path], bool], path: Path) -> bool:
    """Whether a file is what it is asked to be; one that cannot be read is not."""
    try:
        return known(path)
    except (OSError, ValueError, AttributeError):
        return False


def clear_products(out: Path) -> list[Path]:
    """Removes the results of an earlier run from a folder, and the photometry of its sources.

    Their ids are those of the earlier run's catalogue.

    Returns:
        What is beside them and may be another's: it stays.
    """
    if is_photometry(out / PHOTOMETRY):
        shutil.rmtree(out / PHOTOMETRY)
    names = "index.html", "summary.json", *(f"{n}.fits" for n in ("stamps", *IMAGES))
    for name in names:
        (out / name).unlink(missing_ok=True)
    others = [out / "injected.fits", *clear_catalogue(out)]
    return [path for path in others if path.exists()]


def clear_earlier(out: Path) -> None:
    """Removes the results of an earlier run from a folder, where there are such."""
    if _holds(is_catalogue, out / CATALOGUE):
        clear_products(out)


def is_photometry(folder: Path) -> bool:
    """Whether a folder holds the fluxes in other bands that this program has written."""

    def known(path: Path) -> bool:
        with fits.open(path) as hdus:
            return "PHOTOMETRY" in hdus and {"BANDS", "VERSION"} <= {*hdus["PHOTOMETRY"].header}

    return _holds(known, folder / PHOTOMETRY_TABLE)


def write_products(
    mosaic: Mosaic,
    job: Job,
    catalog: Catalog,
    out: Path,
    report: Report,
    *,
    summary: str,
    **forms,
) -> None:
    """Writes images, page, summary, and the catalogue; `forms`: see `write_catalogue_files`."""
    overview, sums = write_images(mosaic, job, catalog, out, report)
    if not len(catalog.table):
        catalog.table.meta["REASON"] = _why_nothing(job, sums)
    write_catalogue_files(out, mosaic, catalog, **forms)
    from vaedeblend.image.page.field import write_field_page  # which loads matplotlib

    write_field_page(mosaic, job, catalog, overview, sums, out)
    write.write_text(out / "summary.json", summary)


def _why_nothing(job: Job, sums: Counter) -> str:
    """Why an image has no source."""
    if not sums["source pixels"] + sums["sky pixels"]:
        return "every pixel is ignored: NaN, masked, or without a positive rms"
    if job.positions is not None:
        return "the list is empty"
    return "nothing stands out of the noise"


def write_images(mosaic: Mosaic, job: Job, catalog: Catalog, out: Path, report: Report):
    """Writes model, residual and segmentation, strip by strip; `given.Overview` and statistics."""
    (height, width), header = mosaic.shape, image_header(mosaic)
    binning = -(-max(mosaic.shape) // _OVERVIEW)
    step = binning * max(_STRIP // binning, 1)
    gain = np.inf if mosaic.gain is None else mosaic.gain
    overview, sums, numbers = [], Counter(), header.copy()
    for card in ("BUNIT", "MAGZERO", "GAIN"):
        numbers.remove(card, ignore_missing=True)
    with contextlib.ExitStack() as stack:
        put = {
            name: stack.enter_context(
                write.write_image(out / f"{name}.fits", mosaic.shape, own, kind)
            )
            for (name, kind), own in zip(IMAGES.items(), (header, header, numbers), strict=True)
        }
        for low in range(0, height, step):
            report("writing images", low, height)
            rows = slice(low, min(low + step, height))
            image, rms = read_pixels(mosaic, job.background, rows, slice(0, width))
            model, owner = _model(catalog, rows, rms)
            residual = np.where(np.isfinite(rms), image - model, np.nan)
            for name, values in (("model", model), ("residual", residual), ("segmentation", owner)):
                put[name](values)
            parts = [values * mosaic.scale for values in (image, model, residual, rms)]
            chi2 = _chi2(*parts[1:], gain / mosaic.scale) / job.pixel_variance
            sums += _counts(chi2, owner)
            overview.append(_binned(parts[:3], parts[3], binning))
    report("writing images", height, height)
    parts = [np.concatenate(each) for each in zip(*overview, strict=True)]
    return Overview(*parts, binning), sums


def _model(catalog: Catalog, rows: slice, rms):
    """Light of all sources on a strip, and the id of the one that is brightest in each pixel."""
    low = rows.start, 0
    here = catalog.profiles.reaching(low, (rows.stop, rms.shape[1]))
    profiles = catalog.profiles.select(here).moved(low)
    owner = np.concatenate([[0], here + 1])[footprint_owner(profiles, rms)]
    return profiles.lay(rms.shape), owner.astype(np.int32)


def _chi2(model, residual, rms, gain: float) -> Float[np.ndarray, "height width"]:
    return np.square(residual) / (np.square(rms) + model.clip(0) / gain)


def _counts(chi2, owner) -> Counter:
    """Numbers of pixels, and sums of their chi2, of sources and of the sky between them."""
    valid = np.isfinite(chi2)
    sums = Counter()
    for name, where in (("source pixels", owner > 0), ("sky pixels", owner == 0)):
        inside = chi2[valid & where]
        sums[name], sums[f"chi2 of {name}"] = len(inside), float(inside.sum(dtype=float))
    return sums


def _binned(images, rms, binning: int) -> list[Float[np.ndarray, "height width"]]:
    """Means of boxes, in units of their rms; NaN where no pixel is valid."""
    valid = np.isfinite(rms)
    beyond = [(0, -n % binning) for n in rms.shape]

    def boxes(values):
        known = np.where(valid, values, 0)
        return box_sums(np.pad(known, beyond)[None], binning)[0]

    noise = np.sqrt(boxes(np.square(rms)))
    noise[noise == 0] = np.nan
    return [boxes(image) / noise for image in images]
