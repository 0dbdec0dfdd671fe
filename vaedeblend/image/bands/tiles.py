"""A band in pieces: each is read, measured and kept on disk, so that a killed run goes on.

A piece is measured with all sources whose light reaches it; those of its core are its own.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Float, Int
from scipy.ndimage import correlate1d

from vaedeblend.image.bands.fitting.astrometry import ShiftField, Shifts, source_shift
from vaedeblend.image.bands.fitting.kernels import Kernels
from vaedeblend.image.bands.fitting.matched import Template, make_templates, on_window, rendered
from vaedeblend.image.bands.fitting.solve import (
    Problem,
    Solution,
    pixel_chi2,
    sky_mesh,
    solve,
    source_chi2,
)
from vaedeblend.image.bands.inputs import BandPixels, OpenBand, band_reader
from vaedeblend.image.bands.residuals import Residual, sky_and_unseen
from vaedeblend.image.bands.sources import VisSources, gradients, size_errors
from vaedeblend.image.tiles import Tile
from vaedeblend.io.write import replacing

_BRIGHTEST = 60
"""Sources of a piece of which shifts are measured."""
_REACH = 64
"""Distance beyond the edge of a stamp to which its light reaches in a band [VIS pixel]."""
_LEAST = 0.005
"""Least correlation of two fluxes that is kept."""
_SLOPE = np.array([-1, 8, 0, -8, 1]) / 12
"""Change of light with its place, from five pixels in a row."""
_CLEAR = 20.0
"""Least flux over its error of a source that tells a shift."""


class BandJob(NamedTuple):
    """All that the measurement of a piece needs: plain values, for another process as well."""

    vis: VisSources
    band: OpenBand
    kernels: Kernels
    shifts: ShiftField
    folder: str
    """Folder that takes a file for each piece."""
    non_negative: bool
    skies: tuple[Float[np.ndarray, "_ _"], ...]
    """A typical PSF on the band's pixels and wider ones, by which its noise is sampled."""


class Piece(NamedTuple):
    """What a piece of an image tells of its own sources."""

    light: Float[np.ndarray, "height width"]
    """Light of all sources on the core, and the background [image unit]."""
    table: Table
    """A row a source of the core."""
    pairs: Table
    """A row a pair of sources of a group, the first of which is the core's."""
    unseen: Table
    """A row a peak of the residual: y, x on the image, flux and flux_err."""
    skies: Float[np.ndarray, "k form"]
    """Fluxes on the sky over their errors, of each of the forms; NaN where there is light."""
    chi2: float
    """Sum over valid pixels of the core."""
    pixels: int
    """Number of these, less that of the core's sources and nodes."""


def measure_piece(job: BandJob, tile: Tile) -> None:
    """Measures the sources of a piece's core and writes them, unless that has been done."""
    path = piece_file(job.folder, tile)
    if path.exists():
        return
    with band_reader(job.band) as read:
        write_piece(path, _piece(job, tile, read(tile.window)))


def measure_shifts(job: BandJob, tile: Tile) -> Shifts:
    """Shifts of the brightest sources of a piece's core."""
    none = Shifts(*(np.zeros((0, 2)) for _ in range(3)))
    rows = _within(job, tile.core)
    rows = rows[np.argsort(-job.vis.flux[rows])[:_BRIGHTEST]]
    if not len(rows):
        return none
    with band_reader(job.band) as read:
        pixels = read(tile.window)
    templates = _templates(job, rows)
    problem, _ = _problem(job, tile, pixels, templates)
    solution = solve(problem, *np.zeros((2, len(rows))))
    error = np.sqrt(solution.diagonal("noise"))
    clear = np.flatnonzero((solution.flux > _CLEAR * error) & (error > 0))
    slopes = [
        on_window([_slope(templates[i], axis) for i in clear], tile.window, pixels.valid)[0]
        for axis in (0, 1)
    ]
    residual = problem.data - solution.model(problem) - problem.sky @ solution.background
    found = [none]
    for k, i in enumerate(clear):
        # Slopes are on the pixels of their template.
        own = slice(*problem.light.indptr[i : i + 2])
        here, there = problem.light.indices[own], slice(*slopes[0].indptr[k : k + 2])
        parts = [problem.light.data[own], *(slope.data[there] for slope in slopes)]
        shift, variance = source_shift(
            residual[here], problem.weight[here], solution.flux[i], parts
        )
        at = job.band.placed.position[rows[i]]
        found.append(Shifts(*(each[None] for each in (at, shift, variance))))
    return Shifts(*map(np.concatenate, zip(*found, strict=True)))


