"""Smooth light: the styles that draw a galaxy without structure, and the parts they are made of.

Half-light radii of the catalogue lie along the major axis: GalSim's circular radius is
`radius * sqrt(axis_ratio)` before its area-preserving shear.
"""

import functools

import galsim
from scipy.optimize import brentq
from scipy.special import gammainc

from vaedeblend.catalogues.galaxies import Galaxies


def analytic(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
    """A de Vaucouleurs bulge (n = 4) and an exponential disk (n = 1) about one centre, each band.

    Nothing of it is left to chance.
    """
    del seed
    if galaxy.star:
        return points(galaxy)
    fluxes = zip(galaxy.flux_bulge, galaxy.flux_disk, strict=True)
    return [make_bulge(galaxy, bulge) + make_disk(galaxy, disk) for bulge, disk in fluxes]


def sersic(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
    """One Sersic profile of the galaxy's total flux, each band; nothing of it is left to chance.

    With B/T the bulge's share of the light of all bands: the index is 1 + 3 B/T; the half-light
    radius that of the two components' sum, as if they were aligned; axis ratio and position angle
    those of the component with more light.
    """
    del seed
    if galaxy.star:
        return points(galaxy)
    share = bulge_share(galaxy)
    # GalSim tabulates a profile for each index: steps of 0.05 keep those few.
    profile = functools.partial(galsim.Sersic, round(20 * (1 + 3 * share)) / 20)
    radius = half_light_radius(galaxy)
    shape = dominant_shape(galaxy)
    return [_component(profile, flux, radius, *shape) for flux in galaxy.flux]


def points(galaxy: Galaxies) -> list[galsim.GSObject]:
    """The light of a star, each band."""
    return [galsim.DeltaFunction(flux=float(flux)) for flux in galaxy.flux]


def make_bulge(galaxy: Galaxies, flux: float) -> galsim.GSObject:
    """The bulge with a flux [uJy]."""
    return _component(
        galsim.DeVaucouleurs,
        flux,
        galaxy.bulge_half_light_radius,
        galaxy.bulge_axis_ratio,
        galaxy.bulge_position_angle,
    )


def make_disk(galaxy: Galaxies, flux: float) -> galsim.GSObject:
    """The disk with a flux [uJy]."""
    return _component(
        galsim.Exponential,
        flux,
        galaxy.disk_half_light_radius,
        galaxy.disk_axis_ratio,
        galaxy.disk_position_angle,
    )


def bulge_share(galaxy: Galaxies) -> float:
    """B/T: the bulge's share of the light of all bands."""
    return float(galaxy.flux_bulge.sum() / galaxy.flux.sum())


def dominant_shape(galaxy: Galaxies) -> tuple[float, float]:
    """Axis ratio and position angle [deg] of the component with more light."""
    if bulge_share(galaxy) > 0.5:
        return float(galaxy.bulge_axis_ratio), float(galaxy.bulge_position_angle)
    return float(galaxy.disk_axis_ratio), float(galaxy.disk_position_angle)


def half_light_radius(galaxy: Galaxies) -> float:
    """Half-light radius of bulge and disk, along the major axis, as if aligned [arcsec].

    At least a hundredth of the larger component's.
    """
    share = bulge_share(galaxy)
    bulge, disk = float(galaxy.bulge_half_light_radius), float(galaxy.disk_half_light_radius)

    def excess(radius):
        light = share * gammainc(8, 7.6692 * (radius / max(bulge, 1e-6)) ** 0.25)
        light += (1 - share) * gammainc(2, 1.6783 * radius / max(disk, 1e-6))
        return light - 0.5

    largest = max(bulge, disk)
    return max(brentq(excess, 0, 1.01 * largest, xtol=1e-6), 0.01 * largest)


def _component(profile, flux, half_light_radius, axis_ratio, position_angle):
    """An elliptical component; without a radius, the point it then is."""
    if half_light_radius == 0:
        return galsim.DeltaFunction(flux=float(flux))
    circular = profile(half_light_radius=float(half_light_radius * axis_ratio**0.5))
    angle = float(position_angle) * galsim.degrees
    return circular.withFlux(float(flux)).shear(q=float(axis_ratio), beta=angle)
