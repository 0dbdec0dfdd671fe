"""TFDS builders that materialise simulated stamps, and the way from a configuration to them."""

import functools
import time
from pathlib import Path

from vaedeblend.survey import make_survey


def build_datasets(config, workdir: Path, console, *, split: str = "train") -> dict[str, Path]:
    """Directory of each kind of dataset that has a split, built where missing.

    Args:
        config: Configuration of train.py, or of a working directory's config.json.
        workdir: Folder of the data, unless the configuration names another place.
        console: Terminal (rich) that shows progress.
        split: Name of a split; kinds without such a split in the configuration are left out.
    """
    from data_builders.canonical_galaxies import canonical_galaxies_dataset_builder as canonical
    from data_builders.galaxy_scenes import galaxy_scenes_dataset_builder as scenes

    survey = survey_of(config)
    directories = {}
    options = {key: _plain(value) for key, value in config.data.items()}
    for kind, sizes in config.sizes.items():
        if kind == "companions" or split not in sizes:
            continue
        extra = {"n_companions": config.sizes.companions} if kind == "galaxies" else {}
        with console.status(f"simulating {kind}: {dict(sizes)}"):
            start = time.monotonic()
            of_kind = functools.partial(scenes.build, kind)
            build = canonical.build if kind == "canonical" else of_kind
            directories[kind] = build(
                sizes=dict(sizes),
                survey=survey,
                data_dir=config.data_dir or workdir / "data",
                **options,
                **extra,
            )
        console.print(f"data: {kind} in {directories[kind]} ({time.monotonic() - start:.0f} s)")
    return directories


def survey_of(config):
    """The survey of a configuration."""
    bands = {name: dict(band) for name, band in config.survey.bands.items()}
    return make_survey(bands, config.survey.pixel_scale)


def _plain(value):
    """A configuration's value as dictionaries and tuples, whether from Python or from JSON."""
    if hasattr(value, "items"):
        return {key: _plain(each) for key, each in sorted(value.items())}
    if isinstance(value, list | tuple):
        return tuple(_plain(each) for each in value)
    return value
