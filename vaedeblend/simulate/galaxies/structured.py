"""Structured (synthetic) galaxies: what smooth profiles lack, made up for each galaxy by chance.

The disk is a Sersic one, flatter or steeper than an exponential, times a pattern: logarithmic
spiral arms with dust along their inner edges, a texture of spiral waves of any number of arms and
pitch, a ring, a bar, lopsidedness and, where it is seen nearly edge on, a dust lane. Knots of star
formation lie on top, most of them where the pattern is bright. Irregular galaxies have no arms, but
a flat disk, a rough texture, and few and large knots. The bulge is a Sersic one, too, and may lie
off the disk's centre. All of this but the bulge's index fades as the bulge's share of the light
grows.

Whatever its structure, a disk has the flux, the centroid, the second moments' axis ratio and angle,
and the light within the galaxy's half-light radius, of the exponential disk that it replaces: a
linear map makes up for what its structure changed. So has a bulge the light of n = 4 within that
radius. Lengths are in the disk's half-light radii unless said otherwise.

How often there is how much of what was fitted to some 110 real galaxies (37 of COSMOS in Hubble's
F814W, 20 to 25 mag, the others in Webb's F444W), each beside synthetic ones of its flux, size, axis
ratio and Sersic index, under one PSF (0.18 arcsec) with one noise: until a classifier that sees
concentration, asymmetry, smoothness, Gini, M20, index, residuals of a Sersic fit on three scales,
peaks in them, harmonics and off-centre light could hardly tell them apart.
"""

import math
from typing import NamedTuple

import galsim
import numpy as np
from jaxtyping import Float
from scipy.special import gammainc, gammaincinv

from vaedeblend.catalogues.galaxies import Galaxies
from vaedeblend.simulate.galaxies.profiles import analytic, bulge_share, half_light_radius

_SAMPLING, _SIDES = 0.03, (64, 256)
"""Of a disk's image [arcsec], as far as its side lies within these limits [pixel]."""
_STRUCTURE = 1
"""Last word of the seed, whose other purposes are the caller's."""
_SCALE_LENGTHS = 1.6783
"""Half-light radius of an exponential disk over its scale length: gammainc(2, x) = 1/2."""
REACH = 5.0
"""Radius at which a disk is cut off: 0.2 % of its light, exp(-x) (1 + x) with x = 1.68 REACH, is
beyond."""
_KNOT_REACH = 1.8
"""Radius within which knots lie."""
_KNOT_SHARE = 0.05
"""Largest mean share of the disk's light in a knot: brighter ones are galaxies of their own."""
_CLUMP_SHARE = 0.15
"""The same of a clumpy galaxy's clumps."""
_KNOT_PIXELS = 0.8
"""Standard deviation of the smallest knot that an image holds [pixel]."""
_ARMS = 1.5
"""Sharpness of arms, exp(_ARMS cos phase): half as wide as the gaps between them."""
_ARMS_MEAN = float(np.i0(_ARMS))
"""Mean of that over all angles, a Bessel function: arms of mean 1 leave the flux as it is."""
_DUST_PHASE, _DUST = 0.9, 5.0
"""Phase [rad] by which dust lies inward of an arm's ridge, and its sharpness, thrice an arm's."""
_N_WAVES = 6
"""Spiral waves of random number of arms and pitch that make up the texture of a disk."""
_RING_HOLE = 0.6
"""Radius of the hole in a ring galaxy's disk over that of the ring."""
_BAR_WIDTH = 0.3
"""Width of a bar over its length."""
_LANE_WIDTH, _LANE_LENGTH = 0.35, 1.8
"""Standard deviation of a dust lane across, and where along the disk it fades to 1 / e."""
_N_LIGHT = 2000
_LIGHT = (
    gammaincinv(2, (np.arange(_N_LIGHT) + 0.5) / _N_LIGHT) / _SCALE_LENGTHS,
    np.arange(_N_LIGHT) * np.pi * (3 - 5**0.5),
)
"""Radii, and angles [rad], of points of equal light of an exponential disk: a sunflower's."""


