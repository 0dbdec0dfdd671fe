"""The talk's networks at full size: VAE I on isolated galaxies, VAE II on blends.

python train.py --workdir runs/full_size --config vaedeblend/configs/full_size.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick


def get_config() -> ConfigDict:
    """The quick recipe with the talk's latent of 100, more galaxies and steps, wider networks."""
    config = quick.get_config()
    config.data.area = 8.0
    config.sizes = {
        "galaxies": {"train": 60000},
        "companions": 40000,
        "isolated": {"train": 2000, "validation": 2000, "test": 15000},
        "blended": {"train": 2000, "validation": 2000, "test": 15000},
    }
    config.model.update(latent_dim=100, encoder_widths=(64, 128, 128), encoder_hidden=512)
    config.stages = {
        "isolated": quick.isolated_stage(steps=40000),
        "blended": quick.blended_stage(steps=100000, init_from="isolated"),
    }
    return config
