"""One page about a deblended image, from its catalogue and its images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from vaedeblend.exceptions import PageError
from vaedeblend.image.page.given import Overview, Panel
from vaedeblend.image.page.signs import STAMP_LETTERS, make_signs
from vaedeblend.image.page.sources import (
    CLEAR,
    PAGE_COLUMNS,
    SourceColumns,
    as_sources,
    describe_sources,
    make_marks,
    table_rows,
)
from vaedeblend.image.page.views import LIGHT_SCALE, RESIDUAL_SCALE, colour_bar, make_view
from vaedeblend.io.html import number, share, templates
from vaedeblend.io.write import write_text
from vaedeblend.pixels.blending import BLENDED_PURITY

_TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    path: str | Path,
    *,
    title: str,
    catalog: Table,
    overview: Overview,
    panels: Sequence[Panel],
    flags: Mapping[int, tuple[str, str]],
    statistics: Mapping[str, float | int | str],
    said: Sequence[str] = (),
    axes: Float[np.ndarray, "2 2"] | None = None,
) -> None:
    """Writes the page as HTML; it appears complete or not at all.

    Args:
        path: File to write.
        title: Title of the page.
        catalog: Measured sources; x and y are 0-based [image pixel], mag is NaN without a zero
            point.
        overview: The whole image.
        panels: Surroundings of single sources, in the order of the page.
        flags: Name and meaning of each bit of the column flags.
        statistics: Further numbers by label, in the order of the page.
        said: What was assumed of the inputs, a sentence each.
        axes: Steps (east, north) on the sky of a pixel's along x and along y [arcsec], amid the
            image; None without a WCS.

    Raises:
        PageError: A column is missing, shapes differ, or a panel's source is not in the catalogue.
    """
    _check(catalog, overview, panels)
    unit = str(catalog["flux"].unit or "")
    sources = as_sources(catalog)
    facts = describe_sources(sources, unit, flags)
    page = templates(_TEMPLATES).get_template("image.html")
    text = page.render(
        title=title,
        n=len(catalog),
        keys=_keys(sources, unit),
        statistics=statistics,
        said=said,
        **_sky(sources, facts, overview, {panel.id for panel in panels}),
        **_panels(sources, facts, panels, axes),
        **_flags(sources, flags),
        signs=make_signs(overview.binning * overview.image.shape[1], axes),
        table=table_rows(sources, unit, flags),
        counts=_counts(sources),
        clear=CLEAR,
        blended=BLENDED_PURITY,
    )
    write_text(path, text)


def _check(catalog: Table, overview: Overview, panels: Sequence[Panel]) -> None:
    if missing := set(PAGE_COLUMNS) - set(catalog.colnames):
        raise PageError(f"catalogue has columns {catalog.colnames}; wanted {sorted(missing)} too")
    for what, images in (("overview", overview[:3]), *((f"panel {p.id}", p[1:]) for p in panels)):
        if len(shapes := {image.shape for image in images}) > 1:
            raise PageError(f"{what} has images of shapes {sorted(shapes)}; wanted one shape")
    if unknown := {panel.id for panel in panels} - set(catalog["id"].tolist()):
        raise PageError(f"panels show sources {sorted(unknown)}; wanted ids in the catalogue")


def _median(values: np.ndarray) -> float:
    """Median of the finite values; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _keys(sources: SourceColumns, unit: str) -> list[tuple[str, str]]:
    """Label and value of the key numbers."""
    n, limit = len(sources["id"]), 5 * _median(sources["flux_err"])
    blended = int(np.sum(sources["purity"] < BLENDED_PURITY))
    flagged = int(np.sum(sources["flags"] > 0))
    with np.errstate(all="ignore"):
        zero = _median(sources["mag"] + 2.5 * np.log10(sources["flux"]))
        if np.isfinite(zero):
            limit, unit = zero - 2.5 * np.log10(limit), "mag"
        return [
            ("sources", str(n)),
            (f"blended (purity below {BLENDED_PURITY}): {blended}", share(np.divide(blended, n))),
            (f"flagged: {flagged}", share(np.divide(flagged, n))),
            ("median χ² per pixel", number(_median(sources["chi2"]))),
            ("5 σ limit at the median flux error", f"{number(limit)} {unit}"),
            ("median relative flux error", share(_median(sources["flux_err"] / sources["flux"]))),
        ]