class Structure(NamedTuple):
    """What a disk has beyond an exponential profile, seen face on; angles in its plane [rad]."""

    index: float
    """Sersic index of the smooth disk: 1 is an exponential one."""
    n_arms: int
    winding: float
    """Cotangent of the arms' pitch angle; its sign is the sense in which they wind."""
    arm_phase: float
    arm_contrast: float
    """Between 0 and 1, as are the depths of dust."""
    arm_dust: float
    texture: float
    """Standard deviation of the logarithm of the light, between patches of any size."""
    waves: Float[np.ndarray, "3 wave"]
    """Arms, windings and phases of the waves that make up the texture."""
    ring_contrast: float
    ring_radius: float
    ring_width: float
    bar_contrast: float
    bar_length: float
    bar_angle: float
    lopsidedness: float
    """Amplitude of the first harmonic far out, below 1."""
    lopsided_angle: float
    lane_depth: float
    """Depth of the dust lane along the major axis."""
    lane_place: float
    """Offset of the lane along the minor axis."""
    knot_share: float
    """Share of the disk's light in knots."""
    n_knots: int
    knot_size: float
    """Typical standard deviation of a knot, on the sky."""
    bulge_offset: float
    """Typical distance of the bulge from the disk's centroid."""


def structured(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
    """A structured (synthetic) galaxy, each band: one disk and one bulge in other proportions.

    The structure depends on the words of the seed, the bulge's share of the light of all bands and
    the disk's axis ratio. Flux, half-light radius, axis ratio and centroid are the analytic
    galaxy's: exactly, to 2 %, to 2 % and to 1 % of the disk's radius (1 sigma).
    """
    return _light(galaxy, seed, draw_structure)


def clumpy(galaxy: Galaxies, seed: tuple[int, ...] = ()) -> list[galsim.GSObject]:
    """A clump cluster, chain or tadpole (Elmegreen+ 2005): `structured` with few and bright clumps.

    There are many at a redshift of one, and nothing is as easily taken for a blend of galaxies.
    """
    return _light(galaxy, seed, draw_clumpy)


def _light(galaxy: Galaxies, seed, draw) -> list[galsim.GSObject]:
    """The light of a galaxy whose disk has the structure that `draw` draws."""
    if galaxy.star:
        return analytic(galaxy, seed)
    share, whole = bulge_share(galaxy), half_light_radius(galaxy)
    amount = float(np.clip((0.8 - share) / 0.6, 0, 1))
    rng = np.random.default_rng((*seed, _STRUCTURE))
    bulge = smooth_bulge(galaxy, draw_bulge_index(rng, share), whole)
    radius = float(galaxy.disk_half_light_radius)
    if radius == 0:
        return [bulge.withFlux(float(flux)) for flux in galaxy.flux]
    axis_ratio = float(galaxy.disk_axis_ratio)
    structure = draw(rng, amount, axis_ratio)
    side = int(np.clip(8 * round(2 * REACH * radius / _SAMPLING / 8), *_SIDES))
    axes = _axes(axis_ratio, np.radians(float(galaxy.disk_position_angle)))
    # The whole keeps its half-light radius if the disk keeps the light that it has within that.
    within = float(np.clip(whole / radius, 0.5, 1))
    image = disk_image(structure, rng, axes, side, within)
    apart = radius * structure.bulge_offset * axes @ rng.standard_normal(2)
    # The centroid of both stays where it is.
    bulge = bulge.shift(*((1 - share) * apart))
    disk = _as_light(image, scale=2 * REACH * radius / side).shift(*(-share * apart))
    return [
        bulge.withFlux(float(bulge_flux)) + disk.withFlux(float(disk_flux))
        for bulge_flux, disk_flux in zip(galaxy.flux_bulge, galaxy.flux_disk, strict=True)
    ]


def draw_bulge_index(rng: np.random.Generator, share: float) -> float:
    """Sersic index of a bulge by chance, in steps of 0.25: GalSim tabulates each.

    Args:
        rng: Source of chance.
        share: Bulge's share of the galaxy's light: elliptical galaxies are steeper.
    """
    index = (2.5 + 1.3 * share) * rng.lognormal(0, 0.3)
    return round(4 * min(max(index, 1), 5)) / 4


def smooth_bulge(galaxy: Galaxies, index: float, whole: float) -> galsim.GSObject:
    """A bulge of unit flux that has as much light as n = 4 within the whole's half-light radius."""
    radius, axis_ratio = float(galaxy.bulge_half_light_radius), float(galaxy.bulge_axis_ratio)
    if radius == 0:
        return galsim.DeltaFunction()
    steepness = gammaincinv(8, 0.5)
    share = np.clip(gammainc(8, steepness * (whole / radius) ** 0.25), 0.05, 0.95)
    within = radius * (gammaincinv(8, share) / steepness) ** 4
    half = within * (gammaincinv(2 * index, 0.5) / gammaincinv(2 * index, share)) ** index
    profile = galsim.Sersic(index, half_light_radius=half * axis_ratio**0.5)
    return profile.shear(q=axis_ratio, beta=float(galaxy.bulge_position_angle) * galsim.degrees)


def draw_structure(rng: np.random.Generator, amount: float, axis_ratio: float) -> Structure:
    """A disk's structure by chance: a spiral's, barred or not, or an irregular galaxy's.

    Args:
        rng: Source of chance.
        amount: Amount of structure, from 0 to 1.
        axis_ratio: Minor over major axis of the disk as seen.
    """
    # Fitted to real galaxies, see above, but for dust lanes, seen on disks inclined by more than
    # arccos 0.4 = 66 deg, and pitch angles [deg], from tightly wound arms to open ones.
    irregular = rng.random() < 0.5 * amount**2
    ringed = rng.random() < (0.3 if irregular else 0.12)
    barred = rng.random() < 0.35
    dusty = axis_ratio < 0.4 and not irregular and rng.random() < 0.6
    face_on = min(1.0, axis_ratio / 0.35)  # arms seen edge on hide one another
    arms = 0.0 if irregular else amount * face_on * 0.8 * rng.uniform(0, 1) ** 1.5
    bar_angle = rng.uniform(0, np.pi)
    n_arms = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.5, 0.2, 0.15]))
    winding = (-1) ** rng.integers(2).item() / math.tan(math.radians(rng.uniform(12, 32)))
    bar_length = rng.uniform(0.4, 0.9)
    # Arms start at the ends of a bar.
    phase = n_arms * (bar_angle - winding * math.log(bar_length)) if barred else rng.uniform(0, 7)
    lopsidedness = rng.uniform(0.2, 0.8) if irregular else min(0.7, rng.rayleigh(0.15))
    knot_size = rng.uniform(0.08, 0.25) if irregular else rng.uniform(0.03, 0.12)
    texture = rng.uniform(0.3, 1.0) if irregular else rng.uniform(0.08, 0.35)
    numbers = rng.choice([1, 2, 3, 4], _N_WAVES, p=[0.4, 0.3, 0.2, 0.1])
    windings = (0.0 if irregular else winding) + 1.5 * rng.standard_normal(_N_WAVES)
    index = 0.75 if irregular else 0.95
    n_knots = 1 + rng.poisson(rng.uniform(2, 12) if irregular else rng.uniform(5, 50))
    share = rng.uniform(0.1, 0.5) if irregular else 0.25 * rng.uniform(0, 1) ** 2.5
    return Structure(
        index=float(np.clip(index * rng.lognormal(0, 0.3), 0.45, 1.8)) ** amount**0.5,
        n_arms=n_arms,
        winding=winding,
        arm_phase=phase,
        arm_contrast=arms,
        arm_dust=arms * rng.uniform(0, 0.6),
        texture=amount * texture,
        waves=np.stack([numbers, numbers * windings, rng.uniform(0, 7, _N_WAVES)]),
        ring_contrast=amount * rng.uniform(0.5, 2.5) if ringed else 0.0,
        ring_radius=rng.uniform(0.6, 1.3),
        ring_width=rng.uniform(0.15, 0.3),
        bar_contrast=amount * rng.uniform(1, 3) if barred else 0.0,
        bar_length=bar_length,
        bar_angle=bar_angle,
        lopsidedness=amount * lopsidedness,
        lopsided_angle=rng.uniform(0, 2 * np.pi),
        lane_depth=amount * rng.uniform(0.4, 0.9) if dusty else 0.0,
        lane_place=rng.uniform(-0.4, 0.4),
        knot_share=amount * min(share, _KNOT_SHARE * n_knots),
        n_knots=n_knots,
        knot_size=min(knot_size, 0.4 * axis_ratio),  # within the thickness of the disk
        bulge_offset=amount * (0.15 if irregular else 0.05),
    )


