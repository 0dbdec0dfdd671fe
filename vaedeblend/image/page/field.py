"""The page of a measured image: its hardest blends, and statistics of its residual."""

from collections import Counter
from pathlib import Path

import numpy as np

from vaedeblend.image.catalogue.columns import FLAGS
from vaedeblend.image.catalogue.ellipses import sky_axes
from vaedeblend.image.catalogue.merge import Catalog
from vaedeblend.image.page.given import Overview, Panel
from vaedeblend.image.page.sources import hardest_blends
from vaedeblend.image.page.write import write_page
from vaedeblend.image.tiles import Job, read_pixels
from vaedeblend.io.mosaic import Mosaic


def write_field_page(
    mosaic: Mosaic, job: Job, catalog: Catalog, overview: Overview, sums: Counter, out: Path
) -> None:
    """Writes index.html: the image, its hardest blends and statistics of the residual."""
    table, rows = catalog.table, len(catalog.table)
    table = table[table["binning"] > 0]  # without rows of a list that have no place or light
    statistics = {"sources": len(table), "groups": len(np.unique(table["group_id"]))}
    if len(table) < rows:
        statistics["rows of the list that are not measured"] = rows - len(table)
    for name in ("source pixels", "sky pixels"):
        mean = sums[f"chi2 of {name}"] / sums[name] if sums[name] else np.nan
        statistics |= {name: sums[name], f"chi2 per pixel, {name}": round(mean, 3)}
    rows = np.asarray(table["id"])[hardest_blends(table)] - 1
    panels = [Panel(*_panel(mosaic, job, catalog, int(i))) for i in rows]
    options = {"catalog": table, "overview": overview, "panels": panels, "flags": FLAGS}
    options |= {"title": Path(job.image).name, "statistics": statistics, "said": catalog.said}
    options |= {"axes": sky_axes(mosaic.wcs, np.array([mosaic.shape]) / 2)[0]}
    write_page(out / "index.html", **options)


def _panel(mosaic: Mosaic, job: Job, catalog: Catalog, i: int) -> tuple:
    """A `given.Panel`: a source's stamp as far as it lies on the image, in units of the rms."""
    profiles, shape = catalog.profiles, np.array(mosaic.shape)
    corner, side = profiles.corner[i], profiles.sides[i]
    low = np.clip(corner, 0, np.maximum(shape - side, 0))
    high = np.minimum(low + side, shape)
    rows, columns = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    image, rms = read_pixels(mosaic, job.background, rows, columns)
    unit = np.median(rms[np.isfinite(rms)]) if np.isfinite(rms).any() else 1.0
    near, alone = profiles.reaching(low, high), np.array([i])
    model, own = (profiles.select(a).moved(low).lay(image.shape) / unit for a in (near, alone))
    return i + 1, image / unit, model, own
