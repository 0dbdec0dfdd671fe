"""From a configuration to the settings of a deblender's training."""

import pytest

from vaedeblend.configs import quick
from vaedeblend.configs.shipped import smooth
from vaedeblend.survey import make_survey
from vaedeblend.training.settings import check_data
from vaedeblend.training.trainers import deblender


def settings(config):
    return config.data, config.stages.blended.scenes, make_survey(**config.survey.to_dict())


def test_separations_are_configured_in_arcsec_and_composed_in_pixels():
    config = quick.get_config()
    composing = deblender.stage_composing(*settings(config))
    assert composing.separation == pytest.approx((3.0, 30.0))
    assert composing.max_purity == config.data.max_purity
    assert composing.candidates == 8


def test_separations_may_be_as_large_as_the_stamps_of_the_library_hold():
    """1.8 / 0.06 is more than 30 by the last digit of a double."""
    config = quick.get_config()
    config.survey.pixel_scale, config.data.separation = 0.06, (0.3, 1.8)
    check_data(config)
    assert deblender.stage_composing(*settings(config)).separation[1] == 30


def test_misspelt_key_of_a_stages_scenes_is_an_error():
    config = quick.get_config()
    config.stages.blended.scenes.candidtes = 3
    with pytest.raises(TypeError, match="candidtes"):
        deblender.stage_composing(*settings(config))


def test_field_of_the_calibration_has_the_trainings_galaxies():
    config = smooth.get_config()
    options = deblender._field_options(config, make_survey(**config.survey.to_dict()))
    assert options["style"] == config.data.style and options["size"] == 4096
    assert options["area"] is None  # of EGG's sky, which is as large as the field needs
    config.data.source = "catalogue.fits"
    options = deblender._field_options(config, options["survey"])
    assert (options["source"], options["area"]) == ("catalogue.fits", config.data.area)
    assert options["split"] == ("validation", config.data.seed)  # none of the test's galaxies
