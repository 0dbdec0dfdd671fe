"""Which of the sources found on an image are those that were added to it.

A source that was there before counts for none, unless the light that it gained is an added one's.
"""

import astropy.units as u
import numpy as np
from astropy.table import Table
from jaxtyping import Bool

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.added.places import places
from vaedeblend.pixels.matching import match
from vaedeblend.simulate.galaxies.profiles import half_light_radius
from vaedeblend.simulate.library import PlacedSources

_SAME, _NEAR = 1.0, 3.0
"""Distances within which a source is that which was there before, and an added one [pixel]."""
_GAINED = 0.5
"""Share of an added source's flux that one which was there before has to gain to count for it."""


def recovered(sources: PlacedSources, unit: float, found: Table, before: Table, seed: int) -> Table:
    """The sources that were added, each with that of the catalogue which is it.

    Those that were there before are matched as well, and take what is theirs.

    Args:
        sources: Sources as they were added.
        unit: Image units per uJy.
        found: Catalogue of the image with them.
        before: Catalogue of the image as it was.
        seed: Seed of the sources, which is a column.
    """
    flux = sources.galaxies.flux[:, 0].astype(float) * unit
    before, found = (
        table[np.isfinite(np.ma.filled(table["flux"], np.nan))] for table in (before, found)
    )
    kept_before, kept = _changed(sources.position, flux, found, before)
    before, found = before[kept_before], found[kept]
    true = np.concatenate([sources.position, places(before)])
    every = np.append(flux, np.asarray(before["flux"], float))
    row = match(true, every, places(found), _NEAR)[: len(flux)]
    return _table(sources, flux, found, row, seed)


def _changed(
    position, flux, found: Table, before: Table
) -> tuple[Bool[np.ndarray, " before"], Bool[np.ndarray, " found"]]:
    """Rows of both catalogues without the sources that are what they were."""
    old = np.asarray(before["flux"], float)
    row = match(places(before), old, places(found), _SAME)
    there = np.flatnonzero(row >= 0)
    gained = np.asarray(found["flux"], float)[row[there]] - old[there]
    distance = np.hypot(*(position[:, None] - places(before)[there]).T).T
    near = distance <= _NEAR + _SAME
    least = np.where(near, _GAINED * flux[:, None], np.inf).min(axis=0, initial=np.inf)
    same = there[gained < least]
    kept_before, kept = np.ones(len(before), bool), np.ones(len(found), bool)
    kept_before[same], kept[row[same]] = False, False
    return kept_before, kept


def _table(sources: PlacedSources, flux, found: Table, row, seed: int) -> Table:
    there = row >= 0
    names = "id", "x", "y", "flux", "flux_err", "flux_err_95", "purity", "flags"
    column = {name: np.full(len(row), np.nan) for name in names}
    for name, values in column.items():
        values[there] = np.asarray(found[name], float)[row[there]]
    y, x = sources.position.T
    each = (sources.galaxies.take(i) for i in range(len(row)))
    radius = np.array([0.0 if one.star else half_light_radius(one) for one in each])
    return Table(
        {
            "x": x * u.pix,
            "y": y * u.pix,
            "mag": sources.magnitude * u.mag,
            "flux": flux,
            "found": there,
            "flux_found": column["flux"],
            "flux_err": column["flux_err"],
            "error": metrics.relative_error(column["flux"], flux),
            "purity": column["purity"],
            "flags": np.nan_to_num(column["flags"]).astype(int),
            "id": np.nan_to_num(column["id"]).astype(int),
            "star": sources.galaxies.star,
            "seed": np.full(len(row), seed),
            "half_light_radius": radius * u.arcsec,
            "x_found": column["x"] * u.pix,
            "y_found": column["y"] * u.pix,
            "flux_err_95": column["flux_err_95"],
        }
    )
