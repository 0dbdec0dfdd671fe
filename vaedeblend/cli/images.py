"""`vaedeblend deblend` and `vaedeblend inject`: what is measured of an image of one's own."""

import argparse
import os
from pathlib import Path

from rich.table import Table
from rich.text import Text

from vaedeblend.cli.console import console, progress_bars, result_status, say
from vaedeblend.exceptions import MosaicError

INPUTS = ("image", "rms", "variance", "weight", "mask", "psf", "catalog", "bands")
"""Options that are paths, or hold some."""


def deblend(**options) -> int:
    """`vaedeblend deblend`: see `pipeline.deblend_image`."""
    if not options["passes"] and options["catalog"] is None:
        raise MosaicError("--no-add is given, but no list to add to; wanted --catalog, too")
    keep_compiled()
    from vaedeblend.image.bands.inputs import BandImage
    from vaedeblend.image.pipeline import deblend_image

    bands = options["bands"]
    options["bands"] = tuple(BandImage(image, psf, rms, name) for name, image, rms, psf in bands)
    with progress_bars() as report:
        catalog = deblend_image(**options, report=report)
    say(catalog.said)
    sources = catalog.table[catalog.table["binning"] > 0]
    flagged, out = int((sources["flags"] > 0).sum()), options["out"]
    console.print(Text(f"{len(sources)} sources, {flagged} of them flagged: {out}/index.html"))
    return result_status(catalog.unusable)


def inject_galaxies(*, magnitude: list[float], **options) -> None:
    """`vaedeblend inject`: see `injection.inject`."""
    keep_compiled()
    from vaedeblend.evaluate.added import shown as results
    from vaedeblend.evaluate.injection import inject

    with progress_bars() as report:
        table = inject(magnitude=tuple(magnitude), report=report, **options)
    columns, rows = results.as_rows(results.summarise(table))
    shown = Table(*columns, title=results.TITLE)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    say([*table.meta["said"], str(Path(options["out"]) / results.PAGE)])


def add_deblend(add) -> None:
    """Adds the arguments of `deblend` to its parser."""
    _add_image(add)
    add.add_argument(
        "--band",
        dest="bands",
        nargs=4,
        action="append",
        default=[],
        metavar=("NAME", "IMAGE", "RMS", "PSF"),
        help="image of a further band of the weights', on the same pixels, with its rms and PSF; "
        "repeatable. Of a MER tile they are taken by their names",
    )
    add.add_argument("--catalog", help="table of positions: x and y (0-based), or ra and dec")
    add.add_argument(
        "--no-add",
        dest="passes",
        action="store_const",
        const=0,
        default=3,
        help="measure the positions of --catalog, and no sources beside them",
    )
    add.add_argument("--tphot", action="store_true", help="write priors for T-PHOT as well")
    add.add_argument(
        "--mer-names",
        action="store_true",
        help="write the catalogue in MER's terms as well, as is done for a MER tile",
    )
    add.add_argument(
        "--core-margin",
        type=float,
        help="width of what lies about the tile's core, whose sources alone MER's terms hold "
        "[arcsec]; 60 for a tile of the Wide survey (19200 pixels), or 0",
    )


def add_inject(add) -> None:
    """Adds the arguments of `inject` to its parser."""
    _add_image(add)
    add.add_argument("--n", type=int, default=300, help="number of galaxies, for each seed")
    add.add_argument("--stars", type=int, default=0, help="number of stars, for each seed")
    add.add_argument(
        "--magnitude", type=float, nargs=2, default=[22.0, 26.0], help="range of their magnitudes"
    )
    add.add_argument("--seed", type=int, default=0, help="first seed of everything random")
    add.add_argument(
        "--repeats", type=int, default=1, help="number of seeds, each with galaxies of its own"
    )
    add.add_argument(
        "--beside-bright",
        action="store_true",
        help="put galaxies, too, where they would be flagged beside_bright",
    )


def _add_image(add) -> None:
    """Arguments of whatever measures an image."""
    add.add_argument(
        "image",
        help="FITS image, background subtracted if an rms map is given; or folder of a MER tile",
    )
    add.add_argument("--tile-id", type=int, help="number of the MER tile, of several in a folder")
    add.add_argument("--out", required=True, help="folder that takes the results")
    noise = add.add_mutually_exclusive_group()
    noise.add_argument("--rms", help="FITS image of the background's rms; estimated if not given")
    noise.add_argument("--variance", help="FITS image of the background's variance, for --rms")
    noise.add_argument(
        "--weight", help="FITS image of inverse variances, 0 without data, for --rms"
    )
    add.add_argument(
        "--rms-kind",
        choices=("auto", "background", "total"),
        default="auto",
        help="whether the map holds the sources' photon noise, which is then taken out",
    )
    add.add_argument("--mask", help="FITS image; pixels that are not 0 are ignored")
    add.add_argument(
        "--mask-bits",
        type=int,
        nargs="+",
        help="flag bits that mask a pixel, 0 the least significant; all if not given",
    )
    add.add_argument(
        "--psf",
        help="FITS image of the effective PSF, or of a grid; model of PSFEx; or folder of images",
    )
    add.add_argument("--weights", default="euclid_vis", help="shipped weights, or a workdir")
    add.add_argument("--zero-point", type=float, help="AB magnitude of one image unit")
    add.add_argument("--gain", type=float, help="electrons per image unit; 0 for none")
    add.add_argument(
        "--force", action="store_true", help="go on where the pixels contradict an input"
    )
    add.add_argument("--psf-scale", type=float, help="sampling of the PSF image [arcsec]")
    add.add_argument("--hdu", help="number or name of the image's HDU in its file")
    add.add_argument(
        "--iterations",
        type=int,
        default=4,
        help="iterations of neighbour subtraction, at most; 1: the network alone",
    )
    suppressed = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    add.add_argument("--looks", dest="iterations", type=int, **suppressed)  # name until 0.1
    add.add_argument("--tile", type=int, default=4096, help="side of the pieces measured [pixel]")
    add.add_argument("--processes", type=int, default=1, help="processes that measure pieces")


def keep_compiled() -> None:
    """Programs that XLA has compiled are kept for the next run; JAX reads this when imported.

    Where there is no home folder, none are kept.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    if given or Path.home().is_dir():
        folder = Path(given or Path.home() / ".cache") / "vaedeblend"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