def _piece(job: BandJob, tile: Tile, pixels: BandPixels) -> Piece:
    vis, rows = job.vis, _within(job, tile.window, reaching=True)
    templates = _templates(job, rows)
    problem, shares = _problem(job, tile, pixels, templates)
    squares = np.array([each.squares for each in templates])
    sizes = size_errors(vis, rows, squares), gradients(vis, rows, squares)
    solution = solve(problem, *sizes, non_negative=job.non_negative)
    if job.band.given.gain:
        problem = _with_photons(problem, solution, job.band.given.gain)
        solution = solve(problem, *sizes, non_negative=job.non_negative)
    chi2 = pixel_chi2(problem, solution)
    own = np.isin(rows, _within(job, tile.core))
    light = solution.model(problem) + problem.sky @ solution.background
    whole = rendered(templates, solution.flux, tile.window)
    sky = (problem.sky @ solution.background).reshape(pixels.valid.shape)
    table = Table(
        {
            "row": rows,
            "flux": solution.flux,
            "noise": solution.diagonal("noise"),
            "profile": solution.diagonal("profile"),
            "response": solution.response,
            "size_error": sizes[0],
            "area": 1 / np.maximum(_squares(problem.light), 1e-30),
            "inflation": solution.inflation,
            "chi2": source_chi2(problem, chi2),
            "inside": shares[:, 0],
            "valid": shares[:, 1],
            "core": shares[:, 2],
        }
    )[own]
    core = _of_core(tile)
    inner = np.zeros(pixels.valid.shape, bool)
    inner[core] = pixels.valid[core]
    left, weight = ((each.reshape(inner.shape)) for each in (problem.data - light, problem.weight))
    residual = Residual(left, weight, whole, inner)
    skies, unseen = sky_and_unseen(job.skies, residual)
    for axis, span in zip("yx", tile.window, strict=True):
        unseen[axis] += span.start
    return Piece(
        (whole + sky)[core].astype(np.float32),
        table,
        _pairs(rows, solution, own),
        unseen,
        skies,
        float(chi2[inner.ravel()].sum()),
        int(inner.sum()) - len(table),
    )


def _within(job: BandJob, window, *, reaching: bool = False) -> Int[np.ndarray, " n"]:
    """Rows of the measured sources whose centres, or whose light, lie on a window."""
    vis, placed = job.vis, job.band.placed
    low, high = (np.array([getattr(s, end) for s in window]) for end in ("start", "stop"))
    place = placed.position + 0.5
    reach = np.zeros((len(place), 1))
    if reaching:
        reach = (vis.profiles.sides / 2 + _REACH)[:, None] / np.sqrt(placed.area)
    with np.errstate(invalid="ignore"):
        there = ((place >= low - reach) & (place < high + reach)).all(axis=1)
    return np.flatnonzero(there & vis.measured)


def _templates(job: BandJob, rows) -> list[Template]:
    """Templates of sources at their places."""
    shift = job.shifts.at(job.band.placed.position[rows])
    return make_templates(job.vis, job.kernels, job.band.placed, rows, shift)


def _slope(template: Template, axis: int) -> Template:
    """The change of a template with its place along an axis."""
    return template._replace(light=correlate1d(template.light, _SLOPE, axis, mode="constant"))


