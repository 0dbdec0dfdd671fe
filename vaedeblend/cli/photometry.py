"""`vaedeblend photometry`: fluxes of deblended sources in other bands."""

from itertools import zip_longest
from pathlib import Path

from rich.text import Text

from vaedeblend.cli.console import console, progress_bars, result_status, say
from vaedeblend.exceptions import BandError

_EACH = {
    "image": "FITS image of a band, background subtracted; or folder of a MER tile",
    "rms": "FITS image of its noise; the scatter of its pixels if not given",
    "psf": "its PSF: FITS image, grid, model of PSFEx, or folder of images",
    "band": "its name, in columns; of the header if not given. Of a tile: the bands wanted (NIR-H)",
    "mask": "FITS image; pixels that are not 0 are ignored",
    "zero-point": "AB magnitude of one image unit; the header's if not given",
    "gain": "electrons per image unit, if the noise lacks the photons of sources",
}
"""Options that are given once for each band, in one order."""


PHOTOMETRY_INPUTS = "out", "vis_psf"
"""Options that are paths."""


def add_photometry(add) -> None:
    """Adds the command's arguments to its parser."""
    add.add_argument("out", help="folder of the results of vaedeblend deblend")
    for name, text in _EACH.items():
        kind = float if name in ("zero-point", "gain") else str
        wanted = {"required": name == "image", "type": kind}
        add.add_argument(f"--{name}", action="append", help=f"{text}; repeatable", **wanted)
    add.add_argument("--vis-psf", help="PSF of VIS; the one that the deblending was given if not")
    add.add_argument("--non-negative", action="store_true", help="no flux is below 0")
    add.add_argument("--tile", type=int, default=1024, help="side of the pieces measured [pixel]")
    add.add_argument("--processes", type=int, default=1, help="processes that measure pieces")


def photometry_command(*, out: str, **options) -> int:
    """`vaedeblend photometry`: see `bands.pipeline.photometry`."""
    from vaedeblend.image.bands.pipeline import photometry
    from vaedeblend.image.bands.products import unmeasured
    from vaedeblend.image.products import PHOTOMETRY

    given = {name.replace("-", "_"): options.pop(name.replace("-", "_")) or [] for name in _EACH}
    with progress_bars() as report:
        table = photometry(out, **_images(**given), **options, report=report)
    say(text for name, text in table.meta.items() if name.startswith("SAID"))
    console.print(Text(f"{len(table)} sources: {out}/{PHOTOMETRY}/index.html"), soft_wrap=True)
    return result_status(unmeasured(table))


def _images(*, image: list[str], band: list[str], **each) -> dict:
    """The bands of a tile, or those of files that are given."""
    from vaedeblend.image.bands.inputs import BandImage

    if len(image) == 1 and Path(image[0]).is_dir():
        if given := [name for name, values in each.items() if values]:
            raise BandError(
                f"--{given[0]} is given beside a folder; wanted files, or a folder alone"
            )
        return {"images": image[0], "bands": band}
    for name, values in {"band": band, **each}.items():
        if len(values) not in (0, len(image)):
            raise BandError(
                f"{len(values)} --{name.replace('_', '-')} for {len(image)} --image; wanted one "
                "for each, in their order, or none"
            )
    if not each["psf"]:
        raise BandError("no --psf is given; wanted one for each --image")
    rows = zip_longest(image, band, *each.values())
    names = "image", "name", *each
    known = ({n: v for n, v in zip(names, row, strict=True) if v is not None} for row in rows)
    return {"images": [BandImage(**row) for row in known]}
