"""EGG's prescriptions (Schreiber+ 2017, A&A 602, A96; numbers of EGG v1.4), in the VIS band.

Throughout: `log_mass` is log10 of the stellar mass in Msun (Salpeter IMF), `rng.normal` terms are
the scatter EGG prescribes, and the cosmology is flat LCDM with H0 = 70, Om = 0.3.
"""

from functools import cache
from importlib import resources
from typing import NamedTuple

import astropy.units as u
import numpy as np
from astropy.cosmology import FlatLambdaCDM
from astropy.table import Table
from jaxtyping import Bool, Float
from scipy.interpolate import make_interp_spline
from scipy.special import erf

COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)
SALPETER_TO_CHABRIER = 1 / 1.8

# Centres of the cells in which galaxies are drawn.
REDSHIFT_STEP, LOG_MASS_STEP = 0.01, 0.02
REDSHIFTS = np.arange(0.05, 10.5, REDSHIFT_STEP) + REDSHIFT_STEP / 2
LOG_MASSES = np.arange(4.0, 12.0, LOG_MASS_STEP) + LOG_MASS_STEP / 2
# [dex] below the lowest mass seen without scatter. EGG itself takes 0.2, and so loses a quarter of
# the galaxies in the last half magnitude above its limit; the sampler is meant to be complete.
MASS_MARGIN = 1.0

VIS_WAVELENGTH = 720.0
"""Effective wavelength of VIS [nm]."""
_V, _J = 550.0, 1250.0
"""Wavelengths of the rest frame's V and J [nm]."""
_LIGHTER_REDSHIFTS, _LIGHTER = (0, 0.45, 1.3, 6, 8), (0.15, 0.15, 0, 0, -0.6)
"""EGG's correction of mass-to-light ratios [dex], by redshift."""

# Probability densities of b/a, linear between these nodes.
AXIS_RATIOS = np.array([0.1, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.0])
BULGE_RATIO_DENSITY = np.array([0, 165, 428, 773, 914, 1069, 1191, 1154, 1067, 639, 450], float)
DISK_RATIO_DENSITY = np.array([0, 313, 900, 1143, 1127, 1059, 898, 775, 548, 318, 200], float)

Values = Float[np.ndarray, "..."]


class Schechter(NamedTuple):
    """Double Schechter functions, one per redshift: log10 masses [Msun], phi [Mpc^-3 dex^-1]."""

    redshift: Float[np.ndarray, " z"]
    log_mass1: Float[np.ndarray, " z"]
    log_mass2: Float[np.ndarray, " z"]
    phi1: Float[np.ndarray, " z"]
    phi2: Float[np.ndarray, " z"]
    slope1: Float[np.ndarray, " z"]
    slope2: Float[np.ndarray, " z"]


STAR_FORMING = Schechter(
    redshift=np.array([0.15, 0.5, 0.95, 1.55, 2.2, 3.0, 4.0]),
    log_mass1=np.array([10.72, 11, 11, 11, 11, 11, 11]),
    log_mass2=np.array([10.72, 10.6418, 10.7292, 10.6717, 10.8404, 10.9443, 11]),
    phi1=1e-3 * np.array([0.71, 0.898887, 0.71816, 0.465684, 0.213874, 0.212404, 0.0369]),
    phi2=1e-3 * np.array([0, 0.0830778, 0.404045, 0.417749, 0.406023, 0.090686, 0]),
    slope1=np.array([-1.45, -1.4, -1.4, -1.5, -1.57, -1.6, -1.8]),
    slope2=np.array([0.3, 0.5, 0.5, 0.5, 0, 0.5, 0.5]),
)
PASSIVE = Schechter(
    redshift=STAR_FORMING.redshift,
    log_mass1=np.array([10.72, 11, 11, 11, 11, 11, 11]),
    log_mass2=np.array([10.72, 11.0426, 10.8601, 10.8342, 11.0471, 10.9439, 11]),
    phi1=1e-3 * np.array([0.08, 0.0777453, 0.0354586, 0.0229979, 0.01, 0, 0]),
    phi2=1e-3 * np.array([3.25, 1.54472, 1.04263, 0.624682, 0.173119, 0.122278, 0.03]),
    slope1=np.array([-1.45, -1.65, -1.6, -1.25, -1, -1, -1.35]),
    slope2=np.array([-0.45, -0.481039, 0.0594024, 0.296244, -0.166611, -0.263124, -0.3]),
)


