"""The talk's first stage at full size: VAE I on isolated galaxies.

python train.py --workdir runs/isolated --config vaedeblend/configs/isolated.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick


def get_config() -> ConfigDict:
    """VAE I: the talk's latent of 100, more galaxies, more steps, a wider network."""
    config = quick.get_config()
    config.data.area = 8.0
    config.sizes = {
        "galaxies": {"train": 60000},
        "companions": 0,
        "isolated": {"train": 2000, "validation": 2000, "test": 15000},
    }
    config.model.update(latent_dim=100, encoder_widths=(64, 128, 128), encoder_hidden=512)
    config.stages = {
        "isolated": quick.isolated_stage(steps=40000),
    }
    return config