def _problem(job: BandJob, tile: Tile, pixels: BandPixels, templates):
    light, grown, shares = on_window(templates, tile.window, pixels.valid)
    weight = np.where(pixels.valid, 1 / pixels.variance, 0).ravel()
    sky = sky_mesh(pixels.valid.shape)
    return Problem(light, grown, pixels.image.ravel().astype(float), weight, sky), shares


def _with_photons(problem: Problem, solution: Solution, gain: float) -> Problem:
    """The problem with the photon noise of all sources, as the fit has found them."""
    weight = problem.weight
    photons = solution.model(problem).clip(0) / gain
    return problem._replace(weight=weight / (1 + weight * photons))


def _of_core(tile: Tile) -> tuple[slice, slice]:
    """The core's rows and columns on the window."""
    return tuple(
        slice(core.start - window.start, core.stop - window.start)
        for core, window in zip(tile.core, tile.window, strict=True)
    )


def _squares(light) -> Float[np.ndarray, " n"]:
    """Sums of the squares of templates over valid pixels, over the square of their light there."""
    total = np.asarray(light.sum(axis=0)).ravel()
    square = np.asarray(light.multiply(light).sum(axis=0)).ravel()
    return square / np.where(total != 0, total, 1) ** 2


def _pairs(rows, solution: Solution, own) -> Table:
    """Covariances within groups, noise's and profiles', of pairs of which one is the core's."""
    found = []
    for block in solution.blocks:
        error = np.sqrt(np.diagonal(block.noise) + np.diagonal(block.profile))
        related = np.abs(block.noise + block.profile) > _LEAST * np.outer(error, error)
        i, j = np.nonzero(np.triu(related, 1) & own[block.members][:, None])
        a, b = rows[block.members[i]], rows[block.members[j]]
        found.append(np.stack([a, b, block.noise[i, j], block.profile[i, j]], axis=1))
    values = np.concatenate([np.zeros((0, 4)), *found])
    names = {"row_1": int, "row_2": int, "noise": float, "profile": float}
    return Table({n: values[:, k].astype(t) for k, (n, t) in enumerate(names.items())})


def piece_file(folder: str | Path, tile: Tile) -> Path:
    """File that takes what a piece tells."""
    return Path(folder) / f"piece_{tile.number}.fits"


def write_piece(path: Path, piece: Piece) -> None:
    """Writes what a piece tells; the file is there when all is in it."""
    hdus = [fits.PrimaryHDU(piece.light), fits.table_to_hdu(piece.table)]
    tables = piece.pairs, piece.unseen, Table({"sky": piece.skies})
    hdus += [fits.table_to_hdu(each) for each in tables]
    hdus[0].header["CHI2"], hdus[0].header["PIXELS"] = piece.chi2, piece.pixels
    with replacing(path) as partial:
        fits.HDUList(hdus).writeto(partial, checksum=True)


def read_piece(path: Path) -> Piece:
    """What `write_piece` has written."""
    with fits.open(path, memmap=False) as hdus:
        table, pairs, unseen, skies = (
            Table({name: _native(hdu.data[name]) for name in hdu.columns.names}) for hdu in hdus[1:]
        )
        header = hdus[0].header
        light = _native(hdus[0].data)
    counts = header["CHI2"], header["PIXELS"]
    return Piece(light, table, pairs, unseen, np.asarray(skies["sky"]), *counts)


def is_whole_piece(path: Path) -> bool:
    """Whether a file is what `write_piece` wrote, to the bit."""
    try:
        with warnings.catch_warnings(action="error"), fits.open(path, checksum=True) as hdus:
            return len([hdu.data for hdu in hdus if "DATASUM" in hdu.header]) == 5
    except Exception:  # of a reader of damaged files
        return False


def _native(values) -> np.ndarray:
    return np.asarray(values, values.dtype.newbyteorder("="))
