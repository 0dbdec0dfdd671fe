"""Sections on how good it is: fluxes, SExtractor, complexity, calibration, shapes.

A section draws its figures, makes its tables and fills in its template.
"""

from functools import partial
from operator import itemgetter
from typing import NamedTuple

from markupsafe import Markup

from vaedeblend.evaluate.results import CLOSER, ERROR_STATISTICS, ROWS, full_name
from vaedeblend.evaluate.summary import MAPS, NOMINAL
from vaedeblend.report.builder import Builder
from vaedeblend.report.figures import flux_errors, maps, stamps
from vaedeblend.report.figures.style import MAGNITUDE, METHODS, PURITY
from vaedeblend.report.quoted import (
    Form,
    Quoted,
    TableColumn,
    decimals,
    percent,
    percent_points,
    signed_percent,
    signed_percent_points,
)

_ERRORS = tuple(
    TableColumn(title, itemgetter(key), percent_points) for title, key in ERROR_STATISTICS.items()
)
_DISPERSION = TableColumn("EMC dispersion", itemgetter("dispersion68"), percent_points)
_SHORT = ("N = 0", "N = 1, 50-75 %", "N = 1, more", "N > 1")
"""Titles of the classes of SExtractor's failures in the table."""
_MAP_TITLES = {
    "bm_1_flux_ratio": "blended area and flux ratio",
    "purity_separation": "purity and the nearest companion's distance",
}
_ONE_SIGMA = 0.683
_OPTIONAL = ("one_look", "vae_i", "sextractor_default")
"""Keys of the methods that an evaluation may lack."""


class Binned(NamedTuple):
    """A method's errors in a bin, and the bin's Fisher bound."""

    errors: dict
    bound: dict


def summary(report: Builder) -> Markup:
    """The first screen: the result table and three figures."""
    study, rows = report.study, {}
    for kind, numbers in report.sets.items():
        rows |= {f"{kind}: {label}": numbers[key] for label, key in _FIRST_ROWS.items()}
    report.table("first", "relative flux error [%]", _FIRST_COLUMNS, rows.items())
    kinds = list(study.sets)
    hardest = "blended" if "blended" in kinds else kinds[-1] if kinds else None
    if hardest:
        column = study.sets[hardest]
        images = study.images[hardest]
        report.figure("first_blends", partial(stamps.three_blends, column, images))
        report.figure("first_errors", partial(flux_errors.histogram, {hardest: column}))
        report.figure("first_purity", partial(flux_errors.by_purity, column))
    return report.render("summary.html", hardest=hardest)


_FIRST_ROWS = {
    "network": "vae",
    "SExtractor": "sextractor",
    "SExtractor, failures aside": "sextractor_clean",
}
_FIRST_COLUMNS = (
    TableColumn("n", itemgetter("n")),
    TableColumn("bias", itemgetter("bias"), signed_percent_points),
    TableColumn("sigma", itemgetter("sigma"), percent_points),
    TableColumn("NMAD", itemgetter("nmad"), percent_points),
    TableColumn("outliers", itemgetter("outliers"), percent_points),
    TableColumn("mean |e|", itemgetter("mean_abs"), percent_points),
)


def _flux(report: Builder) -> Markup:
    """Errors against magnitude and purity, with the bound; statistics in bins."""
    sets = report.study.sets
    numbers = {kind: report.numbers[kind] for kind in sets}
    against = partial(flux_errors.errors_against, sets)
    report.figure("histogram", partial(flux_errors.histogram, sets))
    report.figure("error_vs_magnitude", partial(against, "magnitude", MAGNITUDE))
    report.figure("error_vs_purity", partial(against, "purity", PURITY))
    report.figure("statistics", partial(flux_errors.statistics, numbers))
    empty = {kind: [] for kind in sets}
    for kind, each in report.sets.items():
        for name in ("magnitude", "purity"):
            bins = each[f"by_{name}"]
            empty[kind] += [(name, row) for row in bins if not row["vae"]["n"]]
            _bins_table(report, kind, name, bins)
    _results_table(report)
    return report.render("flux.html", empty=empty)


def _bins_table(report: Builder, kind: str, name: str, bins: list[dict]) -> None:
    """Makes the table of both methods and the bound in bins of magnitude or purity."""
    found = {}
    for row in bins:
        if row["vae"]["n"]:
            label = f"{name} {row['low'].value:.3g}-{row['high'].value:.3g}"
            for key, method in METHODS.items():
                found[f"{label}: {method}"] = Binned(row[key], row["bound"])
    columns = [TableColumn("n", lambda row: row.errors["n"])]
    columns += [
        column._replace(value=lambda row, value=column.value: value(row.errors))
        for column in (*_ERRORS, _DISPERSION)
    ]
    columns.append(TableColumn("bound", lambda row: row.bound["rms_prior"], percent_points))
    report.table(f"{kind}_by_{name}", f"{kind} [%]", columns, found.items())


def _results_table(report: Builder) -> None:
    """Makes the table of every method on every kind of scene."""
    found = {}
    for kind, numbers in report.sets.items():
        for label, key in ROWS.items():
            if key in numbers or key not in _OPTIONAL:
                found[f"{kind}: {full_name(label)}"] = numbers[key]
    columns = (TableColumn("n", itemgetter("n")), TableColumn("found", itemgetter("found")))
    report.table("results", "set: method", (*columns, *_ERRORS, _DISPERSION), found.items())


