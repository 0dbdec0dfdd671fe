"""The table of per-example results: one row a test stamp, its columns all that a figure draws.

| column | unit | meaning |
|---|---|---|
| set, id | | kind of scene; catalogue id of the central galaxy |
| flux, magnitude, purity, bm_1, flux_ratio | uJy, mag | of the central galaxy, a band each |
| n_companions, separation | arcsec | companions, and the distance of the nearest; NaN without |
| position | pixel | (y, x) of each source from the stamp's centre, central first; NaN: none |
| bulge_fraction | | bulge's share of the light |
| bulge_half_light_radius, disk_half_light_radius, disk_axis_ratio | arcsec | catalogue's |
| vae_flux, vae_flux_err, vae_purity, vae_pit | uJy | deblended; probability below the true flux |
| vae_error, sextractor_error | | relative flux error e; -1 where nothing was found |
| sextractor_corrected_error | | the same without its bias on isolated training stamps |
| sextractor_flux, sextractor_flux_err, found, n_objects | uJy | SExtractor's; NaN where missed |
| failure | | see `metrics.failure_class`; 'unmeasured' without a baseline |
| sextractor_default_error, default_n_objects, default_failure | | of SExtractor at its defaults |
| bound_free, bound_prior | | relative Fisher bound of the flux |
| cosine_distance, mse, similarity | uJy2 | deblended light and truth; similarity is SSIM |
| truth_*, vae_* half_light_radius, axis_ratio, position_angle | arcsec, deg | of light as seen |
| truth_profile, vae_profile | uJy arcsec-2 | surface brightness in the rings of `RINGS` |
| {vae_i, vae_ii}_latent_mean, _latent_std | | posterior of the latent |
| {vae_i, vae_ii}_tsne | | its t-SNE; NaN where it was not embedded |
| {method}_flux, {method}_error | uJy | of further methods, as one_look and vae_i |
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from jaxtyping import Float, Int
from scipy import stats

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.fisher import Bound
from vaedeblend.evaluate.sextractor import Baseline
from vaedeblend.models.sinh_arcsinh import normal_score
from vaedeblend.pixels.shapes import annuli, measure_shapes

RINGS = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20], float)
"""Edges of the rings in which the light is averaged [pixel]."""

_LABELS = ("id", "magnitude", "flux", "purity", "bm_1", "flux_ratio", "n_companions")
_BANDED = {"magnitude", "flux", "purity", "bm_1", "flux_ratio"}
_BANDED |= {"vae_flux", "vae_flux_err", "vae_pit", "vae_purity"}
_UNITS = {"flux": "uJy", "flux_err": "uJy", "magnitude": "mag", "mse": "uJy2", "position": "pix"}
_UNITS |= {"half_light_radius": "arcsec", "separation": "arcsec", "position_angle": "deg"}
_UNITS |= {"profile": "uJy / arcsec2"}


def make_table(
    kind: str,
    scenes: Mapping[str, np.ndarray],
    found,
    bound: Bound,
    baseline: Baseline | None,
    pixel_scale: float,
) -> Table:
    """The table of the test stamps of one kind.

    Args:
        kind: Kind of scene.
        scenes: Arrays of the scenes, from `dataset.load`.
        found: Results of the network, `network.Deblended`.
        bound: Fisher bound of each stamp's flux.
        baseline: SExtractor's measurements; None where it could not be run.
        pixel_scale: Side of a pixel [arcsec].
    """
    table = Table({name: scenes[name] for name in _LABELS})
    table.add_column(np.full(len(table), kind), name="set", index=0)
    _add_sources(table, scenes, pixel_scale)
    table["vae_flux"], table["vae_flux_err"] = found.flux, found.flux_err
    below = stats.norm.cdf(normal_score(found.log_flux, np.log(scenes["flux"])))
    table["vae_pit"] = np.where(np.isfinite(found.flux), below, np.nan)
    table["vae_purity"] = found.purity
    table["bound_free"], table["bound_prior"] = bound.free, bound.prior
    true = scenes["flux"][:, 0].astype(float)
    table["vae_error"] = metrics.relative_error(found.flux[:, 0].astype(float), true)
    _add_baseline(table, baseline, true)
    image, truth = found.image, scenes["isolated"]
    table["cosine_distance"] = metrics.cosine_distance(image, truth)
    table["mse"] = metrics.mean_squared_error(image, truth)
    table["similarity"] = metrics.similarity(image[..., 0], truth[..., 0])
    centre = scenes["sources/position"][:, 0].astype(float)
    light = {"truth": (truth, scenes["flux"]), "vae": (image, found.flux)}
    for name, (stamps, flux) in light.items():
        _add_shapes(table, name, stamps[..., 0], flux[:, 0], centre, pixel_scale)
    add_units(table)
    return table


def add_latent(table: Table, label: str, found) -> None:
    """Adds the posterior of each stamp's latent, as the columns of the network `label`."""
    table[f"{label}_latent_mean"] = np.asarray(found.latent_mean)
    table[f"{label}_latent_std"] = np.asarray(found.latent_std)


