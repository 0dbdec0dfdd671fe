"""The report's parts on how good it is: fluxes, SExtractor, complexity, calibration, shapes."""

from functools import partial

from vaedeblend.evaluate.results import CLOSER, ERROR_STATISTICS, ROWS, full_name, rows
from vaedeblend.evaluate.summary import MAPS
from vaedeblend.io.html import cell
from vaedeblend.report import talk
from vaedeblend.report.builder import Sheet
from vaedeblend.report.figures import flux_errors, maps, stamps, style
from vaedeblend.report.parts import Study

_SHORT = ("N = 0", "N = 1, 50-75 %", "N = 1, more", "N > 1")


def flux(study: Study, sheet: Sheet) -> list[str]:
    """Part 6: errors, against magnitude and purity, with the bound; statistics in bins."""
    histogram = [
        f"<b>{kind}</b> sigma {{{kind}/vae/sigma:%}} (VAE) and {{{kind}/sextractor/sigma:%}} "
        f"(SExtractor), bias {{{kind}/vae/bias:%+}} and {{{kind}/sextractor/bias:%+}}."
        for kind in study.sets
    ]
    along = [
        f"<b>{kind}</b> from the brightest to the faintest bin, the VAE's NMAD goes from "
        f"{{{kind}/by_magnitude/0/vae/nmad:%}} to {{{kind}/by_magnitude/-1/vae/nmad:%}}; the "
        f"bound's median from {{{kind}/by_magnitude/0/bound/median_prior:%}} to "
        f"{{{kind}/by_magnitude/-1/bound/median_prior:%}}."
        for kind in study.sets
    ]
    blended = "Below a purity of {./by_purity/0/high}, the VAE's NMAD is "
    blended += "{./by_purity/0/vae/nmad:%}, SExtractor's {./by_purity/0/sextractor/nmad:%}."
    against = partial(flux_errors.errors_against, study.sets)
    return [
        sheet.figure(
            "histogram",
            "Relative flux errors",
            partial(flux_errors.histogram, study.sets),
            *histogram,
            "The end bins hold all beyond.",
        ),
        sheet.figure(
            "error_vs_magnitude",
            "Flux error against magnitude, and the Fisher bound",
            partial(against, "magnitude", style.MAGNITUDE),
            *along,
        ),
        sheet.figure(
            "error_vs_purity",
            "Flux error against purity, and the Fisher bound",
            partial(against, "purity", style.PURITY),
            blended,
            base="blended",
        ),
        sheet.figure(
            "statistics",
            "Statistics by true magnitude; stamps of each bin above",
            partial(flux_errors.statistics, {kind: sheet.numbers[kind] for kind in study.sets}),
            *(
                f"<b>{kind}</b> in all, sigma is {{{kind}/vae/sigma:%}} where the bound is "
                f"{{{kind}/bound/rms_prior:%}}."
                for kind in study.sets
            ),
        ),
        *(_binned(sheet, kind) for kind in study.sets),
        "<h3>All methods, in per cent of the flux</h3>",
        _methods(sheet),
    ]


def _binned(sheet: Sheet, kind: str) -> str:
    """Both methods, and the bound, in bins of magnitude and purity."""
    head = {"n": "n"} | {label: f"{key}:p" for label, key in ERROR_STATISTICS.items()}
    head |= {"EMC dispersion": "dispersion68:p", "bound": "../bound/rms_prior:p"}
    blocks, empty = [], []
    for name in ("magnitude", "purity"):
        lines = []
        for i, row in enumerate(sheet.numbers[kind][f"by_{name}"]):
            label, base = f"{name} {row['low']:.3g}-{row['high']:.3g}", f"{kind}/by_{name}/{i}"
            if row["vae"]["n"]:
                methods = style.METHODS.items()
                lines += [(f"{label}: {said}", f"{base}/{key}") for key, said in methods]
            else:
                low, high = (cell(sheet.numbers, f"{base}/{end}") for end in ("low", "high"))
                empty.append(f"{name} {low}-{high}")
        blocks.append(sheet.table(f"{kind}_by_{name}", head, lines, first=f"{kind} [%]"))
    if empty:
        blocks.append(f'<p class="soft">No {kind} stamps: {", ".join(empty)}.</p>')
    return "".join(blocks)