def expected_counts(
    area_deg2: float, magnitude_limit: float
) -> Float[np.ndarray, "population z mass"]:
    """Mean number of star-forming (0) and passive (1) galaxies in each cell of the grid.

    Masses too low to be seen are left out: those more than `MASS_MARGIN` below the lowest at
    which a galaxy of mean blue colours passes the VIS AB magnitude limit.
    """
    redshift, log_mass = REDSHIFTS[:, None], LOG_MASSES[None, :]
    area = area_deg2 * u.deg**2
    shells = (COSMOLOGY.differential_comoving_volume(REDSHIFTS) * area).to_value(u.Mpc**3)
    cells = shells[:, None] * REDSHIFT_STEP * LOG_MASS_STEP
    density = np.stack([mass_function(LOG_MASSES, REDSHIFTS, s) for s in (STAR_FORMING, PASSIVE)])
    mean_colours = _blue_colours(log_mass, redshift, np.zeros(3))
    seen = vis_magnitude(log_mass, redshift, *mean_colours, noise=0.0) < magnitude_limit
    faintest = np.where(seen, log_mass, np.inf).min(axis=1, keepdims=True)
    return density * cells * (log_mass >= faintest - MASS_MARGIN)


def mass_function(
    log_mass: Float[np.ndarray, " mass"], redshift: Float[np.ndarray, " z"], schechter: Schechter
) -> Float[np.ndarray, "z mass"]:
    """Comoving number density [Mpc^-3 dex^-1], its log linear in redshift and constant outside."""
    node, log_mass1, log_mass2, phi1, phi2, slope1, slope2 = (
        parameter[:, None] for parameter in _beyond_redshift_4(schechter)
    )
    # The first bin (Baldry+ 2012) holds for another initial mass function than the others.
    log_mass = log_mass + np.where(node == node[0], np.log10(SALPETER_TO_CHABRIER), 0)
    t1, t2 = 10 ** (log_mass - log_mass1), 10 ** (log_mass - log_mass2)
    terms = phi1 * t1 ** (1 + slope1) * np.exp(-t1) + phi2 * t2 ** (1 + slope2) * np.exp(-t2)
    spline = make_interp_spline(node[:, 0], np.log10(np.log(10) * terms), k=1)
    return 10 ** spline(np.clip(redshift, node[0], node[-1]))


def bulge_mass_fraction(
    log_mass: Values, passive: Bool[np.ndarray, "..."], rng: np.random.Generator
) -> Values:
    """Bulge-to-total ratio of stellar mass, in [0, 1]."""
    mean = np.where(passive, 0.1 * (log_mass - 10) - 0.3, 0.27 * (log_mass - 10) - 0.7)
    return np.minimum(10 ** (mean + 0.2 * rng.normal(size=mean.shape)), 1)


def disk_radius(log_mass: Values, redshift: Values, rng: np.random.Generator) -> Values:
    """Half-light radius of the disk [kpc]."""
    x = np.log10(1 + redshift)
    evolution = np.where(redshift < 1.7, 0.41 - 0.22 * x, 0.62 - 0.70 * x)
    slope = 0.2 * (np.minimum(log_mass, 10.6) - 9.35)
    return 10 ** (evolution + slope + 0.17 * rng.normal(size=x.shape))


def bulge_radius(log_mass: Values, redshift: Values, rng: np.random.Generator) -> Values:
    """Half-light radius of the bulge [kpc], from the mass of the whole galaxy."""
    x = np.log10(1 + redshift)
    evolution = np.where(redshift < 0.5, 0.78 - 0.6 * x, 0.90 - 1.3 * x)
    return 10 ** (evolution + 0.56 * (log_mass - 11.25) + 0.2 * rng.normal(size=x.shape))


