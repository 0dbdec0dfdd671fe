"""Options of an image: what a caller may say, what of it fits together, and what it stands for."""

import inspect
import itertools
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from vaedeblend.exceptions import MosaicError
from vaedeblend.image.bands.aligned.align import align_bands
from vaedeblend.image.bands.aligned.windows import AlignedBand
from vaedeblend.image.bands.inputs import BandImage, tile_images
from vaedeblend.image.inspection.findings import Finding
from vaedeblend.image.inspection.tile import tile_inputs
from vaedeblend.io.mosaic import NOISES, PSF_CARDS, Mosaic, as_count, as_number
from vaedeblend.io.workdir import (
    CHECKPOINTS,
    DEBLENDER_STAGES,
    WORKDIR_PSF,
    find_workdir,
    read_config,
)
from vaedeblend.survey import Survey, make_survey

OPENING = *NOISES, "mask", "mask_bits", "hdu", "zero_point", "gain"
"""Options that say how an image is opened."""


class ImageOptions(NamedTuple):
    """Keywords of `deblend_image`."""

    weights: str | Path = "euclid_vis"
    """Name of shipped weights, or a workdir."""
    rms: Any = None
    """FITS file of the background's standard deviation; by default background and rms are
    estimated. With it the image is taken to be background subtracted."""
    variance: Any = None
    """FITS file of the background's variance, in the place of its rms."""
    weight: Any = None
    """FITS file of the inverse of that variance, 0 without data, in the place of the rms."""
    rms_kind: str = "auto"
    """What the noise's map holds: background, or total, with the sources' photon noise, which is
    then taken out; auto asks the pixels."""
    mask: Any = None
    """FITS file; pixels that are not 0 are ignored."""
    mask_bits: Sequence[int] | None = None
    """Flag bits that mask a pixel; 0 is the least significant. By default all of them."""
    psf: Any = None
    """FITS file of the effective PSF, of a grid of them (rows, columns, height, width) that cover
    the image evenly, of stamps with places or of a model of PSFEx; or folder of images with places
    (see `psfs.read`). By default the one trained for."""
    bands: Sequence[BandImage] = ()
    """Images of the further bands of the weights', where these are of several: on the image's
    pixels, each with its rms."""
    catalog: Any = None
    """Table of positions, data frame, or file of a table (see `positions.read_positions`); by
    default sources are detected."""
    tile_id: int | None = None
    """Number of the MER tile, where the image is a folder that holds several."""
    hdu: int | str | None = None
    """Number or name of the image's HDU in its file; by default SCI, or the first with an image.
    The paths of image, noise and mask may end in one, too: `file.fits[RMS]`."""
    zero_point: float | None = None
    """AB magnitude of one image unit; by default the header's."""
    gain: float | None = None
    """Electrons per image unit; by default the header's, 0 for none."""
    psf_scale: float | None = None
    """Sampling of the PSF image [arcsec]; by default its header's, or the image's."""
    iterations: int = 4
    """Measurements of each source at most, each less its neighbours' light as the last one found
    it; 1 for the network alone."""
    passes: int = 3
    """Searches for sources that others hide, none with one iteration; with 0, nothing is measured
    beside a list."""
    tile: int = 4096
    """Side of the pieces in which the image is measured [pixel]."""
    processes: int = 1
    """Processes that measure pieces side by side."""
    tphot: bool = False
    """Priors for T-PHOT are written as well."""
    mer_names: bool = False
    """The catalogue is written in MER's terms, too, as it is of a MER tile."""
    core_margin: float | None = None
    """Width of what lies about the tile's core [arcsec]; see `mer.mer_table`."""
    force: bool = False
    """Goes on where the pixels contradict an input, which is then said and not refused."""


