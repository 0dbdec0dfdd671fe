"""Tiles of a survey: pieces of one image of known galaxies, with the products of each."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from vaedeblend.image.surveys.listing import list_tiles
from vaedeblend.image.surveys.plan import OPTIONS, plan_tiles, tile_tasks


def cut_tiles(folder, image, rms, header, *, size, reach):
    """Writes pieces of an image whose cores are `size` pixels a side, as NAME.fits."""
    folder.mkdir(parents=True, exist_ok=True)
    spans = [
        [(max(low - reach, 0), min(low + size + reach, n)) for low in range(0, n, size)]
        for n in image.shape
    ]
    for i, (bottom, top) in enumerate(spans[0]):
        for j, (left, right) in enumerate(spans[1]):
            span = slice(bottom, top), slice(left, right)
            cards = header.copy()
            cards.update(WCS(header)[span].to_header())
            for end, plane in (("", image), ("_rms", rms)):
                fits.writeto(folder / f"t{i}{j}{end}.fits", plane[span], cards, overwrite=True)
    return folder


def planned(folder, out, pattern="t*.fits", **options):
    """The plan of the tiles in a folder, and a task for each."""
    paths = sorted(path for path in Path(folder).glob(pattern))
    plan = plan_tiles(list_tiles(paths), OPTIONS | {"tiles": [str(folder)]} | options)
    return plan, tile_tasks(plan, out)


def stub(task, core, folder):
    """A measurement that takes no time: a source in the middle of the tile."""
    from astropy.table import Table

    height, width = task.tile.shape
    ra, dec = task.tile.wcs.all_pix2world(width / 2, height / 2, 0)
    row = {"ra": [float(ra)], "dec": [float(dec)], "flux": [1.0], "flux_ujy": [1.0], "flags": [0]}
    row |= {"apparent": [1.0], "core_depth": [9.0], "tile": [task.tile.name], "drift": [0]}
    return Table(row), {"sources": 1, "drift": 0}


def slow_stub(task, core, folder):
    """The same, a second later."""
    import time

    time.sleep(1.0)
    return stub(task, core, folder)


def table_stub(task, core, folder, rows):
    """A measurement in whose place random sources lie all over a tile."""
    from astropy.table import Table

    rng = np.random.default_rng(int(task.tile.name))
    (ra, dec), side = task.tile.wcs.wcs.crval, task.tile.shape[0] * 0.1 / 3600
    up, right = rng.uniform(-side / 2, side / 2, (2, rows))
    table = Table({"ra": ra + right / np.cos(np.radians(dec)), "dec": dec + up})
    for name in (*COLUMNS, "flux", "flux_ujy", "apparent"):
        table[name] = rng.random(rows)
    table["flags"], table["core_depth"] = np.zeros(rows, int), np.full(rows, 9.0)
    table["tile"], table["drift"] = np.full(rows, task.tile.name), np.zeros(rows, np.int16)
    return table, {"sources": rows, "drift": 0}


COLUMNS = "flux_err", "mag", "mag_err", "half_light_radius", "purity", "chi2", "snr", "fwhm"


def sky_tiles(n, side=18000, dec=-40.0):
    """The plan of n tiles side by side on the sky, which have no files."""

    from vaedeblend.image.surveys.listing import SurveyTile, as_cards

    degrees, columns, tiles = side * 0.1 / 3600, int(np.ceil(n**0.5)), []
    for k in range(n):
        row, column = divmod(k, columns)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [(side + 1) / 2] * 2
        up = dec + row * degrees
        wcs.wcs.crval = 30 + column * degrees / np.cos(np.radians(up)), up
        wcs.wcs.cdelt = np.array([-1, 1]) * 0.1 / 3600
        cards = as_cards(fits.Header(wcs.to_header()))
        tiles.append(SurveyTile(f"{k:09d}", __file__, {}, (side, side), cards))
    return plan_of(tiles)


def plan_of(tiles):
    """The plan of tiles."""
    from vaedeblend.image.surveys.listing import Listing

    return plan_tiles(Listing(tuple(tiles), {}), OPTIONS | {"tiles": []})


def same_sources(table, whole):
    """Rows of one table by the nearest of another, and their distance [pixel]."""
    from scipy.spatial import cKDTree

    at = [np.stack([t["ra"] * np.cos(np.radians(t["dec"])), t["dec"]], 1) for t in (table, whole)]
    distance, row = cKDTree(at[1]).query(at[0])
    return row, distance * 36000
