"""A whole image: `vaedeblend deblend`, from files to files.

mosaic --tiles--> sources of each tile --merge--> one catalogue --products--> images, page, priors
"""

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vaedeblend import __version__
from vaedeblend.exceptions import FolderError, MosaicError
from vaedeblend.image.catalogue.merge import Catalog, is_whole_part, merge, read_part
from vaedeblend.image.inspection.inspect import inspect_image
from vaedeblend.image.inspection.sky.background import (
    ESTIMATED,
    PHOTONLESS,
    others_background,
    remove_background,
    write_background,
    write_background_rms,
)
from vaedeblend.image.options import (
    ImageOptions,
    check_company,
    check_mer,
    command_line,
    measurement,
    mer_keywords,
    open_folder,
    read_options,
    takes,
)
from vaedeblend.image.products import (
    IMAGES,
    Report,
    clear_products,
    others_products,
    write_products,
)
from vaedeblend.image.result.deblended import DeblendedImage
from vaedeblend.image.tiles import (
    TILES,
    Job,
    measure_tiles,
    part_file,
    plan,
    read_survey,
    weights_files,
)
from vaedeblend.io.folders.jobs import (
    FolderWarning,
    are_pieces,
    keep_pieces,
    locked,
    made_from,
    provenance,
)
from vaedeblend.io.mosaic import (
    NOISES,
    Mosaic,
    open_mosaic,
    split_plane,
    write_given,
)

_SAME_SCALE = 0.02
"""Relative difference of pixel scales that is none."""


@takes(ImageOptions)
def deblend_image(
    image,
    out: str | Path | None = None,
    *,
    report: Report = lambda what, done, total: None,
    **options,
) -> DeblendedImage:
    """Finds and measures every source of an image in one band.

    Before anything is measured, the inputs are compared with the pixels: what is refused, mended
    and assumed is said. Where a folder is given, it takes catalog.fits, sources.reg, stamps.fits,
    model.fits, residual.fits, segmentation.fits, summary.json and index.html, and where the noise
    is not known background.fits and rms.fits, as estimated; what is in memory in place of a file is
    written into given/ there. Without one, all of that lies in a temporary folder, which goes with
    the result.

    >>> result = vaedeblend.deblend_image("image.fits", rms="rms.fits", psf="psf.fits")
    >>> result.catalog["ra", "dec", "flux", "flux_err", "flags"]
    >>> result.plot()

    Args:
        image: FITS file, folder of a MER tile (whose rms, flags and PSF are taken where none are
            given), array, Quantity, NDData (whose mask and uncertainty are used), HDU or list
            of HDUs; so may be rms, variance, weight, mask and psf.
        out: Folder that takes the results; by default nothing is kept.
        report: Function of the progress: what is done, how much of it, and of how much.
        **options: Fields of `options.ImageOptions`: rms, variance or weight (the noise), psf, mask,
            catalog (positions), zero_point, gain, weights, ...

    Returns:
        Catalogue, model, residual, stamps and posteriors of the sources.

    Raises:
        TypeError: There is no such option.
        InspectionError: An input is contradicted by the pixels.
        VaedeblendError: A file cannot be used or written.
    """
    if out is None:
        return _deblend_in_memory(image, report, **options)
    options = read_options(options)
    command = command_line(image, out, options)
    read_survey(options.weights)
    image, options, taken = open_folder(image, options)
    check_company(image, options)
    with locked(out) as folder:
        _check_others(folder, options)
        inputs = {"image": image} | {name: getattr(options, name) for name in _PIXELS}
        inputs = write_given(inputs, folder / GIVEN, options.hdu)
        image = inputs.pop("image")
        return _deblend(folder, image, options._replace(**inputs), command, taken, report)


def _deblend_in_memory(image, report: Report, **options) -> DeblendedImage:
    """`deblend_image` into a folder that is removed when its result is."""
    folder = tempfile.mkdtemp(prefix="vaedeblend-")
    try:
        result = replace(deblend_image(image, folder, report=report, **options), is_kept=False)
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def _deblend(
    out: Path,
    image: str | Path,
    options: ImageOptions,
    command: str,
    taken: list,
    report: Report,
) -> DeblendedImage:
    """`deblend_image` into a folder that is locked."""
    scale = read_survey(options.weights).pixel_scale.value
    files = {name: getattr(options, name) for name in _FILES}
    with open_mosaic(image, **files) as mosaic:
        _check_overwritten(out, options, mosaic)
        _check_scale(mosaic, scale)
        check_mer(mosaic, options)
        inspection = _inspected(mosaic, options, scale)
        if inspection.photons is not None:
            _check_replaced(others_background(out, PHOTONLESS), out)
    inspection = inspection._replace(findings=(*taken, *inspection.findings))
    files |= inspection.corrections
    background = None
    if not _noise_given(options):
        with open_mosaic(image, **files) as mosaic:
            background, files["rms"] = write_background(mosaic, out, report)
    if inspection.photons is not None:
        with open_mosaic(image, **files) as mosaic:
            background_rms = write_background_rms(mosaic, inspection.photons, out, report)
        files |= dict.fromkeys(NOISES) | {"rms": background_rms}
    files["noise_factor"] = inspection.noise.factor if inspection.noise else 1.0
    with open_mosaic(image, **files) as mosaic:
        job = Job(
            str(image),
            files,
            background,
            str(out / TILES),
            str(options.weights),
            measurement(options),
            None if inspection.listed is None else inspection.listed.measured,
            inspection.psfs,
            inspection.noise and inspection.noise.covariance,
        )
        inputs = _inputs(mosaic, options)
        made = _made_from(job, options.tile, inputs)
        keep_pieces(job.folder, made, is_whole_part)
        _clear(out, [*inputs, *map(Path, filter(None, [background]))])
        found = _measure(mosaic, job, options, inspection.listed, out, report)
        found = found._replace(said=inspection.said)
        about = {"version": __version__, "image": str(image), "weights": str(options.weights)}
        cards = inspection.cards(mosaic, **about, command=command, **provenance(made))
        found.table.meta.update(cards)
        sources = int((found.table["binning"] > 0).sum())  # a list has rows without one
        summary = inspection.summary(**about, sources=sources)
        forms = {"tphot": options.tphot, "mer": mer_keywords(mosaic, options)}
        write_products(mosaic, job, found, out, report, summary=summary, **forms)
    shutil.rmtree(job.folder)
    return DeblendedImage(found, job, out)


