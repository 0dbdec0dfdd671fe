"""`vaedeblend survey`: all tiles of a survey, on a machine or a cluster, and one catalogue."""

from pathlib import Path

from rich.text import Text

from vaedeblend.cli.console import console, progress_bars
from vaedeblend.cli.images import keep_compiled

_INCOMPLETE = 4
"""Status of a survey of which tiles have failed."""


def add_survey(add) -> None:
    """Adds the command's arguments to its parser."""
    add.add_argument(
        "tiles",
        nargs="*",
        help="folders of MER tiles or of images, at any depth; FITS images, with NAME_rms.fits, "
        "NAME_mask.fits and NAME_psf.fits beside NAME.fits; patterns of those; or a text file of "
        "a path a line. Those of the last time if not given",
    )
    add.add_argument("--out", required=True, help="folder that takes shards, catalogue and page")
    where = add.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=int, default=0, help="workers on this machine; one for each core"
    )
    where.add_argument("--scheduler", help="address of a scheduler of dask that is there")
    where.add_argument("--cluster", help="TOML file of a cluster of dask-jobqueue, or the like")
    what = add.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="say how far it is, and do nothing")
    what.add_argument("--retry", action="store_true", help="begin tiles anew that have failed")
    add.add_argument("--weights", help="shipped weights, or a workdir (euclid_vis)")
    add.add_argument("--iterations", type=int, help="as of deblend (4)")
    add.add_argument(
        "--tile", type=int, help="side of the pieces measured [pixel], which bounds memory (4096)"
    )
    add.add_argument(
        "--attempts",
        type=int,
        default=3,
        help="how often a tile is begun whose failure may be a moment's",
    )


def survey_command(
    *, tiles, out, workers, scheduler, cluster, status, retry, attempts, **options
) -> int:
    """`vaedeblend survey`: see `surveys.run.run_survey`."""
    from vaedeblend.image.surveys.status import said_of

    given = {name: value for name, value in options.items() if value is not None}
    if status:
        from vaedeblend.image.surveys.run import survey_status

        return _say(survey_status(out), said_of, out)
    keep_compiled()
    from vaedeblend.image.surveys.engine import Workers
    from vaedeblend.image.surveys.run import run_survey

    where = Workers(workers, scheduler, cluster)
    show = {"say": lambda said: console.print(Text(said), soft_wrap=True)}
    with progress_bars() as report:
        show["report"] = report
        states = run_survey(
            out, tiles, workers=where, attempts=attempts, retry=retry, **show, **given
        )
    return _say(states, said_of, out)


def _say(states, said_of, out) -> int:
    console.print(*map(Text, said_of(states)), sep="\n", soft_wrap=True)
    if (page := Path(out) / "index.html").exists():
        console.print(Text(str(page)), soft_wrap=True)
    return _INCOMPLETE if any(each.state == "failed" for each in states) else 0
