"""Sources whose stamps are priors for T-PHOT."""

import numpy as np

from vaedeblend.image.catalogue.tphot import PriorSources, write_priors

SHAPE = (60, 90)
SIDE = 21
CORNERS = np.array([[12, 30], [18, 36], [-9, 5], [47, 77], [20, -12], [70, 10], [5, -21]])
"""Two inside, overlapping; three over edges and a corner; two beyond the image."""
IDS = np.array([11, 7, 300, 4, 5, 6, 8])
INSIDE = slice(0, 2)


def stamp(centre, sigma=2.0, flux=1.0):
    """A Gaussian on SIDE x SIDE pixels, cut where it still has light."""
    y, x = np.mgrid[:SIDE, :SIDE]
    light = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2))
    return (flux * light / (2 * np.pi * sigma**2)).astype(np.float32)


def sources(rng, sigma=2.0):
    """Keywords of `write`: one source on each of CORNERS, of 1 to 1e4 in flux."""
    centre = (SIDE - 1) / 2 + rng.uniform(-1, 1, CORNERS.shape)
    flux = 10 ** rng.uniform(0, 4, len(IDS))
    return {
        "ids": IDS,
        "positions": CORNERS + centre,
        "flux": flux,
        "stamps": np.array([stamp(c, sigma, f) for c, f in zip(centre, flux, strict=True)]),
        "corners": CORNERS,
        "shape": SHAPE,
    }


def write(folder, **given):
    """The ids that `write_priors` leaves out; sources and the rest are keywords."""
    each = {name: given.pop(name) for name in PriorSources._fields if name in given}
    return write_priors(folder, PriorSources(**each), **given)


def inside(rng):
    """As `sources`, those whose stamps lie within the image."""
    given = sources(rng)
    return {k: v if k == "shape" else v[INSIDE] for k, v in given.items()}


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
