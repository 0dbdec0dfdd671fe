"""What a report draws from: an evaluation, where its numbers come from, and another report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import QTable

from vaedeblend.catalogues import catalogue
from vaedeblend.evaluate.evaluation import Evaluation, latent_sets
from vaedeblend.evaluate.metrics import ExampleColumns
from vaedeblend.evaluate.summary import with_estimates
from vaedeblend.evaluate.table import read_examples
from vaedeblend.exceptions import CatalogueError, VaedeblendError
from vaedeblend.pixels.psf import Psf
from vaedeblend.report.figures import curves

_ORDER = ("isolated", "blended", "standard", "stratified")


class Setting(NamedTuple):
    """What an evaluation's numbers do not say of where they come from."""

    title: str
    histories: Mapping[str, Sequence[Mapping]]
    """Records of each stage's training, as `loop.read_records` returns them."""
    catalog: QTable | None
    """Catalogue of which the galaxies were selected, where it could be read."""
    data: Mapping
    """Options of the data: selection, max_purity, max_companions, style."""
    psf: Psf
    scale: float
    """Pixel scale of the survey [arcsec]."""
    notes: Sequence[str] = ()
    """What is missing, for the head of the page."""
    seconds: float = 0.0
    """Time spent before the report [s]."""


class Compared(NamedTuple):
    """Another report, for comparison."""

    name: str
    metrics: Mapping
    sets: Mapping[str, ExampleColumns]


class Study(NamedTuple):
    """All that a report draws from."""

    sets: Mapping[str, ExampleColumns]
    images: Mapping[str, Mapping]
    """Images of the test stamps by kind of scene, as `evaluation.Evaluation` holds them."""
    histories: Mapping[str, Sequence[Mapping]]
    """Records of the training's stages; empty where there are none."""
    catalog: QTable | None
    """Catalogue before the cuts, where it could be read."""
    cuts: Mapping[str, Sequence[float | int]]
    """Lower and upper limit of the catalogue's columns."""
    psf: Psf
    scale: float
    """Pixel scale of the survey [arcsec]."""
    spaces: Mapping[str, str]
    """Kind of scene whose latents are shown, by network."""
    compared: Mapping[str, ExampleColumns]
    """Per-example tables of another report, by kind of scene."""
    names: tuple[str, str]
    """Name of this report and of the other one."""

    def only(self, *kinds: str) -> dict[str, ExampleColumns]:
        """The sets of some kinds that there are."""
        return {kind: self.sets[kind] for kind in kinds if kind in self.sets}


def gather(evaluation: Evaluation, setting: Setting, compared: Compared | None) -> Study:
    """What the report draws from, its kinds of scene in order."""
    kinds = sorted(evaluation.examples, key=_rank)
    return Study(
        sets={kind: with_estimates(evaluation.examples[kind]) for kind in kinds},
        images=evaluation.images,
        histories=setting.histories,
        catalog=setting.catalog,
        cuts=setting.data["selection"],
        psf=setting.psf,
        scale=setting.scale,
        spaces=latent_sets(evaluation.examples),
        compared=compared.sets if compared else {},
        names=(setting.title, compared.name if compared else ""),
    )


def read_compared(workdir: str | Path) -> Compared:
    """The report that an evaluation has left in a workdir.

    Raises:
        VaedeblendError: There is none, or it cannot be read.
    """
    folder = Path(workdir) / "report"
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        table = read_examples(folder / "examples.fits")
    except (OSError, ValueError) as error:
        raise VaedeblendError(f"{folder}: no report to compare with ({error})") from error
    found = {kind: with_estimates(table[table["set"] == kind]) for kind in set(table["set"])}
    return Compared(Path(workdir).name, metrics, found)


def numbers_of(evaluation: Evaluation, setting: Setting, study: Study) -> dict:
    """Numbers that the report quotes, by kind of scene and by subject."""
    numbers = {kind: evaluation.metrics[kind] for kind in study.sets}
    programs = sorted({each["program"] for each in numbers.values()})
    data = _data_numbers(setting) | {"program": ", ".join(programs)}
    return numbers | {"data": data, "training": _training_numbers(setting)}


def compared_numbers(study: Study, compared: Compared) -> dict:
    """The other report's numbers that are shown, and who is closer where stamps are the same."""
    found = {}
    for kind, column in study.sets.items():
        if kind not in compared.sets or kind not in compared.metrics:
            continue
        theirs = compared.metrics[kind]
        keys = ("n", "vae", "coverage68", "coverage95")
        found[kind] = {key: theirs.get(key) for key in keys} | {"name": compared.name}
        other = compared.sets[kind]
        same = len(other["id"]) == len(column["id"]) and np.allclose(other["flux"], column["flux"])
        if same:
            ours, theirs = (np.abs(each["vae_error"]) for each in (column, other))
            found[kind]["closer"] = float(np.mean(ours < theirs))
    return found


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _data_numbers(setting: Setting) -> dict:
    """Numbers of the catalogue, the cuts and the PSF."""
    _, psf = curves.psf_table(*setting.psf[:2])
    numbers = {"psf": psf, "cuts": dict(setting.data["selection"])}
    numbers |= {key: setting.data[key] for key in ("max_purity", "max_companions", "style")}
    if setting.catalog is None:
        return numbers
    try:
        after = len(catalogue.select(setting.catalog, setting.data["selection"]))
    except CatalogueError:
        after = 0
    before = len(setting.catalog)
    return numbers | {"before": before, "after": after, "share": after / before}


def _training_numbers(setting: Setting) -> dict:
    return {name: curves.training_numbers(each) for name, each in setting.histories.items()}