def takes(options: type) -> Callable[[Callable], Callable]:
    """Decorator of a function with `**options`: help and completion show each of them.

    Args:
        options: NamedTuple of which these are fields.
    """

    def decorate(function: Callable) -> Callable:
        shown = inspect.signature(function)
        own = [each for each in shown.parameters.values() if each.kind is not each.VAR_KEYWORD]
        defaults, kinds = options._field_defaults, get_type_hints(options)
        fields = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kinds[name]
            )
            for name in options._fields
            if name not in shown.parameters
        ]
        function.__signature__ = shown.replace(parameters=[*own, *fields])
        return function

    return decorate


_COMMANDS = {"no_add": "passes=0", "noise": "rms", "positions": "catalog", "flags": "mask"}
"""What the command calls options, or others do."""
_COUNTS = {"iterations": 1, "passes": 0, "tile": 64, "processes": 1, "tile_id": 0}
"""Options that are whole numbers, and the least of each: no tile is smaller than a stamp."""


def read_options(given: dict) -> ImageOptions:
    """Options that were given by name, numbers among them as numbers.

    Raises:
        TypeError: There is no such option.
        MosaicError: A number is none, or too small.
    """
    if "looks" in given:
        warnings.warn("looks is now called iterations", DeprecationWarning, stacklevel=3)
        given["iterations"] = given.pop("looks")
    for name in given:
        if name not in ImageOptions._fields:
            near = _COMMANDS.get(name) or get_close_matches(name, ImageOptions._fields, 1, 0)[0]
            raise TypeError(f"deblend_image: no option {name!r}; nearest is {near!r}")
    counts = read_counts(given)
    for name in ("psf_scale", "core_margin"):
        if name in given:
            counts[name] = as_number(given[name], name)
    if given.get("mask_bits") is not None:  # one bit may be a number
        bits = np.ravel(given["mask_bits"]).tolist()
        counts["mask_bits"] = tuple(as_count(bit, "a bit of the mask") for bit in bits)
    return ImageOptions(**given | counts)


def read_counts(given: Mapping[str, Any]) -> dict[str, int | None]:
    """Those of the options that are whole numbers.

    Raises:
        MosaicError: One is no whole number, or too small.
    """
    return {name: as_count(given[name], name, n) for name, n in _COUNTS.items() if name in given}


def command_line(image, out: str | Path, options: ImageOptions) -> str:
    """The command line that stands for a call; kinds of what is in memory stand in brackets."""
    words = ["vaedeblend", "deblend", _word(image), "--out", str(out)]
    for name, value in options._asdict().items():
        if value is ImageOptions._field_defaults[name] or _same_text(value, name):
            continue
        if name == "passes" and value == 0:
            words.append("--no-add")
            continue
        if name == "bands":
            each = (["--band", b.name, b.image, b.rms, b.psf] for b in value)
            words += map(_word, itertools.chain(*each))
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += map(_word, value if name == "mask_bits" else [value])
    return shlex.join(words)


def _same_text(value, name: str) -> bool:
    return str(ImageOptions._field_defaults[name]) == _word(value)


def _word(value) -> str:
    plain = isinstance(value, str | Path | int | float)
    return str(value) if plain else f"({type(value).__name__})"


def psf_record(options: ImageOptions, out: Path) -> dict[str, str]:
    """Where the PSF that is used lies, from the folder of the results or the root; its sampling."""
    if options.psf is None:
        return {}
    path = Path(options.psf).absolute()
    inside = path.is_relative_to(out.absolute())
    values = path.relative_to(out.absolute()) if inside else path, options.psf_scale
    return {name: str(v) for name, v in zip(PSF_CARDS, values, strict=True) if v is not None}


def mer_keywords(mosaic: Mosaic, options: ImageOptions) -> dict | None:
    """Keywords of `mer.mer_table`; None where its terms are not wanted, or cannot be."""
    wanted = options.mer_names or options.tile_id is not None
    if not wanted or mosaic.wcs is None or mosaic.zero_point is None:
        return None
    return {"tile": options.tile_id or 0, "margin": options.core_margin}


