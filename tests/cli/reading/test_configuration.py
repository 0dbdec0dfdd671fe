"""The configuration of a training, and what the command line sets of it."""

from dataclasses import fields
from pathlib import Path

import pytest

from vaedeblend.cli.reading.configuration import read_training
from vaedeblend.configs import quick
from vaedeblend.exceptions import SettingsError
from vaedeblend.survey import Band, make_survey

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of ml_collections


def test_keys_that_are_no_names_may_be_set(tmp_path):
    words = ["--config.survey.bands.euclid-vis.psf=a.b-c.fits", "--config.seed=3"]
    config = read_training(str(Path(quick.__file__)), words)
    assert config.survey.bands["euclid-vis"].psf == "a.b-c.fits" and config.seed == 3


@pytest.mark.parametrize("field", [each for each in fields(Band) if each.name != "name"])
def test_every_setting_of_a_band_may_be_set(field):
    value = "mine.fits" if field.name == "psf" else field.default + 1
    words = [f"--config.survey.bands.euclid-vis.{field.name}={value}"]
    config = read_training(str(Path(quick.__file__)), words)
    assert dict(config.survey.bands["euclid-vis"]) == {"psf": ""} | {field.name: value}
    (band,) = make_survey(**config.survey.to_dict()).bands
    assert band == Band(**{field.name: value})


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("siezs.galaxies.train", "--config has no siezs; wanted one of .*; nearest is sizes"),
        ("sizes.galaxies.validation", "--config.sizes.galaxies has no validation; wanted one of t"),
        ("survey.bands.nir-h.psf", "--config.survey.bands has no nir-h; wanted one of euclid-vis"),
        (
            "survey.bands.euclid-vis.wave_length",
            "bands.euclid-vis has no wave_length; wanted one of .*, psf, .*; nearest is wavelength",
        ),
    ],
)
def test_a_key_that_there_is_not_is_answered_by_those_that_there_are(word, said):
    with pytest.raises(SettingsError, match=said):
        read_training(str(Path(quick.__file__)), [f"--config.{word}=3"])
