"""Sections on what went in and what was learned, and beside other results.

Data, training, latent spaces, light profiles, similarity of images; the literature and another
report. A section draws its figures, makes its tables and fills in its template.
"""

from functools import partial
from operator import itemgetter
from typing import NamedTuple

from markupsafe import Markup

from vaedeblend.evaluate.latents import GALAXY_PARAMETERS
from vaedeblend.evaluate.results import ERROR_STATISTICS
from vaedeblend.report.builder import Builder
from vaedeblend.report.figures import curves, flux_errors, maps, stamps
from vaedeblend.report.quoted import Quoted, TableColumn, decimals, percent, percent_points, written

NETWORKS = {"vae_i": "VAE I", "vae_ii": "VAE II"}
"""Names of the networks by their key in the metrics."""
_STAGES = {"isolated": "VAE I", "blended": "VAE II"}


def _data(report: Builder) -> Markup:
    """Example stamps, the cuts, the PSF."""
    study = report.study
    shown = study.only("isolated", "blended") or study.sets
    report.figure("stamps", partial(stamps.example_stamps, shown, study.images, study.scale))
    report.figure("selection", partial(curves.selection, study.catalog, study.cuts))
    table, _ = curves.psf_table(*study.psf[:2])
    report.save("psf", table)
    report.figure("psf", partial(stamps.effective_psf, *study.psf[:2], table))
    numbers = {kind: report.sets[kind] for kind in shown}
    return report.render("data.html", shown=numbers, data=report.quoted["data"])


def _training(report: Builder) -> Markup:
    """Loss curves of both stages."""
    histories = {stage: report.study.histories.get(stage) for stage in _STAGES}
    histories = {stage: records for stage, records in histories.items() if records}
    for stage, records in histories.items():
        report.save(f"training_{stage}", curves.history_table(records))
    if histories:
        report.figure("losses", partial(curves.losses, histories))
    trained = {stage: report.quoted["training"][stage] for stage in histories}
    parts = curves.parts_of(histories["blended"]) if "blended" in histories else []
    return report.render("training.html", stages=_STAGES, trained=trained, parts=parts)


def _latent_spaces(report: Builder) -> Markup:
    """t-SNE, active dimensions and traversals of both networks."""
    study = report.study
    constant, traversed, spaces, rows = {}, [], {}, {}
    for label, kind in study.spaces.items():
        numbers, images = report.numbers[kind][f"{label}_latent"], study.images[kind]
        draw = partial(maps.embedding, study.sets[kind], label)
        report.figure(f"tsne_{label}", draw)
        constant[label] = maps.constant_parameters(study.sets[kind])
        if f"{label}_traversals" in images:
            traversed.append(label)
            draw = partial(stamps.traversals, images[f"{label}_traversals"], numbers)
            report.figure(f"traversals_{label}", draw)
        spaces[NETWORKS[label]] = numbers
        rows[NETWORKS[label]] = report.quoted[kind][f"{label}_latent"]
    if spaces:
        report.figure("dimensions", partial(maps.dimensions, spaces))
        report.table("latents", "network", _LATENTS, rows.items())
    return report.render(
        "latents.html",
        networks=NETWORKS,
        spaces=study.spaces,
        constant=constant,
        traversed=traversed,
    )


def _r2(name: str, latent: dict) -> Quoted:
    return latent["layout"][name]


_LATENTS = [
    *(
        TableColumn(name.replace("_", " "), partial(_r2, name), partial(decimals, digits=2))
        for name in GALAXY_PARAMETERS
    ),
    TableColumn("active", itemgetter("n_active")),
    TableColumn("dimensions", itemgetter("n_dimensions")),
]


def _light_profiles(report: Builder) -> Markup:
    """Stamps at quantiles of the similarity, and the mean profile with radius."""
    study = report.study
    for kind, column in study.sets.items():
        draw = partial(stamps.profiles, column, study.images[kind], study.scale)
        report.figure(f"profiles_{kind}", draw)
    report.figure("radial", partial(curves.radial, study.sets, study.scale))
    return report.render("profiles.html")


def _image_similarity(report: Builder) -> Markup:
    """Cosine distance, MSE and SSIM against magnitude and purity."""
    report.figure("likeness", partial(curves.image_similarity, report.study.sets))
    columns = [TableColumn("n", itemgetter("n"))]
    for name in curves.SIMILARITIES:
        columns.append(TableColumn(name.replace("_", " "), partial(_similarity, name)))
    report.table("likeness", "set", columns, report.sets.items())
    return report.render("similarity.html")


