"""What the shipped weights learn second: structured galaxies beside the smooth ones.

python train.py --workdir runs/smooth --config vaedeblend/configs/shipped/smooth.py
python train.py --workdir runs/mixture --config vaedeblend/configs/shipped/mixture.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs.shipped import smooth


def get_config() -> ConfigDict:
    """The recipe of `smooth` on a mixture of styles, shorter, from where it ended.

    To fine-tune the shipped weights on galaxies of any other style, set `data.style`, and both
    stages' `init_from` to euclid_vis/blended.
    """
    config = smooth.get_config()
    config.data.style = "analytic+structured"
    isolated, blended = config.stages.isolated, config.stages.blended
    isolated.update(steps=5000, init_from="runs/smooth/isolated")
    isolated.loss.kl_warmup_steps = 0
    blended.update(steps=16000, init_from="runs/smooth/blended", teacher="isolated")
    blended.loss.cleaned_from = 0
    for stage in (isolated, blended):
        stage.optimizer.learning_rate = 1e-3
    return config
