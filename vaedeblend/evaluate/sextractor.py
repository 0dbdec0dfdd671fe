"""Baseline fluxes, one per stamp, measured with the SExtractor program itself.

SExtractor (Bertin & Arnouts 1996, A&AS 117, 393) reads one image: the stamps become a mosaic whose
gutters hold noise. What it would otherwise estimate is given: a background of zero, the noise of
every pixel and the gain. Where it is not installed `sep` follows its recipe on the same mosaic;
`Measurement.program` says which measured. Positions are (y, x), 0-based; SExtractor's are 1-based.
"""

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import sep
from astropy.io import fits
from jaxtyping import Float, Int
from scipy.special import ndtr

from vaedeblend.exceptions import VaedeblendError
from vaedeblend.io.parallel import available_cores
from vaedeblend.pixels.extract import sep_extract

StampArray = Float[np.ndarray, "n height width"]
Detections = tuple[Float[np.ndarray, "5 k"], Int[np.ndarray, "rows columns"], str]
SMALL_KERNELS = {"none": np.ones((1, 1)), "default": np.outer([1, 2, 1], [1, 2, 1]) / 16.0}
STAMP_MARGIN = 16  # pixels of noise round each stamp, so that objects of two stamps cannot merge
MATCH_RADIUS = 5.0  # pixels from the stamp's centre within which a detection is the central galaxy
KRON_FACTOR, KRON_MINIMUM = 2.5, 3.5  # PHOT_AUTOPARAMS, in units of the object's rms axes
STACK_PIXELS = 1_000_000  # more than unfinished objects hold, were a row of 100 stamps all lit
SEP_NAMES = ("thresh", "deblend_cont", "filter_kernel", "minarea", "deblend_nthresh", "clean_param")
CATALOG_COLUMNS = ("X_IMAGE", "Y_IMAGE", "FLUX_AUTO", "FLUXERR_AUTO", "FLAGS")
# Objects taller than the buffer lose flux silently; WEIGHT_GAIN would tie the gain to the rms map.
FIXED = f"""image.fits -c {os.devnull} -PARAMETERS_NAME columns.param -FILTER_NAME filter.conv
-CATALOG_NAME objects.fits -CATALOG_TYPE FITS_1.0 -CHECKIMAGE_NAME labels.fits
-CHECKIMAGE_TYPE SEGMENTATION -WEIGHT_IMAGE rms.fits -WEIGHT_TYPE MAP_RMS -RESCALE_WEIGHTS N
-WEIGHT_GAIN N -BACK_TYPE MANUAL -BACK_VALUE 0 -MASK_TYPE CORRECT -CLEAN Y -SATUR_LEVEL 1e9
-PHOT_AUTOPARAMS {KRON_FACTOR},{KRON_MINIMUM} -MEMORY_PIXSTACK {STACK_PIXELS}
-MEMORY_BUFSIZE 2048 -VERBOSE_TYPE QUIET""".split()


class Settings(NamedTuple):
    """SExtractor's keywords: threshold in units of the noise rms, area in pixels."""

    detect_thresh: float = 1.5
    deblend_mincont: float = 0.005
    filter_name: str = "default"  # or 'none', 'gauss_{FWHM}_{size}x{size}': its own files' names
    detect_minarea: int = 5
    deblend_nthresh: int = 32
    clean_param: float = 1.0


DEFAULT = Settings()
GRID = tuple(
    Settings(detect_thresh=thresh, deblend_mincont=mincont, filter_name=name)
    for mincont in (0.0001, 0.001, 0.005, 0.02)
    for thresh in (1.0, 1.5, 2.5)
    for name in ("none", "default", "gauss_3.0_5x5")
)


class StampMosaic(NamedTuple):
    """One image [flux/pixel] of many stamps, its noise rms and the pixel (0, 0) of each stamp."""

    image: Float[np.ndarray, "rows columns"]
    rms: Float[np.ndarray, "rows columns"]
    origins: Int[np.ndarray, "n 2"]


class Measurement(NamedTuple):
    """Flux [image units] of the central galaxy of each stamp; NaN and flag -1 where it is missed.

    `position` [pixels] is relative to the stamp, `flags` are the program's own, `n_objects` counts
    all detections inside the stamp, `segmentation` has one label each, unique over all stamps.
    """

    flux: Float[np.ndarray, " n"]
    flux_err: Float[np.ndarray, " n"]
    magnitude: Float[np.ndarray, " n"]
    position: Float[np.ndarray, "n 2"]
    flags: Int[np.ndarray, " n"]
    n_objects: Int[np.ndarray, " n"]
    segmentation: Int[np.ndarray, "n height width"]
    program: str


class Baseline(NamedTuple):
    """SExtractor on the stamps of one kind, with its best settings and its defaults."""

    measured: Measurement
    untuned: Measurement
    settings: Settings
    grid: list[dict]
    bias: float
    """Median of measured over true flux of isolated training stamps."""


