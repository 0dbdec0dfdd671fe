"""A small evaluation of nothing real: every column and image that a report wants."""

import numpy as np
from astropy.table import QTable, Table

from vaedeblend.evaluate import metrics
from vaedeblend.evaluate.evaluation import QUANTILES, Evaluation
from vaedeblend.evaluate.summary import against, summarise_examples
from vaedeblend.evaluate.table import RINGS, add_units
from vaedeblend.pixels.psf import make_psf
from vaedeblend.report.study import Setting
from vaedeblend.survey import magnitude_to_flux

SIZE, LATENT = 16, 5
CUTS = {
    "magnitude": (23.0, 25.0),
    "bulge_half_light_radius": (0.01, 0.03),
    "disk_half_light_radius": (0.05, 0.35),
}
RECORDS = [
    {"step": step, "train_loss": 1e3 / step, "validation_loss": 1.1e3 / step}
    | {"train_reconstruction": 900 / step, "validation_reconstruction": 990 / step}
    | {"train_kl": 2.0, "validation_kl": 2.1}
    for step in range(100, 1100, 100)
]


def example_table(kind="blended", n=80, seed=0):
    """Errors of ten per cent (VAE) and thirty (SExtractor, a tenth of the galaxies missed)."""
    rng = np.random.default_rng(seed)
    alone = kind == "isolated"
    magnitude = rng.uniform(23.0, 25.0, (n, 1))
    true = magnitude_to_flux(magnitude)
    flux = true * np.exp(0.1 * rng.normal(size=(n, 1)))
    theirs = rng.normal(0.1, 0.3, n)
    found = rng.random(n) < 0.9
    theirs[~found] = -1.0
    count = np.where(found, rng.integers(1, 4, n), 0)
    table = Table({"set": np.full(n, kind), "id": np.arange(n) // 2})
    table["magnitude"], table["flux"] = magnitude, true
    table["purity"] = np.ones((n, 1)) if alone else rng.uniform(0.2, 0.95, (n, 1))
    table["bm_1"] = rng.random((n, 1)) * (not alone)
    table["flux_ratio"] = np.where(alone, np.inf, 10 ** rng.uniform(-1, 1, (n, 1)))
    table["n_companions"] = np.full(n, int(not alone))
    table["separation"] = np.full(n, np.nan) if alone else rng.uniform(0.3, 3.0, n)
    table["position"] = rng.uniform(-3, 3, (n, 4, 2))
    table["position"][:, 2 - alone :] = np.nan
    table["bulge_fraction"] = rng.random(n)
    table["bulge_half_light_radius"] = rng.uniform(0.01, 0.03, n)
    table["disk_half_light_radius"] = rng.uniform(0.05, 0.35, n)
    table["disk_axis_ratio"] = rng.uniform(0.2, 1.0, n)
    table["vae_flux"], table["vae_flux_err"] = flux, 0.1 * flux
    table["vae_pit"], table["vae_purity"] = rng.random((n, 1)), table["purity"]
    table["bound_free"], table["bound_prior"] = np.full(n, 0.09), np.full(n, 0.08)
    table["vae_error"] = (flux / true - 1)[:, 0]
    table["sextractor_flux"] = np.where(found, (1 + theirs) * true[:, 0], np.nan)
    table["sextractor_flux_err"] = 0.05 * table["sextractor_flux"]
    table["sextractor_error"], table["sextractor_corrected_error"] = theirs, theirs - 0.1
    table["found"], table["n_objects"] = found, count
    table["failure"] = metrics.failure_class(theirs, count)
    table["sextractor_default_error"], table["default_n_objects"] = theirs, count
    table["default_failure"] = table["failure"]
    for name in ("cosine_distance", "mse", "similarity"):
        table[name] = 10 ** rng.uniform(-3, -2, n)
    for method in ("truth", "vae"):
        table[f"{method}_half_light_radius"] = rng.uniform(0.1, 0.3, n)
        table[f"{method}_axis_ratio"] = rng.uniform(0.4, 1.0, n)
        table[f"{method}_position_angle"] = rng.uniform(-90, 90, n)
        table[f"{method}_profile"] = np.exp(-RINGS[:-1] / 3) * rng.uniform(0.9, 1.1, (n, 1))
    label = "vae_i" if alone else "vae_ii"
    table[f"{label}_latent_mean"] = rng.normal(size=(n, LATENT))
    table[f"{label}_latent_std"] = np.full((n, LATENT), 0.3)
    table[f"{label}_tsne"] = rng.normal(size=(n, 2))
    add_units(table)
    return table


def pictures(kind, n=80):
    """Noise about a square of light; samples and traversals beside."""
    shape = (n, SIZE, SIZE, 1)
    noise = np.random.default_rng(1).normal(size=shape)
    truth = np.zeros(shape)
    truth[:, 6:10, 6:10] = 20.0
    label = "vae_i" if kind == "isolated" else "vae_ii"
    return {
        "input": truth + noise,
        "truth": truth,
        "reconstruction": 1.1 * truth,
        "segmentation": (truth[..., 0] > 0).astype(np.int32),
        "sample": truth[: len(QUANTILES)],
        f"{label}_traversals": np.tile(truth[0, ..., 0], (3, 5, 1, 1)),
    }


def latent_numbers():
    """Numbers of `latents.study` for a space of five dimensions."""
    names = ("magnitude", "disk_half_light_radius", "disk_axis_ratio", "bulge_fraction", "purity")
    change = {"radius_factor": 1.5, "peak_factor": 0.5, "axis_ratio_change": 0.1, "shift": 0.25}
    return {
        "n_dimensions": LATENT,
        "n_active": 4,
        "embedded": 80,
        "variance": [1.0, 0.5, 0.2, 0.1, 0.001],
        "noise": [0.1] * LATENT,
        "kl": [1.0] * LATENT,
        "layout": dict.fromkeys(names, 0.5),
        "best": {"name": "magnitude", "r2": 0.75},
        "worst": {"name": "purity", "r2": 0.25},
        "traversals": [{"dimension": k, **change} for k in range(3)],
    }


def summary(kind, table):
    """Metrics of one kind of scene, as `evaluation.evaluate` returns them."""
    label = "vae_i" if kind == "isolated" else "vae_ii"
    found = summarise_examples(table, np.random.default_rng(0))
    flux = np.asarray(table["sextractor_flux"], float)
    found |= against(table, 1.1 * flux, "sextractor_default")
    found |= {f"{label}_latent": latent_numbers(), "program": "SExtractor 2.28.0"}
    return found | {"seconds_of": {"sextractor": 3.0, f"t-SNE of {label}": 2.0, "network": 1.0}}


def evaluation(kinds=("isolated", "blended"), n=80):
    """Evaluation of all kinds, as `evaluation.evaluate` returns it."""
    tables = {kind: example_table(kind, n, seed) for seed, kind in enumerate(kinds)}
    found = {kind: summary(kind, table) for kind, table in tables.items()}
    return Evaluation(found, tables, {kind: pictures(kind, n) for kind in kinds}, {})


def without_baseline(found):
    """An evaluation in which SExtractor ended with an error."""
    for kind, table in found.examples.items():
        for name in ("sextractor_flux", "sextractor_flux_err", "sextractor_error"):
            table[name] = np.nan
        table["sextractor_corrected_error"] = table["sextractor_default_error"] = np.nan
        table["found"], table["failure"] = False, "unmeasured"
        table["default_failure"], table["default_n_objects"] = "unmeasured", -1
        found.images[kind].pop("segmentation")
        found.metrics[kind] = summary(kind, table) | {
            "program": "none",
            "sextractor_failure": "it ended with status 1",
        }
        del found.metrics[kind]["sextractor_default"]
    return found


def catalog(n=200):
    """Half of it within the cuts of magnitude."""
    rng = np.random.default_rng(3)
    flux = magnitude_to_flux(rng.uniform(22, 26, (n, 1)))
    table = QTable({"id": np.arange(n), "flux_bulge": 0.1 * flux, "flux_disk": 0.9 * flux})
    table["bulge_half_light_radius"] = rng.uniform(0.005, 0.04, n)
    table["disk_half_light_radius"] = rng.uniform(0.04, 0.5, n)
    for name, unit in (("flux_bulge", "uJy"), ("flux_disk", "uJy")):
        table[name].unit = unit
    for name in ("bulge_half_light_radius", "disk_half_light_radius"):
        table[name].unit = "arcsec"
    return QTable(table)


def gaussian_psf(sigma=0.08, scale=0.05, side=51):
    """PSF with a full width at half maximum of 0.188 arcsec."""
    offset = (np.arange(side) - side // 2) * scale
    return make_psf(np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2)), scale)


def setting(**changes):
    """Setting of a report."""
    given = {
        "title": "quick",
        "histories": {"isolated": RECORDS, "blended": RECORDS},
        "catalog": catalog(),
        "data": {"selection": CUTS, "max_purity": 0.95, "max_companions": 3, "style": "analytic"},
        "psf": gaussian_psf(),
        "scale": 0.1,
        "seconds": 9.0,
    }
    return Setting(**(given | changes))