def add_units(table: Table) -> None:
    """Gives each column the unit of the quantity in its name."""
    for name in table.colnames:
        endings = [name.split("_", k)[-1] for k in range(name.count("_") + 1)]
        table[name].unit = next((_UNITS[e] for e in endings if e in _UNITS), None)


def read_examples(path: str | Path) -> Table:
    """The table of an earlier evaluation, from its examples.fits."""
    table = Table.read(path, mask_invalid=False)
    table.convert_bytestring_to_unicode()
    return table


def columns(table: Table) -> dict[str, np.ndarray]:
    """The table's columns as plain arrays, those with a band axis in the first band."""
    arrays = {name: np.asarray(table[name]) for name in table.colnames}
    for name, values in arrays.items():
        if name in _BANDED and values.ndim == 2:
            values = values[:, 0]
        wide = float if values.dtype.kind == "f" and values.ndim == 1 else None
        arrays[name] = values.astype(wide or values.dtype.newbyteorder("="))
    return arrays


def at_quantiles(
    values: Float[np.ndarray, " n"], quantiles: Sequence[float | int]
) -> Int[np.ndarray, " k"]:
    """Rows whose values lie at quantiles of the finite ones; none without any."""
    order = np.argsort(values)
    order = order[np.isfinite(values[order])]
    return order[[int(q * (len(order) - 1)) for q in quantiles]] if len(order) else order


def _add_sources(table: Table, scenes: Mapping[str, np.ndarray], pixel_scale: float) -> None:
    """The central galaxy's catalogue values, and the places of its companions."""
    flux = scenes["sources/flux_bulge"][..., 0] + scenes["sources/flux_disk"][..., 0]
    position = np.where(flux[..., None] > 0, scenes["sources/position"], np.nan)
    apart = np.hypot(*np.moveaxis(position[:, 1:] - position[:, :1], -1, 0))
    nearest = np.where(np.isfinite(apart), apart, np.inf).min(axis=1, initial=np.inf)
    table["separation"] = np.where(np.isfinite(nearest), nearest, np.nan) * pixel_scale
    table["position"] = position
    table["bulge_fraction"] = scenes["sources/flux_bulge"][:, 0, 0] / flux[:, 0]
    for name in ("bulge_half_light_radius", "disk_half_light_radius", "disk_axis_ratio"):
        table[name] = scenes[f"sources/{name}"][:, 0]


def _add_baseline(table: Table, baseline: Baseline | None, true) -> None:
    """SExtractor's fluxes, errors and failures, with its best settings and its defaults."""
    if baseline is None:
        _add_no_baseline(table)
        return
    measured, untuned = baseline.measured, baseline.untuned
    table["sextractor_flux"], table["sextractor_flux_err"] = measured.flux, measured.flux_err
    error = metrics.relative_error(measured.flux, true)
    table["sextractor_error"] = error
    table["sextractor_corrected_error"] = metrics.relative_error(
        measured.flux / baseline.bias, true
    )
    table["found"], table["n_objects"] = np.isfinite(measured.flux), measured.n_objects
    table["failure"] = metrics.failure_class(error, measured.n_objects)
    error = metrics.relative_error(untuned.flux, true)
    table["sextractor_default_error"], table["default_n_objects"] = error, untuned.n_objects
    table["default_failure"] = metrics.failure_class(error, untuned.n_objects)


def _add_no_baseline(table: Table) -> None:
    nothing, none = np.full(len(table), np.nan), np.full(len(table), -1)
    unmeasured = np.full(len(table), "unmeasured")
    for name in ("flux", "flux_err", "error", "corrected_error"):
        table[f"sextractor_{name}"] = nothing
    table["found"], table["n_objects"] = np.isfinite(nothing), none
    table["failure"] = unmeasured
    table["sextractor_default_error"], table["default_n_objects"] = nothing, none
    table["default_failure"] = unmeasured


def _add_shapes(table: Table, name: str, light, flux, centre, pixel_scale: float) -> None:
    shapes = measure_shapes(light, flux)
    table[f"{name}_half_light_radius"] = shapes.half_light_radius * pixel_scale
    table[f"{name}_axis_ratio"] = shapes.axis_ratio
    table[f"{name}_position_angle"] = shapes.position_angle
    rings = annuli(light, centre, RINGS) / pixel_scale**2
    table[f"{name}_profile"] = rings.astype(np.float32)