def _methods(sheet: Sheet) -> str:
    """Every method on every kind of scene."""
    sets = {k: v for k, v in sheet.numbers.items() if isinstance(v, dict) and "vae" in v}
    head = {"n": "n", "found": "found"} | {t: f"{key}:p" for t, key in ERROR_STATISTICS.items()}
    head |= {"EMC dispersion": "dispersion68:p"}
    lines = [(f"{row.kind}: {full_name(row.label)}", row.errors) for row in rows(sets)]
    return sheet.table("results", head, lines, first="set: method")


def failures(study: Study, sheet: Sheet) -> list[str]:
    """Part 7: SExtractor's failures in the talk's classes."""
    blocks = []
    for kind, column in study.sets.items():
        if "segmentation" not in study.images[kind]:
            reason = sheet.numbers[kind].get("sextractor_failure") or "it was not run"
            blocks.append(sheet.missing(f"{kind}: no SExtractor ({reason})."))
            continue
        blocks.append(
            sheet.figure(
                f"failures_{kind}",
                f"{kind}: stamps on which SExtractor fails, its segments in orange",
                partial(stamps.failures, column, study.images[kind], study.scale),
                "With its default settings it fails on {./default_failure_classes/failed} of {./n} "
                "stamps, {./default_failure_classes/failed_share:%}; with its best ones on "
                "{./failure_classes/failed}. Circles are the true positions, the central galaxy's "
                "in blue; N is the number of objects that it sees.",
                base=kind,
            )
        )
    head = dict(zip(_SHORT, stamps.CLASSES, strict=True))
    head |= {"failures": "failed", "of": "n", "share": "failed_share:%"}
    head |= {"nothing at the centre": "undetected", "N is right": "counted_right:%"}
    lines = [
        (f"{kind}: {label}", f"{kind}/{key}")
        for kind in study.sets
        for label, key in (
            ("default settings", "default_failure_classes"),
            ("best settings", "failure_classes"),
        )
    ]
    counts = sheet.table("failures", head, lines, first="SExtractor's settings")
    say = "The talk's classes: no object (error of 100 %); one, with an error of 50-75 %; two or "
    return [*blocks, f"<p>{say}more. A failure is an error above 50 %.</p>", counts]


def closer(study: Study, sheet: Sheet) -> list[str]:
    """Part 8: the network against SExtractor."""
    sentences = [
        f"<b>{kind}</b> the VAE is closer on {{{kind}/vae_closer:%}} of {{{kind}/n}} stamps; on "
        f"the {{{kind}/lost}} others its mean error is {{{kind}/lost_vae_mean_abs:%}}, that of "
        f"SExtractor {{{kind}/lost_sextractor_mean_abs:%}}."
        for kind in study.sets
    ]
    title = "Errors of both methods, and how often the VAE is closer"
    draw = partial(maps.head_to_head, study.sets)
    head = {"VAE closer than SExtractor": "vae_closer:%"}
    head |= {f"than {full_name(n)}": f"{CLOSER[k]}:%" for n, k in ROWS.items() if k in CLOSER}
    head.pop("than SExtractor")
    return [
        sheet.figure("closer", title, draw, *sentences),
        sheet.table("closer", head, [(kind, kind) for kind in study.sets], first="set"),
    ]


