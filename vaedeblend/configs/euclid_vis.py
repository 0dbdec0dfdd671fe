"""The weights that are shipped: smooth galaxies and structured ones, of all sorts, in any trouble.

python train.py --workdir runs/euclid_vis --config vaedeblend/configs/euclid_vis.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs import smooth


def get_config() -> ConfigDict:
    """The recipe of `smooth` on a mixture of styles, which takes a larger latent and decoder.

    To fine-tune the shipped weights on galaxies of any other style, set `data.style`, and both
    stages' `init_from` to euclid_vis/blended.
    """
    config = smooth.get_config()
    config.data.style = "analytic+structured"
    config.model.update(latent_dim=32, decoder_hidden=(384, 768))
    blended = config.stages.blended
    blended.update(steps=26000, scenes={"hard_share": 0.15})
    blended.loss.update(cleaned_from=10000, cleaned_looks=2)
    return config
