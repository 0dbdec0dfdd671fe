"""Where an evaluation's numbers come from: the training, its galaxies and its PSF."""

from pathlib import Path

from vaedeblend.catalogues.sampling import population
from vaedeblend.deblend.network import STAGES
from vaedeblend.exceptions import CatalogueError
from vaedeblend.report.study import Setting
from vaedeblend.simulate.render import survey_psfs
from vaedeblend.survey import make_survey
from vaedeblend.training import loop


def make_setting(config, weights: Path, workdir: Path) -> Setting:
    """What the report says of where its numbers come from; a note where it cannot.

    Args:
        config: Configuration of the training, whose data are those of the test.
        weights: Workdir of the training.
        workdir: Workdir that takes the report.
    """
    survey, data, notes = make_survey(**config.survey.to_dict()), config.data, []
    try:
        catalog = population(data.source, data.area, data.seed, survey.band_names)
    except CatalogueError as error:
        catalog, notes = None, [f"The catalogue cannot be read: {error}"]
    return Setting(
        title=weights.name if weights != workdir else workdir.resolve().name,
        histories={s: loop.read_records(weights / s / "metrics.jsonl") for s in STAGES},
        catalog=catalog,
        data=data.to_dict(),
        psf=survey_psfs(survey, data.stamp_size)[0],
        scale=survey.pixel_scale.value,
        notes=notes,
    )
