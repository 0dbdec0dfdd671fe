"""The report of an evaluation: one page with every figure and table of the talk, and its files.

Figures are drawn from the per-example table and the test stamps; every number on the page stands in
metrics.json, at the path that its element names.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.table import QTable

from vaedeblend.catalogues import catalogue
from vaedeblend.evaluate.evaluation import Evaluation, latent_sets
from vaedeblend.evaluate.results import strict, write_metrics
from vaedeblend.evaluate.summary import with_estimates
from vaedeblend.evaluate.table import read_examples
from vaedeblend.exceptions import CatalogueError, VaedeblendError
from vaedeblend.io import html
from vaedeblend.io.write import write_text
from vaedeblend.pixels.psf import Psf
from vaedeblend.report import parts, talk, verdicts
from vaedeblend.report.builder import STYLE, Sheet, section
from vaedeblend.report.figures import curves, flux_errors, stamps
from vaedeblend.report.parts import Study

_ORDER = ("isolated", "blended", "standard", "stratified")
_PARTS = parts.PARTS | verdicts.PARTS


class Setting(NamedTuple):
    """What an evaluation's numbers do not say of where they come from."""

    title: str
    histories: Mapping[str, Sequence[Mapping]]
    """Records of each stage's training; see `loop.read_records`."""
    catalog: QTable | None
    """Of which the galaxies were selected."""
    data: Mapping
    """Options of the data: selection, max_purity, max_companions, style."""
    psf: Psf
    scale: float
    """Of the survey's pixels [arcsec]."""
    notes: Sequence[str] = ()
    """What is missing, for the head of the page."""
    seconds: float = 0.0
    """Spent before the report."""


class Compared(NamedTuple):
    """Another report, for comparison."""

    name: str
    metrics: Mapping
    sets: Mapping[str, Mapping[str, np.ndarray]]


