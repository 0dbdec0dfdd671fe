"""Bands: fluxes and colours of the profiles of VIS, SExtractor's dual-image mode beside them.

    python tests/benchmarks/bands.py --workdir runs/bands [--fields 8] [--dense 8] [--size 2048]

First of all sources whose profiles are known exactly (Gaussians): bias, coverage of `flux_noise`
and chi2 under noise, and fluxes on grids that are shifted, turned and sampled otherwise, without
noise. Then of simulated tiles of VIS, NIR-H and EXT-G, deblended in VIS, whose other bands are
measured by `vaedeblend photometry`, and by source-extractor in dual-image mode (detection in VIS,
fluxes AUTO). Sources are those of the deblending that lie within 2 pixels of a true one, whose
flux is above 10 sigma in the band; near: a neighbour of a fifth of the flux lies within one FWHM of
the band. AP are apertures at matched PSF: VIS, convolved to the band's PSF, and the band are summed
within circles, of the radius of its FWHM, and their ratio times the VIS flux of the deblending is
the flux. What is simulated and deblended is not done again.

    python tests/benchmarks/bands.py --workdir runs/bands --costs 1024 2560

gives the time of the processor and the memory that the commands need for three bands of tiles of
density 3 of such sides, and that of the deblending before.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table as Columns
from checkouts import COMMAND
from photutils.aperture import CircularAperture
from rich.console import Console
from rich.table import Table
from scaling import Program, timed
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

from vaedeblend.euclid.mer.bands import TELESCOPES, band_psfs
from vaedeblend.euclid.mer.layout import find_tile
from vaedeblend.euclid.mer.simulate import simulate_tile
from vaedeblend.evaluate.sextractor import FIXED, detection_kernel
from vaedeblend.image.bands.fitting.kernels import matching_kernel, on_pixels
from vaedeblend.image.bands.inputs import open_band, tile_images
from vaedeblend.image.bands.pipeline import photometry
from vaedeblend.image.bands.sources import known_errors, read_sources
from vaedeblend.image.pipeline import deblend_image
from vaedeblend.pixels.psf import effective_fwhm
from vaedeblend.survey import magnitude_to_flux

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from banded import NOISE, Sky  # noqa: E402

BANDS = "NIR-H", "EXT-G"
NEAR, EDGE, CLEAR = 2.0, 48, 10.0
"""Radius of a match, border that is not judged [pixel], and least flux over its error."""
RATIO = 0.2
"""Least flux of a neighbour, over the source's."""
BULGE, DISK, LARGE = 0.35, 0.1, 0.7
"""Shares of the bulge in VIS, and half-light radius of the disk [arcsec], of kinds of galaxies."""


GRIDS = {
    "shifted by 0.3 pixels": {"moved": (0.3, -0.3)},
    "turned by 37 degrees": {"angle": 37.0},
    "pixels of 0.2 arcsec, turned": {"scale": 0.2, "angle": -100.0, "shift": (0.4, 2.3)},
    "pixels of 0.3 arcsec": {"scale": 0.3, "shift": (0.2, 0.7)},
}
"""Grids on which fluxes are compared with those on VIS's own pixels."""


