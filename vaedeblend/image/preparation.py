"""An image made ready to be measured: opened, compared with its pixels, its noise settled.

What comes of it is a `tiles.Job`: plain values that any process measures pieces with.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vaedeblend.exceptions import FolderError, MosaicError
from vaedeblend.image.inspection.findings import Finding, ImageNoise, Inspection
from vaedeblend.image.inspection.inspect import inspect_image
from vaedeblend.image.inspection.sky.background import (
    LEFT,
    PHOTONLESS,
    others_background,
    write_background,
    write_background_rms,
)
from vaedeblend.image.options import (
    OPENING,
    ImageOptions,
    check_mer,
    further_bands,
    measurement,
    read_survey,
    weights_files,
)
from vaedeblend.image.products import IMAGES, Report
from vaedeblend.image.tiles import TILES, Job
from vaedeblend.io.folders.jobs import made_from
from vaedeblend.io.mosaic import NOISES, Mosaic, open_mosaic, split_plane

_SAME_SCALE = 0.02
"""Relative difference of pixel scales that is none."""
_INSPECTED = "weights", "psf", "psf_scale", "gain", "zero_point", "catalog", "rms_kind"
"""Options that are compared with the image."""


class Prepared(NamedTuple):
    """An image that is ready to be measured."""

    job: Job
    inspection: Inspection
    """What its own pixels say."""
    inputs: tuple[Path, ...]
    """Files that the results are made from."""
    made: dict
    """All that they are made from: values, and digests of contents."""


def prepare_image(
    out: Path,
    image: str | Path,
    options: ImageOptions,
    taken: Sequence[Finding],
    report: Report,
    noise: ImageNoise | None = None,
) -> Prepared:
    """Compares an image with its pixels, and writes its noise where that has to be made.

    Args:
        out: Folder of the results.
        image: FITS file.
        options: What the user gives; what was in memory is in files.
        taken: What is to be said of the image before all else.
        report: Function of the progress.
        noise: What is known of its noise from more of the sky; by default what its pixels say.

    Raises:
        InspectionError: An input is contradicted by the pixels.
        VaedeblendError: A file cannot be used or written.
    """
    files = _opening(options)
    with open_mosaic(image, **files) as mosaic:
        _check_overwritten(out, options, mosaic)
        has_gain = options.gain is not None or mosaic.gain is not None
        found = inspect_given(image, options)
        bands, said = further_bands(mosaic, options, out, report)
    found = found._replace(findings=(*taken, *found.findings, *said))
    inspection = found if noise is None else found.under(noise, has_gain)
    if inspection.photons is not None:
        refuse_replaced(others_background(out, PHOTONLESS), out)
    files |= inspection.corrections
    background = None
    if not is_noise_given(options):
        with open_mosaic(image, **files) as mosaic:
            background, files["rms"] = write_background(mosaic, out, report)
    if inspection.photons is not None:
        with open_mosaic(image, **files) as mosaic:
            background_rms = write_background_rms(mosaic, inspection.photons, out, report)
        files |= dict.fromkeys(NOISES) | {"rms": background_rms}
    files["noise_factor"] = inspection.noise.factor if inspection.noise else 1.0
    listed = None if inspection.listed is None else inspection.listed.measured
    measuring, electrons = measurement(options), inspection.numbers["rms_electrons"]
    if listed is not None and not len(listed):
        measuring["passes"] = 0  # a list of nothing is not one of all that is detected
    job = Job(
        str(image),
        files,
        background,
        str(out / TILES),
        str(options.weights),
        measuring,
        listed,
        inspection.psfs,
        inspection.noise and inspection.noise.covariance,
        electrons and electrons * files["noise_factor"],
        bands=bands,
    )
    with open_mosaic(image, **files) as mosaic:
        inputs = _inputs(mosaic, options)
    return Prepared(job, found, tuple(inputs), _made_from(job, options.tile, inputs))


def is_noise_given(options: ImageOptions) -> bool:
    """Whether there is a map of the noise, in whatever form."""
    return any(getattr(options, form) is not None for form in NOISES)


def refuse_replaced(others: Sequence[Path], out: Path) -> None:
    """Refuses to replace files that no run of this program has written.

    Raises:
        FolderError: There are such files.
    """
    if others:
        names = {path.name for path in others}
        hint = ", or --rms, if that is its noise" if "rms.fits" in names else ""
        if "background_rms.fits" in names:
            hint = ", or --rms-kind background, if the given noise is the sky's alone"
        raise FolderError(
            f"{', '.join(map(str, others))}: would be overwritten, and no run of this program has "
            f"written it; wanted another folder than {out}{hint}"
        )


def inspect_given(image: str | Path, options: ImageOptions, **how: int) -> Inspection:
    """An image's inputs compared with its pixels, as far as that is not to be refused.

    Args:
        image: FITS file.
        options: What the user gives; what was in memory is in files.
        **how: Further keywords of `inspect_image`.

    Raises:
        InspectionError: An input is contradicted by the pixels.
        VaedeblendError: A file cannot be used.
    """
    scale = read_survey(options.weights).pixel_scale.value
    given = {name: getattr(options, name) for name in _INSPECTED}
    with open_mosaic(image, **_opening(options)) as mosaic:
        _check_scale(mosaic, scale)
        check_mer(mosaic, options)
        found = inspect_image(mosaic, pixel_scale=scale, **given, **how)
        return found.settled(options.force)


def _opening(options: ImageOptions) -> dict:
    """Keywords of `open_mosaic` as the user has them."""
    return {name: getattr(options, name) for name in OPENING}


def _check_overwritten(out: Path, options: ImageOptions, mosaic: Mosaic) -> None:
    """Results must not take the place of what they are made from."""
    estimated = set() if is_noise_given(options) else {"background", "rms"}
    names = {"catalog", "stamps", *LEFT, *IMAGES} | estimated
    results = {(out / f"{name}.fits").resolve() for name in names}
    for path in _inputs(mosaic, options):
        if path.resolve() in results:
            raise MosaicError(f"{path}: would be overwritten; wanted another folder than {out}")


def _inputs(mosaic: Mosaic, options: ImageOptions) -> list[Path]:
    """Files that the results are made from."""
    noise = [getattr(options, form) for form in NOISES]  # photons may be taken out of it
    paths = [plane.path for plane in mosaic.planes.values()]
    paths += [*noise, options.psf, options.catalog]
    paths += [path for band in options.bands for path in band.files]
    names = [split_plane(path)[0] for path in paths if isinstance(path, str | Path)]
    return [*dict.fromkeys(map(Path, names))]


def _made_from(job: Job, tile: int, inputs: list[Path]) -> dict:
    """All that the tiles depend on: what they are given, and the contents of files."""
    values = job._replace(folder="", bands=())._asdict() | {"tile": tile}
    for band in job.bands:
        values |= band.record()
    return made_from(values, inputs + weights_files(job.weights))


def _check_scale(mosaic: Mosaic, scale: float) -> None:
    found = mosaic.pixel_scale
    if found is not None and abs(found / scale - 1) > _SAME_SCALE:
        raise MosaicError(
            f"{mosaic.path}: pixels of {found:.4g} arcsec; wanted the weights' {scale:.4g} arcsec"
        )