GIVEN = "given"
"""Folder of what was given in memory, within that of the results."""
_PIXELS = *NOISES, "mask", "psf"
"""Options that may be in memory, beside the image."""
_FILES = *NOISES, "mask", "mask_bits", "hdu", "zero_point", "gain"
"""Options that say how an image is opened."""
_INSPECTED = "weights", "psf", "psf_scale", "gain", "zero_point", "catalog", "rms_kind"
"""Options that are compared with the image."""


def _noise_given(options: ImageOptions) -> bool:
    return any(getattr(options, form) is not None for form in NOISES)


def _inspected(mosaic: Mosaic, options: ImageOptions, scale: float):
    given = {name: getattr(options, name) for name in _INSPECTED}
    return inspect_image(mosaic, pixel_scale=scale, **given).settled(options.force)


def _check_overwritten(out: Path, options: ImageOptions, mosaic: Mosaic) -> None:
    """Results must not take the place of what they are made from."""
    estimated = set() if _noise_given(options) else {"background", "rms"}
    names = {"catalog", "stamps", *IMAGES} | estimated
    results = {(out / f"{name}.fits").resolve() for name in names}
    for path in _inputs(mosaic, options):
        if path.resolve() in results:
            raise MosaicError(f"{path}: would be overwritten; wanted another folder than {out}")


def _check_others(out: Path, options: ImageOptions) -> None:
    """Results take the place of an earlier run's, and of no other files."""
    others = others_products(out, options.tphot, are_pieces(out / TILES))
    _check_replaced(
        others + others_background(out, () if _noise_given(options) else ESTIMATED), out
    )


def _check_replaced(others: Sequence[Path], out: Path) -> None:
    if others:
        names = {path.name for path in others}
        hint = ", or --rms, if that is its noise" if "rms.fits" in names else ""
        if "background_rms.fits" in names:
            hint = ", or --rms-kind background, if the given noise is the sky's alone"
        raise FolderError(
            f"{', '.join(map(str, others))}: would be overwritten, and no run of this program has "
            f"written it; wanted another folder than {out}{hint}"
        )


def _inputs(mosaic: Mosaic, options: ImageOptions) -> list[Path]:
    """Files that the results are made from."""
    noise = [getattr(options, form) for form in NOISES]  # photons may be taken out of it
    paths = [plane.path for plane in mosaic.planes.values()]
    paths += [*noise, options.psf, options.catalog]
    names = [split_plane(path)[0] for path in paths if isinstance(path, str | Path)]
    return [*dict.fromkeys(map(Path, names))]


def _made_from(job: Job, tile: int, inputs: list[Path]) -> dict:
    """All that the tiles depend on: what they are given, and the contents of files."""
    values = job._replace(folder="")._asdict() | {"tile": tile}
    return made_from(values, inputs + weights_files(job.weights))


def _clear(out: Path, used: Sequence[Path]) -> None:
    for path in clear_products(out) + remove_background(out, used):
        said = f"{path}: was there before, and is not of this image"
        warnings.warn(said, FolderWarning, stacklevel=2)


def _measure(
    mosaic: Mosaic,
    job: Job,
    options: ImageOptions,
    listed,
    out: Path,
    report: Report,
) -> Catalog:
    tiles = plan(mosaic.shape, options.tile)
    measure_tiles(job, tiles, options.processes, report)
    parts = [read_part(part_file(job.folder, each)) for each in tiles]
    return merge(parts, mosaic, out / "stamps.fits", listed)


def _check_scale(mosaic: Mosaic, scale: float) -> None:
    found = mosaic.pixel_scale
    if found is not None and abs(found / scale - 1) > _SAME_SCALE:
        raise MosaicError(
            f"{mosaic.path}: pixels of {found:.4g} arcsec; wanted the weights' {scale:.4g} arcsec"
        )