def draw_clumpy(rng: np.random.Generator, amount: float, axis_ratio: float) -> Structure:
    """A lopsided disk of which a few clumps hold up to half of the light; see `draw_structure`."""
    smooth = draw_structure(rng, amount, axis_ratio)
    n_knots = 1 + rng.poisson(3)
    return smooth._replace(
        arm_contrast=0.0,
        arm_dust=0.0,
        lopsidedness=amount * rng.uniform(0.1, 0.9),
        knot_share=amount * min(rng.uniform(0.1, 0.6), _CLUMP_SHARE * n_knots),
        n_knots=n_knots,
        knot_size=min(rng.uniform(0.05, 0.3), 0.4 * axis_ratio),
        bulge_offset=0.3 * amount,
    )


def disk_image(
    structure: Structure,
    rng: np.random.Generator,
    axes: Float[np.ndarray, "2 2"],
    side: int,
    within: float = 1.0,
) -> Float[np.ndarray, "side side"]:
    """A disk of unit flux as seen on the sky, out to 5 of its half-light radii.

    Args:
        structure: Structure of the disk.
        rng: Source of chance, which places the knots.
        axes: Linear map of the plane of the disk to the sky, (x, y) each.
        side: Side of the image [pixel].
        within: Radius within which the disk has as much light as without structure.
    """
    points = _LIGHT[0] * np.stack([np.cos(_LIGHT[1]), np.sin(_LIGHT[1])])
    light = _pattern(structure, points) * np.exp(_SCALE_LENGTHS * _LIGHT[0])
    knots, sizes, knot_light = _place_knots(structure, rng, points, light)
    sizes = np.maximum(sizes, _KNOT_PIXELS * 2 * REACH / side)
    smooth = 1 - structure.knot_share
    centre, plane = _corrected(
        np.hstack([points, _spread(knots, sizes, axes)]),
        np.hstack([smooth * light / light.sum(), np.tile(knot_light / 4, 4)]),
        within,
    )
    centres = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 * REACH - REACH
    sky = np.stack(np.meshgrid(centres, centres))
    place = np.tensordot((plane @ np.linalg.inv(axes)).astype(np.float32), sky, 1)
    place += centre[:, None, None].astype(np.float32)
    image = _pattern(structure, place)
    knots = axes @ np.linalg.solve(plane, knots - centre[:, None])
    return smooth * image / image.sum() + _gaussians(knots, sizes, knot_light, centres)


