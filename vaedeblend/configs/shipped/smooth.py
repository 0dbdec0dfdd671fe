"""What the shipped weights learn first: smooth galaxies of all sorts, many PSFs, corruptions.

python train.py --workdir runs/smooth --config vaedeblend/configs/shipped/smooth.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick


def get_config() -> ConfigDict:
    """The quick recipe with everything that a survey may hold, and the time to learn it."""
    config = quick.get_config()
    config.data.area = 4.0
    config.data.n_psfs = 32
    config.data.psf_default_share = 0.4
    config.data.field_star_fraction = 0.05
    config.data.populations = populations(config, (0.36, 0.05, 0.19, 0.31, 0.06, 0.03))
    config.observation.update(
        depth_share=0.3,
        gainless_share=0.05,
        correlated_share=0.2,
        sky_share=0.2,
        uneven_share=0.1,
        masked_share=0.15,
    )
    config.calibration_field.size = 4096
    config.sizes = {
        "galaxies": {"train": 48000},
        "companions": 19200,
        "fields": {"train": 256},
        "isolated": {"train": 500, "validation": 6000, "test": 15000},
        "blended": {"train": 500, "validation": 6000, "test": 15000},
        "standard": {"train": 500, "validation": 3000, "test": 15000},
    }
    config.model.update(encoder_widths=(48, 96, 96), encoder_hidden=384, encoder_blocks=4)
    config.stages = {
        "isolated": quick.isolated_stage(steps=9000),
        "blended": quick.blended_stage(steps=32000, init_from="isolated"),
    }
    for stage in config.stages.values():
        stage.update(log_every=1000, checkpoint_every=1000)
    config.stages.blended.scenes.update(isolated_share=0.12, unselected_share=0.2, field_share=0.4)
    return config


def populations(config: ConfigDict, shares: tuple[float, ...]) -> tuple:
    """Central galaxies: the talk's, four ranges of magnitude as the sky has them, and the large.

    Args:
        config: Configuration whose selection is the talk's.
        shares: Share of each of these six populations.
    """
    wide = {"bulge_half_light_radius": (0.0, 1.6), "disk_half_light_radius": (0.0, 1.6)}
    ranges = (19.0, 21.5), (21.5, 23.5), (23.5, 26.0), (26.0, 26.7)
    cuts = [config.data.selection.to_dict(), *({"magnitude": each, **wide} for each in ranges)]
    large = wide | {"magnitude": (21.5, 25.5), "disk_half_light_radius": (0.6, 1.6)}
    return tuple(zip(shares, [*cuts, large], strict=True))
