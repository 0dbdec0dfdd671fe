"""One band: its shifts, its pieces, and what they tell together."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from vaedeblend.image.bands.fitting.astrometry import ShiftField, joined, no_shift, shift_field
from vaedeblend.image.bands.fitting.kernels import make_kernels, on_pixels
from vaedeblend.image.bands.inputs import OpenBand
from vaedeblend.image.bands.products import BandResult, NoiseFactors, gathered, write_images
from vaedeblend.image.bands.sources import VisSources
from vaedeblend.image.bands.tiles import BandJob, is_whole_piece, measure_piece, measure_shifts
from vaedeblend.image.tiles import plan
from vaedeblend.io.folders.jobs import keep_pieces, made_from
from vaedeblend.io.parallel import parallel_map

_WIDTHS = 1.0, 1.6, 2.6
"""Widths of what is fitted to the sky, over that of the PSF."""
_FEW, _AGAIN, _ROUNDS = 100, 0.1, 3
"""Fewest places on the sky that tell the noise; shift after which it is measured again [pixel], and
how often at most."""
_ANOTHER = 2.0
"""Scatter on the sky over the noise as given, or the inverse, from which on that is another's."""
_MISMATCH = 0.01
"""Difference of a matched PSF, over the peak, that is said."""
PIECES = ".pieces"
"""Folder of the bands' pieces, within that of the results."""


def measure_band(
    vis: VisSources,
    band: OpenBand,
    folder: Path,
    *,
    non_negative: bool,
    tile: int,
    processes: int,
    report: Callable[[str, int, int], None],
) -> BandResult:
    """A band's measurements, piece by piece.

    Args:
        vis: Sources.
        band: The band.
        folder: Folder that takes the images of model and residual, and meanwhile the pieces, of
            which it keeps those of the same job.
        non_negative: No flux is below 0.
        tile: Side of the pieces [pixel].
        processes: Processes that measure pieces side by side.
        report: Function of the progress.
    """
    placed, tiles = band.placed, plan(band.shape, tile)
    kernels = make_kernels(vis.psfs, band.psfs, placed.matrix, vis.position, placed.position)
    forms = _forms(band)
    pieces, field = folder / PIECES / band.name, no_shift(band.shape)
    job = BandJob(vis, band, kernels, field, str(pieces), non_negative, forms)
    options = {"band": band.name, "non_negative": non_negative, "tile": tile}
    options |= {name: str(value) for name, value in band.given._asdict().items()}
    pieces.parent.mkdir(exist_ok=True)
    keep_pieces(pieces, made_from(options, [*vis.files, *band.given.files]), is_whole_piece)
    spread = partial(_each, tiles=tiles, processes=processes, report=report)
    field, n = _shifts(job, spread)
    job = job._replace(shifts=field)
    for _ in spread(measure_piece, job, f"measuring {band.name}"):
        pass
    columns, pairs, unseen, sky, chi2 = gathered(len(vis.flux), job.folder, tiles)
    scatter = _noise_factors(forms, sky)
    factors = scatter or NoiseFactors(np.ones(1), np.ones(1))
    shift = field.cells.mean(axis=(0, 1))
    said = [*band.said]
    if n:
        said.append(f"shifted by {shift[0]:+.3f}, {shift[1]:+.3f} pixels (y, x), by {n} sources")
    else:
        said.append("no shift is known: too few bright sources")
    if kernels.mismatch > _MISMATCH:
        said.append(f"the matched PSF is up to {kernels.mismatch:.1%} of the peak off the band's")
    if scatter is not None:
        text = ", ".join(f"{factor:.3f}" for factor in scatter.factor)
        said.append(f"errors are multiplied by {text} (points to extended), the scatter on the sky")
        said += _contradiction(band, float(scatter.factor[0]))
    else:
        said.append("too little sky to measure its scatter: errors are those of the noise as given")
    named = tuple(f"{band.name}: {text}" for text in said)
    result = BandResult(band, columns, pairs, unseen, factors, chi2, shift, named)
    write_images(result, folder, job.folder, tiles)
    return result


def _contradiction(band: OpenBand, factor: float) -> list[str]:
    """That the noise as given is not that of points on the sky, a factor of it."""
    rms = band.given.rms
    if rms is None or 1 / _ANOTHER < factor < _ANOTHER:
        return []
    text = f"warned: {rms}: points on the sky scatter by {factor:.2g} times the noise as given; "
    text += f"wanted a factor within {1 / _ANOTHER:g} to {_ANOTHER:g}: is it another band's, a "
    return [text + "variance, or in another unit?"]


def _shifts(job: BandJob, spread: Callable) -> tuple[ShiftField, int]:
    """The field of shifts, fitted anew from where it has led while it still moves."""
    field, n = job.shifts, 0
    for _ in range(_ROUNDS):
        found = spread(measure_shifts, job._replace(shifts=field), f"shifts of {job.band.name}")
        step, n = shift_field(joined(list(found)), job.band.shape)
        field = field.added(step)
        if np.abs(step.cells).max() < _AGAIN:
            break
    return field, n


def _each(
    function: Callable,
    job: BandJob,
    what: str,
    *,
    tiles,
    processes: int,
    report: Callable[[str, int, int], None],
):
    """Yields what a function of a job gives for each piece."""
    report(what, 0, len(tiles))
    for i, found in enumerate(parallel_map(partial, tiles, processes, function, job), 1):
        report(what, i, len(tiles))
        yield found


def _forms(band: OpenBand) -> tuple[Float[np.ndarray, "_ _"], ...]:
    """A typical PSF of a band on its pixels but for its wings, and wider ones."""
    typical = band.psfs.psfs[len(band.psfs.psfs) // 2]
    forms = []
    for width in _WIDTHS:
        side = 2 * int(np.ceil(1.5 * width * band.psfs.fwhm / band.pixel_scale)) + 1
        psf = on_pixels(typical, band.pixel_scale, np.eye(2), side)
        forms.append(gaussian_filter(psf, band.blur * np.sqrt(width**2 - 1)))
    return tuple(forms)


def _noise_factors(forms, sky: Float[np.ndarray, "k form"]) -> NoiseFactors | None:
    """Scatter of fluxes on the sky over their errors, by the area of what is fitted.

    None where there is too little sky.

    Noise of neighbouring pixels that is correlated is not of one factor for all sizes.
    """
    areas, factors = [], []
    for form, values in zip(forms, sky.T, strict=True):
        known = values[np.isfinite(values)]
        if len(known) >= _FEW:
            areas.append(form.sum() ** 2 / np.square(form).sum())
            factors.append(1.4826 * np.median(np.abs(known - np.median(known))))
    return None if not areas else NoiseFactors(np.array(areas), np.array(factors))