def _sky(
    sources: SourceColumns, facts: Sequence, overview: Overview, panels: set[int]
) -> dict[str, Any]:
    """Image, model and residual, the marks on them, and the residual's extremes."""
    image, model, residual, binning = overview
    farthest = None
    if np.isfinite(residual).any():
        y, x = np.unravel_index(np.nanargmax(np.abs(residual)), residual.shape)
        place = {"x": binning * (x + 0.5) - 0.5, "y": binning * (y + 0.5) - 0.5}
        beyond = np.mean(np.abs(residual[np.isfinite(residual)]) > 5)
        farthest = {"beyond": beyond, "value": residual[y, x], **place}
    sky = {
        "image": make_view("Image", image, LIGHT_SCALE, binning),
        "model": make_view("Model", model, LIGHT_SCALE, binning),
        "residual": make_view("Residual: image − model", residual, RESIDUAL_SCALE, binning),
    }
    marks = make_marks(sources, facts, tuple(binning * n for n in image.shape), panels)
    bars = {"light": colour_bar(LIGHT_SCALE), "differences": colour_bar(RESIDUAL_SCALE)}
    return {"sky": sky, "marks": marks, "binning": binning, "farthest": farthest, **bars}


def _panels(
    sources: SourceColumns, facts: Sequence, panels: Sequence[Panel], axes: np.ndarray | None
) -> dict[str, Any]:
    """Image, model, residual and own light of each panel's source."""
    rows = [int(np.flatnonzero(sources["id"] == panel.id)[0]) for panel in panels]
    shown = [
        {
            "id": panel.id,
            "facts": facts[row],
            "signs": make_signs(panel.image.shape[1], axes, STAMP_LETTERS),
            "views": [
                make_view("Image", panel.image, LIGHT_SCALE),
                make_view("Model", panel.model, LIGHT_SCALE),
                make_view("Residual", panel.image - panel.model, RESIDUAL_SCALE),
                make_view("Source alone", panel.alone, LIGHT_SCALE),
            ],
        }
        for panel, row in zip(panels, rows, strict=True)
    ]
    if not shown:
        return {"panels": shown}
    worst = int(np.argmax(np.nan_to_num(sources["chi2"][rows])))
    return {
        "panels": shown,
        "panel_purity": _median(sources["purity"][rows]),
        "worst": shown[worst],
    }


def _flags(sources: SourceColumns, flags: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """How often each flag occurs."""
    masks = np.nan_to_num(sources["flags"]).astype(int)
    found = [
        {"name": name, "meaning": meaning, "n": int(np.sum(masks & bit > 0))}
        for bit, (name, meaning) in flags.items()
    ]
    often = max(found, key=lambda flag: flag["n"], default={"n": 0})
    return {
        "flags": found,
        "flagged": int(np.sum(masks > 0)),
        "commonest": often["name"] if often["n"] else "",
    }


def _counts(sources: SourceColumns) -> dict[str, Any] | None:
    """SourceColumns and their flux errors by magnitude, or by flux where none has a magnitude."""
    quantity, values = "mag", sources["mag"]
    with np.errstate(all="ignore"):
        error = sources["flux_err"] / sources["flux"]
        if not np.isfinite(values).any():
            quantity, values = "log10 flux", np.log10(sources["flux"])
    used = np.isfinite(values)
    if not used.any():
        return None
    step = max(0.5, np.ceil(np.ptp(values[used]) / 5) / 2)
    place, error = np.floor(values[used] / step).astype(int), error[used]
    bins = range(place.min(), place.max() + 1)
    n = [int(np.sum(place == k)) for k in bins]
    rows = [
        {
            "range": f"{k * step:g} to {(k + 1) * step:g}",
            "n": count,
            "width": f"{100 * count / max(n):.3g}",
            "error": _median(error[place == k]),
        }
        for k, count in zip(bins, n, strict=True)
    ]
    return {"quantity": quantity, "rows": rows, "without": int(np.sum(~used))}
