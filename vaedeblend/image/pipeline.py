"""A whole image: `vaedeblend deblend`, from files to files.

mosaic --tiles--> sources of each tile --merge--> one catalogue --outputs--> images, page, priors
"""

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.deblend.detect import estimate_background
from vaedeblend.exceptions import MosaicError
from vaedeblend.image.merge import Catalog, merge
from vaedeblend.image.products import IMAGES, Report, write_field_page, write_images, write_tphot
from vaedeblend.image.tiles import Job, measure_tile, plan, read_part
from vaedeblend.io import write
from vaedeblend.io.mosaic import Mosaic, image_header, open_mosaic
from vaedeblend.io.parallel import parallel_map
from vaedeblend.io.workdir import find_workdir, read_config
from vaedeblend.pixels.psf import Psf, is_native, native_psfs, read_psf_grid
from vaedeblend.survey import make_survey

_ROWS = 2048
"""Of an image whose background is estimated at a time."""

_SAME_SCALE = 0.02
"""Relative difference of pixel scales that is none."""


def deblend_image(
    image: str | Path,
    out: str | Path,
    *,
    weights: str | Path = "euclid_vis",
    rms: str | Path | None = None,
    mask: str | Path | None = None,
    mask_bits: Sequence[int] | None = None,
    psf: str | Path | None = None,
    catalog: str | Path | None = None,
    hdu: int | None = None,
    zero_point: float | None = None,
    gain: float | None = None,
    psf_scale: float | None = None,
    iterations: int = 4,
    passes: int = 2,
    tile: int = 4096,
    processes: int = 1,
    tphot: bool = False,
    report: Report = lambda what, done, total: None,
) -> Catalog:
    """Finds and measures every source of an image in one band.

    Writes catalog.fits, model.fits, residual.fits, segmentation.fits and index.html into a folder,
    and where the noise is not known background.fits and rms.fits, as they are estimated.

    Args:
        image: FITS file. With an rms map it is taken to be background subtracted.
        out: Folder.
        weights: Name of shipped weights, or a workdir.
        rms: FITS file: the background's standard deviation.
        mask: FITS file: pixels that are not 0 are ignored.
        mask_bits: Of a map of flags, those for which a pixel is ignored, 0 the lowest.
        psf: FITS file of the effective PSF, or of a grid of them (rows, columns, height, width)
            that cover the image evenly; by default the one trained for.
        catalog: Table of positions (columns x and y, 0-based pixels, or ra and dec, degrees);
            by default sources are detected.
        hdu: Of the image in its file.
        zero_point: AB magnitude of one image unit; by default the header's.
        gain: Electrons per image unit; by default the header's.
        psf_scale: Sampling of the PSF image [arcsec]; by default its header's, or the image's.
        iterations: Iterations of neighbour subtraction, at most; 1 for the network alone.
        passes: Searches of the residual for sources that others hide.
        tile: Side of the pieces in which the image is measured [pixel].
        processes: That measure pieces side by side.
        tphot: Whether to write priors for T-PHOT as well.
        report: Of progress.

    Raises:
        ValueError: MosaicError, FileError, PsfError, WorkdirError, CheckpointError or TphotError:
            a file cannot be used or written.
    """
    _check_counts(iterations=iterations, tile=tile, processes=processes)
    config = read_config(find_workdir(weights))
    survey = make_survey(**config["survey"])
    if len(survey.bands) > 1:
        raise MosaicError(f"{weights}: weights of {len(survey.bands)} bands; wanted those of one")
    out = write.prepare_folder(out)
    _check_overwritten(out, rms, image, mask, psf, catalog)
    given = {"mask": mask, "mask_bits": mask_bits}
    given |= {"hdu": hdu, "zero_point": zero_point, "gain": gain}
    background = None
    if rms is None:
        with open_mosaic(image, **given) as mosaic:
            background, rms = _estimate(mosaic, out, report)
    given["rms"] = str(rms)
    with open_mosaic(image, **given) as mosaic:
        scale = survey.pixel_scale.value
        _check_scale(mosaic, scale)
        job = Job(
            str(image),
            given,
            background,
            str(out / ".tiles"),
            str(weights),
            {"iterations": iterations, "passes": passes if iterations > 1 else 0},
            None if catalog is None else read_positions(catalog, mosaic),
            None if psf is None else _psf_grid(psf, psf_scale, mosaic.pixel_scale or scale, scale),
        )
        found = _measure(mosaic, job, tile, processes, out, report)
        overview, sums = write_images(mosaic, job, found, out, report)
        write.write_tables(
            out / "catalog.fits", {"CATALOG": found.table, "COVARIANCE": found.pairs}
        )
        write_field_page(mosaic, job, found, overview, sums, out)
        if tphot:
            write_tphot(mosaic, found, out)
    shutil.rmtree(job.folder)
    return found


def _check_counts(**counts: int) -> None:
    for name, n in counts.items():
        if n < 1:
            raise MosaicError(f"{name} is {n}; wanted at least 1")