def _axes(axis_ratio: float, angle: float) -> Float[np.ndarray, "2 2"]:
    """Linear map of a disk's plane, whose x is its major axis, to the sky's (x, y)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) * [1, axis_ratio]


def _as_light(image, scale: float) -> galsim.GSObject:
    """An image [arcsec per pixel] as GalSim's; unsheared, or it would take thrice as long."""
    side = len(image)
    return galsim.InterpolatedImage(
        galsim.Image(image.astype(float), scale=scale),
        x_interpolant="cubic",
        flux=1.0,
        pad_factor=2,
        _force_stepk=2 * np.pi / (side * scale),
        _force_maxk=np.pi / scale,
    )


def _pattern(structure: Structure, place):
    """The disk's light but for knots at places (x, y) of its plane, 0 or more."""
    s = structure
    x, y = place
    radius = np.maximum(np.hypot(x, y), 1e-3)  # neither 1 / 0 nor log(0) at the centre
    angle = np.arctan2(y, x)
    # Harmonics rise from the centre, where an angle has no meaning: the first one to half of its
    # amplitude at 0.7 radii, the arms to half of theirs at a third of a radius.
    pattern = 1 + s.lopsidedness * radius / (radius + 0.7) * np.cos(angle - s.lopsided_angle)
    if s.arm_contrast:
        outside = radius**2 / (radius**2 + 0.1)
        phase = s.n_arms * (angle - s.winding * np.log(radius)) - s.arm_phase
        arms = np.exp(_ARMS * np.cos(phase)) / _ARMS_MEAN
        dust = np.exp(_DUST * (np.cos(phase - math.copysign(_DUST_PHASE, s.winding)) - 1))
        pattern *= 1 + s.arm_contrast * outside * (arms - 1)
        pattern *= 1 - s.arm_dust * outside * dust
    if s.texture:
        field = sum(np.cos(m * angle - k * np.log(radius) - p) for m, k, p in s.waves.T.tolist())
        outside = radius / (radius + 0.3)
        pattern *= np.exp(s.texture * (2 / _N_WAVES) ** 0.5 * outside * field)
    if s.ring_contrast:
        pattern *= 1 - 0.7 * np.exp(-((radius / (_RING_HOLE * s.ring_radius)) ** 2))
        pattern += s.ring_contrast * np.exp(-0.5 * ((radius - s.ring_radius) / s.ring_width) ** 2)
    if s.bar_contrast:
        along, across = _turned(x, y, s.bar_angle)
        shape = (along / s.bar_length) ** 4 + (across / (_BAR_WIDTH * s.bar_length)) ** 2
        pattern += s.bar_contrast * np.exp(-shape)
    if s.lane_depth:
        lane = np.exp(-0.5 * ((y - s.lane_place) / _LANE_WIDTH) ** 2 - (x / _LANE_LENGTH) ** 2)
        pattern *= 1 - s.lane_depth * lane
    return pattern * np.exp(-_steepness(s.index) * radius ** (1 / s.index))