def known(folder, console, n=600, shape=(768, 768), fields=3):
    """Sources of known profiles: fluxes under noise, and on several grids."""
    pulls, errors, chi2 = [], [], []
    for seed in range(fields):
        rng = np.random.default_rng(seed)
        sky = Sky(rng, n, shape=shape)
        out = sky.deblended(folder / f"known_{seed}")
        table = photometry(out, [sky.band(out, rng=rng)])
        off = np.asarray(table["flux_h"]) - sky.band_flux
        pulls.append(off / np.asarray(table["flux_noise_h"]))
        errors.append(off / sky.band_flux)
        inner = fits.getdata(out / "photometry" / "h_residual.fits")
        chi2.append(np.sum((inner / NOISE) ** 2) / (inner.size - n))
    error, pull = np.concatenate(errors), np.concatenate(pulls)
    weight = np.square(pull / error)
    mean, sure = np.sum(weight * error) / np.sum(weight), np.sum(weight) ** -0.5
    middle, inside = 100 * np.median(error), 100 * np.mean(np.abs(pull) < 1)
    text = f"known profiles, {len(error)} sources: mean {100 * mean:+.3f} +- {100 * sure:.3f} %, "
    text += f"median {middle:+.3f} %, coverage {inside:.1f} %, chi2 per degree of freedom "
    console.print(f"{text}{np.mean(chi2):.4f}")
    sky = Sky(np.random.default_rng(9), 200, shape=(512, 512), margin=60)
    out = sky.deblended(folder / "known_grids")
    first = np.asarray(photometry(out, [sky.band(out)])["flux_h"])
    for name, grid in GRIDS.items():
        side = 512 if "moved" in grid else int(512 * 1.5 * 0.1 / grid.get("scale", 0.1))
        found = photometry(out, [sky.band(out, shape=(side, side), **dict(grid))])
        ratio = 100 * (np.asarray(found["flux_h"]) / first - 1)
        console.print(
            f"{name}: median {np.median(ratio):+.3f} %, largest {np.abs(ratio).max():.3f} %"
        )


def make(folder, size, density, seed, console):
    """Simulates and measures a tile; its truth and tables."""
    number = 102_000_000 + seed
    tile, out = folder / str(number), folder / f"out_{number}"
    if not (tile / "truth.fits").exists():
        simulate_tile(
            folder, size=size, seed=seed, bands=BANDS, density=density, star_fraction=0.05
        )
    if not (out / "index.html").exists():
        deblend_image(tile, out)
    table = photometry(out, tile)
    said = [text for name, text in table.meta.items() if name.startswith("SAID")]
    console.print(*said, sep="\n")
    truth = Columns.read(tile / "truth.fits", hdu=1)
    ours = Columns.read(out / "catalog.fits", hdu=1)
    vis, every = read_sources(out), np.arange(len(ours))
    squares = np.array(
        [np.square(p / f).sum() for p, f in zip(vis.profiles, vis.flux, strict=True)]
    )
    ours["known"] = vis.microjansky * known_errors(vis, every, squares)
    for band in BANDS:
        table[f"apertures_{band}"] = apertures(vis, tile, band)
    return truth, ours, table, {band: dual(tile, band) for band in BANDS}


