"""A generator of galaxies: a VAE of rest-frame stamps, and a flow on its latent.

python train.py --workdir runs/flowvae --config vaedeblend/configs/flowvae.py

After that, `--config.data.style=generator:runs/flowvae`, or `vaedeblend simulate --style` of that
name, draws such galaxies. With COSMOS at hand, learn from `--config.data.style=cosmos:PATH`.

On one CPU core some 50 minutes: 4 for the stamps, 43 for the VAE (300 stamps a second), 1 for the
flow.
"""

from ml_collections import ConfigDict

from vaedeblend.configs.quick import training_stage


def get_config() -> ConfigDict:
    """The generator's recipe: every key there is, with its default."""
    config = ConfigDict(
        {
            "seed": 0,  # of parameters, batches and noise
            "data_dir": "",  # empty: WORKDIR/data
            "survey": {"pixel_scale": 0.1, "bands": {"euclid-vis": {"psf": ""}}},
            "data": {
                "seed": 0,  # of the sky and of every galaxy
                "style": "structured",  # of the galaxies learned from (synthetic)
                "source": "",  # catalogue file; empty: EGG
                "area": 0.5,  # deg2 of EGG's sky
                "magnitude": (20.0, 25.5),
            },
            "sizes": {"canonical": {"train": 16000, "validation": 1000, "test": 1000}},
            "model": {
                "latent_dim": 32,
                "encoder_widths": (32, 64, 64),
                "encoder_hidden": 256,
                "decoder_widths": (128, 64, 32),
                "decoder_hidden": 256,
                "flow_hidden": (64, 64),
                "flow_couplings": 10,
                # Magnitude, log10 of the half-light radius [arcsec], B/T and axis ratio.
                "condition_centre": (24.0, -0.5, 0.2, 0.55),
                "condition_spread": (1.2, 0.25, 0.25, 0.22),
            },
            "stages": {
                "shapes": training_stage(steps=6000, trainable=("encoder", "decoder"), init_from="")
                | {
                    "objective": "light",
                    "loss": {
                        "photons": 3e4,
                        "background": 3.0,
                        "kl_weight": 1.0,
                        "kl_warmup_steps": 2000,
                    },
                },
                "flow": training_stage(steps=4000, trainable=("flow",), init_from="shapes")
                | {"objective": "density", "loss": {}},
            },
        }
    )
    for stage in config.stages.values():
        stage.optimizer.clip_norm = 100.0
    return config
