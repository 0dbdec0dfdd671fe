"""Galaxies as EGG makes them (Schreiber+ 2017, A&A 602, A96): EGG itself, or its prescriptions.

`sample` follows EGG v1.4 in the Euclid VIS band, without clustering, which at VIS < 26 changes the
number of neighbours within 3 arcsec by 2-4 % only.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import astropy.units as u
import numpy as np
from astropy.table import QTable
from jaxtyping import Bool, Float

from vaedeblend.catalogues import egg_prescriptions as prescriptions
from vaedeblend.catalogues.catalogue import read, validate
from vaedeblend.exceptions import CatalogueError
from vaedeblend.survey import magnitude_to_flux

PROGRAM = "egg-gencat"
"""EGG's own program."""
FAINTEST = 26.0
"""Magnitude to which catalogues are made, unless fainter galaxies are asked for [AB]."""
BAND = "euclid-vis"
WAVELENGTHS = MappingProxyType(
    {
        BAND: prescriptions.VIS_WAVELENGTH,
        "NIR-Y": 1080.0,
        "NIR-J": 1370.0,
        "NIR-H": 1770.0,
        "EXT-G": 480.0,
        "EXT-R": 640.0,
        "EXT-I": 780.0,
        "EXT-Z": 920.0,
    }
)
"""Effective wavelengths of the bands that the embedded sampler knows, in capital letters or small
ones [nm]; the first is VIS."""


def catalogue(
    area_deg2: float,
    *,
    seed: int,
    magnitude_limit: float = FAINTEST,
    bands: Sequence[str] = (BAND,),
) -> QTable:
    """Galaxies from EGG where its program is on PATH, else from the embedded sampler.

    `meta['source']` says which of the two it was.

    Raises:
        CatalogueError: EGG fails, or there is no EGG and `bands` are not those that the sampler
            knows.
    """
    if shutil.which(PROGRAM):
        return gencat(area_deg2, seed, magnitude_limit, bands)
    if bands[0] != BAND or not {band.upper() for band in bands[1:]} <= {*WAVELENGTHS}:
        raise CatalogueError(
            f"bands {list(bands)}: the embedded sampler knows {[*WAVELENGTHS]} only, {BAND!r} "
            "first; install egg-gencat or name a catalogue file"
        )
    return sample(area_deg2, np.random.default_rng(seed), magnitude_limit, bands)


def gencat(
    area_deg2: float, seed: int, magnitude_limit: float = FAINTEST, bands: Sequence[str] = (BAND,)
) -> QTable:
    """Galaxies made by EGG's own program, down to an AB magnitude in the first of `bands`.

    Raises:
        CatalogueError: the program fails, with what it said, or its file is unusable.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "egg.fits"
        command = [
            PROGRAM,
            f"area={area_deg2}",
            f"maglim={magnitude_limit}",
            f"selection_band={bands[0]}",
            f"bands=[{','.join(bands)}]",
            f"seed={seed}",
            f"out={out}",
            "verbose=0",
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode or not out.exists():
            said = (run.stderr or run.stdout).strip()
            raise CatalogueError(f"{' '.join(command)}: exit status {run.returncode}, said: {said}")
        return validate(read(out, bands), PROGRAM)


def sample(
    area_deg2: float,
    rng: np.random.Generator,
    magnitude_limit: float = FAINTEST,
    bands: Sequence[str] = (BAND,),
) -> QTable:
    """Galaxies brighter than a VIS AB magnitude, uniform over a square patch around (0, 0).

    Rows are in random order; ids count from 0. What is drawn does not depend on the bands, of which
    VIS is the first and the others' colours follow from those of the rest frame.

    Raises:
        CatalogueError: the area is so small that it holds no galaxy.
    """
    passive, redshift, log_mass = _draw_masses(area_deg2, magnitude_limit, rng)
    bulge_fraction = prescriptions.bulge_mass_fraction(log_mass, passive, rng)
    red_bulge = passive | (bulge_fraction > 0.6) | (rng.random(len(passive)) < 0.5)
    flux_bulge = bulge_fraction[:, None] * _flux(log_mass, redshift, red_bulge, rng, bands)
    flux_disk = (1 - bulge_fraction)[:, None] * _flux(log_mass, redshift, passive, rng, bands)
    limit = magnitude_to_flux(magnitude_limit)
    # Galaxies were drawn by redshift: any first rows should be a fair sample.
    kept = rng.permutation(np.flatnonzero((flux_bulge + flux_disk)[:, 0] > limit))
    table = _shapes(log_mass[kept], redshift[kept], rng)
    table["id"] = np.arange(len(kept))
    table["ra"], table["dec"] = _positions(area_deg2, len(kept), rng)
    table["redshift"] = redshift[kept]
    table["flux_bulge"] = flux_bulge[kept] * u.uJy
    table["flux_disk"] = flux_disk[kept] * u.uJy
    table.meta = {"bands": tuple(bands)}
    return validate(table, "embedded EGG sampler")


def _draw_masses(
    area_deg2: float, magnitude_limit: float, rng: np.random.Generator
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Whether passive, redshift and log10 mass [Msun] of every galaxy that might be seen."""
    counts = rng.poisson(prescriptions.expected_counts(area_deg2, magnitude_limit))
    cells = np.repeat(np.arange(counts.size), counts.ravel())
    population, z, mass = np.unravel_index(cells, counts.shape)
    within_z, within_mass = rng.uniform(-0.5, 0.5, (2, len(cells)))
    redshift = prescriptions.REDSHIFTS[z] + prescriptions.REDSHIFT_STEP * within_z
    return (
        population == 1,
        redshift,
        prescriptions.LOG_MASSES[mass] + prescriptions.LOG_MASS_STEP * within_mass,
    )


