"""Both stages, in minutes on two CPU cores.

python train.py --workdir runs/quick
python eval.py --workdir runs/quick
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The quick recipe: every key there is, with its default."""
    return ConfigDict(
        {
            "seed": 0,  # of parameters, batches and noise
            "data_dir": "",  # empty: WORKDIR/data
            "survey": {"pixel_scale": 0.1, "bands": {"euclid-vis": {"psf": ""}}},
            "data": {
                "seed": 0,  # of the sky and of every scene
                "style": "analytic",  # or sersic, structured (synthetic), or a+b
                "source": "",  # catalogue file; empty: egg-gencat where installed, else its sampler
                "area": 2.0,  # deg2 of EGG's sky
                "selection": {
                    "magnitude": (23.0, 25.0),
                    "bulge_half_light_radius": (0.01, 0.03),
                    "disk_half_light_radius": (0.05, 0.35),
                },
                "populations": (),  # (share, cuts) of the training's central galaxies, or selection
                "companion_magnitude": (21.0, 26.0),
                "star_fraction": 0.0,
                "max_companions": 3,
                "separation": (0.3, 3.0),
                "max_purity": 0.95,
                "stamp_size": 64,
                "n_psfs": 1,  # of the training's galaxies; more: a family of them
                "psf_fwhm": (0.15, 0.25),  # of the family [arcsec]
                "psf_default_share": 0.25,  # of the family that is the survey's own PSF
                "coadd_share": 0.0,  # of the family that is of co-adds of dithered exposures
                "coadd_exposures": (1, 6),
                "coadd_interpolations": ("bilinear", "lanczos3"),
                "psf_wings": (0.0, 0.0),  # of the family: share of light in them
                "psf_cut_share": 0.0,  # of the family whose light ends where its given image does
                "psf_sides": (65, 65),  # of the given images [pixel]
            },
            "observation": plain_observation(),
            "sizes": {
                "galaxies": {"train": 14000},
                "companions": 10000,
                "isolated": {"train": 500, "validation": 1000, "test": 4000},
                "blended": {"train": 500, "validation": 1000, "test": 4000},
            },
            # Simulated, for the errors of whole images' sources; a size of 0 for none.
            "calibration_field": {"size": 0, "density": 2.0, "seed": 7},
            "model": {
                "latent_dim": 16,
                "encoder_widths": (32, 64, 64),
                "encoder_hidden": 256,
                "encoder_blocks": 2,
                "decoder_hidden": (256, 512),
                "flow_hidden": (64, 64),
                "flow_couplings": 8,
                "stamp_size": 64,
            },
            "stages": {
                "isolated": isolated_stage(steps=4000),
                "blended": blended_stage(steps=7500, init_from="isolated"),
            },
        }
    )


def plain_observation() -> dict:
    """Corruptions of an image, of which none happens here: shares of stamps."""
    return {
        "depth": (0.1, 2.0),  # background rms in units of the survey's
        "depth_share": 0.0,  # of stamps at another depth than the survey's, and so on
        "gainless_share": 0.0,
        "correlated_share": 0.0,
        "sky_share": 0.0,
        "sky_rms": 0.05,
        "uneven_share": 0.0,
        "masked_share": 0.0,
        "edge_share": 0.0,
    }


def isolated_stage(*, steps: int) -> dict:
    """Stage I: encoder and decoder, on galaxies alone.

    Args:
        steps: Steps of the optimiser.
    """
    return training_stage(steps=steps, trainable=("encoder", "decoder"), init_from="") | {
        "scenes": {"max_companions": 0, "candidates": 1, "field_share": 0.0},
        "compute_dtype": "float32",  # of the layers; or bfloat16, for GPUs and TPUs
        "objective": "evidence",
        "loss": {
            "likelihood": "gaussian",
            "model_error": 0.03,
            "flux_error": 0.0,
            "kl_weight": 1.0,
            "kl_warmup_steps": steps // 2,
            "kl_cycles": 1,
            "free_bits": 0.0,
            "flux_weight": 3.0,  # a large one starves the decoder's profiles
            "centre_boost": 0.0,
            "centre_sigma": 6.0,
        },
    }


def blended_stage(*, steps: int, init_from: str) -> dict:
    """Stage II: an encoder of blends and the latent's prior, against stage I's decoder.

    Args:
        steps: Steps of the optimiser.
        init_from: Trained stage that it starts from; empty for random parameters.
    """
    return training_stage(steps=steps, trainable=("encoder", "flow"), init_from=init_from) | {
        "teacher": "",  # stage I, whose decoder is kept; empty where it starts from that
        "scenes": {
            "max_companions": 3,
            "candidates": 8,  # drawn for each example, the first true blend of which is taken
            "isolated_share": 0.2,
            "unselected_share": 0.2,
            "hard_share": 0.0,  # of scenes whose central purity is at most this
            "hard_purity": 0.6,
            "central_share": 0.0,  # of companions that are drawn from the central galaxies
            "field_share": 0.0,
        },
        "compute_dtype": "float32",
        "objective": "posterior",
        "loss": {
            "latent_weight": 1.0,
            "flux_weight": 10.0,
            "purity_weight": 1.0,
            "point_weight": 0.0,  # above 0, a model of coadds learns to tell stars from galaxies
            "cleaned_share": 0.5,
            "cleaned_from": 2 * steps // 5,
            "cleaned_looks": 1,
        },
    }


def training_stage(*, steps: int, trainable: tuple[str, ...], init_from: str) -> dict:
    """Settings that all stages have in common, of whatever network.

    Args:
        steps: Steps of the optimiser.
        trainable: Parts of the network that are trained.
        init_from: Trained stage that all start from, of this training or of another one
            (WORKDIR/STAGE, or shipped: NAME/STAGE); empty for random parameters.
    """
    return {
        "trainable": trainable,
        "init_from": init_from,
        "renewed": (),  # parts or layers of that which start at random, for another shape
        "steps": steps,
        "batch_size": 128,
        "micro_batches": 1,  # parts of a batch, one after the other in so much less memory
        "average_decay": 0.998,
        "log_every": 250,
        "checkpoint_every": 500,
        "optimizer": {
            "learning_rate": 2e-3,
            "warmup_steps": 200,
            "weight_decay": 1e-4,
            "clip_norm": 5.0,
        },
    }
