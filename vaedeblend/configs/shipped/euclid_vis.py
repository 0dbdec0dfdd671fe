"""The weights that are shipped: a larger decoder, and what `harder` has learned of blends.

python train.py --workdir runs/smooth --config vaedeblend/configs/shipped/smooth.py
python train.py --workdir runs/mixture --config vaedeblend/configs/shipped/mixture.py
python train.py --workdir runs/harder --config vaedeblend/configs/shipped/harder.py
python train.py --workdir runs/euclid_vis --config vaedeblend/configs/shipped/euclid_vis.py
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick
from vaedeblend.configs.shipped import harder, smooth


def get_config() -> ConfigDict:
    """A first stage of its own, twelve million stamps long: arms and knots take that many to draw.

    The second starts from the encoder of `harder`, of which only the head for the latent is new. A
    bright galaxy's light that its profile lacks is taken for that of the faint ones upon it, so
    that there are more of the bright and of the large.
    """
    config = harder.get_config()
    shares = 0.33, 0.06, 0.19, 0.30, 0.06, 0.06
    config.data.populations = smooth.populations(config, shares)
    config.sizes.update(galaxies={"train": 56000}, companions=24000)
    config.model.update(latent_dim=24, decoder_hidden=(384, 768))
    isolated, blended = quick.isolated_stage(steps=24000), config.stages.blended
    isolated.update(batch_size=512, average_decay=0.999, log_every=1000, checkpoint_every=1000)
    config.stages = {"isolated": isolated, "blended": blended}
    blended.update(
        steps=15000,
        init_from="runs/harder/blended",
        teacher="isolated",
        renewed=("encoder/Dense_9", "decoder", "flow"),
    )
    blended.optimizer.update(learning_rate=1e-3, warmup_steps=500)
    blended.loss.cleaned_from = 1000
    return config
