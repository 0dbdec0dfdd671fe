"""The weights that are shipped: what `smooth` has learned, and structured galaxies beside those.

python train.py --workdir runs/smooth --config vaedeblend/configs/smooth.py
python train.py --workdir runs/euclid_vis --config vaedeblend/configs/euclid_vis.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick, smooth


def get_config() -> ConfigDict:
    """The recipe of `smooth` on a mixture of styles, shorter, from where it ended.

    To fine-tune the shipped weights on galaxies of any other style, set `data.style`, and both
    stages' `init_from` to euclid_vis/blended.
    """
    config = smooth.get_config()
    config.data.style = "analytic+structured"
    config.stages = {
        "isolated": quick.isolated_stage(steps=5000, init_from="runs/smooth/isolated"),
        "blended": quick.blended_stage(
            steps=16000, init_from="runs/smooth/blended", teacher="isolated"
        ),
    }
    for stage in config.stages.values():
        stage.update(log_every=1000, checkpoint_every=1000)
        stage.optimizer.learning_rate = 1e-3
    config.stages.isolated.loss.kl_warmup_steps = 0
    config.stages.isolated.scenes.update(field_share=0.0)
    config.stages.blended.loss.cleaned_from = 0
    config.stages.blended.scenes.update(isolated_share=0.12, unselected_share=0.2, field_share=0.4)
    return config
