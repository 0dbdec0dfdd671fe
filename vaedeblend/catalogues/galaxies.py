"""Parameters of galaxies: two components each, as whatever draws them takes them."""

from typing import NamedTuple

import numpy as np
from astropy.table import QTable
from jaxtyping import Bool, Float


class Galaxies(NamedTuple):
    """Parameters of n galaxies, as plain arrays; radii of zero make a star."""

    flux_bulge: Float[np.ndarray, "*n band"]
    """[uJy], as is `flux_disk`."""
    flux_disk: Float[np.ndarray, "*n band"]
    bulge_half_light_radius: Float[np.ndarray, "*n"]
    """Along the major axis [arcsec], as is `disk_half_light_radius`."""
    disk_half_light_radius: Float[np.ndarray, "*n"]
    bulge_axis_ratio: Float[np.ndarray, "*n"]
    disk_axis_ratio: Float[np.ndarray, "*n"]
    bulge_position_angle: Float[np.ndarray, "*n"]
    """Angle from +x towards +y [deg], as is `disk_position_angle`."""
    disk_position_angle: Float[np.ndarray, "*n"]

    def take(self, index) -> "Galaxies":
        """The galaxies of an index, a slice or a mask."""
        return Galaxies(*(np.asarray(field)[index] for field in self))

    @property
    def flux(self) -> Float[np.ndarray, "*n band"]:
        """Total flux [uJy]."""
        return self.flux_bulge + self.flux_disk

    @property
    def star(self) -> Bool[np.ndarray, "*n"]:
        """Whether it is a star."""
        return np.asarray((self.bulge_half_light_radius == 0) & (self.disk_half_light_radius == 0))


def make_galaxies(table: QTable) -> Galaxies:
    """A catalogue's galaxies as plain arrays in uJy, arcsec and deg."""
    units = {"flux": "uJy", "radius": "arcsec", "ratio": "", "angle": "deg"}
    columns = {}
    for name in Galaxies._fields:
        unit = next(unit for key, unit in units.items() if key in name)
        columns[name] = np.asarray(table[name].to_value(unit) if unit else table[name], float)
    return Galaxies(**columns)
