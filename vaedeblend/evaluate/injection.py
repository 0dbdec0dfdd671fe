"""The injection test: galaxies of known flux are added to the user's own image, and measured.

image --image.deblend_image--> what was there before
image + simulated galaxies --image.deblend_image--> catalogue --matching--> errors by bin
"""

import math
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Bool, Float

from vaedeblend.evaluate import metrics
from vaedeblend.exceptions import FolderError, MosaicError
from vaedeblend.image.pipeline import GIVEN, deblend_image
from vaedeblend.image.tiles import read_survey
from vaedeblend.io import write
from vaedeblend.io.folders.jobs import locked
from vaedeblend.io.mosaic import (
    NOISES,
    Mosaic,
    as_count,
    as_number,
    image_header,
    open_mosaic,
    write_given,
)
from vaedeblend.pixels.matching import match
from vaedeblend.simulate.library import PlacedSources, field_psfs, observed_light, random_sources

_PIXELS = 100
"""Least number of the image's pixels for each galaxy: beyond, nothing can be told apart."""
_MOVED = 24
"""Purposes of random numbers; `library` and `fields` have the others."""


def inject(
    image,
    out: str | Path,
    *,
    n=300,
    magnitude: tuple[float, float] = (22.0, 26.0),
    seed: int = 0,
    weights: str | Path = "euclid_vis",
    psf=None,
    psf_scale=None,
    **options,
) -> Table:
    """Adds galaxies to an image, deblends it, and writes injected.fits: a row a galaxy injected.

    Columns: x, y, mag, flux [image units], found, flux_found, flux_err, error (relative; -1 where
    it was not found), purity (as estimated; NaN where it was not found), flags, id (that of
    catalog.fits; 0 where it was not found). The folder holds image.fits with the galaxies, all that
    `pipeline.deblend_image` makes of it, and before/, what that makes of the image as it is: a
    source that was there before is none of the galaxies, and these lie on pixels that count.

    Args:
        image: FITS file, which is read whole, or what else `pipeline.deblend_image` takes.
        out: Folder of the results.
        n: Number of galaxies, EGG's, evenly over the pixels that are not ignored.
        magnitude: Range of the galaxies' magnitudes.
        seed: Seed of everything random.
        weights: Name of shipped weights, or a workdir.
        psf: FITS file of one PSF, of the galaxies and of the deblending; by default the survey's.
        psf_scale: Sampling of the PSF image [arcsec]; by default its header's, or the image's.
        **options: Further options of `pipeline.deblend_image`; without a gain of the image's the
            galaxies have no photon noise.

    Raises:
        FolderError: Another job writes into the folder.
        VaedeblendError: A file cannot be used or written, or the zero point is not known.
    """
    n, psf_scale = as_count(n, "n", 1), as_number(psf_scale, "psf_scale")
    survey = read_survey(weights)
    units = {name: options.pop(name, None) for name in ("hdu", "zero_point", "gain")}
    with locked(out) as out:
        files = {"image": image, "psf": psf} | {
            name: options.get(name) for name in (*NOISES, "mask")
        }
        files = write_given(files, out / GIVEN, units["hdu"])
        image, psf = files.pop("image"), files.pop("psf")
        options |= {name: path for name, path in files.items() if path is not None}
        with open_mosaic(image, **units) as opened:
            _check(n, magnitude, opened, out / "image.fits")
            if opened.zero_point is None:
                raise MosaicError(f"{image}: no zero point in the header; wanted --zero-point")
            scale = survey.pixel_scale.value
            scales = {"pixel_scale": psf_scale, "default_pixel_scale": opened.pixel_scale or scale}
            psfs = field_psfs(survey, psf, **scales)
            options |= {"weights": weights, "psf": psf, "psf_scale": psf_scale}
            before = deblend_image(image, out / "before", **options, **units).table
            sources = random_sources(n, magnitude, opened.shape, survey.band_names, seed)
            counting = np.isfinite(fits.getdata(out / "before" / "residual.fits"))
            sources = _on_pixels(sources, counting, seed)
            known = {"zero_point": opened.zero_point, "gain": opened.gain}
            light = observed_light(sources, opened.shape, psfs, scale, seed=seed, **known)
            _write_injected(opened, light, out / "image.fits")
        found = deblend_image(out / "image.fits", out, **options, **known).table
        table = _match_catalogue(sources, found, before, known["zero_point"])
        write.write_tables(out / "injected.fits", {"INJECTED": table})
        return table


