"""VIS with NISP's H and g from the ground, blurred as these are, on VIS's pixels: in minutes.

python train.py --workdir runs/multiband --config vaedeblend/configs/multiband.py
python eval.py --workdir runs/multiband
"""

from ml_collections import ConfigDict

from vaedeblend.configs import quick


def get_config() -> ConfigDict:
    """The quick recipe with three bands, each galaxy with EGG's bulge and disk of its own colours.

    Widths (0.5 and 0.8 arcsec) and noise are those of `simulate --style mer --bands`. Beside
    `quick` it says whether more bands help where light is blended (Arcelin+ 2020). Bands are in the
    order of their names, VIS's being the first.
    """
    config = quick.get_config()
    config.survey.bands.update(
        {
            "nir-h": {
                "electron_zero_point": 25.0,
                "sky_brightness": 20.7,
                "exposure_time": 87.2,
                "wavelength": 1770.0,
                "charge_diffusion": 0.07,
            },
            "ext-g": {
                "electron_zero_point": 26.4,
                "sky_brightness": 21.07,
                "exposure_time": 225.0,
                "wavelength": 480.0,
                "aperture": 4.0,
                "charge_diffusion": 0.33,  # with the seeing
            },
        }
    )
    return config