def to_arcsec(radius: Values, redshift: Values) -> Values:
    """Angle [arcsec] of a proper length [kpc], by the angular diameter distance."""
    angular_distance = _comoving_distance(redshift) / (1 + redshift)
    return np.degrees(radius / 1e3 / angular_distance) * 3600


def axis_ratio(
    density: Float[np.ndarray, " node"], n: int, rng: np.random.Generator
) -> Float[np.ndarray, " n"]:
    """Axis ratios b/a of a density given at `AXIS_RATIOS`, by inversion of its integral."""
    x = np.linspace(AXIS_RATIOS[0], AXIS_RATIOS[-1], 2001)
    p = np.interp(x, AXIS_RATIOS, density)
    integral = np.append(0, np.cumsum(p[1:] + p[:-1]))
    return np.interp(rng.uniform(0, integral[-1], n), integral, x)


def colours(
    log_mass: Values, redshift: Values, red: Bool[np.ndarray, "..."], rng: np.random.Generator
) -> tuple[Values, Values]:
    """Rest-frame U-V and V-J [AB mag] of red or blue components of galaxies of these masses."""
    noise = rng.normal(size=(3, *log_mass.shape))
    sequences = _red_colours(log_mass, redshift, noise), _blue_colours(log_mass, redshift, noise)
    uv, vj = (np.where(red, *pair) for pair in zip(*sequences, strict=True))
    return uv, vj


def vis_magnitude(
    log_mass: Values, redshift: Values, uv: Values, vj: Values, noise: Values | float
) -> Values:
    """VIS AB magnitude of a component of this mass and these rest-frame colours.

    EGG looks its spectra up by colour; the table holds a smooth fit to their magnitudes and its
    residual, which unit normal deviates `noise` put back; without it B/T in light is 7 % too high.
    """
    table, polynomial = _mass_to_light(), _spectrum(redshift, uv, vj)
    luminosity_distance = _comoving_distance(redshift) * (1 + redshift)
    residual = np.interp(redshift, table["z"], table["rms"]) * noise
    return polynomial + residual + 5 * np.log10(luminosity_distance) - 2.5 * (log_mass - 10)


def _spectrum(redshift: Values, uv: Values, vj: Values) -> Values:
    """VIS magnitude of 1e10 Msun of these colours at a redshift, but for the distance."""
    table = _mass_to_light()
    x = np.clip(uv, *table.meta["uv_range"]) - 1
    y = np.clip(vj, *table.meta["vj_range"]) - 0.8
    terms = (1, x, y, x**2, x * y, y**2, x**3, x**2 * y, x * y**2, y**3)
    return sum(
        np.interp(redshift, table["z"], table[f"c{k}"]) * term for k, term in enumerate(terms)
    )


def band_colour(
    wavelength: float,
    uv: Values,
    vj: Values,
    redshift: Values,
) -> Values:
    """Colour of a component, the magnitude in a band less that in VIS [AB mag].

    Both are of one rest-frame spectrum. Bluewards of VIS's own wavelength that is what EGG's
    spectra show of it in VIS at higher redshifts; redwards it is a power law to J, and flat beyond.
    Beside EGG's own F160W (1196 galaxies to z = 3) the median is off by 0.1 mag at most, and the
    scatter 0.1 mag to z = 2.

    Args:
        wavelength: Effective wavelength of the band [nm].
        uv: Rest-frame U-V [AB mag].
        vj: Rest-frame V-J [AB mag].
        redshift: Redshift.
    """
    seen = [_rest_magnitude(w / (1 + redshift), uv, vj) for w in (wavelength, VIS_WAVELENGTH)]
    return seen[0] - seen[1]