def _failures(report: Builder) -> Markup:
    """SExtractor's failures in the talk's classes."""
    study, reasons, found = report.study, {}, {}
    for kind, column in study.sets.items():
        if "segmentation" in study.images[kind]:
            draw = partial(stamps.failures, column, study.images[kind], study.scale)
            report.figure(f"failures_{kind}", draw)
        else:
            reasons[kind] = report.numbers[kind].get("sextractor_failure") or "it was not run"
        found[f"{kind}: default settings"] = report.sets[kind]["default_failure_classes"]
        found[f"{kind}: best settings"] = report.sets[kind]["failure_classes"]
    columns = [
        *(TableColumn(t, itemgetter(key)) for t, key in zip(_SHORT, stamps.CLASSES, strict=True)),
        TableColumn("failures", itemgetter("failed")),
        TableColumn("of", itemgetter("n")),
        TableColumn("share", itemgetter("failed_share"), percent),
        TableColumn("nothing at the centre", itemgetter("undetected")),
        TableColumn("N is right", itemgetter("counted_right"), percent),
    ]
    report.table("failures", "SExtractor's settings", columns, found.items())
    return report.render("failures.html", reasons=reasons)


def _closer(report: Builder) -> Markup:
    """The network against SExtractor, and against other networks where they were measured."""
    report.figure("closer", partial(maps.head_to_head, report.study.sets))
    columns = [TableColumn("network closer than SExtractor", itemgetter("vae_closer"), percent)]
    for label, key in ROWS.items():
        if key in CLOSER and key != "sextractor":
            title = f"than {full_name(label)}"
            columns.append(TableColumn(title, partial(_closer_than, key), percent))
    report.table("closer", "set", columns, report.sets.items())
    return report.render("closer.html")


def _closer_than(method: str, numbers: dict) -> Quoted:
    """How often the network is closer than a method; none where that was not measured."""
    missing = method in _OPTIONAL and method not in numbers
    return Quoted(None, "") if missing else numbers[CLOSER[method]]


def _complexity(report: Builder) -> Markup:
    """Maps over blended area and flux ratio, and over purity and separation."""
    kinds = [k for k in ("stratified", "blended", "standard") if k in report.study.sets]
    if not kinds:
        return report.render("complexity.html", maps={})
    shown = {}
    for name, (names, _) in MAPS.items():
        cells = report.numbers[kinds[0]]["maps"][name]["cells"]
        report.figure(f"complexity_{name}", partial(maps.complexity, cells, names))
        report.save(f"complexity_{name}", maps.cell_table(cells, names))
        x, y = (maps.AXES[each].split(" [")[0].split(",")[0] for each in names)
        compared = any(cell["ratio"] is not None for cell in cells)
        shown[name] = {"title": _MAP_TITLES[name], "x": x, "y": y, "compared": compared}
    return report.render("complexity.html", kind=kinds[0], maps=shown)


def _calibration(report: Builder) -> Markup:
    """Coverage and PIT."""
    sets = report.study.sets
    numbers = {kind: report.numbers[kind] for kind in sets}
    report.figure("calibration", partial(flux_errors.coverage_and_pit, sets, numbers))
    columns = (
        TableColumn("coverage 68", itemgetter("coverage68"), percent),
        TableColumn("coverage 95", itemgetter("coverage95"), percent),
        TableColumn("mean error", itemgetter("mean_relative_err"), percent),
        TableColumn("error / NMAD", itemgetter("err_over_nmad"), partial(decimals, digits=2)),
    )
    report.table("calibration", "set", columns, report.sets.items())
    return report.render("calibration.html", one_sigma=NOMINAL.index(_ONE_SIGMA))


def _shapes(report: Builder) -> Markup:
    """Half-light radius, axis ratio and position angle."""
    shown = report.study.only("isolated", "blended") or report.study.sets
    report.figure("shapes", partial(maps.shapes, shown))
    report.table("shapes", "set", _SHAPES, report.sets.items())
    return report.render("shapes.html", shown={kind: report.sets[kind] for kind in shown})


def _shape(title: str, quantity: str, statistic: str, form: Form) -> TableColumn:
    return TableColumn(title, lambda numbers: numbers["shape"][quantity][statistic], form)


_SHAPES = (
    _shape("radius bias", "half_light_radius", "bias", signed_percent),
    _shape("radius NMAD", "half_light_radius", "nmad", percent),
    _shape("axis ratio bias", "axis_ratio", "bias", partial(decimals, digits=3)),
    _shape("axis ratio NMAD", "axis_ratio", "nmad", partial(decimals, digits=3)),
    _shape("angle bias [deg]", "position_angle", "bias", partial(decimals, digits=2)),
    _shape("angle NMAD [deg]", "position_angle", "nmad", partial(decimals, digits=1)),
    _shape("shear m", "ellipticity", "m", signed_percent),
    _shape("shear c", "ellipticity", "c", partial(decimals, digits=3)),
    _shape("ellipticity scatter", "ellipticity", "scatter", partial(decimals, digits=3)),
)

FLUX_SECTIONS = {
    "Flux": _flux,
    "SExtractor's failures": _failures,
    "The network against SExtractor": _closer,
    "Complexity of a blend": _complexity,
    "Calibration": _calibration,
    "Shape": _shapes,
}
"""Sections on how good it is."""
