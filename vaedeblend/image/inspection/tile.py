"""The folder of a MER tile in the place of an image: what is taken of it, and what is missing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaedeblend.euclid.mer.layout import FATAL_BITS, MerTile, find_tile
from vaedeblend.image.inspection.findings import Finding
from vaedeblend.io.mosaic import NOISES

_WITHOUT = {
    "rms": "background and rms are estimated",
    "mask": "no pixel is masked",
    "psf": "the PSF is the one that the weights were trained for",
}
"""What is done without each product."""


def tile_inputs(
    folder: str | Path, number: int | None, given: Mapping[str, Any]
) -> tuple[Path, dict[str, Any], list[Finding]]:
    """The image of a tile, the options that its other products stand for, and what is said of both.

    Args:
        folder: Folder of MER's products.
        number: Number of the tile; by default the only one there.
        given: Options of the user, which stay where they are not None.

    Raises:
        MerError: The folder holds no mosaic, or those of several tiles.
    """
    tile = find_tile(folder, number)
    options, taken, said = {"tile_id": tile.number}, [tile.image.name], []
    for name, path in _products(tile, given).items():
        if path is None:
            said.append(Finding("warned", name, f"{folder}: no {name} of MER; {_WITHOUT[name]}"))
            continue
        options[name] = str(path)
        taken.append(path.name)
    if "mask" in options and given.get("mask_bits") is None:
        options["mask_bits"] = tuple(FATAL_BITS.values())
        bits = ", ".join(f"{bit} ({name})" for name, bit in FATAL_BITS.items())
        said.append(Finding("assumed", "mask", f"pixels of flag bits {bits} are ignored"))
    text = f"tile {tile.number} of {folder}: {', '.join(taken)}"
    if tile.superseded:
        text += f"; {len(tile.superseded)} older versions are left"
    return tile.image, options, [Finding("found", "tile", text), *said]


def _products(tile: MerTile, given: Mapping[str, Any]) -> dict[str, Path | None]:
    """Products that stand for options which the user leaves open."""
    products = {"rms": tile.rms, "mask": tile.flags, "psf": tile.psf}
    if any(given.get(form) is not None for form in NOISES):
        del products["rms"]
    return {name: path for name, path in products.items() if given.get(name) is None}