def _similarity(name: str, numbers: dict) -> Quoted:
    return numbers["likeness"][name]


class Claim(NamedTuple):
    """A result of the talk, and the number of ours beside it."""

    result: str
    talk: str
    kind: str
    """Kind of scene of our number."""
    keys: tuple[str, ...]
    """Keys of our number among those of its kind of scene."""


# L. Nemani, "Reconstructing blended galaxies with Machine Learning", INAF Osservatorio
# Astronomico di Roma.
TALK = (
    Claim("isolated, realistic: network's sigma", "about 16 %", "isolated", ("vae", "sigma")),
    Claim(
        "isolated, realistic: SExtractor's sigma",
        "about 18 %",
        "isolated",
        ("sextractor", "sigma"),
    ),
    Claim("the same, failures set aside", "16 %", "isolated", ("sextractor_clean", "sigma")),
    Claim("isolated, realistic: network closer", "about 80 %", "isolated", ("vae_closer",)),
    Claim("where it is not, its mean error", "about 17 %", "isolated", ("lost_vae_mean_abs",)),
    Claim("blended, realistic: network's sigma", "about 20 %", "blended", ("vae", "sigma")),
    Claim(
        "blended, realistic: SExtractor's sigma", "about 94 %", "blended", ("sextractor", "sigma")
    ),
    Claim("the same, failures set aside", "31 %", "blended", ("sextractor_clean", "sigma")),
    Claim("isolated, analytic: within 10 %", "most galaxies", "isolated", ("within", "10")),
    Claim("blended, analytic: within 15 %", "most galaxies", "blended", ("within", "15")),
    Claim("size of the latent space", "100", "blended", ("vae_ii_latent", "n_dimensions")),
    Claim("test stamps, isolated", "about 15 000", "isolated", ("n",)),
    Claim("test stamps, blended", "about 15 000", "blended", ("n",)),
)


def _literature(report: Builder) -> Markup:
    """The talk's numbers beside ours."""
    columns = (
        TableColumn("the talk", lambda claim: claim.talk),
        TableColumn("this project", partial(_answer, report), _share_or_count),
    )
    report.table("talk", "result", columns, [(claim.result, claim) for claim in TALK])
    return report.render("literature.html", data=report.quoted["data"])


def _answer(report: Builder, claim: Claim) -> Quoted:
    """The number of ours; none where the set, or VAE II's latent space on it, is missing."""
    nothing = Quoted(None, "")
    if claim.kind not in report.sets:
        return nothing
    if "vae_ii_latent" in claim.keys and report.study.spaces.get("vae_ii") != claim.kind:
        return nothing
    found = report.sets[claim.kind]
    for key in claim.keys:
        found = found[key]
    return found


def _share_or_count(quoted: Quoted) -> Markup:
    return percent(quoted) if isinstance(quoted.value, float) else written(quoted)


def _comparison(report: Builder) -> Markup:
    """Two networks beside each other, where another report was named."""
    study = report.study
    ours, theirs = study.names
    compared = report.quoted["compared"]
    draw = partial(flux_errors.comparison, study.sets, study.compared, study.names)
    report.figure("comparison", draw)
    rows = {}
    for kind, other in compared.items():
        rows |= {f"{kind}: {ours}": report.sets[kind], f"{kind}: {theirs}": other}
    report.table("comparison", "set: network", _COMPARED, rows.items())
    return report.render("comparison.html", ours=ours, theirs=theirs, compared=compared)


def _vae_error(name: str, numbers: dict) -> Quoted:
    return numbers["vae"][name]


_COMPARED = [
    TableColumn("n", itemgetter("n")),
    *(
        TableColumn(title, partial(_vae_error, key), percent_points)
        for title, key in ERROR_STATISTICS.items()
    ),
    TableColumn("coverage 68", itemgetter("coverage68"), percent),
    TableColumn("coverage 95", itemgetter("coverage95"), percent),
]

SECTIONS = {
    "Data": _data,
    "Training": _training,
    "Latent space": _latent_spaces,
    "Light profiles": _light_profiles,
    "Image similarity": _image_similarity,
}
"""Sections on what went in and what was learned."""
OUTSIDE = {"The talk and this project": _literature}
"""Sections that set the report beside other results."""
COMPARISON = {"Comparison": _comparison}
"""The section that sets it beside another report."""
