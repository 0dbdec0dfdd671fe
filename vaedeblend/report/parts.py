"""The report's parts on what went in and what was learned: data, training, latents, profiles."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from astropy.table import QTable

from vaedeblend.evaluate.latents import GALAXY_PARAMETERS
from vaedeblend.exceptions import NoData
from vaedeblend.pixels.psf import Psf
from vaedeblend.report.builder import Sheet
from vaedeblend.report.figures import curves, maps, stamps

NETWORKS = {"vae_i": "VAE I", "vae_ii": "VAE II"}
_STAGES = {"isolated": "VAE I", "blended": "VAE II"}


class Study(NamedTuple):
    """All that a report draws from."""

    sets: Mapping[str, Mapping[str, np.ndarray]]
    """Columns of the per-example table, by kind of scene."""
    images: Mapping[str, Mapping[str, np.ndarray]]
    """See `evaluation.Evaluation`."""
    histories: Mapping[str, Sequence[Mapping]]
    """Records of the training's stages; empty where there are none."""
    catalog: QTable | None
    """Before the cuts."""
    cuts: Mapping[str, Sequence[float | int]]
    psf: Psf
    scale: float
    """Of the survey's pixels [arcsec]."""
    spaces: Mapping[str, str]
    """Kind of scene on which each network's latents were looked at."""
    compared: Mapping[str, Mapping[str, np.ndarray]]
    """Columns of another report's table, by kind of scene."""
    names: tuple[str, str]
    """Of this report and of the compared one."""

    def only(self, *kinds: str) -> dict:
        """The sets of some kinds that there are."""
        return {kind: self.sets[kind] for kind in kinds if kind in self.sets}


def data(study: Study, sheet: Sheet) -> list[str]:
    """Part 1: example stamps, the cuts, the PSF."""
    shown = study.only("isolated", "blended") or study.sets
    blocks = [
        sheet.figure(
            "stamps",
            "Test stamps, from bright to faint",
            partial(stamps.example_stamps, shown, study.images, study.scale),
            "{isolated/n} isolated stamps show {isolated/unique_galaxies} galaxies.",
            "{blended/n} blended ones show {blended/unique_galaxies}, with a median purity of "
            "{blended/median_purity:.2}.",
        ),
        sheet.figure(
            "selection",
            "The catalogue before and after the cuts",
            partial(_selection, study),
            "{data/after} of {data/before} catalogue galaxies, {data/share:%}, pass the cuts.",
            "Cuts: magnitude {data/cuts/magnitude/0} to {data/cuts/magnitude/1}.",
            "Bulge radius {data/cuts/bulge_half_light_radius/0} to "
            "{data/cuts/bulge_half_light_radius/1} arcsec.",
            "Disk radius {data/cuts/disk_half_light_radius/0} to "
            "{data/cuts/disk_half_light_radius/1} arcsec.",
        ),
    ]
    table, _ = curves.psf_table(*study.psf)
    sheet.save("psf", table)
    say = "Its full width at half maximum is {data/psf/fwhm:.3} arcsec; {data/psf/within:%} of the "
    say += "light lies within {data/psf/radius} arcsec."
    draw = partial(stamps.effective_psf, *study.psf, table)
    return [*blocks, sheet.figure("psf", "The effective PSF, pixel included", draw, say)]


def _selection(study: Study):
    if study.catalog is None:
        raise NoData("the catalogue before the cuts could not be read")
    return curves.selection(curves.histograms(study.catalog, study.cuts))


def training(study: Study, sheet: Sheet) -> list[str]:
    """Part 2: loss curves of both stages."""
    blocks = []
    for stage, name in _STAGES.items():
        if not study.histories.get(stage):
            reason = f"{name} has no training history: no metrics.jsonl beside its weights, as with"
            blocks.append(sheet.missing(f"{reason} those that are shipped."))
        else:
            sheet.save(f"training_{stage}", curves.history_table(study.histories[stage]))
    sentences = [
        f"<b>{name}</b> {{training/{stage}/steps}} steps; the validation loss fell from "
        f"{{training/{stage}/first_validation}} to {{training/{stage}/last_validation}} nat, where "
        f"it lies {{training/{stage}/gap}} nat from the training's."
        for stage, name in _STAGES.items()
    ]
    if any(study.histories.values()):
        draw = partial(curves.losses, study.histories)
        blocks.append(sheet.figure("losses", "Loss and its parts", draw, *sentences))
    if study.histories.get("blended"):
        parts = curves.parts_of(study.histories["blended"])
        if "reconstruction" not in parts:
            blocks.append(
                f"<p>VAE II maximises the posterior density of the truth, so that its parts are "
                f"{', '.join(parts[1:])} in place of reconstruction and KL.</p>"
            )
    return blocks


