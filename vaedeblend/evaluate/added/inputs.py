"""An image and all that belongs to it as files: those of a MER tile, or as they are given."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vaedeblend.exceptions import FolderError, MosaicError
from vaedeblend.image.inspection.findings import Inspection
from vaedeblend.image.inspection.inspect import inspect_image
from vaedeblend.image.inspection.tile import tile_inputs
from vaedeblend.image.options import OPENING, read_single_band
from vaedeblend.image.pipeline import GIVEN
from vaedeblend.io.mosaic import NOISES, open_mosaic, write_given
from vaedeblend.survey import Survey

_PIXELS = 100
"""Least number of the image's pixels for each galaxy: beyond, nothing can be told apart."""
_INSPECTED = "psf", "psf_scale", "gain", "zero_point", "rms_kind"
"""Options that are compared with the image."""


class Inputs(NamedTuple):
    """An image, and what is said of it."""

    image: str | Path
    options: dict[str, Any]
    """Options of `pipeline.deblend_image`, in which all planes are files."""
    survey: Survey
    """The weights'."""

    @property
    def files(self) -> dict[str, Any]:
        """Keywords of `mosaic.open_mosaic`."""
        return {name: self.options.get(name) for name in OPENING}

    def inspect(self) -> Inspection:
        """What the pixels say of the inputs; see `inspect.inspect_image`."""
        given = {name: self.options[name] for name in _INSPECTED if name in self.options}
        with open_mosaic(self.image, **self.files) as mosaic:
            scale, weights = self.survey.pixel_scale.value, self.options["weights"]
            return inspect_image(mosaic, pixel_scale=scale, weights=weights, **given)


def read_inputs(image, options: Mapping[str, Any], folder: Path) -> Inputs:
    """The files that an image and its options stand for.

    Args:
        image: What `pipeline.deblend_image` takes.
        options: Its options, `weights` among them.
        folder: Folder that takes what is given in memory.

    Raises:
        VaedeblendError: A file cannot be used.
    """
    options, survey = dict(options), read_single_band(options["weights"])
    number = options.pop("tile_id", None)
    if isinstance(image, str | Path) and Path(image).is_dir():
        image, found, _ = tile_inputs(image, number, options)
        options |= {name: value for name, value in found.items() if name != "tile_id"}
    elif number is not None:
        raise MosaicError(f"tile {number} of an image; wanted a folder of MER's tiles")
    planes = {"image": image} | {n: options.get(n) for n in (*NOISES, "mask", "psf")}
    files = write_given(planes, folder / GIVEN, options.get("hdu"))
    image = files.pop("image")
    options |= {name: path for name, path in files.items() if path is not None}
    return Inputs(image, options, survey)


def check_inputs(inputs: Inputs, n: int, made: list[Path]) -> None:
    """Refuses more galaxies than the image holds, and files that would be lost.

    Args:
        inputs: The image.
        n: Number of sources that are to be added.
        made: Files that are to be written.

    Raises:
        FolderError: A file is another program's.
        MosaicError: The sources are too many, or the zero point is not known.
    """
    image = inputs.image
    with open_mosaic(image, **inputs.files) as mosaic:
        most, path, known = math.prod(mosaic.shape) // _PIXELS, mosaic.path, mosaic.zero_point
    if n > max(most, 1):
        raise MosaicError(
            f"{n} galaxies on {image}: one for fewer than {_PIXELS} pixels; wanted at most {most}: "
            "with more they are measured beside each other, not beside those of the image"
        )
    if known is None:
        raise MosaicError(f"{image}: no zero point in the header; wanted --zero-point")
    for each in made:
        if path.resolve() == each.resolve():
            raise MosaicError(
                f"{image}: would be overwritten; wanted another folder than {made[-1].parent}"
            )
        if each.exists() and not (made[-1].parent / "before").is_dir():
            raise FolderError(
                f"{each}: would be overwritten, and no run of this program has written it; wanted "
                f"another folder than {made[-1].parent}"
            )
