"""What the shipped weights learn third: harder blends of more companions.

python train.py --workdir runs/smooth --config vaedeblend/configs/shipped/smooth.py
python train.py --workdir runs/mixture --config vaedeblend/configs/shipped/mixture.py
python train.py --workdir runs/harder --config vaedeblend/configs/shipped/harder.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs.shipped import mixture


def get_config() -> ConfigDict:
    """The second stage of `mixture` once more, shorter and more gently, from where that ended.

    More of the blends are hard, companions are also drawn from the central galaxies (a network
    remembers a thousand bright ones), more of the stamps reach out of their image, and half of
    those that have been cleaned are cleaned of the light that a second iteration finds.
    """
    config = mixture.get_config()
    config.observation.edge_share = 0.2
    del config.stages["isolated"]
    blended = config.stages.blended
    blended.update(steps=6000, init_from="runs/mixture/blended", teacher="")
    blended.optimizer.learning_rate = 5e-4
    blended.scenes.update(hard_share=0.15, central_share=0.5)
    blended.loss.cleaned_looks = 2
    return config
