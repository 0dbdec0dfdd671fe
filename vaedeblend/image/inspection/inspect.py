"""All inputs of an image compared with its pixels: the one question before anything is measured."""

from pathlib import Path

import numpy as np

from vaedeblend.image.inspection.calibration import (
    gain_findings,
    scale_of,
    unit_findings,
    zero_point_findings,
)
from vaedeblend.image.inspection.findings import Finding, Inspection
from vaedeblend.image.inspection.gaps import find_empty, pixel_findings, said_of_empty
from vaedeblend.image.inspection.lists import list_findings
from vaedeblend.image.inspection.psfs import (
    GivenPsfs,
    form_findings,
    psf_findings,
    psf_place,
    sharpness_findings,
)
from vaedeblend.image.inspection.samples import (
    Blocks,
    block_quantile,
    cut_blocks,
    read_strips,
    valid_strips,
    without,
)
from vaedeblend.image.inspection.sky.noise import inspect_noise, is_refused
from vaedeblend.image.inspection.sky.total import ROUNDS, gain_contradiction, photon_findings
from vaedeblend.io.mosaic import Mosaic, Pixels


def inspect_image(
    mosaic: Mosaic,
    *,
    pixel_scale: float,
    weights: str | Path,
    psf: str | Path | None = None,
    psf_scale: float | None = None,
    gain=None,
    zero_point=None,
    catalog=None,
    rms_kind: str = "auto",
    rounds: int = ROUNDS,
) -> Inspection:
    """What the pixels of an image say of it, of its noise, PSF, gain and units.

    Strips of the image are read, some 256 rows in all.

    Args:
        mosaic: The image, as the user has described it.
        pixel_scale: The weights' [arcsec].
        weights: Name of shipped weights, or a workdir.
        psf: FITS file or folder of the PSFs, as `psfs.read_psfs` takes it.
        psf_scale: Its sampling, where the user gives it [arcsec].
        gain: The gain, where the user gives it [electron / image unit].
        zero_point: The zero point, where the user gives it [mag].
        rms_kind: What the map of the noise is said to hold, one of `total.RMS_KINDS`.
        catalog: List of positions, as `positions.read_positions` takes it.
        rounds: Rounds in which photon noise and background are told apart.

    Raises:
        MosaicError: The image is damaged.
        PsfError: The file holds no PSF.
    """
    listed, lists = list_findings(catalog, mosaic)
    raw, strips, empty, share = _sampled(mosaic)
    blocks = cut_blocks(strips, mosaic.shape)
    noise, numbers, sky, correlated = inspect_noise(mosaic, raw, strips, blocks)
    refused = is_refused(noise)
    rms = _typical(blocks, refused)
    gains, electrons = gain_findings(mosaic, gain is not None, rms)
    kind = "background" if refused else rms_kind
    noise, photons = photon_findings(blocks, noise, kind, electrons, rounds)
    if photons is not None and electrons is None and gain is None:
        electrons = photons.gain
        text = f"gain {electrons:.6g} electrons per image unit, of the photon noise in the map"
        gains = [Finding("found", "gain", text)]
    elif photons is not None and electrons is not None:
        gains += gain_contradiction(photons, electrons)
    units = unit_findings(mosaic, zero_point is not None, pixel_scale)
    gaps = [] if refused else _gaps(mosaic, blocks, empty, share)
    values, limits = pixel_findings(mosaic, raw, strips, blocks, rms)
    scales = {"given": psf_scale, "default": mosaic.pixel_scale or pixel_scale}
    points, psfs = psf_findings(psf, weights, *psf_place(mosaic), scale=pixel_scale, **scales)
    sharp, width = ([], None) if psfs is None else sharpness_findings(psf, psfs, strips, blocks)
    counted = electrons is not None and np.isfinite(rms)
    numbers |= {"empty": share, "rms_electrons": electrons * rms if counted else None}
    numbers["sharpest_sources_fwhm"] = width
    light = None if psfs is None else float(np.median(psfs.sum(axis=(2, 3))))
    numbers["encircled_energy"] = light
    corrections = {
        "gain": electrons or 0.0,
        "scale": scale_of(rms),
        "empty": empty,
        "limits": limits,
    }
    findings = *noise, *gaps, *values, *gains, *units, *points, *sharp, *lists
    return Inspection(findings, numbers, corrections, psfs, photons, correlated, listed, sky)


def inspect_wider(
    mosaic: Mosaic, psf: str | Path, psfs: GivenPsfs, *, gain=None, zero_point=None
) -> Inspection:
    """What there is to say of an image that is measured with another one's profiles.

    Strips of the image are read; nothing is refused. What value pixels without data hold, and which
    share of all, are the correction and the number `empty`.

    Args:
        mosaic: The image, as the user has described it.
        psf: FITS file or folder of the PSFs.
        psfs: What was read there.
        gain: The gain, where the user gives it [electron / image unit].
        zero_point: The zero point, where the user gives it [mag].
    """
    points, images = form_findings(psf, psfs, mosaic.pixel_scale)
    _, strips, empty, share = _sampled(mosaic)
    blocks = cut_blocks(strips, mosaic.shape)
    sharp, _ = sharpness_findings(psf, images, strips, blocks)
    gains = [] if gain is None else gain_findings(mosaic, True, _typical(blocks, False))[0]
    units = zero_point_findings(mosaic, zero_point is not None)
    findings = *gains, *units, *points, *sharp
    return Inspection(findings, {"empty": share}, {"empty": empty}).settled(force=True)


def _sampled(mosaic: Mosaic) -> tuple[list[Pixels], list[Pixels], float | None, float]:
    """Strips of an image, as in the files and of valid pixels; value and share of those without."""
    raw = read_strips(mosaic)
    strips = valid_strips(raw, mosaic.noise)
    empty, share = find_empty(strips)
    return raw, without(strips, empty), empty, share


def _gaps(mosaic: Mosaic, blocks: Blocks, empty: float | None, share: float) -> list[Finding]:
    image = mosaic.planes["image"]
    if not len(blocks.image) and (empty is None or share < 1):
        return [Finding("warned", "image", f"{image}: no part of it has valid pixels")]
    if empty is None:
        return []
    return [Finding("corrected", "image", said_of_empty(mosaic, empty, share))]


def _typical(blocks: Blocks, refused: bool) -> float:
    """The rms as given, or the pixels' scatter without one to believe; NaN without any."""
    if not len(blocks.image):
        return np.nan
    believed = blocks.rms is not None and not refused
    return float(np.median(block_quantile(blocks.rms, 0.5) if believed else blocks.scatter))
