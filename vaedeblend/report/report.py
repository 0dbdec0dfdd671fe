"""The report of an evaluation: one page with every figure and table of the talk, and its files.

Figures are drawn from the per-example table and the test stamps; every number on the page stands in
metrics.json, at the path that its element names.
"""

import time
from pathlib import Path

from vaedeblend.evaluate.evaluation import Evaluation
from vaedeblend.evaluate.results import strict, write_metrics
from vaedeblend.io.write import write_text
from vaedeblend.report import sections, sections_flux
from vaedeblend.report.builder import Builder
from vaedeblend.report.study import Compared, Setting, compared_numbers, gather, numbers_of

_SECTIONS = sections.SECTIONS | sections_flux.FLUX_SECTIONS | sections.OUTSIDE


def write_report(
    folder: str | Path,
    evaluation: Evaluation,
    setting: Setting,
    compared: Compared | None = None,
) -> dict:
    """Writes index.html, figures/, tables/ and metrics.json into a folder.

    Returns:
        Content of metrics.json.
    """
    start, folder = time.monotonic(), Path(folder)
    study = gather(evaluation, setting, compared)
    numbers = numbers_of(evaluation, setting, study)
    if compared:
        numbers["compared"] = compared_numbers(study, compared)
    builder = Builder(folder, study, strict(numbers))
    summary = builder.section("Summary", sections_flux.summary)
    wanted = _SECTIONS | (sections.COMPARISON if study.compared else {})
    made = [builder.section(title, make) for title, make in wanted.items()]
    builder.add("timing", strict(_timing(evaluation, setting, time.monotonic() - start)))
    page = builder.render(
        "report.html",
        title=f"Deblending with {setting.title}",
        notes=setting.notes,
        summary=summary,
        sections=made,
        data=builder.quoted["data"],
        timing=builder.quoted["timing"],
    )
    write_text(folder / "index.html", page)
    write_metrics(builder.numbers, folder)
    return builder.numbers


def _timing(evaluation: Evaluation, setting: Setting, drawing: float) -> dict:
    """Time by what it was spent on [s]."""
    spent = [each.get("seconds_of", {}) for each in evaluation.metrics.values()]
    of = {
        "sextractor": sum(each.get("sextractor", 0.0) for each in spent),
        "t_sne": sum(s for each in spent for name, s in each.items() if "t-SNE" in name),
    }
    total = setting.seconds + drawing
    rest = total - sum(of.values())
    return of | {"figures": drawing, "rest": rest, "total": total}
