"""A tile beside what its weights were trained for: PSF, depth, noise, density of sources.

What was never trained on is measured all the same, and said: a tile outside the range of one of
these is flagged in status, page and catalogue.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.table import Table

from vaedeblend.image.catalogue.columns import FLAGS
from vaedeblend.image.inspection.findings import Inspection
from vaedeblend.image.inspection.psfs import BLUNT, SHARP, trained_width
from vaedeblend.io.workdir import find_workdir, read_config
from vaedeblend.pixels.psf import effective_fwhm
from vaedeblend.survey import make_survey

DRIFTS = {
    1: ("psf", "effective FWHM of the PSF in units of the training's", "psf"),
    2: ("depth", "rms of the background in units of the survey's", "depth"),
    4: ("correlation", "correlation of the noise of neighbouring pixels", "correlation"),
    8: ("density", "sources per square arcmin, in units of the training's sky", "density"),
}
"""Bits of the column drift: name, meaning, and number of a tile that is compared."""

_SOURCES, _SPARSE = 93.0, 0.2
"""Sources per square arcmin that are found on the training's sky at its depth (simulate), and the
least density that is no gap of the sky, in units of it."""
_BILINEAR = 0.5
"""Correlation of pixels midway between two exposures' own: the most that bilinear co-adds have."""


def training_range(weights: str | Path) -> dict[str, tuple[float, float]]:
    """Least and largest of each number that a training saw, by the number's name.

    Args:
        weights: Name of shipped weights, or a workdir.
    """
    config = read_config(find_workdir(weights))
    data, seen = config["data"], config["observation"]
    varied = any(seen.get(name, 0) for name in ("correlated_share",)) or data.get("coadd_share", 0)
    density = max(config.get("calibration_field", {}).get("density", 1.0), 1.0)
    return {
        "psf": (SHARP, BLUNT),
        "depth": tuple(seen["depth"]) if seen.get("depth_share") else (0.8, 1.25),
        "correlation": (0.0, _BILINEAR if varied else 0.02),
        "density": (_SPARSE, 1.5 * density),
    }


def tile_numbers(inspection: Inspection, microjansky: float, weights: str | Path) -> dict:
    """Numbers of a tile, from what its pixels have said of the inputs.

    Args:
        inspection: What the inspection of the tile found.
        microjansky: Microjanskys of one image unit.
        weights: Name of shipped weights, or a workdir.
    """
    numbers = {name: _plain(value) for name, value in inspection.numbers.items()}
    rms = numbers.get("rms") or numbers.get("scatter") or np.nan
    survey = make_survey(**read_config(find_workdir(weights))["survey"])
    psfs, noise = inspection.psfs, inspection.noise
    width = np.nan if psfs is None else np.median(effective_fwhm(psfs))
    numbers["depth"] = _plain(rms * microjansky / float(survey.rms[0]))
    scale = survey.pixel_scale.value
    numbers["psf_fwhm"] = _plain(width * scale)
    numbers["psf"] = _plain(width * scale / (trained_width(weights, scale) or np.nan))
    numbers["correlation"] = 0.0 if noise is None else _neighbours(noise.covariance)
    return numbers


def source_numbers(table: Table, area: float) -> dict[str, float | int | None]:
    """Number, density, median chi2 and shares of flags of the sources of a tile's core.

    Args:
        table: Sources of the core and its border.
        area: Area of the core [square arcmin].
    """
    own = table[np.asarray(table["core_depth"]) >= 0]
    flags, chi2 = np.asarray(own["flags"]), np.asarray(own["chi2"], float)
    known, n = chi2[np.isfinite(chi2)], max(len(own), 1)
    shares = {
        f"flag_{name}": float(np.sum(flags & bit > 0) / n) for bit, (name, _) in FLAGS.items()
    }
    density = len(own) / area / _SOURCES if area > 0 else None
    middle = float(np.median(known)) if len(known) else None
    return {"sources": len(own), "area": area, "density": density, "chi2": middle, **shares}


def drift_bits(
    numbers: Mapping[str, float | None], ranges: Mapping[str, tuple[float, float]]
) -> int:
    """Bits of DRIFTS of a tile; what is not known is in its range."""
    bits = 0
    for bit, (_, _, name) in DRIFTS.items():
        value, (low, high) = numbers.get(name), ranges[name]
        if value is not None and not low <= value <= high:
            bits |= bit
    return bits


def with_bits(table: Table, bits: int) -> Table:
    """The sources of a tile with its drift as a column."""
    table["drift"] = np.full(len(table), bits, np.int16)
    said = ", ".join(f"{bit} {name}" for bit, (name, _, _) in DRIFTS.items())
    table["drift"].info.description = f"sum of what of the tile lies outside the training: {said}"
    return table


def drift_names(bits: int) -> list[str]:
    """Names of the bits that are set."""
    return [name for bit, (name, _, _) in DRIFTS.items() if bits & bit]


def _neighbours(covariance) -> float:
    """Mean correlation with the next pixel along either axis."""
    middle = len(covariance) // 2
    own = covariance[middle, middle]
    return float((covariance[middle, middle + 1] + covariance[middle + 1, middle]) / (2 * own))


def _plain(value) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