def _rest_magnitude(wavelength: Values, uv: Values, vj: Values) -> Values:
    """AB magnitude of the rest-frame spectrum of a component of 1e10 Msun, but for a constant."""
    nodes = _mass_to_light()["z"]
    first = VIS_WAVELENGTH / (1 + nodes[0])

    def in_vis(z):
        light = np.interp(z, _LIGHTER_REDSHIFTS, _LIGHTER)
        return _spectrum(z, uv, vj) + 2.5 * np.log10(1 + z) - 2.5 * light

    blue = in_vis(np.clip(VIS_WAVELENGTH / wavelength - 1, nodes[0], nodes[-1]))
    visual, red = (in_vis(VIS_WAVELENGTH / w - 1 + 0 * wavelength) for w in (_V, first))
    share = np.clip(np.log(wavelength / first) / np.log(_J / first), 0, 1)
    return np.where(wavelength <= first, blue, red + (visual - vj - red) * share)


def _beyond_redshift_4(schechter: Schechter) -> Schechter:
    """Nodes up to z = 10.6 added, where phi follows the mass density of Grazian+ 2015."""
    z = np.arange(4.6, 10.7, 0.2)
    decline = 10 ** (-0.43 * (np.minimum(z, 6) - 4) - 0.7 * (np.maximum(z, 6) - 6))
    flat = Schechter(*(np.full(len(z), parameter[-1]) for parameter in schechter))
    beyond = flat._replace(
        redshift=z,
        phi1=decline * flat.phi1,
        phi2=decline * flat.phi2,
        # Passive galaxies have no first term here, so its slope is the star-forming one's.
        slope1=np.interp(z, [4, 5, 6], [-1.8, -2.0, -2.1]),
    )
    return Schechter(*(np.append(*pair) for pair in zip(schechter, beyond, strict=True)))


def _blue_colours(log_mass: Values, redshift: Values, noise: np.ndarray) -> tuple[Values, Values]:
    """U-V and V-J along the star-forming sequence; `noise` [3, ...] holds unit normal deviates."""
    steepening = -0.34 + 0.3 * np.maximum(log_mass - 10.35, 0)
    along = 0.58 * erf(log_mass - 10) + 1.39 + steepening * np.minimum(redshift, 3.3)
    peak = 1 - 2 * np.abs(log_mass - (10.3 + 0.4 * erf(redshift - 1.5)))
    width = 0.2 + (0.25 + 0.12 * np.clip((redshift - 0.5) / 2, 0, 1)) * np.maximum(peak, 0)
    along = np.minimum(along, 2) + width * noise[0]
    angle = np.arctan(0.65)
    uv = 0.45 + along * np.sin(angle) + 0.15 * noise[1]
    vj = along * np.cos(angle) + 0.15 * noise[2]
    return _reddened(uv, vj, redshift)


def _red_colours(log_mass: Values, redshift: Values, noise: np.ndarray) -> tuple[Values, Values]:
    """U-V and V-J of the quiescent clump; `noise` as for the blue."""
    along = np.clip(0.1 * (log_mass - 11) + 0.1 * noise[0], -0.1, 0.2)
    uv = 1.85 + 0.88 * along + 0.1 * noise[1]
    vj = 1.25 + along + 0.1 * noise[2]
    return _reddened(uv, vj, redshift)


def _reddened(uv: Values, vj: Values, redshift: Values) -> tuple[Values, Values]:
    """The same colours with EGG's shift of both sequences at z < 0.5."""
    nearness = np.maximum((0.5 - redshift) / 0.5, 0)
    return uv + 0.4 * nearness, vj + 0.2 * nearness


def _comoving_distance(redshift: Values) -> Values:
    """Comoving distance [Mpc], interpolated: the integral itself is slow for a whole field."""
    return np.interp(redshift, *_distance_table())


@cache
def _distance_table() -> tuple[Float[np.ndarray, " z"], Float[np.ndarray, " z"]]:
    redshift = np.arange(0, 10.7, 0.005)
    return redshift, COSMOLOGY.comoving_distance(redshift).to_value(u.Mpc)


@cache
def _mass_to_light() -> Table:
    resource = resources.files("vaedeblend.catalogues") / "egg_mass_to_light.ecsv"
    return Table.read(resource.read_text(encoding="utf-8"), format="ascii.ecsv")