def _check_overwritten(out: Path, rms, *others) -> None:
    """Results must not take the place of what they are made from."""
    names = {"catalog", "stamps", *IMAGES} | ({"background", "rms"} if rms is None else set())
    results = {(out / f"{name}.fits").resolve() for name in names}
    for path in (rms, *others):
        if path is not None and Path(path).resolve() in results:
            raise MosaicError(f"{path}: would be overwritten; wanted another folder than {out}")


def _measure(mosaic, job: Job, tile: int, processes: int, out: Path, report: Report) -> Catalog:
    tiles = plan(mosaic.shape, tile)
    _claim(job, tile)
    report("measuring tiles", 0, len(tiles))
    measured = parallel_map(partial, tiles, processes, measure_tile, job)
    for done, _ in enumerate(measured, 1):
        report("measuring tiles", done, len(tiles))
    return merge([read_part(job.folder, each) for each in tiles], mosaic, out / "stamps.fits")


def _claim(job: Job, tile: int) -> None:
    """Keeps the tiles of an earlier run of the same job, and no others."""
    folder = Path(job.folder)
    stat, path = Path(job.image).stat(), folder / "job.json"
    with np.printoptions(threshold=np.inf):
        wanted = json.dumps([repr(job), tile, stat.st_size, stat.st_mtime_ns])
    if not path.exists() or path.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write.write_text(path, wanted)


def _estimate(mosaic: Mosaic, out: Path, report: Report) -> tuple[str, str]:
    """Writes background.fits and rms.fits, strip by strip."""
    (height, width), header = mosaic.shape, image_header(mosaic)
    paths = [out / f"{name}.fits" for name in ("background", "rms")]
    with (
        write.write_image(paths[0], mosaic.shape, header) as put_background,
        write.write_image(paths[1], mosaic.shape, header) as put_rms,
    ):
        for low in range(0, height, _ROWS):
            report("estimating the background", low, height)
            image, _, bad = mosaic.read(slice(low, min(low + _ROWS, height)), slice(0, width))
            level, noise = np.zeros_like(image), np.full_like(image, np.nan)
            if not bad.all():
                level, noise = estimate_background(image, bad)
            put_background(level)
            put_rms(np.where(bad, np.nan, noise))
        report("estimating the background", height, height)
    return str(paths[0]), str(paths[1])


def _check_scale(mosaic: Mosaic, scale: float) -> None:
    found = mosaic.pixel_scale
    if found is not None and abs(found / scale - 1) > _SAME_SCALE:
        raise MosaicError(
            f"{mosaic.path}: pixels of {found:.4g} arcsec; wanted the weights' {scale:.4g} arcsec"
        )


def _psf_grid(path, sampling: float | None, default: float, scale: float):
    """PSFs (row, column, side, side) at the survey's pixels."""
    grid = read_psf_grid(path, pixel_scale=sampling, default_pixel_scale=default)
    return np.array([[_at_pixels(psf, scale) for psf in row] for row in grid])


def _at_pixels(psf: Psf, scale: float) -> np.ndarray:
    if is_native(psf, scale):
        return native_psfs((psf,), scale)[..., 0]
    # GalSim, the price of another sampling, is loaded for nothing else on the way of an image.
    from vaedeblend.simulate.render import resampled_psfs

    return resampled_psfs((psf,), scale)[..., 0]


def read_positions(path: str | Path, mosaic: Mosaic):
    """(y, x) of the rows of a table, which may lie off the image: those are left out.

    Raises:
        MosaicError: The table cannot be read, has no positions, or the image no WCS for them.
    """
    try:
        table = Table.read(path)
    except Exception as error:  # of readers of many formats
        why = str(error).partition("\n")[0]  # others list all formats that astropy knows
        raise MosaicError(f"{path}: no table could be read ({why})") from error
    names = {name.lower(): name for name in table.colnames}
    kind = next((kind for kind in (("x", "y"), ("ra", "dec")) if names.keys() >= {*kind}), None)
    if kind is None:
        raise MosaicError(f"{path}: columns {table.colnames}; wanted x and y, or ra and dec")
    x, y = (_numbers(path, table[names[name]]) for name in kind)
    if kind == ("ra", "dec"):
        if mosaic.wcs is None:
            raise MosaicError(f"{path}: has ra and dec, but {mosaic.path} has no WCS; wanted x, y")
        x, y = _pixels(mosaic.wcs, x, y)
    position = np.stack([y, x], axis=1)
    inside = (position >= -0.5) & (position < np.subtract(mosaic.shape, 0.5))  # False for NaN
    return position[inside.all(axis=1)]


def _numbers(path, column) -> Float[np.ndarray, " n"]:
    """Of a column, NaN where it is masked."""
    try:
        values = np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
    except (ValueError, TypeError) as error:
        raise MosaicError(f"{path}: column {column.name} ({error}); wanted numbers") from error
    if values.ndim > 1:
        raise MosaicError(f"{path}: column {column.name} of {values.ndim} axes; wanted one number")
    return values


def _pixels(wcs, ra, dec):
    """Of places on the sky; NaN where one has none."""
    x, y = np.full((2, len(ra)), np.nan)
    known = np.isfinite(ra + dec)
    if known.any():
        x[known], y[known] = wcs.all_world2pix(ra[known], dec[known], 0, quiet=True)
    return x, y