def write_report(
    folder: str | Path,
    evaluation: Evaluation,
    setting: Setting,
    compared: Compared | None = None,
) -> dict:
    """Writes index.html, figures/, tables/ and metrics.json into a folder.

    Returns:
        What metrics.json holds.
    """
    start, folder = time.monotonic(), Path(folder)
    kinds = sorted(evaluation.examples, key=_rank)
    sets = {kind: with_estimates(evaluation.examples[kind]) for kind in kinds}
    study = Study(
        sets=sets,
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
    numbers = {kind: evaluation.metrics[kind] for kind in kinds}
    programs = sorted({each["program"] for each in numbers.values()})
    data = _data_numbers(setting) | {"program": ", ".join(programs)}
    numbers |= {"data": data, "training": _training_numbers(setting)}
    if compared:
        numbers["compared"] = _compared_numbers(study, compared)
    sheet = Sheet(folder, strict(numbers))
    body = _body(study, sheet)
    sheet.numbers["timing"] = strict(_timing(evaluation, setting, time.monotonic() - start))
    page = _head(sheet, setting) + _first_screen(study, sheet) + body + _foot(sheet)
    write_text(folder / "index.html", html.document(_title(setting), page, STYLE))
    write_metrics(sheet.numbers, folder)
    return sheet.numbers


def read_compared(workdir: str | Path) -> Compared:
    """The report that an evaluation has left in a workdir.

    Raises:
        ValueError: There is none, or it cannot be read.
    """
    folder = Path(workdir) / "report"
    try:
        metrics = html.read_json(folder / "metrics.json")
        table = read_examples(folder / "examples.fits")
    except (OSError, ValueError) as error:
        raise VaedeblendError(f"{folder}: no report to compare with ({error})") from error
    found = {kind: with_estimates(table[table["set"] == kind]) for kind in set(table["set"])}
    return Compared(Path(workdir).name, metrics, found)


def _body(study: Study, sheet: Sheet) -> str:
    """All parts; one of them that fails is said to, and the others are there."""
    sections = []
    for number, (title, make) in enumerate(_PARTS.items(), 1):
        sections.append(section(number, title, *sheet.guarded(title, partial(make, study, sheet))))
    if study.compared:
        blocks = sheet.guarded("Comparison", partial(talk.comparison, study, sheet))
        sections.append(section(len(_PARTS) + 1, "Comparison", *blocks))
    return "".join(sections)


def _title(setting: Setting) -> str:
    return f"Deblending with {setting.title}"


def _head(sheet: Sheet, setting: Setting) -> str:
    """What was measured, and what is missing."""
    said = sheet.words(
        "Relative flux error e of the central galaxy on simulated test stamps; 'SExtractor' is "
        "{data/program} with the best settings of a grid."
    )
    notes = "".join(sheet.missing(note) for note in setting.notes)
    return f'<div class="soft">{said}</div>{notes}'


def _first_screen(study: Study, sheet: Sheet) -> str:
    """The result table and three pictures."""
    kinds = list(study.sets)
    pairs = []
    for kind in kinds[:2]:
        ours, theirs = (html.cell(sheet.numbers, f"{kind}/{m}/sigma", "%") for m in _METHODS)
        pairs.append((f"sigma, {kind}; SExtractor {theirs}", ours))
        share = html.cell(sheet.numbers, f"{kind}/vae_closer", "%")
        pairs.append((f"VAE closer, {kind}", share))
    lines = [
        (f"{kind}: {label}", f"{kind}/{key}")
        for kind in kinds
        for label, key in _FIRST_ROWS.items()
    ]
    head = {"n": "n", "bias": "bias:p+", "sigma": "sigma:p", "NMAD": "nmad:p"}
    head |= {"outliers": "outliers:p", "mean |e|": "mean_abs:p"}
    table = sheet.table("first", head, lines, first="relative flux error [%]")
    hardest = "blended" if "blended" in kinds else kinds[-1] if kinds else None
    pictures = _pictures(study, sheet, hardest) if hardest else []
    links = [
        f'<a href="#part-{number}">{number}. {escape(title)}</a>'
        for number, title in enumerate(_PARTS, 1)
    ]
    return f"""{html.keys(pairs)}{table}<div class="first">{"".join(pictures)}</div>
<nav>{"".join(links)}</nav>"""


_METHODS = ("vae", "sextractor")
_FIRST_ROWS = {
    "VAE": "vae",
    "SExtractor": "sextractor",
    "SExtractor, failures aside": "sextractor_clean",
}


def _pictures(study: Study, sheet: Sheet, kind: str) -> list[str]:
    column = study.sets[kind]
    glance = partial(stamps.three_blends, column, study.images[kind])
    closer = "The VAE is closer on {./vae_closer:%} of {./n} stamps."
    say = "Below a purity of {./by_purity/1/high} and above {./by_purity/1/low}, NMAD is "
    say += "{./by_purity/1/vae/nmad:%} (VAE) and {./by_purity/1/sextractor/nmad:%} (SExtractor)."
    distance = "Median cosine distance {./median_cosine_distance}."
    histogram = partial(flux_errors.histogram, {kind: column})
    along = partial(flux_errors.by_purity, column)
    return [
        sheet.figure("first_blends", f"{kind} stamps, deblended", glance, distance, base=kind),
        sheet.figure("first_errors", "Flux errors", histogram, closer, base=kind),
        sheet.figure("first_purity", "Errors by purity", along, say, base=kind),
    ]


def _foot(sheet: Sheet) -> str:
    said = sheet.words(
        "This report took {timing/total:.1} s: SExtractor {timing/sextractor:.1} s, t-SNE "
        "{timing/t_sne:.1} s, all else {timing/rest:.1} s, of which figures {timing/figures:.1} s."
    )
    return f"""<section><div class="soft">{said}<p>Every number is in
<a href="metrics.json">metrics.json</a>, every figure's points in <a href="examples.fits">
examples.fits</a>, one row a test stamp; tables are in <a href="tables/">tables</a>.</p></div>
</section>"""


def _rank(kind: str) -> int:
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _data_numbers(setting: Setting) -> dict:
    """Of the catalogue, the cuts and the PSF."""
    _, psf = curves.psf_table(*setting.psf)
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


def _timing(evaluation: Evaluation, setting: Setting, drawing: float) -> dict:
    """Seconds, by what they were spent on."""
    spent = [each.get("seconds_of", {}) for each in evaluation.metrics.values()]
    of = {
        "sextractor": sum(each.get("sextractor", 0.0) for each in spent),
        "t_sne": sum(s for each in spent for name, s in each.items() if "t-SNE" in name),
    }
    total = setting.seconds + drawing
    rest = total - sum(of.values())
    return of | {"figures": drawing, "rest": rest, "total": total}


def _compared_numbers(study: Study, compared: Compared) -> dict:
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
