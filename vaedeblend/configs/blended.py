"""The talk's second stage at full size: VAE II on blends, against VAE I's frozen decoder.

python train.py --workdir runs/blended --config vaedeblend/configs/blended.py \
    --config.stages.blended.init_from=runs/isolated/isolated
"""

from ml_collections import ConfigDict

from vaedeblend.configs import isolated, quick


def get_config() -> ConfigDict:
    """VAE II: the model of `isolated`, which `init_from` names."""
    config = isolated.get_config()
    config.sizes = {
        "galaxies": {"train": 60000},
        "companions": 40000,
        "isolated": {"train": 2000, "test": 15000},  # "train": the baseline's bias
        "blended": {"train": 2000, "validation": 2000, "test": 15000},
    }
    config.stages = {
        "blended": quick.blended_stage(steps=100000, init_from="runs/isolated/isolated"),
    }
    return config