def detection_kernel(name: str) -> Float[np.ndarray, "size size"]:
    """Detection filter of unit sum, Gaussians integrated over pixels; ValueError if unknown."""
    if name in SMALL_KERNELS:
        return SMALL_KERNELS[name]
    match = re.fullmatch(r"gauss_(\d+\.?\d*)_(\d+)x\2", name)
    if match is None:
        raise VaedeblendError(
            f"filter_name is {name!r}; wanted 'none', 'default' or 'gauss_2.0_3x3'"
        )
    fwhm, size = float(match[1]), int(match[2])
    line = np.diff(ndtr((np.arange(size + 1) - size / 2) * np.sqrt(8 * np.log(2)) / fwhm))
    return np.outer(line, line) / line.sum() ** 2


def make_mosaic(
    stamps: StampArray, rms: float | StampArray, rng: np.random.Generator, margin: int
) -> StampMosaic:
    """Image [flux/pixel] of all stamps in a near-square grid, in noise of the median rms.

    Every stamp has a border of `margin` pixels; `rms` is infinite where a pixel holds no
    measurement. ValueError where the shapes differ or a value is of no use to SExtractor.
    """
    rms = _checked_rms(stamps, rms)
    n, height, width = stamps.shape
    pitch = np.array([height, width]) + 2 * margin
    columns = int(np.ceil(np.sqrt(n)))
    level = np.median(rms[np.isfinite(rms)])
    image = rng.normal(0.0, level, pitch * [-(-n // columns), columns]).astype(np.float32)
    noise = np.full_like(image, level)
    origins = np.stack(np.divmod(np.arange(n), columns), axis=1) * pitch + margin
    for (y, x), stamp, stamp_rms in zip(origins, stamps, rms, strict=True):
        inside = np.s_[y : y + height, x : x + width]
        image[inside], noise[inside] = np.where(np.isinf(stamp_rms), 0.0, stamp), stamp_rms
    return StampMosaic(image, noise, origins)


def measure_centrals(
    stamps: StampArray,
    rms: float | StampArray,
    settings: Settings = DEFAULT,
    *,
    gain: float,
    zero_point: float,
    seed: int = 0,
    program: str | None = None,
) -> Measurement:
    """Kron flux FLUX_AUTO [image units] of the detection nearest to each stamp's centre.

    The stamps' background is 0; `rms` and its errors are those of `make_mosaic`. `gain` [electrons
    per image unit] adds the objects' photon noise to `flux_err`: 0 where `rms` holds it. `program`
    is SExtractor's path or 'sep', by default whichever is found. RuntimeError quotes its failure.
    """
    canvas = make_mosaic(stamps, rms, np.random.default_rng(seed), STAMP_MARGIN)
    program = program or shutil.which("source-extractor") or shutil.which("sex") or "sep"
    detect = _detect_sep if program == "sep" else partial(run_sextractor, program)
    table, labels, version = detect(canvas, settings, gain)
    _, height, width = stamps.shape
    (y, x, flux, flux_err, flags), n_objects = _centrals(table, canvas, (height, width))
    position, flags = np.stack([y, x], axis=1), np.nan_to_num(flags, nan=-1).astype(int)
    magnitude = zero_point - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    labels = np.stack([labels[y:, x:][:height, :width] for y, x in canvas.origins])
    return Measurement(flux, flux_err, magnitude, position, flags, n_objects, labels, version)


def search_settings(
    stamps: StampArray,
    true_flux: Float[np.ndarray, " n"],
    rms: float | StampArray,
    grid: tuple[Settings, ...] = GRID,
    **options: float | int | str | None,
) -> tuple[Settings, list[dict]]:
    """Settings with the least mean absolute relative flux error, and the score of every one.

    A missed galaxy has error -1. Each row is the settings, `score`, `sigma` (standard deviation of
    the error) and `misses`. `options` are those of `measure_centrals`; `gain` and `zero_point` are
    required.
    """
    if true_flux.shape != stamps.shape[:1] or not np.all(true_flux > 0):
        raise VaedeblendError(f"true_flux is {true_flux}; wanted {len(stamps)} positive values")

    def row(settings: Settings) -> dict:
        flux = measure_centrals(stamps, rms, settings, **options).flux
        error = np.nan_to_num(flux / true_flux - 1.0, nan=-1.0)
        scores = {"score": float(np.abs(error).mean()), "sigma": float(error.std())}
        return settings._asdict() | scores | {"misses": int(np.isnan(flux).sum())}

    with ThreadPoolExecutor(available_cores()) as pool:
        table = list(pool.map(row, grid))
    return grid[np.argmin([row["score"] for row in table])], table


def _checked_rms(stamps: np.ndarray, rms: float | np.ndarray) -> StampArray:
    """Noise rms [flux/pixel] of every pixel, once it and the stamps are known to be usable."""
    if stamps.ndim != 3 or not stamps.size or np.shape(rms) not in ((), stamps.shape):
        wanted = "(n, height, width), none zero, and () or the same"
        raise VaedeblendError(
            f"stamps and rms are {stamps.shape} and {np.shape(rms)}; wanted {wanted}"
        )
    rms = np.broadcast_to(rms, stamps.shape)
    if not (rms > 0).all() or np.isinf(rms).all():
        raise VaedeblendError(
            f"rms lies in [{rms.min()}, {rms.max()}]; wanted positive, some finite"
        )
    bad = np.argwhere(np.isfinite(rms) & ~np.isfinite(stamps))
    if len(bad):
        raise VaedeblendError(
            f"stamps{bad[0].tolist()} is {stamps[tuple(bad[0])]}; wanted a number"
        )
    return rms


def _call(command: list[str], folder: str | None = None) -> str:
    """Standard output of a command; RuntimeError if it fails, a warning if it only complains."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = done.stderr.strip()
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}, wanted 0: {said}")
    if said:
        warnings.warn(f"{command[0]}: {said}", RuntimeWarning, stacklevel=2)
    return done.stdout


def run_sextractor(
    program: str, canvas: StampMosaic, settings: Settings, gain: float
) -> Detections:
    """CATALOG_COLUMNS of each detection [pixels, image units], labels and version of SExtractor."""
    options = {"GAIN": gain, "ANALYSIS_THRESH": settings.detect_thresh}
    options |= {name.upper(): value for name, value in settings._asdict().items()}
    options["FILTER_NAME"] = "filter.conv"
    words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    weights = detection_kernel(settings.filter_name)
    version = "SExtractor " + "".join(re.findall(r"version (\S+)", _call([program, "--version"])))
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(f"{folder}/columns.param", CATALOG_COLUMNS, fmt="%s")
        np.savetxt(f"{folder}/filter.conv", weights, header="CONV NORM", comments="")
        fits.writeto(f"{folder}/image.fits", canvas.image)
        fits.writeto(f"{folder}/rms.fits", canvas.rms)
        _call([program, *FIXED, *words], folder)
        found = fits.getdata(f"{folder}/objects.fits", 1)
        labels = fits.getdata(f"{folder}/labels.fits").astype(np.int32)
        return np.array([found[name] for name in CATALOG_COLUMNS], dtype=float), labels, version


def _detect_sep(canvas: StampMosaic, settings: Settings, gain: float) -> Detections:
    """CATALOG_COLUMNS of each detection [pixels, image units], labels and version of sep."""
    image, noise = canvas.image, {"err": canvas.rms, "mask": np.isinf(canvas.rms)}
    options = dict(zip(SEP_NAMES, settings, strict=True))
    options["filter_kernel"] = detection_kernel(settings.filter_name)
    options["filter_type"] = "conv"  # SExtractor's; sep's own default is a matched filter
    threshold = options.pop("thresh")
    limits = {"pixels": STACK_PIXELS, "segmentation_map": True}
    found, labels = sep_extract(image, threshold, **limits, **options, **noise)
    # A float32 angle may exceed the quarter turn that the apertures accept.
    found["theta"] = np.clip(found["theta"], -np.pi / 2, np.pi / 2)
    x, y, *axes = (found[name] for name in ("x", "y", "a", "b", "theta"))
    others = {"segmap": labels, "seg_id": np.arange(1, len(found) + 1)}
    radius, _ = sep.kron_radius(image, x, y, *axes, 6.0, mask=noise["mask"], **others)
    axes.append(np.fmax(KRON_FACTOR * radius, KRON_MINIMUM))
    flux, error, flags = sep.sum_ellipse(image, x, y, *axes, gain=gain or None, **noise, **others)
    table = np.array([x + 1, y + 1, flux, error, flags | found["flag"]])
    return table, labels, f"sep {sep.__version__}"


def _centrals(
    table: np.ndarray, canvas: StampMosaic, shape: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """y, x [pixels], flux, error and flags of the detection nearest each centre; count in each."""
    (margin, _), n = canvas.origins[0], len(canvas.origins)
    pitch = np.array(shape) + 2 * margin
    cell, position = np.divmod(table[1::-1].T - 1, pitch)
    stamp = (cell @ [canvas.image.shape[1] // pitch[1], 1]).astype(int)
    offset = np.abs(position - (pitch - 1) / 2)
    inside = (offset <= np.array(shape) / 2).all(axis=1) & (stamp < n)
    distance = np.where(inside, np.hypot(*offset.T), np.inf)
    nearest_last = np.argsort(-distance)[np.sum(distance > MATCH_RADIUS) :]
    central = np.full((5, n), np.nan)
    central[:, stamp[nearest_last]] = np.vstack([position.T - margin, table[2:]])[:, nearest_last]
    return central, np.bincount(stamp[inside], minlength=n)
