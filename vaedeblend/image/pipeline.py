"""A whole image: `vaedeblend deblend`, from files to files.

mosaic --tiles--> sources of each tile --merge--> one catalogue --products--> images, page, priors
"""

import os
import re
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vaedeblend import __version__
from vaedeblend.image.inspection.sky.background import (
    ESTIMATED,
    LEFT,
    others_background,
    remove_background,
)
from vaedeblend.image.options import (
    ImageOptions,
    check_company,
    command_line,
    mer_keywords,
    open_folder,
    psf_record,
    read_options,
    read_survey,
    takes,
)
from vaedeblend.image.pieces import keep_measured, measure_pieces
from vaedeblend.image.preparation import is_noise_given, prepare_image, refuse_replaced
from vaedeblend.image.products import Report, clear_products, others_products, write_products
from vaedeblend.image.result.deblended import DeblendedImage
from vaedeblend.image.tiles import TILES, plan
from vaedeblend.io.folders.jobs import (
    FolderWarning,
    are_pieces,
    locked,
    provenance,
)
from vaedeblend.io.mosaic import NOISES, open_mosaic, write_given


@takes(ImageOptions)
def deblend_image(
    image,
    out: str | Path | None = None,
    *,
    report: Report = lambda what, done, total: None,
    **options,
) -> DeblendedImage:
    """Finds and measures every source of an image in one band, or in all of the weights'.

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
        result = deblend_image(image, folder, report=report, **options)
    except BaseException as error:
        shutil.rmtree(folder)
        error.args = _by_argument(error.args, folder)
        raise
    found = result.found._replace(said=_by_argument(result.said, folder))
    result = replace(result, found=found, is_kept=False)
    weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


def _by_argument(said: tuple, folder: str) -> tuple:
    """Sentences in which files that nobody knows of are the arguments that they were given as."""
    given = re.compile(re.escape(str(Path(folder, GIVEN)) + os.sep) + r"(\w+)\.fits")
    return tuple(given.sub(r"\1", each) if isinstance(each, str) else each for each in said)


def _deblend(
    out: Path,
    image: str | Path,
    options: ImageOptions,
    command: str,
    taken: list,
    report: Report,
) -> DeblendedImage:
    """`deblend_image` into a folder that is locked."""
    prepared = prepare_image(out, image, options, taken, report)
    job, inspection, made = prepared.job, prepared.inspection, prepared.made
    with open_mosaic(image, **job.files) as mosaic:
        keep_measured(job, made)
        _clear(out, [*prepared.inputs, *map(Path, filter(None, [job.background]))])
        pieces, stamps = plan(mosaic.shape, options.tile), out / "stamps.fits"
        side_by_side = {"processes": options.processes, "report": report}
        found, job, sky = measure_pieces(
            mosaic, job, pieces, stamps, listed=inspection.listed, **side_by_side
        )
        inspection = inspection.under_response(job.response).under_sky(sky)
        found = found._replace(said=inspection.said)
        about = {"version": __version__, "image": str(image), "weights": str(options.weights)}
        recorded = provenance(made) | psf_record(options, out) | {"command": command}
        cards = inspection.cards(mosaic, **about, **recorded)
        found.table.meta.update(cards)
        sources = int((found.table["binning"] > 0).sum())  # a list has rows without one
        summary = inspection.summary(**about, sources=sources)
        forms = {"tphot": options.tphot, "mer": mer_keywords(mosaic, options)}
        write_products(mosaic, job, found, out, report, summary=summary, **forms)
    shutil.rmtree(job.folder)
    return DeblendedImage(found, job.from_anywhere(), out.absolute())


GIVEN = "given"
"""Folder of what was given in memory, within that of the results."""
_PIXELS = *NOISES, "mask", "psf"
"""Options that may be in memory, beside the image."""


def _check_others(out: Path, options: ImageOptions) -> None:
    """Results take the place of an earlier run's, and of no other files."""
    others = others_products(out, options.tphot, are_pieces(out / TILES))
    made = LEFT if is_noise_given(options) else (*ESTIMATED, *LEFT)
    refuse_replaced(others + others_background(out, made), out)


def _clear(out: Path, used: Sequence[Path]) -> None:
    for path in clear_products(out) + remove_background(out, used):
        said = f"{path}: was there before, and is not of this image"
        warnings.warn(said, FolderWarning, stacklevel=2)
