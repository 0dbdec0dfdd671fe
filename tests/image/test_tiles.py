import numpy as np
from astropy.table import Table

from vaedeblend.image.groups import Groups
from vaedeblend.image.measure import Measured
from vaedeblend.image.tiles import _of_core, plan
from vaedeblend.pixels.profiles import Profiles

SIZE = 64


def found_by(tile, origin, shift):
    """A source on a tile, whose stamp was shifted from where the source was first put."""
    corner = np.array([s.start for s in tile.window])
    local = np.array([origin]) - corner
    profiles = Profiles.from_stamps(
        np.ones((1, SIZE, SIZE), np.float32), np.ones(1, int), local - SIZE // 2 + shift
    )
    columns = {
        "position": local + 0.0,
        "flux": [1.0],
        "flux_err": [0.1],
        "input_row": [-1],
        "apparent": [1.0],
        "flux_err_alone": [0.1],
    }
    none = Groups(np.zeros(1, int), np.zeros((0, 2), int), np.zeros(0))
    return Measured(Table(columns), profiles, none, local), corner


def test_a_source_at_the_border_of_two_tiles_is_that_of_one():
    """Whichever way each of them has shifted its stamp."""
    tiles = plan((200, 400), 200)
    for x in range(195, 206):
        for shifts in np.ndindex(3, 3):
            each = zip(tiles, np.array(shifts) - 1, strict=True)
            parts = [
                _of_core(tile, *found_by(tile, (100, x), np.array([0, shift])), 1.0)
                for tile, shift in each
            ]
            assert sum(len(part.columns["flux"]) for part in parts) == 1