def _flux(
    log_mass: Float[np.ndarray, " n"],
    redshift: Float[np.ndarray, " n"],
    red: Bool[np.ndarray, " n"],
    rng: np.random.Generator,
    bands: Sequence[str],
) -> Float[np.ndarray, "n band"]:
    """Fluxes [uJy], VIS's first, if the whole mass had the colours of a red or blue component."""
    uv, vj = prescriptions.colours(log_mass, redshift, red, rng)
    noise = rng.normal(size=len(log_mass))
    vis = prescriptions.vis_magnitude(log_mass, redshift, uv, vj, noise)
    others = [
        prescriptions.band_colour(WAVELENGTHS[b.upper()], uv, vj, redshift) for b in bands[1:]
    ]
    return magnitude_to_flux(np.stack([vis, *(vis + each for each in others)], axis=1))


def _shapes(
    log_mass: Float[np.ndarray, " n"], redshift: Float[np.ndarray, " n"], rng: np.random.Generator
) -> QTable:
    """Radii, axis ratios and angles; bulge and disk are aligned, all else is independent."""
    n = len(log_mass)
    angle = rng.uniform(-90, 90, n) * u.deg
    bulge_radius = prescriptions.bulge_radius(log_mass, redshift, rng)
    disk_radius = prescriptions.disk_radius(log_mass, redshift, rng)
    return QTable(
        {
            "bulge_half_light_radius": prescriptions.to_arcsec(bulge_radius, redshift) * u.arcsec,
            "disk_half_light_radius": prescriptions.to_arcsec(disk_radius, redshift) * u.arcsec,
            "bulge_axis_ratio": prescriptions.axis_ratio(prescriptions.BULGE_RATIO_DENSITY, n, rng),
            "disk_axis_ratio": prescriptions.axis_ratio(prescriptions.DISK_RATIO_DENSITY, n, rng),
            "bulge_position_angle": angle,
            "disk_position_angle": angle,
        }
    )


def _positions(area_deg2: float, n: int, rng: np.random.Generator) -> tuple[u.Quantity, u.Quantity]:
    """Right ascension (from -180 deg) and declination, uniform on the sphere inside the patch."""
    half_side = np.sqrt(area_deg2) / 2 * u.deg
    ra = rng.uniform(-1, 1, n) * half_side
    dec = np.arcsin(rng.uniform(-1, 1, n) * np.sin(half_side))
    return ra, dec.to(u.deg)
