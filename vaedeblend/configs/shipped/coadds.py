"""What the shipped weights learn last: co-adds, PSFs of all sorts, stars, and knotty galaxies.

A third stage, a network of its own, tests which light that a source's model lacks is a companion.

python train.py --workdir runs/smooth --config vaedeblend/configs/shipped/smooth.py
python train.py --workdir runs/mixture --config vaedeblend/configs/shipped/mixture.py
python train.py --workdir runs/harder --config vaedeblend/configs/shipped/harder.py
python train.py --workdir runs/euclid_vis --config vaedeblend/configs/shipped/euclid_vis.py
python train.py --workdir runs/coadds --config vaedeblend/configs/shipped/coadds.py

Real galaxies join where the style names them, each in one split: --config.data.style=
analytic+structured+analytic+structured+cosmos:PATH#split+real:PATH#split
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick
from vaedeblend.configs.shipped import euclid_vis, smooth


def get_config() -> ConfigDict:
    """Both stages once more from where `euclid_vis` ended, with what Euclid's files hold.

    Light and noise of most stamps pass through the interpolation of dithered exposures; PSFs have
    wings or none and are given whole or cut; depth changes under more of the galaxies; there are
    more bright galaxies, and stars of 16 to 25 mag among them.
    """
    config = euclid_vis.get_config()
    config.data.update(
        n_psfs=64,
        psf_default_share=0.15,
        psf_fwhm=(0.145, 0.24),
        psf_wings=(0.0, 0.05),
        psf_cut_share=0.2,
        psf_sides=(19, 65),
        coadd_share=0.6,
        star_fraction=0.06,
    )
    stars = {"star_magnitude": (16.0, 25.0)}
    galaxies = smooth.populations(config, (0.26, 0.09, 0.20, 0.27, 0.05, 0.06))
    config.data.populations = (*galaxies, (0.07, stars))
    config.observation.update(correlated_share=0.0, uneven_share=0.2)
    config.sizes.update(galaxies={"train": 57600, "validation": 6400}, companions=24576)
    config.model.coadds = True
    isolated, blended = config.stages.isolated, config.stages.blended
    isolated.update(steps=3000, batch_size=256, init_from="runs/euclid_vis/blended")
    isolated.loss.update(kl_warmup_steps=0, flux_error=5e-5)
    blended.update(steps=12000, init_from="runs/euclid_vis/blended")
    blended.loss.update(cleaned_from=0, point_weight=1.0)
    for stage in (isolated, blended):
        stage.renewed = ("encoder/point_source",)
        stage.update(log_every=500, checkpoint_every=1000)
        stage.optimizer.update(learning_rate=1e-3, warmup_steps=500)
    config.companions = {"widths": (32, 64, 96), "hidden": (128, 128)}
    config.stages.companions = companions_stage(steps=12000)
    return config


def companions_stage(*, steps: int) -> dict:
    """The test of companions: single sources, half of all, beside companions from 0.05 arcsec on.

    Args:
        steps: Steps of the optimiser.
    """
    stage = quick.training_stage(steps=steps, trainable=("companions",), init_from="")
    stage.update(batch_size=64, log_every=500, checkpoint_every=1000)
    stage["optimizer"].update(learning_rate=1e-3)
    return stage | {
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
        "loss": {"known_share": 0.5, "offset_weight": 0.1, "companion_share": 0.1},
    }