def summarise(table: Table) -> Table:
    """Completeness, bias, scatter, outliers and coverage in bins of magnitude and of purity [%]."""
    rows = []
    low, high = np.floor(np.asarray(table["mag"]).min()), np.ceil(np.asarray(table["mag"]).max())
    for name, edges in (
        ("mag", np.arange(low, high + 1)),
        ("purity", (0, 0.5, 0.8, 0.95, 1 + 1e-6)),
    ):
        for start, stop in zip(edges, edges[1:], strict=False):
            part = table[(np.asarray(table[name]) >= start) & (np.asarray(table[name]) < stop)]
            got = part[part["found"]]
            error = metrics.summarise(np.asarray(got["error"]))
            inside = metrics.coverage(*(np.asarray(got[c]) for c in _COVERED))
            row = {"bin": f"{name} {start:g}-{stop:g}", "n": len(part)}
            row["found"] = 100 * len(got) / len(part) if len(part) else np.nan
            for key in ("bias", "sigma", "nmad", "outliers"):
                row[key] = np.nan if error[key] is None else 100 * error[key]
            rows.append(row | {"coverage": np.nan if inside is None else 100 * inside})
    return Table(rows)


def account(table: Table) -> list[str]:
    """What the rows of `summarise` count, and how many galaxies decide."""
    n, found = len(table), int(np.sum(table["found"]))
    wrong = int(np.sum(np.abs(np.asarray(table["error"])[np.asarray(table["found"])]) > 0.5))
    return [
        f"{found} of {n} injected galaxies were found, {wrong} of these with a flux that is wrong "
        "by more than half: sigma is theirs, nmad that of all others.",
        "Magnitudes are true ones, purities as estimated: those that were not found have none, and "
        "stand in no row of purity. found is a share of all, everything else of those found; "
        "coverage is how often flux_err holds the true flux, 68.3 if errors are honest.",
    ]


_COVERED = "flux_found", "flux_err", "flux"


def _check(n: int, magnitude, mosaic: Mosaic, made: Path) -> None:
    (low, high), image, most = magnitude, mosaic.path, math.prod(mosaic.shape) // _PIXELS
    if n > max(most, 1):
        raise MosaicError(
            f"{n} galaxies on {image}: one for fewer than {_PIXELS} pixels; wanted at most {most}: "
            "with more they are measured beside each other, not beside those of the image"
        )
    if not low < high:
        raise MosaicError(f"magnitudes from {low} to {high}; wanted the brighter one first")
    if image.resolve() == made.resolve():
        raise MosaicError(
            f"{image}: would be overwritten; wanted another folder than {made.parent}"
        )
    if made.exists() and not (made.parent / "before").is_dir():
        raise FolderError(
            f"{made}: would be overwritten, and no run of this program has written it; wanted "
            f"another folder than {made.parent}"
        )


def _on_pixels(
    sources: PlacedSources, counting: Bool[np.ndarray, "height width"], seed: int
) -> PlacedSources:
    """The galaxies, those on pixels that do not count or off the image moved to some that do."""
    pixels = np.argwhere(counting)
    if not len(pixels):
        raise MosaicError("every pixel of the image is ignored; wanted some for the galaxies")
    nearest = np.floor(sources.position + 0.5).astype(int)
    good = sources.on_image(counting.shape)
    good[good] = counting[*nearest[good].T]
    rng = np.random.default_rng((seed, _MOVED))
    chosen = pixels[rng.integers(0, len(pixels), len(good))]
    # `pixel` holds the corner below a pixel's centre, or, of a negative phase, that above it.
    moved = chosen + (sources.phase < 0)
    return sources._replace(pixel=np.where(good[:, None], sources.pixel, moved))


def _write_injected(opened: Mosaic, light: Float[np.ndarray, "height width"], path: Path) -> None:
    """Writes an image with light added to it; its bad pixels are NaN."""
    with write.write_image(path, opened.shape, image_header(opened)) as put:
        pixels = opened.read(*(slice(0, side) for side in opened.shape))
        put(np.where(pixels.bad, np.nan, pixels.image + light))


def _match_catalogue(
    sources: PlacedSources, found: Table, before: Table, zero_point: float
) -> Table:
    """The galaxies injected, each with the source of the catalogue that it is matched with.

    Sources that were there before are matched with it as well, and take what is theirs.
    """
    magnitude = sources.magnitude
    flux = 10 ** (0.4 * (zero_point - magnitude))
    before, found = (
        table[np.isfinite(np.ma.filled(table["flux"], np.nan))] for table in (before, found)
    )
    true = np.concatenate([sources.position, _places(before)])
    row = match(true, np.append(flux, before["flux"]), _places(found))[: len(flux)]
    there = row >= 0
    names = "id", "flux", "flux_err", "purity", "flags"
    column = {name: np.full(len(row), np.nan) for name in names}
    for name, values in column.items():
        values[there] = np.asarray(found[name], float)[row[there]]
    y, x = sources.position.T
    return Table(
        {
            "x": x * u.pix,
            "y": y * u.pix,
            "mag": magnitude * u.mag,
            "flux": flux,
            "found": there,
            "flux_found": column["flux"],
            "flux_err": column["flux_err"],
            "error": metrics.relative_error(column["flux"], flux),
            "purity": column["purity"],
            "flags": np.nan_to_num(column["flags"]).astype(int),
            "id": np.nan_to_num(column["id"]).astype(int),
        }
    )


def _places(table: Table) -> Float[np.ndarray, "n 2"]:
    return np.stack([np.asarray(table["y"], float), np.asarray(table["x"], float)], axis=1)
