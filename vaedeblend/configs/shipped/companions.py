"""What the shipped weights learn last of all: companions are not clumps.

python train.py --workdir runs/coadds --config vaedeblend/configs/shipped/coadds.py
python train.py --workdir runs/companions --config vaedeblend/configs/shipped/companions.py

Real galaxies join where the style names them, each in one split: --config.data.style=
analytic+structured+structured+clumpy+cosmos:PATH#split+real:PATH#split
"""

from ml_collections import ConfigDict

from vaedeblend.configs.shipped import coadds, smooth


def get_config() -> ConfigDict:
    """The deblender as `coadds` left it, and its test of companions once more, beside clumps.

    The test is also given the whole stamp. Half of the galaxies are brighter than 23.5 mag, whose
    structure is seen best.
    """
    config = coadds.get_config()
    config.data.style = "analytic+structured+structured+clumpy"
    stars = config.data.populations[-1]
    galaxies = smooth.populations(config, (0.17, 0.14, 0.32, 0.22, 0.02, 0.06))
    config.data.populations = (*galaxies, stars)
    config.sizes.update(
        galaxies={"train": 38400, "validation": 3200}, companions=12288, fields={"train": 64}
    )
    for name in ("isolated", "blended", "standard"):
        config.sizes[name].validation = 3000
    config.companions.context = (16, 32, 48)
    blended, companions = config.stages.blended, config.stages.companions
    config.stages = {"blended": blended, "companions": companions}
    blended.update(steps=0, init_from="runs/coadds/blended", renewed=(), teacher="")
    blended.optimizer.warmup_steps = 0
    context = tuple(f"companions/Conv_{i}" for i in (3, 4, 5))
    companions.update(steps=16000, init_from="runs/coadds/companions", renewed=context)
    return config