def read_survey(weights: str | Path) -> Survey:
    """Survey for which weights were trained."""
    return make_survey(**read_config(find_workdir(weights))["survey"])


def read_single_band(weights: str | Path) -> Survey:
    """Survey for which weights of one band were trained.

    Raises:
        MosaicError: It has several bands.
    """
    survey = read_survey(weights)
    if len(survey.bands) > 1:
        raise MosaicError(f"{weights}: weights of {len(survey.bands)} bands; wanted those of one")
    return survey


def weights_files(weights: str | Path) -> list[Path]:
    """Files and folders of which a deblender is made; those that there are."""
    of_stages = [
        f"{s}/{name}" for s in DEBLENDER_STAGES for name in ("calibration.json", CHECKPOINTS)
    ]
    paths = [find_workdir(weights) / name for name in ("config.json", WORKDIR_PSF, *of_stages)]
    return [path for path in paths if path.exists()]


def further_bands(
    mosaic: Mosaic, options: ImageOptions, out: Path, report: Callable[[str, int, int], None]
) -> tuple[tuple[AlignedBand, ...], list[Finding]]:
    """The bands of the weights' beside the image's, and what is said of them."""
    survey = read_survey(options.weights)
    given = {"out": out, "report": report, "force": options.force}
    given |= {"weights": options.weights, "pixel_scale": survey.pixel_scale.value}
    return align_bands(mosaic, options.bands, survey.band_names[1:], **given)


def measurement(options: ImageOptions) -> dict:
    """Keywords of `measure_field`."""
    return {"iterations": options.iterations, "passes": options.passes}


def check_company(image, options: ImageOptions) -> None:
    """Refuses what is said of an input that there is not: it would be passed over."""
    has_mask = options.mask is not None or getattr(image, "mask", None) is not None
    if options.mask_bits is not None and not has_mask:
        raise MosaicError("bits of a mask are given, but no mask; wanted --mask, too")
    if options.psf_scale is not None and options.psf is None:
        raise MosaicError("the scale of a PSF is given, but no PSF; wanted --psf, too")
    if options.core_margin is not None and options.tile_id is None and not options.mer_names:
        raise MosaicError("a core's margin is given, but no tile of MER; wanted --mer-names, too")


def open_folder(image, options: ImageOptions) -> tuple[Any, ImageOptions, list]:
    """The image, and the options that a folder of MER's stands for, with what is said of them."""
    if not (isinstance(image, str | Path) and Path(image).is_dir()):
        if options.tile_id is not None:
            raise MosaicError(f"tile {options.tile_id} of an image; wanted a folder of MER's tiles")
        return image, options, []
    folder = image
    image, found, said = tile_inputs(folder, options.tile_id, options._asdict())
    options = options._replace(**found)
    first, *further = read_survey(options.weights).band_names
    if further and "vis" not in first.lower():
        raise MosaicError(f"{options.weights}: its first band is {first}; wanted VIS, as of a tile")
    if further and not options.bands:
        bands = tile_images(folder, [name.upper() for name in further], options.tile_id)
        options = options._replace(bands=tuple(bands))
    return image, options, said


def check_mer(mosaic: Mosaic, options: ImageOptions) -> None:
    """Refuses MER's terms for an image that has no place or unit, and a core without pixels."""
    needed = {"WCS": mosaic.wcs, "zero point": mosaic.zero_point}
    missing = [name for name, value in needed.items() if value is None]
    if options.mer_names and missing:
        raise MosaicError(f"{mosaic.path}: no {' and no '.join(missing)}; wanted for --mer-names")
    margin, side = options.core_margin, min(mosaic.shape) * (mosaic.pixel_scale or np.inf)
    if margin is not None and not 0 <= margin < side / 2:
        raise MosaicError(f"core_margin is {margin:g} arcsec; wanted 0 to {side / 2:g}")
