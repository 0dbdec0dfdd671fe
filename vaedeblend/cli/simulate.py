"""`vaedeblend simulate`: fields in plain files, and in the layouts of Euclid's own."""

import re
from pathlib import Path

from rich.table import Table
from rich.text import Text

from vaedeblend.cli.console import console, progress_bars
from vaedeblend.exceptions import FolderError, VaedeblendError
from vaedeblend.io.parallel import available_cores

_FIELD = ("image.fits", "rms.fits", "psf.fits", "truth.fits"), "truth.fits", "TRUTH"
_CHALLENGE = ("*_vis*.fits", "challenge_5sig_overlap_*.fits"), "*.alone.fits", "ALONE"
"""Files that a simulation writes; those of them, and the HDU there, by which its own are known."""

_OF_MER = {"interpolation": "bilinear", "tiles": "1x1", "reach": 200}
"""Options of --style mer alone, and their defaults."""


def add_simulate(add) -> None:
    """Adds the command's arguments to its parser."""
    add.add_argument("--out", required=True, help="folder that takes the field")
    add.add_argument("--size", type=int, default=2048, help="side of the field [pixel]")
    add.add_argument(
        "--density", type=float, default=1.0, help="density of galaxies over the sky's"
    )
    add.add_argument("--seed", type=int, default=0, help="seed of everything random")
    add.add_argument(
        "--star-fraction", type=float, help="stars per galaxy; 0, for --style emc and mer 0.05"
    )
    add.add_argument(
        "--correlated", type=float, default=0.0, help="shift by which noise is resampled [pixel]"
    )
    add.add_argument(
        "--sky-offset", type=float, default=0.0, help="mean sky left in the image [rms]"
    )
    add.add_argument(
        "--source", default="", help="catalogue file; EGG's prescriptions if not given"
    )
    add.add_argument("--area", type=float, help="area of sky that the catalogue file covers [deg2]")
    add.add_argument(
        "--style",
        default="analytic",
        help="how galaxies are drawn: analytic, sersic, structured, clumpy, cosmos:PATH (real "
        "ones of a catalogue for GalSim), real:PATH (of FITS images), generator:WORKDIR, or "
        "several joined by +; emc: five fields in the Euclid Morphology Challenge's layout; mer: a "
        "tile of four exposures in MER's",
    )
    add.add_argument(
        "--interpolation",
        choices=("bilinear", "lanczos3"),
        default=_OF_MER["interpolation"],
        help="how the exposures of --style mer are co-added",
    )
    add.add_argument(
        "--bands",
        default="VIS",
        help="bands of --style mer, joined by commas: VIS, NIR-Y, NIR-J, NIR-H, EXT-G, EXT-R, ...",
    )
    add.add_argument(
        "--tiles",
        default=_OF_MER["tiles"],
        metavar="ROWSxCOLUMNS",
        help="number of neighbouring tiles of --style mer, cut from one sky; --size is then the "
        "side of a tile's core",
    )
    add.add_argument(
        "--reach",
        type=int,
        default=_OF_MER["reach"],
        help="width of what each of several tiles holds beyond its core [pixel]",
    )
    add.add_argument(
        "--processes", type=int, default=available_cores(), help="processes that render"
    )


def simulate(*, out: str, style: str, star_fraction: float | None, **options) -> None:
    """`vaedeblend simulate`: see `simulate.fields`, and `euclid` for emc and mer."""
    if options["seed"] < 0:
        raise VaedeblendError(f"--seed is {options['seed']}; wanted a number from 0 on")
    for name, default in _OF_MER.items():
        if options[name] != default and style != "mer":
            raise VaedeblendError(f"--{name}: of --style mer alone; wanted it, not --style {style}")
    if own_layout := {"emc": _simulate_challenge, "mer": _simulate_tile}.get(style):
        own_layout(out, 0.05 if star_fraction is None else star_fraction, **options)
        return
    for name in _OF_MER:
        del options[name]
    if options.pop("bands") != "VIS":
        raise VaedeblendError(f"--bands: a field of --style {style} has VIS alone; wanted mer")
    _refuse_others(Path(out), *_FIELD)
    from vaedeblend.image.products import clear_earlier
    from vaedeblend.simulate.fields import simulate_field, write_field
    from vaedeblend.survey import Survey

    survey = Survey()
    with console.status("rendering galaxies"):
        field = simulate_field(
            survey=survey, style=style, star_fraction=star_fraction or 0.0, **options
        )
        clear_earlier(Path(out))
        write_field(field, survey, out)
    console.print(Text(f"{len(field.truth)} galaxies and stars: {out}/image.fits"))


def _simulate_tile(
    out: str,
    star_fraction: float,
    *,
    interpolation,
    correlated,
    sky_offset,
    bands,
    tiles,
    reach,
    **options,
) -> None:
    from vaedeblend.euclid.mer.grid import TileGrid, simulate_grid
    from vaedeblend.euclid.mer.simulate import TileRecipe, simulate_tile

    if correlated or sky_offset:
        raise VaedeblendError("--correlated and --sky-offset: a tile of --style mer has its own")
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", tiles):
        raise VaedeblendError(f"--tiles is {tiles}; wanted ROWSxCOLUMNS, as 4x4")
    options["bands"] = [name for name in bands.split(",") if name != "VIS"]
    options |= {"recipe": TileRecipe(interpolation=interpolation), "star_fraction": star_fraction}
    with console.status("rendering galaxies on four exposures"):
        if tiles == "1x1":
            truth, where = simulate_tile(out, **options), None
        else:
            grid = TileGrid(*map(int, tiles.split("x")), reach)
            truth, where = simulate_grid(out, grid, **options), out
    where = where or f"{out}/{truth.meta['tile']}"
    console.print(Text(f"{len(truth)} galaxies and stars: {where}"))


def _simulate_challenge(
    out: str, star_fraction: float, *, source, area, interpolation, bands, tiles, reach, **options
) -> None:
    from vaedeblend.euclid.emc.simulate import write_fields

    if source or area is not None:
        raise VaedeblendError("--source and --area: fields of --style emc hold EGG's own galaxies")
    if bands != "VIS":
        raise VaedeblendError("--bands: fields of --style emc have VIS alone; wanted --style mer")
    _refuse_others(Path(out), *_CHALLENGE)
    with progress_bars() as report:
        counts = write_fields(out, star_fraction=star_fraction, report=report, **options)
    shown = Table(*counts.colnames, title=Text(f"fields in {out}"))
    for row in counts:
        shown.add_row(*map(str, row))
    console.print(shown)


def _refuse_others(out: Path, patterns: tuple[str, ...], own: str, name: str) -> None:
    """A simulation takes the place of an earlier one, and of no other files."""
    found = sorted(path for pattern in patterns for path in out.glob(pattern))
    if found and not any(_holds(path, name) for path in out.glob(own)):
        raise FolderError(
            f"{', '.join(map(str, found[:4]))}: would be overwritten, and no simulation of this "
            f"program has written it; wanted another folder than {out}"
        )


def _holds(path: Path, name: str) -> bool:
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            return name in hdus
    except OSError:
        return False