def apertures(vis, tile, band):
    """Fluxes of VIS's sources [uJy]: VIS's times the ratio of circles at one PSF."""
    opened = open_band(tile_images(tile, [band])[0], vis)
    narrow, wide = (
        on_pixels(field.psfs[len(field.psfs) // 2], field.pixel_scale, np.eye(2))
        for field in (vis.psfs, opened.psfs)
    )
    images = [fits.getdata(find_tile(tile, band=name).image) for name in ("VIS", band)]
    matched = fftconvolve(images[0], matching_kernel(narrow, wide), "same")
    known = np.isfinite(vis.position).all(axis=1)
    circles = CircularAperture(vis.position[known, ::-1], opened.psfs.fwhm / opened.pixel_scale)
    seen, there = (circles.do_photometry(image.astype(float))[0] for image in (matched, images[1]))
    flux = np.full(len(known), np.nan)
    flux[known] = opened.microjansky * vis.flux[known] * there / seen
    return flux


def dual(tile, band):
    """Positions, fluxes [uJy] and errors of SExtractor in dual-image mode."""
    vis, other = (find_tile(tile, band=name) for name in ("VIS", band))
    place, flux, error = sextracted([vis.image, other.image], [vis.rms, other.rms])
    unit = magnitude_to_flux(TELESCOPES[band].zero_point)
    return place, unit * flux, unit * error


def sextracted(images, rms):
    """Positions (y, x), FLUX_AUTO and its errors of SExtractor, on the last of one or two images.

    Args:
        images: The image, or that of the detection before it.
        rms: Maps of their noise.
    """
    names = "X_IMAGE", "Y_IMAGE", "FLUX_AUTO", "FLUXERR_AUTO"
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(f"{folder}/columns.param", names, fmt="%s")
        kernel = detection_kernel("default")
        np.savetxt(f"{folder}/filter.conv", kernel, header="CONV NORM", comments="")
        given, maps = (
            ",".join(str(Path(path).resolve()) for path in each) for each in (images, rms)
        )
        words = " ".join(FIXED).replace("image.fits", given).replace("rms.fits", maps).split()
        for name, value in (
            ("WEIGHT_TYPE", "MAP_RMS"),
            ("BACK_TYPE", "MANUAL"),
            ("BACK_VALUE", "0"),
        ):
            words += [f"-{name}", ",".join([value] * len(images))]
        words += ["-FILTER_NAME", "filter.conv", "-GAIN", "0"]
        words += ["-DETECT_THRESH", "1.5", "-ANALYSIS_THRESH", "1.5"]
        command = ["source-extractor", *words]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        found = fits.getdata(f"{folder}/objects.fits", 1)
    place = np.stack([found["Y_IMAGE"], found["X_IMAGE"]], axis=1) - 1.0
    return place, found["FLUX_AUTO"], found["FLUXERR_AUTO"]


def rows(tiles, band, size):
    """A row a source that is judged in a band, of all tiles."""
    k = 1 + BANDS.index(band)
    name = band.lower().replace("-", "_")
    fwhm = float(effective_fwhm(band_psfs(TELESCOPES[band], 0.1)[1][None])[0])
    parts = []
    for truth, ours, table, sextracted in tiles:
        true, place = (np.stack([t["y"], t["x"]], axis=1) for t in (truth, ours))
        flux = np.asarray(truth["flux"])
        tree = cKDTree(true)
        away, row = tree.query(place)
        twice = np.bincount(row, minlength=len(true))[row] > 1
        error = np.asarray(table[f"flux_err_{name}"])
        judged = (away < NEAR) & ~twice & (flux[row, k] > CLEAR * error) & np.isfinite(error)
        judged &= (place > EDGE).all(axis=1) & (place < size - EDGE).all(axis=1)
        row, i = row[judged], np.flatnonzero(judged)
        near = [
            any(
                flux[n, k] > RATIO * flux[r, k]
                for n in tree.query_ball_point(true[r], fwhm)
                if n != r
            )
            for r in row
        ]
        distance, match = cKDTree(sextracted[band][0]).query(place[i])
        seen = np.where(distance < NEAR, sextracted[band][1][match], np.nan)
        colour = -2.5 * np.log10(flux[row, 0] / flux[row, k])
        noise = np.asarray(table[f"flux_noise_{name}"])[i] / flux[row, k]
        vis = np.asarray(ours["known"])[i] / flux[row, 0]
        parts.append(
            {
                "true": flux[row, k],
                "star": np.asarray(truth["star"])[row],
                "near": np.array(near, bool),
                "error": np.asarray(table[f"flux_{name}"])[i] / flux[row, k] - 1,
                "pull": (np.asarray(table[f"flux_{name}"])[i] - flux[row, k]) / error[i],
                "dual": seen / flux[row, k] - 1,
                "circle": np.asarray(table[f"apertures_{band}"])[i] / flux[row, k] - 1,
                "flags": np.asarray(table[f"flags_{name}"])[i],
                "colour": np.asarray(table[f"colour_vis_{name}"])[i] - colour,
                "colour_err": np.asarray(table[f"colour_err_vis_{name}"])[i],
                "vis": np.asarray(table["flux_vis"])[i] / flux[row, 0] - 1,
                "photons": 2.5 / np.log(10) * np.hypot(noise, vis),
                "size": np.asarray(truth["disk_half_light_radius"])[row],
                "bt_vis": np.asarray(truth["flux_bulge"])[row, 0] / flux[row, 0],
            }
        )
    return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def nmad(values):
    values = values[np.isfinite(values)]
    return 1.4826 * np.median(np.abs(values - np.median(values))) if len(values) else np.nan


def circle_colour(each):
    """Errors of the colours that apertures give [mag]."""
    with np.errstate(invalid="ignore"):
        return 2.5 * np.log10((1 + each["circle"]) / (1 + each["vis"]))


def report(tiles, size, console):
    columns = "n", "median", "NMAD", "coverage", "SE median", "SE NMAD", "AP median", "AP NMAD"
    colours = "colour / photons", "AP colour / photons", "colour coverage"
    shown = Table("band", "galaxies", *columns, *colours, title="relative errors [%]")
    for band in BANDS:
        found = rows(tiles, band, size)
        galaxy = ~found["star"]
        kinds = {"all": galaxy, "near": galaxy & found["near"], "apart": galaxy & ~found["near"]}
        kinds |= {
            "bulges": galaxy & (found["bt_vis"] > BULGE),
            "disks": galaxy & (found["bt_vis"] < DISK),
        }
        kinds |= {"large": galaxy & (found["size"] > LARGE)}
        kinds |= {"stars": ~galaxy, "without flags": galaxy & (found["flags"] == 0)}
        for kind, kept in kinds.items():
            each = {key: values[kept] for key, values in found.items()}
            cells = [
                100 * np.median(each["error"]),
                100 * nmad(each["error"]),
                100 * np.mean(np.abs(each["pull"]) < 1),
                100 * np.nanmedian(each["dual"]),
                100 * nmad(each["dual"]),
                100 * np.nanmedian(each["circle"]),
                100 * nmad(each["circle"]),
                nmad(each["colour"] / each["photons"]),
                nmad(circle_colour(each) / each["photons"]),
                100 * np.mean(np.abs(each["colour"]) < each["colour_err"]),
            ]
            shown.add_row(band, kind, str(kept.sum()), *(f"{c:.2f}" for c in cells))
    console.print(shown)


def costs(folder, size, console):
    """Prints what the deblending and the bands of a tile cost, as commands of their own."""
    tile, out, cache = folder / str(102_000_000 + size), folder / f"out_{size}", folder / "cache"
    if not (tile / "truth.fits").exists():
        sky = {"bands": (*BANDS, "NIR-J"), "density": 3.0, "star_fraction": 0.05}
        simulate_tile(folder, size=size, seed=size, **sky)
    words = [*COMMAND, "deblend", tile.name, "--out", out.name]
    deblended = timed(Program([*words, "--force"], f"{out.name}/catalog.fits"), folder, cache)
    words = [*COMMAND, "photometry", out.name, "--image", tile.name]
    measured = timed(Program(words, f"{out.name}/catalog.fits"), folder, cache)
    for what, run in (("deblending", deblended), ("three bands", measured)):
        text = f"{run.seconds:.1f} s of the processor, {run.memory:.2f} GB"
        console.print(f"{size} pixels, {run.sources} sources, {what}: {text}")
    console.print(f"three bands / deblending: {measured.seconds / deblended.seconds:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--fields", type=int, default=8)
    parser.add_argument("--dense", type=int, default=8)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=500, help="seed of the first tile")
    parser.add_argument("--costs", type=int, nargs="+", help="sides of tiles [pixel]")
    options = parser.parse_args()
    console = Console(width=150)
    options.workdir.mkdir(parents=True, exist_ok=True)
    if options.costs:
        for size in options.costs:
            costs(options.workdir, size, console)
        return
    known(options.workdir, console)
    for density, n in ((1.0, options.fields), (3.0, options.dense)):
        first = options.seed + (100 if density > 1 else 0)
        folder = options.workdir / f"{density:g}_{options.size}"
        seeds = range(first, first + n)
        tiles = [make(folder, options.size, density, seed, console) for seed in seeds]
        if tiles:
            console.print(f"density {density:g}")
            report(tiles, options.size, console)


if __name__ == "__main__":
    main()