def latent_space(study: Study, sheet: Sheet) -> list[str]:
    """Part 3: t-SNE, active dimensions and traversals of both networks."""
    blocks = []
    for label, name in NETWORKS.items():
        if label in study.spaces:
            blocks += _space(study, sheet, label)
        else:
            blocks.append(sheet.missing(f"{name} is not among these weights: no latent space."))
    spaces = {
        NETWORKS[label]: sheet.numbers[kind][f"{label}_latent"]
        for label, kind in study.spaces.items()
    }
    if spaces:
        says = [
            f"<b>{NETWORKS[label]}</b> {{{kind}/{label}_latent/n_active}} of "
            f"{{{kind}/{label}_latent/n_dimensions}} dimensions are active."
            for label, kind in study.spaces.items()
        ]
        draw = partial(maps.dimensions, spaces)
        blocks.append(sheet.figure("dimensions", "How much each dimension is used", draw, *says))
        blocks.append(_layout(study, sheet))
    return blocks


def _space(study: Study, sheet: Sheet, label: str) -> list[str]:
    """T-SNE and traversals of one network."""
    name, kind = NETWORKS[label], study.spaces[label]
    base, numbers = f"{kind}/{label}_latent", sheet.numbers[kind][f"{label}_latent"]
    embedding = sheet.figure(
        f"tsne_{label}",
        f"{name}: t-SNE of the latents of {kind} stamps",
        partial(maps.embedding, study.sets[kind], label),
        "{./embedded} stamps. Of the parameters, a stamp's neighbours in the latent space know "
        "{./best/name} best (R² {./best/r2:.2}) and {./worst/name} least (R² {./worst/r2:.2}).",
        _flat(study.sets[kind]),
        base=base,
    )
    images = study.images[kind].get(f"{label}_traversals")
    if images is None or "traversals" not in numbers:
        return [embedding, sheet.missing(f"{name}: no decoder, no traversals.")]
    traversals = sheet.figure(
        f"traversals_{label}",
        f"{name}: what its most used dimensions do to the median galaxy",
        partial(stamps.traversals, images, numbers),
        "Five steps along each, in standard deviations of the galaxies; dark is the square root of "
        "the light. From end to end, z{./traversals/0/dimension} changes the half-light radius by "
        "a factor of {./traversals/0/radius_factor:.2} and the axis ratio by "
        "{./traversals/0/axis_ratio_change:.2}.",
        base=base,
    )
    return [embedding, traversals]


def _layout(study: Study, sheet: Sheet) -> str:
    head = {name.replace("_", " "): f"layout/{name}:.2" for name in GALAXY_PARAMETERS}
    head |= {"active": "n_active", "dimensions": "n_dimensions"}
    rows = [(NETWORKS[label], f"{kind}/{label}_latent") for label, kind in study.spaces.items()]
    say = "How well ten neighbours in the latent space know a parameter, as R²:"
    return f'<p class="soft">{say}</p>{sheet.table("latents", head, rows, first="network")}'


def _flat(column: Mapping) -> str:
    """Which parameters do not vary, and so have no panel."""
    finite = {name: column[name][np.isfinite(column[name])] for name in GALAXY_PARAMETERS}
    flat = [name for name, values in finite.items() if not len(values) or np.ptp(values) < 1e-6]
    return f"Not drawn, since it is the same for every stamp: {', '.join(flat)}." if flat else ""


def profiles(study: Study, sheet: Sheet) -> list[str]:
    """Part 4: panels at quantiles, and the mean profile with radius."""
    blocks = []
    for kind, column in study.sets.items():
        blocks.append(
            sheet.figure(
                f"profiles_{kind}",
                f"{kind}: the best, a typical, a bad and the worst reconstruction",
                partial(stamps.profiles, column, study.images[kind], study.scale),
                "By the cosine distance between reconstruction and truth, whose median is "
                "{./median_cosine_distance}.",
                base=kind,
            )
        )
    sentences = [
        f"<b>{kind}</b> the mean profile is off by {{{kind}/profile/error/0:%+}} in the centre and "
        f"by {{{kind}/profile/error/-2:%+}} in the last ring but one."
        for kind in study.sets
    ]
    draw = partial(curves.radial, study.sets, study.scale)
    radial = sheet.figure("radial", "Surface brightness with radius", draw, *sentences)
    return [*blocks, radial]


def likeness(study: Study, sheet: Sheet) -> list[str]:
    """Part 5: cosine distance, MSE and SSIM against magnitude and purity."""
    sentences = [
        f"<b>{kind}</b> median cosine distance {{{kind}/likeness/cosine_distance}}, MSE "
        f"{{{kind}/likeness/mse}} μJy², SSIM {{{kind}/likeness/similarity:.3}}."
        for kind in study.sets
    ]
    sentences.append(
        "Over magnitude, from the brightest to the faintest bin, the cosine distance of isolated "
        "stamps goes from {isolated/by_magnitude/0/likeness/cosine_distance} to "
        "{isolated/by_magnitude/-1/likeness/cosine_distance}."
    )
    draw = partial(curves.image_similarity, study.sets)
    title = "Likeness of the deblended light and the truth"
    head = {name.replace("_", " "): f"likeness/{name}" for name in curves.SIMILARITIES}
    return [
        sheet.figure("likeness", title, draw, *sentences),
        sheet.table("likeness", {"n": "n"} | head, [(k, k) for k in study.sets], first="set"),
    ]


PARTS = {
    "Data": data,
    "Training": training,
    "Latent space": latent_space,
    "Light profiles": profiles,
    "Likeness": likeness,
}
