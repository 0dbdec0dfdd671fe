"""The test of companions of a trained deblender: which light that its model lacks is a source.

python train.py --workdir runs/companions --config vaedeblend/configs/companions.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs import coadds, quick


def get_config() -> ConfigDict:
    """Single sources, half of all, beside companions from 0.05 arcsec on, in all that it may meet.

    Nearly all galaxies are structured, so that it sees knots enough that are no companions.
    """
    config = coadds.get_config()
    config.deblender = "runs/coadds"
    config.data.style = "structured"
    config.sizes = {"galaxies": {"train": 57600, "validation": 6400}, "companions": 24576}
    config.model = {"widths": (32, 64, 96), "hidden": (128, 128)}
    del config.calibration_field
    common = quick.training_stage(steps=20000, trainable=("companions",), init_from="")
    config.stages = {
        "companions": common
        | {
            "objective": "verdicts",
            "scenes": {
                "max_companions": 3,
                "candidates": 1,
                "separation": (0.05, 1.3),
                "max_purity": 1.0,
                "isolated_share": 0.45,
                "unselected_share": 0.55,
                "central_share": 0.4,
            },
            "loss": {"known_share": 0.5, "offset_weight": 0.1},
        }
    }
    stage = config.stages.companions
    stage.update(batch_size=64, log_every=500, checkpoint_every=1000)
    stage.optimizer.learning_rate = 1e-3
    return config
