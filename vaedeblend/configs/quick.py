"""Both stages, in minutes on two CPU cores.

python train.py --workdir runs/quick
python eval.py --workdir runs/quick
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The quick recipe: every key there is, with its default."""
    return ConfigDict(
        {
            "seed": 0,
            "data_dir": "",  # empty: WORKDIR/data
            "survey": {"pixel_scale": 0.1, "bands": {"euclid-vis": {"psf": ""}}},
            "data": {
                "source": "",  # catalogue file; empty: egg-gencat where installed, else its sampler
                "area": 2.0,  # deg2 of EGG's sky
                "selection": {
                    "magnitude": (23.0, 25.0),
                    "bulge_half_light_radius": (0.01, 0.03),
                    "disk_half_light_radius": (0.05, 0.35),
                },
                "companion_magnitude": (21.0, 26.0),
                "star_fraction": 0.0,
                "max_companions": 3,
                "separation": (0.3, 3.0),
                "max_purity": 0.95,
                "stamp_size": 64,
            },
            "sizes": {
                "galaxies": {"train": 14000},
                "companions": 10000,
                "isolated": {"train": 500, "validation": 1000, "test": 4000},
                "blended": {"train": 500, "validation": 1000, "test": 4000},
            },
            "model": {
                "latent_dim": 16,
                "encoder_widths": (32, 64, 64),
                "encoder_hidden": 256,
                "decoder_hidden": (256, 512),
                "stamp_size": 64,
            },
            "stages": {
                "isolated": stage(steps=4000, trainable=("encoder", "decoder"), flux_weight=3.0),
                "blended": stage(steps=7500, trainable=("encoder",), init_from="isolated"),
            },
        }
    )


def stage(
    *, steps: int, trainable: tuple[str, ...], init_from: str = "", flux_weight: float = 30.0
) -> dict:
    """One stage of the training.

    Args:
        steps: Of the optimiser.
        trainable: Of encoder and decoder.
        init_from: Stage of this workdir, or another workdir whose isolated stage it starts from.
        flux_weight: Of the flux's likelihood; a large one starves the decoder's profiles.
    """
    return {
        "trainable": trainable,
        "init_from": init_from,
        "steps": steps,
        "batch_size": 128,
        "candidates": 8,  # scenes drawn for each example, the first true blend of which is taken
        "log_every": 250,
        "checkpoint_every": 500,
        "optimizer": {
            "learning_rate": 2e-3,
            "warmup_steps": 200,
            "weight_decay": 1e-4,
            "clip_norm": 5.0,
        },
        "loss": {
            "likelihood": "gaussian",
            "kl_weight": 1.0,
            "kl_warmup_steps": steps // 2,
            "flux_weight": flux_weight,
            "centre_boost": 0.0,
            "centre_sigma": 6.0,
        },
    }