def _steepness(index: float) -> float:
    """Exponent of a Sersic profile at its half-light radius."""
    return float(gammaincinv(2 * index, 0.5))


def _turned(x, y, angle: float):
    """Coordinates along an angle and across it."""
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _place_knots(structure: Structure, rng, points, light):
    """Places (x, y), sizes and light of the knots: on bright parts, but rarely at the centre."""
    radius, n = _LIGHT[0], structure.n_knots
    likely = light**1.5 * radius / (radius + 0.5)
    # Further out one would take a knot for another galaxy.
    likely = np.cumsum(np.where(radius < _KNOT_REACH, likely, 0))
    chosen = np.searchsorted(likely, likely[-1] * rng.random(n))
    # Luminosities of HII regions: numbers fall as the square, N(L) dL ~ L^-2 dL, so that 1 / L is
    # uniform; the brightest are ten times as bright as the faintest.
    luminosity = 1 / rng.uniform(0.1, 1, n)
    sizes = structure.knot_size * rng.lognormal(0, 0.3, n)
    places = points[:, chosen] + 0.05 * rng.standard_normal((2, n))
    return places, sizes, structure.knot_share * luminosity / luminosity.sum()


def _spread(knots, sizes, axes):
    """Four points in the disk's plane for each knot, of the second moments it has on the sky.

    A quarter of its light at +-sqrt(2) sigma along each of two axes: 2/4 * 2 sigma^2 = sigma^2.
    """
    steps = np.linalg.solve(axes, 2**0.5 * np.eye(2))[:, :, None] * sizes
    return np.concatenate([knots + sign * steps[:, k] for k in (0, 1) for sign in (1, -1)], axis=1)


def _corrected(points, light, within: float):
    """How to undo what structure did to centroid, axis ratio and radius.

    The centroid of weighted points of the plane, and the map by which places of the plane as it
    shall be become distances from the centroid in the plane of the points. With M = V diag(m) V^T
    their second moments, that is a multiple of M^(1/2) / det(M)^(1/4), of determinant 1, which
    takes the round to the shape of the points; the multiple is such that the radius `within` holds
    the share of the light that an exponential disk has there, gammainc(2, 1.68 within).
    """
    centre = points @ light
    apart = points - centre[:, None]
    values, vectors = np.linalg.eigh((light * apart) @ apart.T)
    stretch = vectors * (values**2 / values.prod()) ** 0.25 @ vectors.T
    radii = np.hypot(*np.linalg.solve(stretch, apart))
    order = np.argsort(radii)
    share = gammainc(2, _SCALE_LENGTHS * within)
    radius = np.interp(share, np.cumsum(light[order]), radii[order])
    return centre, radius / within * stretch


def _gaussians(places, sizes, light, centres):
    """The sum of round Gaussians of given light per pixel, on the grid of pixel centres."""
    x, y = (np.exp(-0.5 * ((centres - p[:, None]) / sizes[:, None]) ** 2) for p in places)
    norm = light / (x.sum(axis=1) * y.sum(axis=1))
    return (y * norm[:, None]).T @ x