def complexity(study: Study, sheet: Sheet) -> list[str]:
    """Part 9: maps over blended area and flux ratio, and over purity and separation."""
    kind = next((k for k in ("stratified", "blended", "standard") if k in study.sets), None)
    if kind is None:
        return [sheet.missing("No set of test stamps has companions.")]
    titles = {
        "bm_1_flux_ratio": "blended area and flux ratio",
        "purity_separation": "purity and the nearest companion's distance",
    }
    say = "In each cell: sigma, or the ratio of both, and the number of stamps, {./stamps} in all. "
    say += "The VAE gains most, a factor of {./most/ratio}, at {x} {./most/x_low} to "
    say += "{./most/x_high} and {y} {./most/y_low} to {./most/y_high} ({./most/n} stamps); least, "
    say += "{./least/ratio}, at {./least/x_low} to {./least/x_high} and {./least/y_low} to "
    say += "{./least/y_high} ({./least/n})."
    blocks = []
    for name, (names, _) in MAPS.items():
        cells = sheet.numbers[kind]["maps"][name]["cells"]
        words = {"x": maps.AXES[names[0]], "y": maps.AXES[names[1]]}
        words = {key: word.split(" [")[0].split(",")[0] for key, word in words.items()}
        said = say.replace("{x}", words["x"]).replace("{y}", words["y"])
        draw = partial(maps.complexity, cells, names)
        title = f"{kind}: complexity over {titles[name]}"
        base = f"{kind}/maps/{name}"
        blocks.append(sheet.figure(f"complexity_{name}", title, draw, said, base=base))
        sheet.save(f"complexity_{name}", maps.cell_table(cells, names))
    return blocks


def calibration(study: Study, sheet: Sheet) -> list[str]:
    """Part 10: coverage and PIT."""
    sentences = [
        f"<b>{kind}</b> flux ± flux_err holds the truth on {{{kind}/coverage68:%}} of stamps, the "
        f"central 95 % on {{{kind}/coverage95:%}}; the PIT is {{{kind}/pit/ks_distance:.3}} from "
        f"uniform (Kolmogorov-Smirnov)."
        for kind in study.sets
    ]
    theirs = "SExtractor's flux_err holds it on {blended/coverage/sextractor/6:%} of blends."
    sentences.append(theirs)
    numbers = {kind: sheet.numbers[kind] for kind in study.sets}
    head = {"coverage 68": "coverage68:%", "coverage 95": "coverage95:%"}
    head |= {"mean error": "mean_relative_err:%", "error / NMAD": "err_over_nmad:.2"}
    draw = partial(flux_errors.coverage_and_pit, study.sets, numbers)
    return [
        sheet.figure("calibration", "Are the stated errors right?", draw, *sentences),
        sheet.table("calibration", head, [(kind, kind) for kind in study.sets], first="set"),
    ]


def shapes(study: Study, sheet: Sheet) -> list[str]:
    """Part 11: half-light radius, axis ratio and position angle."""
    shown = study.only("isolated", "blended") or study.sets
    sentences = [
        f"<b>{kind}</b> radius {{{kind}/shape/half_light_radius/bias:%+}} with an NMAD of "
        f"{{{kind}/shape/half_light_radius/nmad:%}}; axis ratio off by "
        f"{{{kind}/shape/axis_ratio/bias:.3}} ± {{{kind}/shape/axis_ratio/nmad:.3}}; angle ± "
        f"{{{kind}/shape/position_angle/nmad:.1}} degrees; ellipticities answer by 1 + m with m = "
        f"{{{kind}/shape/ellipticity/m:%+}}."
        for kind in shown
    ]
    head = {"radius bias": "half_light_radius/bias:%+", "radius NMAD": "half_light_radius/nmad:%"}
    head |= {"axis ratio bias": "axis_ratio/bias:.3", "axis ratio NMAD": "axis_ratio/nmad:.3"}
    head |= {"angle bias [deg]": "position_angle/bias:.2"}
    head |= {"angle NMAD [deg]": "position_angle/nmad:.1"}
    head |= {"shear m": "ellipticity/m:%+", "shear c": "ellipticity/c:.3"}
    head |= {"ellipticity scatter": "ellipticity/scatter:.3"}
    title = "Shapes recovered from the deblended light, against those of the truth"
    measured = "Both are measured in the same way on noise-free light, PSF included; angles are "
    measured += "those of galaxies with an axis ratio below the dotted line."
    lines = [(kind, f"{kind}/shape") for kind in study.sets]
    return [
        sheet.figure("shapes", title, partial(maps.shapes, shown), measured, *sentences),
        sheet.table("shapes", head, lines, first="set"),
    ]


PARTS = {
    "Flux": flux,
    "SExtractor's failures": failures,
    "VAE against SExtractor": closer,
    "Complexity of a blend": complexity,
    "Calibration": calibration,
    "Shape": shapes,
    "The talk, this project": talk.beside,
}
