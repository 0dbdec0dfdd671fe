"""`vaedeblend weights`: the networks that are shipped, what they are for, those of a training."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from vaedeblend.cli.console import console

_CARD, _METRICS = "MODEL_CARD.md", "metrics.json"
_SETS = "isolated", "blended"


def add_weights(add) -> None:
    """Adds the command's own commands to its parser."""
    kinds = add.add_subparsers(required=True, metavar="WHAT", dest="what")
    kinds.add_parser("list", help="shipped weights")
    info = kinds.add_parser("info", help="what weights were trained on, and how good they are")
    info.add_argument("name", help="name of shipped weights, or a workdir")
    given = kinds.add_parser("export", help="what a deblender needs of a finished training")
    given.add_argument("workdir", help="workdir of the training")
    given.add_argument("out", help="folder that takes it, to be given as --weights")


def weights_command(*, what: str, **options) -> None:
    """`vaedeblend weights`: list, info or export."""
    {"list": _list, "info": _info, "export": _export}[what](**options)


def _list() -> None:
    from vaedeblend.io.workdir import WEIGHTS, read_config

    shown = Table("name", "bands", "pixel [arcsec]", "galaxies", "stages", "MB")
    for folder in sorted(path.parent for path in WEIGHTS.glob("*/config.json")):
        shown.add_row(folder.name, *_cells(folder, read_config(folder)))
    console.print(shown)


def _cells(folder: Path, config: Mapping) -> list[str]:
    survey = config["survey"]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    style = config["data"].get("style", "analytic")
    words = ", ".join(survey["bands"]), survey["pixel_scale"], style, ", ".join(config["stages"])
    return [*map(str, words), f"{size / 1e6:.0f}"]


def _info(name: str) -> None:
    from vaedeblend.io.workdir import find_workdir, read_trained

    folder = find_workdir(name)
    survey, _, style, stages, size = _cells(folder, config := read_trained(folder))
    lines = {
        "folder": f"{folder} ({size} MB)",
        "bands": f"{survey}, pixels of {config['survey']['pixel_scale']} arcsec",
        "stamps": f"{config['data']['stamp_size']} pixels",
        "galaxies": f"{style}; PSFs: {config['data'].get('n_psfs', 1)}",
        "stages": stages,
    } | _accuracy(folder)
    for what, said in lines.items():
        console.print(Text(f"{what + ':':<10}{said}"), soft_wrap=True)
    if (folder / _CARD).exists():
        console.print(Markdown((folder / _CARD).read_text(encoding="utf-8")))


def _accuracy(folder: Path) -> dict[str, str]:
    """Flux errors on test stamps, where an evaluation has measured them."""
    paths = [path for path in (folder / _METRICS, folder / "report" / _METRICS) if path.exists()]
    if not paths:
        return {}
    metrics = json.loads(paths[0].read_text())
    return {
        kind: f"flux errors: sigma {100 * each['sigma']:.1f} %, NMAD {100 * each['nmad']:.1f} %, "
        f"of {each['n']} test stamps"
        for kind in _SETS
        if (each := metrics.get(kind, {}).get("vae"))
    }


def _export(workdir: str, out: str) -> None:
    from vaedeblend.io.workdir import export

    export(workdir, out)
    console.print(
        Text(
            f"{out}: next: vaedeblend deblend IMAGE.fits --weights {shlex.quote(out)} --out RESULT"
        ),
        soft_wrap=True,
    )
