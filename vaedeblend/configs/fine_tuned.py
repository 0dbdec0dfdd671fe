"""Networks of one's own in minutes: the shipped weights go on learning, in every stage.

python train.py --workdir runs/mine
python eval.py --workdir runs/mine
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick
from vaedeblend.configs.shipped import coadds, companions


def get_config() -> ConfigDict:
    """The quick recipe's galaxies, PSF and depth, for networks of the shipped weights' shape."""
    config, shipped = quick.get_config(), companions.get_config()
    config.model, config.companions = shipped.model, shipped.companions
    evaluated = {"train": 250, "validation": 1000, "test": 1000}
    config.sizes = {
        "galaxies": {"train": 6000, "validation": 500},
        "companions": 4000,
        "isolated": evaluated,
        "blended": evaluated,
    }
    config.calibration_field.size = 1024
    config.stages.isolated.update(steps=150, init_from="euclid_vis/blended")
    config.stages.isolated.loss.kl_warmup_steps = 0
    config.stages.blended.update(steps=400, init_from="euclid_vis/blended")
    config.stages.blended.loss.cleaned_from = 0
    config.stages.companions = coadds.companions_stage(steps=200)
    config.stages.companions.init_from = "euclid_vis/companions"
    for stage in config.stages.values():
        stage.update(log_every=50, checkpoint_every=100)
        stage.optimizer.update(learning_rate=3e-4, warmup_steps=20)
    return config
