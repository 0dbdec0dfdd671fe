"""The talk's numbers beside this project's, and two networks beside each other."""

from functools import partial

from vaedeblend.evaluate.results import ERROR_STATISTICS
from vaedeblend.report.builder import Sheet
from vaedeblend.report.figures import flux_errors
from vaedeblend.report.parts import Study

# What the talk's slides say (L. Nemani, "Reconstructing blended galaxies with Machine Learning",
# INAF Osservatorio Astronomico di Roma), and the number of ours that answers it.
TALK = (
    ("isolated, realistic: VAE's sigma", "about 16 %", "isolated/vae/sigma"),
    ("isolated, realistic: SExtractor's sigma", "about 18 %", "isolated/sextractor/sigma"),
    ("the same, failures set aside", "16 %", "isolated/sextractor_clean/sigma"),
    ("isolated, realistic: VAE closer", "about 80 %", "isolated/vae_closer"),
    ("where it is not, its mean error", "about 17 %", "isolated/lost_vae_mean_abs"),
    ("blended, realistic: VAE's sigma", "about 20 %", "blended/vae/sigma"),
    ("blended, realistic: SExtractor's sigma", "about 94 %", "blended/sextractor/sigma"),
    ("the same, failures set aside", "31 %", "blended/sextractor_clean/sigma"),
    ("isolated, analytic: within 10 %", "most galaxies", "isolated/within/10"),
    ("blended, analytic: within 15 %", "most galaxies", "blended/within/15"),
    ("size of the latent space", "100", "blended/vae_ii_latent/n_dimensions"),
    ("test stamps, isolated", "about 15 000", "isolated/n"),
    ("test stamps, blended", "about 15 000", "blended/n"),
)
_DIFFERENT = (
    "What differs: the talk's first eight rows are of the Euclid Morphology Challenge's realistic "
    "galaxies (a VAE and a flow trained on COSMOS), and its other set is analytic. All of ours are "
    "of EGG's catalogue, drawn with GalSim in the style {data/style}: analytic is a de Vaucouleurs "
    "bulge and an exponential disk, structured has arms, bars and knots made up by chance "
    "(synthetic). Here a blend has up to {data/max_companions} companions and a central galaxy of "
    "a purity below {data/max_purity}; the talk does not say where its blends begin. Here "
    "SExtractor is told background, noise and gain, and has the best settings of a grid on "
    "training stamps; the talk does not say its settings. Failures set aside are errors above one "
    "half."
)


def beside(study: Study, sheet: Sheet) -> list[str]:
    """Part 12: the talk's numbers beside ours."""
    return [sheet.beside("talk", TALK), sheet.words(_DIFFERENT)]


def comparison(study: Study, sheet: Sheet) -> list[str]:
    """Two workdirs, where another one was named."""
    if not study.compared:
        return []
    ours, theirs = study.names
    kinds = [kind for kind in study.sets if kind in study.compared]
    head = {"n": "n"} | {t: f"vae/{key}:p" for t, key in ERROR_STATISTICS.items()}
    head |= {"coverage 68": "coverage68:%", "coverage 95": "coverage95:%"}
    lines = [
        (f"{kind}: {name}", base)
        for kind in kinds
        for name, base in ((ours, kind), (theirs, f"compared/{kind}"))
    ]
    say = [
        f"<b>{kind}</b> {ours} has a sigma of {{{kind}/vae/sigma:%}}, {theirs} of "
        f"{{compared/{kind}/vae/sigma:%}}; on the same stamps the first is closer on "
        f"{{compared/{kind}/closer:%}}."
        for kind in kinds
    ]
    draw = partial(flux_errors.comparison, study.sets, study.compared, study.names)
    return [
        sheet.figure("comparison", f"{ours} and {theirs}", draw, *say),
        sheet.table("comparison", head, lines, first="set: network"),
    ]
