"""Examples simulated of a small catalogue of two bands."""

import astropy.units as u
import numpy as np
from astropy.table import QTable

from vaedeblend.catalogues import catalogue
from vaedeblend.simulate import examples as simulation
from vaedeblend.survey import MICROJANSKY_ZERO_POINT, Survey, make_survey

VIS = Survey()
TWO_BANDS = make_survey({"euclid-vis": {}, "red": {"wavelength": 900.0, "n_exposures": 2}}, 0.1)
ROWS = 600


def write_catalogue(folder):
    """Red light is twice the bulge's and half the disk's; returns the file's path."""
    rng = np.random.default_rng(11)
    flux = 10 ** (0.4 * (MICROJANSKY_ZERO_POINT - rng.uniform(22, 25.5, ROWS)))
    share = rng.uniform(0.1, 0.6, ROWS)
    table = QTable({"id": 1000 + np.arange(ROWS)}, meta={"bands": TWO_BANDS.band_names})
    table["flux_bulge"] = (flux * share)[:, None] * [1, 2] * u.uJy
    table["flux_disk"] = (flux * (1 - share))[:, None] * [1, 0.5] * u.uJy
    for component, radii in {"bulge": (0.011, 0.029), "disk": (0.06, 0.34)}.items():
        table[f"{component}_half_light_radius"] = rng.uniform(*radii, ROWS) * u.arcsec
        table[f"{component}_axis_ratio"] = rng.uniform(0.2, 1, ROWS)
        table[f"{component}_position_angle"] = rng.uniform(-90, 90, ROWS) * u.deg
    path = folder / "two_bands.fits"
    catalogue.write(table, path)
    return str(path)


def simulate(kind, n, source, *, split="test", survey=VIS, seed=5, **options):
    examples = simulation.examples(
        kind, split, n, survey=survey, seed=seed, source=source, **options
    )
    return list(examples)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            assert_same(value, other[name])
        else:
            np.testing.assert_array_equal(value, other[name])
